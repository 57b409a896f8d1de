"""Pictures: quality by dimensions, and late chunking against none; each as PNG and as SVG.

The colours are of Okabe and Ito's palette ("Color Universal Design", 2008), which people with any
colour vision tell apart; lines also differ in their dashes and markers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from model.evaluate.lines import INDEPENDENT, LATE, MEAN, Line

COLOURS = ("#0072B2", "#D55E00")
GREY = "#767676"
# The measure of each kind that is drawn, and its words.
DRAWN = (
    ("sts", "Spearman", "Similarity: Spearman"),
    ("retrieval", "nDCG@10", "Retrieval: nDCG@10"),
    ("languages", "accuracy@1", "Across languages: accuracy@1"),
    ("classification", "probe", "Classification: probe accuracy"),
    ("classification", "neighbours", "Classification: neighbours' accuracy"),
    ("clustering", "v-measure", "Clustering: v-measure"),
)
# Nothing in a file may differ from run to run.
_METADATA: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}}
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "svg.hashsalt": "quintet",
    "svg.fonttype": "none",
}

Named = tuple[str, Sequence[Line]]


def draw(folder: Path, subjects: Sequence[Named]) -> list[Path]:
    """Write quality-by-dimensions and late-chunking as .png and .svg, of one subject or two; what
    was written.

    A picture without any line to draw is not written. Lines of further tasks are not drawn.
    """
    written = []
    short = [name.rstrip("/").rpartition("/")[2] for name, _ in subjects]
    if len(set(short)) == len(subjects):
        subjects = [(name, lines) for name, (_, lines) in zip(short, subjects, strict=True)]
    with mpl.rc_context(_STYLE):
        for name, figure in (
            ("quality-by-dimensions", quality_by_dimensions(subjects)),
            ("late-chunking", late_chunking(subjects)),
        ):
            if figure is None:
                continue
            FigureCanvasAgg(figure)
            for form, metadata in _METADATA.items():
                written.append(folder / f"{name}.{form}")
                figure.savefig(written[-1], dpi=150, metadata=metadata)
    return written


def quality_by_dimensions(subjects: Sequence[Named]) -> Figure | None:
    """A panel for each kind of measure: the mean of its sets over the sizes."""
    panels = [
        (words, kind, measure)
        for kind, measure, words in DRAWN
        if _of(subjects[0][1], kind, measure)
    ]
    if not panels:
        return None
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.5 * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (words, kind, measure) in zip(grid, panels, strict=False):
        for (name, lines), colour in zip(subjects, COLOURS, strict=False):
            of_kind = _of(lines, kind, measure)
            _curve(axes, of_kind, True, (colour, f"{name}, the task's adapter"))
            _curve(axes, of_kind, False, (colour, f"{name}, no adapter"))
        axes.set_title(words)
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    _share_span(list(grid[: len(panels)]))
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[max(0, len(panels) - columns) : len(panels)]:
        axes.set_xlabel("dimensions")
    _legend(figure, grid[0])
    return figure


def late_chunking(subjects: Sequence[Named]) -> Figure | None:
    """For each set, with and without adapter: from independent chunks to late ones, full width."""
    bars = _bars(subjects)
    if not bars:
        return None
    figure = Figure(figsize=(8.2, 0.3 * len(bars) + 1.5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, measure in ((left, "passage@1"), (right, "nDCG@10")):
        for row, bar in enumerate(bars):
            _bar(axes, row, bar, measure)
        axes.set_title(measure)
        axes.set_ylim(len(bars) - 0.5, -0.5)
        axes.margins(x=0.25)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    left.set_yticks(range(len(bars)), [bar.label for bar in bars])
    _legend(figure, left)
    return figure


@dataclass(frozen=True)
class _Bar:
    """What one row of the second picture shows: {"passage@1 late": ..., ...}."""

    label: str
    colour: str
    values: dict[str, float]


def _bars(subjects: Sequence[Named]) -> list[_Bar]:
    bars = []
    first = [line for line in subjects[0][1] if line.kind == "late chunking"]
    for place in dict.fromkeys((line.file, line.language) for line in first):
        for (name, lines), colour in zip(subjects, COLOURS, strict=False):
            here = [line for line in lines if line.key[:3] == ("late chunking", *place)]
            for adapted in (True, False):
                values = {
                    line.measure: next(iter((line.adapter if adapted else line.none).values()))
                    for line in here
                    if adapted or line.none
                }
                of = f", {name}" if len(subjects) > 1 else ""
                label = f"{' '.join(place)}{of}{'' if adapted else ', no adapter'}"
                bars += [_Bar(label, colour if adapted else GREY, values)] if values else []
    return bars


def _bar(axes: Axes, row: int, bar: _Bar, measure: str) -> None:
    alone, late = (bar.values[f"{measure} {way}"] for way in (INDEPENDENT, LATE))
    axes.plot([alone, late], [row, row], color=bar.colour, linewidth=2, zorder=1)
    ends = ((alone, "white", "chunks alone"), (late, bar.colour, "late chunking"))
    for value, inside, way in ends:
        axes.scatter(value, row, 34, c=inside, edgecolors=bar.colour, zorder=2, label=way)
    axes.annotate(
        f"{late - alone:+.3f}",
        (max(alone, late), row),
        xytext=(7, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
    )


def _curve(axes: Axes, lines: Sequence[Line], adapted: bool, look: tuple[str, str]) -> None:
    """The mean of lines over the sizes; nothing where there is no column without adapter."""
    colour, label = look
    columns = [line.adapter if adapted else line.none for line in lines]
    if not columns or not columns[0]:
        return
    sizes = sorted(columns[0])
    means = [float(np.mean([column[size] for column in columns])) for size in sizes]
    style = "o-" if adapted else "s--"
    inside = colour if adapted else "white"
    axes.plot(sizes, means, style, color=colour, markerfacecolor=inside, markersize=5, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()


def _share_span(panels: Sequence[Axes]) -> None:
    """Give all panels y axes of one length, so that equal slopes are equal differences."""
    limits = [axes.get_ylim() for axes in panels]
    half = max(top - bottom for bottom, top in limits) / 2
    for axes, (bottom, top) in zip(panels, limits, strict=True):
        middle = (bottom + top) / 2
        axes.set_ylim(middle - half, middle + half)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    each = dict(zip(labels, handles, strict=True))
    figure.legend(
        each.values(), each.keys(), loc="outside upper left", ncols=2, frameon=False, fontsize=9
    )


def _of(lines: Sequence[Line], kind: str, measure: str) -> list[Line]:
    """The kind's own lines of a measure, without the means over languages."""
    return [
        line
        for line in lines
        if (line.kind, line.measure, line.task) == (kind, measure, "") and line.language != MEAN
    ]
