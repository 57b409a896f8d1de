"""Formats metrics as a table for people, at most 120 columns wide."""

from collections.abc import Iterator, Sequence

from model.evaluate.scoring import TASKS, Key, Metric

WIDTH = 120
# Below so many an accuracy's standard error, sqrt(p (1 - p) / n), is over 0.05 where it is 0.5.
FEW = 100
_NAME, _ROWS = 44, 6
# A column: the size, and whether with the adapter.
_Column = tuple[int, bool]

LEGEND = (
    "n: questions, pairs or texts that were measured. 64 dim: vectors cut to 64 dimensions, read "
    "by the task's",
    "adapter. no task: the full width, read without an adapter.",
)


def table(metrics: Sequence[Metric], others: Sequence[Metric] = ()) -> Iterator[str]:
    """The lines of the table, by kind and task, and a warning where some are of few texts.

    Columns: the full width with the adapter and without ("no task"), then smaller sizes with it.
    With `others`, the metrics of --against, each value is followed by how much it is over the
    other's. Columns past 120 characters are left out.
    """
    if not metrics:
        return
    yield from LEGEND
    by_key = {metric.key: metric for metric in others}
    wide = 16 if others else 10
    columns = _columns(metrics[0], by_key)[: (WIDTH - _NAME - _ROWS) // wide]
    heads = "".join(f"{_head(column):>{wide}}" for column in columns)
    section = None
    for metric in metrics:
        if (metric.kind, metric.task) != section:
            section = (metric.kind, metric.task)
            yield ""
            yield f"{_title(metric):<{_NAME}}{'n':>{_ROWS}}{heads}"
        other = by_key.get(metric.key)
        name = f"{metric.file} {metric.language}".strip()
        cells = "".join(f"{_cell(metric, other, column):>{wide}}" for column in columns)
        measure = metric.measure[: _NAME - 1]
        name = name[: _NAME - len(measure) - 2]
        rows = f"{metric.rows}*" if metric.rows < FEW else f"{metric.rows} "
        yield f"{name:<{_NAME - len(measure) - 1}}{measure} {rows:>{_ROWS}}{cells}"
    few = min(metric.rows for metric in metrics)
    if few < FEW:
        error = 0.5 / few**0.5
        yield ""
        yield (
            f"* n is under {FEW}: an accuracy has a standard error of up to {error:.2f} there (n = "
            f"{few}),"
        )
        yield "  so that smaller differences mean nothing. Measure more texts."


def _title(metric: Metric) -> str:
    tasks = dict.fromkeys((metric.task,) if metric.task else TASKS[metric.kind])
    return f"{metric.kind.upper()}, task {' and '.join(tasks)}"[: _NAME - 1]


def worse(metrics: Sequence[Metric], others: Sequence[Metric], tolerance: float) -> list[str]:
    """A sentence for each value with the adapter that is worse by more than `tolerance`."""
    by_key = {metric.key: metric for metric in others}
    return [
        f"{' '.join(filter(None, metric.key))} at {size}: {value:.3f}, {other:.3f} there "
        f"({value - other:+.3f})"
        for metric in metrics
        if metric.key in by_key
        for size, value in metric.adapter.items()
        if (other := by_key[metric.key].adapter.get(size)) is not None and other - value > tolerance
    ]


def _columns(metric: Metric, others: dict[Key, Metric]) -> list[_Column]:
    other = others.get(metric.key)
    sizes = [size for size in metric.adapter if other is None or size in other.adapter]
    base = [(size, False) for size in sizes[:1] if metric.none]
    adapted = [(size, True) for size in sizes]
    return [*adapted[:1], *base, *adapted[1:]]


def _head(column: _Column) -> str:
    size, adapted = column
    return f"{size} dim" if adapted else "no task"


def _cell(metric: Metric, other: Metric | None, column: _Column) -> str:
    value = _value(metric, column)
    if value is None:
        return ""
    against = None if other is None else _value(other, column)
    return f"{value:.3f}" if against is None else f"{value:.3f} {value - against:+.3f}"


def _value(metric: Metric, column: _Column) -> float | None:
    size, adapted = column
    return (metric.adapter if adapted else metric.none).get(size)
