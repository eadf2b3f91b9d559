"""Sampling: a trained model writes text."""
