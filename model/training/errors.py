"""The errors of a training command; each is one sentence for the person who started it."""


class TrainingError(Exception):
    """Nothing was trained; the sentence says why."""


class DataError(TrainingError):
    """A file that cannot be learned from; the sentence says where."""
