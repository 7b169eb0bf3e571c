"""The plots of a run, each as SVG and PNG: a pure function of the results, the same bytes each time."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.harness.case import Plot
from benchmarks.harness.figure import LIMIT, LITELLM, OURS, Figure
from benchmarks.harness.page import NAMES
from benchmarks.harness.results import Measured, Results

STYLES = {OURS: "-", LIMIT: ":", LITELLM: "--"}
SIZE_INCHES = (8, 4.5)


def draw(results: Results, folder: Path) -> list[Path]:
    """Write the plot of each case that has one; the files."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas  # not pyplot: it keeps figures, and asks for a display

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for measured in results.measured:
        figures = [figure for figure in measured.figures if figure.x is not None]
        if measured.plot is None or not figures:
            continue
        with mpl.rc_context({"svg.hashsalt": measured.name, "svg.fonttype": "none"}):
            canvas = Canvas(figsize=SIZE_INCHES, layout="constrained")
            axes = canvas.add_subplot()
            (_bars if measured.plot.kind == "bars" else _lines)(axes, measured.plot, figures)
            _label(axes, measured, measured.plot)
            for name, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
                files.append(folder / f"{measured.name}.{name}")
                canvas.savefig(files[-1], dpi=120, metadata=metadata)
    return files


def _lines(axes: Any, plot: Plot, figures: list[Figure]) -> None:
    """A colour for each series, a stroke for each who."""
    lines: dict[tuple[str, str], list[tuple[Any, float]]] = defaultdict(list)
    for figure in figures:
        for who, value in figure.values.items():
            lines[figure.series, who].append((figure.x, value))
    colours = {series: f"C{n}" for n, series in enumerate(dict.fromkeys(series for series, _ in lines))}
    for (series, who), points in lines.items():
        xs, ys = zip(*points, strict=True)
        label = f"{series}: {NAMES.get(who, who)}"
        axes.plot(xs, ys, STYLES.get(who, "-."), marker="o", markersize=4, color=colours[series], label=label)
    if plot.log_x:
        places = sorted({figure.x for figure in figures if isinstance(figure.x, int | float)})
        axes.set_xscale("log")
        axes.set_xticks(places, [f"{place:,}" for place in places])
        axes.minorticks_off()
    if plot.log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:,g}")
    else:
        axes.set_ylim(bottom=0)


def _bars(axes: Any, _plot: Plot, figures: list[Figure]) -> None:
    """A group for each figure, a bar for each who."""
    everyone = list(dict.fromkeys(who for figure in figures for who in figure.values))
    width = 0.8 / len(everyone)
    for n, who in enumerate(everyone):
        places = [place for place, figure in enumerate(figures) if who in figure.values]
        heights = [figures[place].values[who] for place in places]
        bars = axes.bar([place + n * width for place in places], heights, width, label=NAMES.get(who, who))
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=8)
    axes.set_xticks([place + 0.4 - width / 2 for place in range(len(figures))], [str(f.x) for f in figures])


def _label(axes: Any, measured: Measured, plot: Plot) -> None:
    axes.set_title(measured.title)
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.y_label)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
