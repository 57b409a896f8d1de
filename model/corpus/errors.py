"""The error that ends `quintet corpus`, with a sentence for the person who started it."""


class CorpusError(Exception):
    """The corpus cannot be embedded; the sentence says what, where, and what to do."""
