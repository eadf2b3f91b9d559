"""Training: an untrained model becomes a trained one.

`loss` and `loop` are the lesson. Other files, where there are any, make runs fast, recorded and
resumable.
"""
