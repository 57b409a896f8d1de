"""Draws two pictures, as PNG and as SVG: quality by dimensions, and late chunking against none.

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

from model.evaluate.scoring import INDEPENDENT, LATE, MEAN, Metric

COLOURS = ("#0072B2", "#D55E00")
GREY = "#767676"
# kind, measure and title of each panel of the first picture
PANELS = (
    ("sts", "Spearman", "Similarity: Spearman"),
    ("retrieval", "nDCG@10", "Retrieval: nDCG@10"),
    ("languages", "accuracy@1", "Across languages: accuracy@1"),
    ("classification", "probe", "Classification: probe accuracy"),
    ("classification", "neighbours", "Classification: neighbours' accuracy"),
    ("clustering", "v-measure", "Clustering: v-measure"),
)
# Without the date and the version: the same metrics give the same bytes.
_METADATA: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}}
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    # A "$" in a file's or a model's name begins no formula.
    "text.parse_math": False,
    "svg.hashsalt": "quintet",
    "svg.fonttype": "none",
}

# A model's name and its metrics.
Named = tuple[str, Sequence[Metric]]


def draw(folder: Path, models: Sequence[Named]) -> list[Path]:
    """Write quality-by-dimensions and late-chunking as .png and .svg, of one model or two; the
    files that were written.

    A picture without a metric to draw is not written. Metrics of further tasks are not drawn.
    """
    written = []
    short = [name.rstrip("/").rpartition("/")[2] for name, _ in models]
    if len(set(short)) == len(models):
        models = [(name, metrics) for name, (_, metrics) in zip(short, models, strict=True)]
    with mpl.rc_context(_STYLE):
        for name, figure in (
            ("quality-by-dimensions", quality_by_dimensions(models)),
            ("late-chunking", late_chunking(models)),
        ):
            if figure is None:
                continue
            FigureCanvasAgg(figure)
            for form, metadata in _METADATA.items():
                written.append(folder / f"{name}.{form}")
                figure.savefig(written[-1], dpi=150, metadata=metadata)
    return written


def quality_by_dimensions(models: Sequence[Named]) -> Figure | None:
    """A panel for each of PANELS that has metrics: the mean over its datasets at each size."""
    panels = [each for each in PANELS if _of(models[0][1], *each[:2])]
    if not panels:
        return None
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.5 * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (kind, measure, title) in zip(grid, panels, strict=False):
        for (name, metrics), colour in zip(models, COLOURS, strict=False):
            drawn = _of(metrics, kind, measure)
            _curve(axes, drawn, True, (colour, f"{name}, the task's adapter"))
            _curve(axes, drawn, False, (colour, f"{name}, no adapter"))
        axes.set_title(title)
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    _share_span(list(grid[: len(panels)]))
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[max(0, len(panels) - columns) : len(panels)]:
        axes.set_xlabel("dimensions")
    _legend(figure, grid[0])
    return figure


def late_chunking(models: Sequence[Named]) -> Figure | None:
    """For each dataset, with and without adapter: from independent chunks to late ones, at full
    width."""
    bars = _bars(models)
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
    """A row of the second picture; `values` by measure: {"passage@1 late": ..., ...}."""

    label: str
    colour: str
    values: dict[str, float]


def _bars(models: Sequence[Named]) -> list[_Bar]:
    bars = []
    first = [metric for metric in models[0][1] if metric.kind == "late chunking"]
    for dataset in dict.fromkeys((metric.file, metric.language) for metric in first):
        for (name, metrics), colour in zip(models, COLOURS, strict=False):
            here = [each for each in metrics if each.key[:3] == ("late chunking", *dataset)]
            for adapted in (True, False):
                values = {
                    each.measure: next(iter((each.adapter if adapted else each.none).values()))
                    for each in here
                    if adapted or each.none
                }
                of = f", {name}" if len(models) > 1 else ""
                label = f"{' '.join(dataset)}{of}{'' if adapted else ', no adapter'}"
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


def _curve(axes: Axes, metrics: Sequence[Metric], adapted: bool, style: tuple[str, str]) -> None:
    """The mean of metrics at each size, if there are values with or without the adapter."""
    colour, label = style
    columns = [each.adapter if adapted else each.none for each in metrics]
    if not columns or not columns[0]:
        return
    sizes = sorted(columns[0])
    means = [float(np.mean([column[size] for column in columns])) for size in sizes]
    marker = "o-" if adapted else "s--"
    inside = colour if adapted else "white"
    axes.plot(sizes, means, marker, color=colour, markerfacecolor=inside, markersize=5, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()


def _share_span(panels: Sequence[Axes]) -> None:
    """Give all panels y axes of the same length, so that equal slopes are equal differences."""
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


def _of(metrics: Sequence[Metric], kind: str, measure: str) -> list[Metric]:
    """The metrics of a kind and measure, without further tasks and means over languages."""
    return [
        each
        for each in metrics
        if (each.kind, each.measure, each.task) == (kind, measure, "") and each.language != MEAN
    ]
