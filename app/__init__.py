"""Quintet: five task adapters, resident together, in one forward pass."""

__version__ = "0.1.0"
