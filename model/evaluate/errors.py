"""The error that ends an evaluation with a sentence for the person who started it."""


class EvaluationError(Exception):
    """The evaluation cannot go on; the sentence says what, where, and what is expected."""
