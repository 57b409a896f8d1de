"""Corpora: folders of texts -> folders of vectors, on Ray Data. README.md says how it is used.

QuintetEmbedder is for Ray pipelines of one's own: `ds.map_batches(QuintetEmbedder, ...)`.
"""

from model.corpus.quintet_embedder import QuintetEmbedder

__all__ = ["QuintetEmbedder"]
