"""Understand a GPT by building it, from a bigram table to one that writes Shakespeare."""

__version__ = "0.1.0"
