"""Wrong versions of every exercise with the misconception behind each, and right versions that are written differently."""
