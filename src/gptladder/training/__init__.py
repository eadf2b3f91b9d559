"""From an untrained model to a trained one.

`loss` and `loop` are the lesson; what else may stand here makes runs fast, recorded and resumable.
"""
