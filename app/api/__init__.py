"""Speaks HTTP. Read embeddings.py first."""
