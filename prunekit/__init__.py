"""Structured pruning and early exits for transformers."""

__version__ = "0.1.0"
