"""Rows of a sweep -> a picture: cost against each size, both on logarithmic axes."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from asr.bench.candidates import PRODUCTS
from asr.bench.rows import Row
from asr.files import atomic_writer

LABELS = {
    "batch": "B, utterances",
    "time": "T, frames",
    "frequency": "F, frequency blocks",
    "hidden_size": "H, hidden size",
}
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Okabe and Ito's, which people with any colour vision can tell apart."""
STYLE: Any = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def sweep_picture(rows: Sequence[Row], output: Path) -> None:
    """Draw a sweep as a PNG file: a column a size that varies, a row a mode for the time, and one for memory.

    Each panel has a grey line of linear growth through its first point; with H, the FLOPs grow faster than linearly,
    and a second one grows with them.

    Raises:
        InputError: the file cannot be written.
    """
    packed = io.BytesIO()
    with rc_context(STYLE):
        sweep_figure(rows).savefig(packed, format="png", dpi=110, metadata={"Software": None})
    with atomic_writer(output) as file:
        file.write(packed.getvalue())


def sweep_figure(rows: Sequence[Row]) -> Figure:
    """The figure of `sweep_picture`. The first row's sizes are the base, as `asr.bench.command.sweep` has it."""
    measured = [row for row in rows if row.milliseconds is not None and not row.engine.startswith(PRODUCTS)]
    modes = list(dict.fromkeys(row.mode for row in measured))
    panels: list[tuple[str, str, Callable[[Row], float | None]]] = [
        (f"{mode}: ms", mode, lambda row: row.milliseconds) for mode in modes
    ]
    if any(row.peak_bytes is not None for row in measured):
        panels.append((f"{modes[-1]}: peak in MB", modes[-1], lambda row: row.peak_bytes and row.peak_bytes / 1e6))
    figure = Figure(figsize=(13, 1 + 2.9 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), len(LABELS), squeeze=False, sharey="row")
    for (title, mode, cost), row_of_axes in zip(panels, axes, strict=True):
        for ax, field in zip(row_of_axes, LABELS, strict=True):
            _draw(ax, [row for row in measured if row.mode == mode], field, cost)
        row_of_axes[0].set_ylabel(title)
    for ax, label in zip(axes[-1], LABELS.values(), strict=True):
        ax.set_xlabel(label)
    handles, labels = axes[0][-1].get_legend_handles_labels()
    around = f"around B,T,F,I,H = {measured[0].case.workload}, {measured[0].dtype}, {measured[0].threads} thread(s)"
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, title=around)
    return figure


def _draw(ax: Axes, rows: Sequence[Row], field: str, cost: Callable[[Row], float | None]) -> None:
    """One panel: a line a candidate, over the rows in which nothing but this field differs from the base."""
    others = [name for name in (*LABELS, "input_size", "dtype", "threads") if name != field]
    base = rows[0]
    varied = [row for row in rows if all(getattr(row, name) == getattr(base, name) for name in others)]
    names = list(dict.fromkeys(row.engine for row in varied))
    highest: tuple[float, list[Row]] = (0.0, [])
    for name, color in zip(names, COLORS, strict=False):
        own = sorted((row for row in varied if row.engine == name), key=lambda row: getattr(row, field))
        points = [(getattr(row, field), value) for row in own if (value := cost(row))]
        if points:
            ax.plot(*zip(*points, strict=True), marker="o", markersize=3, color=color, label=name)
            highest = max(highest, (points[-1][1], own), key=lambda pair: pair[0])
    _guides(ax, highest, field)
    sizes = sorted({getattr(row, field) for row in varied})
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.xaxis.set_major_locator(FixedLocator(sizes))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(ScalarFormatter())


def _guides(ax: Axes, highest: tuple[float, list[Row]], field: str) -> None:
    """Linear growth to the end of the highest line; with H also growth with the FLOPs."""
    top, rows = highest
    sizes = [getattr(row, field) for row in rows]
    ax.plot(sizes, [2 * top * size / sizes[-1] for size in sizes], color="grey", linestyle="--", label="linear growth")
    if field == "hidden_size":
        flops = [row.case.workload.flops("forward") for row in rows]
        ax.plot(sizes, [2 * top * f / flops[-1] for f in flops], color="grey", linestyle=":", label="growth of FLOPs")
