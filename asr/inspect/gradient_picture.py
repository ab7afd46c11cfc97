"""Curves of gradient norms against distance -> a picture."""

import itertools
from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from asr.inspect.gradients import Curve, Setting, Way
from asr.inspect.pictures import STYLE, part

COLORS = ("#999999", "#000000", "#D55E00", "#E69F00", "#56B4E9", "#0072B2")
"""Okabe and Ito's, which people with any colour vision can tell apart, and grey; one a net."""
TRAINED_COLORS = ("#009E73", "#CC79A7", "#D55E00", "#0072B2", "#E69F00", "#56B4E9", "#000000", "#999999")
PANELS: tuple[tuple[Way, str, str], ...] = (
    ("time", "in time", "cells back in time"),
    ("frequency", "in frequency", "cells down in frequency"),
    ("both", "in both at once", "cells back in time and down in frequency"),
    ("depth", "in depth", "layers down"),
)
SMALLEST = 1e-12
"""What is drawn; less is off the picture."""

Curves = Mapping[str, Mapping[Way, Curve]]


def gradient_figure(rows: Sequence[tuple[Setting, Curves]], trained: Curves) -> Figure:
    """Gradient norms against distance: a row a setting, a column a way, a line a net, and a band over its seeds.

    Args:
        rows: settings and the curves of nets at initialisation.
        trained: curves of trained runs, in a row of their own.
    """
    drawn: list[tuple[str, Curves]] = [
        (f"at initialisation, forget bias {setting.forget_bias:g}", curves) for setting, curves in rows
    ]
    if trained:
        drawn.append(("trained, random input", trained))
    with rc_context(STYLE):
        figure = Figure(figsize=(14, 0.9 + 3.1 * len(drawn)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(drawn), len(PANELS), squeeze=False, sharey=True)
        for row, (label, curves) in zip(axes, drawn, strict=True):
            colors = dict(zip(curves, itertools.cycle(TRAINED_COLORS if curves is trained else COLORS), strict=False))
            for ax, (way, title, distance) in zip(row, PANELS, strict=True):
                _draw(ax, {name: of_net[way] for name, of_net in curves.items() if way in of_net}, colors)
                ax.set_title(title if ax.axison else "", fontweight="bold")
                ax.set_xlabel(distance)
            row[0].set_ylabel(f"{label}\ngradient norm, of that at distance 0")
            handles, labels = row[0].get_legend_handles_labels()
            if label == drawn[0][0] or curves is trained:
                row[-1].legend(handles, labels, loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False)
    return figure


def _draw(ax: Axes, curves: Mapping[str, Curve], colors: Mapping[str, str]) -> None:
    for name, curve in curves.items():
        distances = range(len(curve.median))
        ax.fill_between(distances, curve.low, curve.high, color=colors[name], alpha=0.15, linewidth=0)
        ax.plot(distances, curve.median, color=colors[name], label=name, linewidth=1.6)
    if not curves:
        ax.set_axis_off()
    ax.set_yscale("log")
    ax.set_ylim(SMALLEST, 10)
    ax.yaxis.set_major_locator(LogLocator(numticks=8))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, position: _short(value)))
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    ax.set_axisbelow(True)


def _short(value: float) -> str:
    """A power of ten, as a fraction as long as that is short.

    >>> _short(0.01), _short(1e-8)
    ('1/100', '1e-8')
    """
    return part(value) if value >= 1e-3 else f"{value:.0e}".replace("e-0", "e-")
