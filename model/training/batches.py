"""Splits examples into training and validation, and orders them into batches.

Everything here is a pure function of records, seed and number, so that an interrupted run is
resumed with the same batches.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from model.training.data import LABELLED, PAIRS, TRIPLES, Examples
from model.training.errors import TrainingError

# Texts of one label that stand together in a batch; the supervised contrastive loss needs several.
PER_LABEL = 4
_MIN_RECORDS = 2


@dataclass(frozen=True, slots=True)
class Split:
    """Records to train on and records to validate with; no text is in both, but for negatives,
    which are often other records' positives. `dropped` is the number of records that share a text
    with validation, which are in neither."""

    training: Examples
    validation: Examples
    dropped: int


def split(examples: Examples, share: float, seed: int) -> Split:
    """Hold out about `share` of the texts for validation, by a hash, whatever the file's order.

    Of pairs and triples all records of one positive go to the same side, else those of one first
    text.

    Raises:
        TrainingError: fewer than two records are left on a side.
    """
    column = examples.columns[1 if examples.kind in (PAIRS, TRIPLES) else 0]
    held = [index for index, text in enumerate(column) if _hash(text, seed) < share]
    kept = _without(examples, examples.only(held))
    return _checked(
        Split(examples.only(kept), examples.only(held), len(examples) - len(kept) - len(held))
    )


def split_by_file(training: Examples, validation: Examples) -> Split:
    """The same for a validation file; training records that share a text with it are dropped.

    Raises:
        TrainingError: the files are of different kinds, or fewer than two records are left on a
            side.
    """
    if training.kind != validation.kind:
        raise TrainingError(
            f"the validation file has {validation.kind}, the training file {training.kind}."
        )
    kept = _without(training, validation)
    return _checked(Split(training.only(kept), validation, len(training) - len(kept)))


def _checked(parts: Split) -> Split:
    """
    Raises:
        TrainingError: nothing can be learned from it, or nothing validated.
    """
    for name, part in (("to learn from", parts.training), ("for validation", parts.validation)):
        if len(part) < _MIN_RECORDS:
            raise TrainingError(
                f"{len(part)} records are left {name}, after {parts.dropped} that share a text "
                f"with validation were dropped; at least {_MIN_RECORDS} are needed."
            )
        if part.values and len(set(part.values)) < _MIN_RECORDS:
            what = "label" if part.kind == LABELLED else "score"
            raise TrainingError(
                f"all records {name} have the same {what}; nothing tells them apart."
            )
        if part.kind == LABELLED and len(set(part.values)) == len(part):
            raise TrainingError(f"no two records {name} have the same label.")
    return parts


def check_batch_size(size: int, kind: str) -> None:
    """Refuse batches in which nothing differs from anything: their loss would teach nothing.

    Raises:
        TrainingError: they are too small for examples of this kind.
    """
    # A triple has a negative of its own. Labelled texts come in groups of one label.
    least = {TRIPLES: 1, LABELLED: PER_LABEL + 1}.get(kind, 2)
    if size < least:
        raise TrainingError(f"--batch-size {size}: of {kind} a batch needs {least} at least.")


def epoch_batches(examples: Examples, batch_size: int, seed: Sequence[int]) -> list[list[int]]:
    """The batches of one epoch as record indices, in an order that the seed decides.

    Batches are full: the remainder is left out, which differs from epoch to epoch. Labelled texts
    come in groups of one label.
    """
    random = np.random.default_rng(seed)
    order = [int(index) for index in random.permutation(len(examples))]
    if examples.kind == LABELLED:
        by_label: dict[float | str, list[int]] = defaultdict(list)
        for index in order:
            by_label[examples.values[index]].append(index)
        groups = [
            group[start : start + PER_LABEL]
            for _, group in sorted(by_label.items())
            for start in range(0, len(group), PER_LABEL)
        ]
        order = [index for at in random.permutation(len(groups)) for index in groups[at]]
    return [
        order[start : start + batch_size]
        for start in range(0, max(1, len(order) - batch_size + 1), batch_size)
    ]


def batches_by_length(lengths: Sequence[int], tokens: int, least: int = 1) -> Iterator[list[int]]:
    """The indices of rows of these lengths in batches of up to `tokens`, padding included.

    Rows of about one length stand together. A batch has at least `least` rows, also where those
    have more tokens; fewer that are left at the end are left out.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if len(batch) >= least and (len(batch) + 1) * lengths[index] > tokens:
            yield batch
            batch = []
        batch.append(index)
    if len(batch) >= least:
        yield batch


class BatchOrder:
    """The batches of a run, by number, epoch after epoch."""

    def __init__(self, examples: Examples, batch_size: int, seed: int) -> None:
        self._examples, self._size, self._seed = examples, batch_size, seed
        self._epoch, self._batches = 0, epoch_batches(examples, batch_size, [seed, 0])
        self.per_epoch = len(self._batches)

    def batch(self, number: int) -> Examples:
        """The records of batch 0, 1, ..."""
        epoch, index = divmod(number, self.per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._batches = epoch_batches(self._examples, self._size, [self._seed, epoch])
        return self._examples.only(self._batches[index])


def _without(examples: Examples, others: Examples) -> list[int]:
    """The indices of records that share no text with the others; negatives do not count."""
    texts = {text for column in others.columns[:2] for text in column}
    return [
        index
        for index in range(len(examples))
        if not any(column[index] in texts for column in examples.columns[:2])
    ]


def _hash(text: str, seed: int) -> float:
    """A number in [0, 1) that depends on the text and the seed alone."""
    digest = hashlib.blake2b(text.encode(), digest_size=8, salt=seed.to_bytes(8, "big")).digest()
    return float(int.from_bytes(digest, "big") / 2**64)
