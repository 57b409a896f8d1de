"""What can be wrong with a training command's input; each error is one sentence."""


class TrainingError(Exception):
    """Nothing was trained; the sentence says why."""


class DataError(TrainingError):
    """A file that cannot be learned from; the sentence says where."""
