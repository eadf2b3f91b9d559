"""From an untrained model to a trained one.

`loss` and `loop` are the lesson; the rest makes runs fast, recorded and resumable.
"""
