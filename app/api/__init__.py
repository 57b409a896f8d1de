"""The HTTP API: routes, bodies, models, errors. Read embeddings.py first."""
