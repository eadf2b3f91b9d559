"""A learner's project: made, recorded, handed in."""
