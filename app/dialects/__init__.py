"""Other APIs on the same service: a file for each, with its request, answer, errors and limits.

Read cohere.py first. What a dialect asks for becomes an `EmbeddingsRequest`; below that nothing
knows of dialects. A value that has no counterpart here is the dialect's own error. EMBED_DIALECTS
says which are served.
"""
