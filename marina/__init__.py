"""Marina's kernel: the vocabulary every package may use; no I/O, no trio tasks."""

__version__ = "0.1.0"
