"""The error of a training command: one sentence for the person who started it."""


class TrainingError(Exception):
    """Nothing was trained; the sentence says why."""
