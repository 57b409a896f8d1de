"""Gathers rows and minds the workers."""
