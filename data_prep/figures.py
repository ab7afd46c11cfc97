"""Pictures of a corpus and of an augmented batch."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8c8c8c", "#F0E442")
"""Okabe and Ito's colours (2008), which people with any colour vision can tell apart; one a part."""

MOST_CHARACTERS = 60
"""Bars in the picture of characters."""

STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e6e6e6",
    "text.parse_math": False,
}


class Part(Protocol):
    """What the picture of a corpus needs of a part; `data_prep.report.PartSummary` has it."""

    name: str
    seconds: Sequence[float]
    seconds_of_speaker: Mapping[str, float]
    characters: Mapping[str, int]
    speeds: Sequence[float]
    hours: float


class Example(NamedTuple):
    """Features of an utterance before and after augmentation, both (T, M) and normalised by the utterance."""

    id: str
    text: str
    before: np.ndarray
    after: np.ndarray
    frames_per_second: float
    lower_frequency: float
    upper_frequency: float
    speed: float


def corpus_figure(parts: Sequence[Part]) -> Figure:
    """Hours, minutes per speaker, durations, speaking rates and characters of each part."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 10), layout="constrained")
        grid = figure.add_gridspec(3, 2)
        _hours(figure.add_subplot(grid[0, 0]), parts)
        _speakers(figure.add_subplot(grid[0, 1]), parts)
        _shares(figure.add_subplot(grid[1, 0]), parts, [p.seconds for p in parts], "Durations", "seconds")
        _shares(
            figure.add_subplot(grid[1, 1]), parts, [p.speeds for p in parts], "Speaking rate", "characters a second"
        )
        _characters(figure.add_subplot(grid[2, :]), parts)
        return figure


def augmentation_figure(examples: Sequence[Example]) -> Figure:
    """Spectrograms before (left) and after augmentation (right), one utterance a row, on one time axis.

    White is the padding that the batch's longest utterance makes of the others' ends.
    """
    longest = max(len(features) / e.frames_per_second for e in examples for features in (e.before, e.after))
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(13, 0.9 + 2.0 * len(examples)), layout="constrained")
        axes = figure.subplots(len(examples), 2, sharex=True, sharey="row", squeeze=False)
        for row, example in zip(axes, examples, strict=True):
            for axis, features in zip(row, (example.before, example.after), strict=True):
                seconds = len(features) / example.frames_per_second
                image = axis.imshow(
                    features.T,
                    origin="lower",
                    aspect="auto",
                    extent=(0, seconds, 0, features.shape[1]),
                    vmin=-2.5,
                    vmax=2.5,
                    cmap="magma",
                    interpolation="nearest",
                )
                axis.set_xlim(0, longest)
            _frequency_axis(row[0], example)
            row[0].set_title(_drawable(f"{example.id}: {_shortened(example.text, 50)}"), fontsize=9, weight="normal")
            speed = f"speed {example.speed:g}" if example.speed != 1 else "speed unchanged"
            row[1].set_title(speed, fontsize=9, weight="normal")
        for axis in axes[-1]:
            axis.set_xlabel("seconds")
        title = "A batch before (left) and after augmentation (right): masks have one colour, padding is white"
        figure.suptitle(title, x=0.01, ha="left", weight="bold")
        figure.colorbar(image, ax=axes, label="log-mel, standard deviations", pad=0.01, aspect=40)
        return figure


def png(figure: Figure) -> bytes:
    """A figure as the content of a PNG file."""
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()


def _frequency_axis(axis: Axes, example: Example) -> None:
    """Label mel bins with the frequencies at their centres (HTK's mel scale, as the features have it)."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (example.lower_frequency, example.upper_frequency))
    kilohertz = np.array([k for k in (0.5, 1, 2, 4, 8, 16) if 1000 * k <= example.upper_frequency])
    mels = 2595 * np.log10(1 + 1000 * kilohertz / 700)
    bins = (mels - low) / (high - low) * (example.before.shape[1] + 1) - 0.5
    axis.set_yticks(np.clip(bins, 0, example.before.shape[1]), [f"{k:g}" for k in kilohertz])
    axis.set_ylabel("kHz")


def _hours(axis: Axes, parts: Sequence[Part]) -> None:
    places = range(len(parts))
    bars = axis.barh(places, [part.hours for part in parts], color=_colors(parts), height=0.6)
    labels = []
    for part in parts:
        speakers = len(set(part.seconds_of_speaker) - {"(unknown)"}) or "unknown"
        labels.append(f" {part.hours:.2f} h, {len(part.seconds)} utterances, {speakers} speakers")
    for bar, label in zip(bars, labels, strict=True):
        inside = bar.get_width() > 0.5 * max(part.hours for part in parts)
        axis.text(
            bar.get_width() if not inside else 0,
            bar.get_y() + bar.get_height() / 2,
            label,
            va="center",
            color="white" if inside else "black",
        )
    axis.set_yticks(places, _names(parts))
    axis.invert_yaxis()
    axis.grid(False)
    axis.set_title("Hours")
    axis.set_xlabel("hours")


def _speakers(axis: Axes, parts: Sequence[Part]) -> None:
    minutes = [[s / 60 for name, s in p.seconds_of_speaker.items() if name != "(unknown)"] for p in parts]
    axis.set_title("Speech of each speaker")
    if not any(minutes):
        axis.text(0.5, 0.5, "no speakers are given", transform=axis.transAxes, ha="center")
        return
    counts = axis.hist(minutes, bins=_bins(minutes), color=_colors(parts), label=_names(parts))[0]
    if np.max(counts) > 30:
        axis.set_yscale("log")
        axis.set_ylim(bottom=0.5)
        axis.yaxis.set_major_formatter("{x:g}")
    else:
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("minutes")
    axis.set_ylabel("speakers")
    axis.legend(frameon=False)


def _shares(axis: Axes, parts: Sequence[Part], values: Sequence[Sequence[float]], title: str, unit: str) -> None:
    """A histogram in per cent of each part's utterances, so that parts of any size compare."""
    bins = _bins(values)
    for name, some, color in zip(_names(parts), values, _colors(parts), strict=True):
        if some:
            weights = np.full(len(some), 100 / len(some))
            axis.hist(some, bins=bins, weights=weights, color=color, alpha=0.25)
            axis.hist(some, bins=bins, weights=weights, color=color, histtype="step", linewidth=1.6)
            axis.plot([], [], color=color, linewidth=6, alpha=0.6, label=name)
    axis.set_title(title)
    axis.set_xlabel(unit)
    axis.set_ylabel("% of utterances")
    if any(len(some) for some in values):
        axis.legend(frameon=False)


def _characters(axis: Axes, parts: Sequence[Part]) -> None:
    """Shares of characters: those of the first part as bars, of the others as points."""
    shares = []
    for part in parts:
        total = sum(part.characters.values()) or 1
        shares.append({character: 100 * count / total for character, count in part.characters.items()})
    alphabet = sorted(set().union(*shares), key=lambda c: (-max(share.get(c, 0) for share in shares), c))
    shown = alphabet[:MOST_CHARACTERS]
    left_out = f", the {len(shown)} most frequent of {len(alphabet)}" if len(shown) < len(alphabet) else ""
    handles: list[Any] = []
    for index, (name, share, color) in enumerate(zip(_names(parts), shares, _colors(parts), strict=True)):
        places, heights = range(len(shown)), [share.get(character, 0) for character in shown]
        if index == 0:
            handles.append(axis.bar(places, heights, color=color, label=name, width=0.7))
        else:
            style = {"linestyle": "none", "marker": "oD^vsPX"[index % 7], "markersize": 7, "markeredgecolor": "white"}
            handles += axis.plot(places, heights, color=color, label=name, **style)
    axis.set_xticks(range(len(shown)), [_drawable("␣" if c == " " else c) for c in shown])
    axis.set_xlim(-0.7, max(1, len(shown)) - 0.3)
    axis.set_title(f"Characters{left_out}")
    axis.set_ylabel("% of the part's characters")
    if shown:
        axis.legend(handles=handles, frameon=False)


def _bins(values: Sequence[Sequence[float]]) -> np.ndarray:
    """Equal bins from zero to the largest of all values, as many as the smallest part can fill."""
    filled = [some for some in values if len(some)]
    if not filled:
        return np.linspace(0, 1, 2)
    number = int(np.clip(3 * np.cbrt(min(map(len, filled))), 8, 40))
    return np.linspace(0, max(1e-3, *map(max, filled)), number + 1)


def _colors(parts: Sequence[Part]) -> list[str]:
    return [COLORS[index % len(COLORS)] for index in range(len(parts))]


def _names(parts: Sequence[Part]) -> list[str]:
    return [_drawable(_shortened(part.name, 24)) for part in parts]


def _shortened(text: str, length: int) -> str:
    """
    >>> _shortened("a long transcript", 8), _shortened("short", 8)
    ('a long …', 'short')
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def _drawable(text: str) -> str:
    """The text with characters that the font lacks named by their code points."""
    font = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    return "".join(c if font.get_char_index(ord(c)) else f"U+{ord(c):04X}" for c in text)
