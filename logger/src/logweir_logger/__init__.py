"""Structured logs for applications, in the shape that logweir reads."""

__version__ = "0.1.0"
