"""The HTTP service; its version."""

__version__ = "0.1.0"
