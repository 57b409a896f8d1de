"""Table: lines for people, at most 120 columns wide."""

from collections.abc import Iterator, Sequence

from model.evaluate.lines import TASKS, Key, Line

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


def table(lines: Sequence[Line], others: Sequence[Line] = ()) -> Iterator[str]:
    """The lines of the table, by kind and task, and a warning where some are of few texts.

    Columns: the full width with the adapter and without ("no task"), then smaller sizes with it.
    With `others`, the lines of --against, each value is followed by how much it is over the
    other's. Columns past 120 characters are left out.
    """
    if not lines:
        return
    yield from LEGEND
    by_key = {line.key: line for line in others}
    wide = 16 if others else 10
    columns = _columns(lines[0], by_key)[: (WIDTH - _NAME - _ROWS) // wide]
    heads = "".join(f"{_head(column):>{wide}}" for column in columns)
    section = None
    for line in lines:
        if (line.kind, line.task) != section:
            section = (line.kind, line.task)
            yield ""
            yield f"{_title(line):<{_NAME}}{'n':>{_ROWS}}{heads}"
        other = by_key.get(line.key)
        name = f"{line.file} {line.language}".strip()
        cells = "".join(f"{_cell(line, other, column):>{wide}}" for column in columns)
        measure = line.measure[: _NAME - 1]
        name = name[: _NAME - len(measure) - 2]
        rows = f"{line.rows}*" if line.rows < FEW else f"{line.rows} "
        yield f"{name:<{_NAME - len(measure) - 1}}{measure} {rows:>{_ROWS}}{cells}"
    few = min(line.rows for line in lines)
    if few < FEW:
        error = 0.5 / few**0.5
        yield ""
        yield (
            f"* n is under {FEW}: an accuracy has a standard error of up to {error:.2f} there (n = "
            f"{few}),"
        )
        yield "  so that smaller differences mean nothing. Measure more texts."


def _title(line: Line) -> str:
    tasks = dict.fromkeys((line.task,) if line.task else TASKS[line.kind])
    return f"{line.kind.upper()}, task {' and '.join(tasks)}"[: _NAME - 1]


def worse(lines: Sequence[Line], others: Sequence[Line], tolerance: float) -> list[str]:
    """A sentence for each value with the adapter that is worse by more than `tolerance`."""
    by_key = {line.key: line for line in others}
    return [
        f"{' '.join(filter(None, line.key))} at {size}: {value:.3f}, {other:.3f} there "
        f"({value - other:+.3f})"
        for line in lines
        if line.key in by_key
        for size, value in line.adapter.items()
        if (other := by_key[line.key].adapter.get(size)) is not None and other - value > tolerance
    ]


def _columns(line: Line, others: dict[Key, Line]) -> list[_Column]:
    other = others.get(line.key)
    sizes = [size for size in line.adapter if other is None or size in other.adapter]
    full = [(size, adapted) for size in sizes[:1] for adapted in (True, False)]
    return [(size, adapted) for size, adapted in full if adapted or line.none] + [
        (size, True) for size in sizes[1:]
    ]


def _head(column: _Column) -> str:
    size, adapted = column
    return f"{size} dim" if adapted else "no task"


def _cell(line: Line, other: Line | None, column: _Column) -> str:
    value = _value(line, column)
    if value is None:
        return ""
    against = None if other is None else _value(other, column)
    return f"{value:.3f}" if against is None else f"{value:.3f} {value - against:+.3f}"


def _value(line: Line, column: _Column) -> float | None:
    size, adapted = column
    return (line.adapter if adapted else line.none).get(size)
