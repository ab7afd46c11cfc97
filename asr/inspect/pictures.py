"""Pictures of gates, memories and receptive fields."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

from asr.data.features import FeatureConfig
from asr.decode.greedy import TimedText
from asr.files import atomic_writer
from asr.inspect.gates import Gates
from asr.inspect.receptive import ReceptiveField

STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "image.interpolation": "nearest",
}
DIMENSIONS = ("time", "frequency", "depth")
ROWS = (
    ("input", "input gate", "mean of the units"),
    ("forget", "forget gate", "mean of the units"),
    ("output", "output gate", "mean of the units"),
    ("memory", "memory", "size (root mean square of the units)"),
)
"""What is drawn of each dimension: the field of `Gates`, its name, and what the colour stands for."""
DECADES = 4
"""Of a receptive field's picture: what is smaller than the largest gradient by more is black."""


@dataclass(frozen=True)
class Heard:
    """An utterance: features (T, M) as they are drawn, how they were made, and the words heard with their times."""

    features: np.ndarray
    config: FeatureConfig
    words: Sequence[TimedText] = ()

    @property
    def seconds(self) -> float:
        """Of the features."""
        return len(self.features) * self.config.hop_length / self.config.sample_rate


def write_figure(figure: Figure, path: Path | str) -> None:
    """Write a PNG file of 256 colours, a third of the bytes of all colours; the same picture is the same bytes.

    Raises:
        InputError: the file cannot be written.
    """
    drawn, packed = io.BytesIO(), io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(drawn, format="png", dpi=100)
    colors = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    colors.save(packed, format="png", optimize=True)
    with atomic_writer(path) as file:
        file.write(packed.getvalue())


def gates_figure(heard: Heard, gates: Sequence[Gates], title: str, patch_seconds: float, mels: float) -> Figure:
    """Gates and memories of one direction of one layer: a column a dimension, below the spectrogram.

    Args:
        heard: the utterance.
        gates: of the dimensions of that layer and direction, (T', F, H) each.
        title: of the figure.
        patch_seconds: duration of one step of the grid.
        mels: mel bins that the frequency blocks cover.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(6.2 * len(gates) + 0.6, 8.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1 + len(ROWS), len(gates), squeeze=False, sharex=True, height_ratios=[1.5, 1, 1, 1, 1])
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11)
        for column, of_dimension in enumerate(gates):
            name = DIMENSIONS[of_dimension.dimension] if len(of_dimension.input.shape) == 3 else "dimension"
            draw_spectrogram(axes[0][column], heard)
            axes[0][column].set_title(f"Along {name}", fontweight="bold", pad=34)
        extent = (0.0, len(gates[0].input) * patch_seconds, -0.5, mels - 0.5)
        for row, (field, label, unit) in zip(axes[1:], ROWS, strict=True):
            for ax, one in zip(row, gates, strict=True):
                value = _over_units(getattr(one, field).numpy(), field)
                colors, low = ("magma", 0.0) if field == "memory" else ("viridis", None)
                shown = ax.imshow(value.T, origin="lower", aspect="auto", extent=extent, cmap=colors, vmin=low)
                _frequency_axis(ax, heard.config, every=2)
                ax.set_ylim(-0.5, heard.config.num_mels - 0.5)
                ax.set_title(f"{label}: {unit}")
                figure.colorbar(shown, ax=ax, pad=0.01, aspect=12)
        for ax in axes[-1]:
            ax.set_xlabel("time in seconds")
            ax.set_xlim(0, heard.seconds)
    return figure


def _over_units(values: np.ndarray, field: str) -> np.ndarray:
    """(T', F, H) -> (T', F)."""
    result: np.ndarray = np.sqrt((values**2).mean(axis=-1)) if field == "memory" else values.mean(axis=-1)
    return result


def draw_spectrogram(ax: Axes, heard: Heard) -> None:
    """The log-mel spectrogram with the words that were heard above it."""
    low, high = np.percentile(heard.features, [5, 99.5])
    extent = (0.0, heard.seconds, -0.5, heard.config.num_mels - 0.5)
    ax.imshow(heard.features.T, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=low, vmax=high)
    _frequency_axis(ax, heard.config)
    for word in heard.words:
        ax.text(word.start, heard.config.num_mels + 1, word.text, rotation=40, va="bottom", fontsize=7)


def _frequency_axis(ax: Axes, config: FeatureConfig, every: int = 1) -> None:
    """Ticks in kHz on an axis of mel bins, of all round frequencies or of every second, third ..."""
    places = list(kilohertz(config).items())[::every]
    ax.set_yticks([place for _, place in places], [name for name, _ in places])
    ax.set_ylabel("kHz")


def kilohertz(config: FeatureConfig) -> dict[str, float]:
    """Round frequencies, and where they are among the mel bins.

    >>> {name: round(bin) for name, bin in kilohertz(FeatureConfig()).items()}["1"]
    27
    """

    def mel(frequency: float) -> float:
        return 2595 * math.log10(1 + frequency / 700)

    width = (mel(config.upper_frequency) - mel(config.min_frequency)) / (config.num_mels + 1)
    shown = [f for f in (0.25, 0.5, 1, 2, 4, 8) if config.min_frequency < 1000 * f < config.upper_frequency]
    return {f"{f:g}": (mel(1000 * f) - mel(config.min_frequency)) / width - 1 for f in shown}


def receptive_figure(fields: Sequence[tuple[str, ReceptiveField]], config: FeatureConfig, seconds: float) -> Figure:
    """Receptive fields, a row each: over time and frequency, along time and along frequency, on logarithmic scales.

    Args:
        fields: names and fields.
        config: of the features.
        seconds: that are shown to both sides.
    """
    hop = config.hop_length / config.sample_rate
    with rc_context(STYLE):
        figure = Figure(figsize=(13, 0.6 + 3.4 * len(fields)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(fields), 3, squeeze=False, width_ratios=[2.2, 1.6, 1])
        for row, (name, field) in zip(axes, fields, strict=True):
            around = min(round(seconds / hop), field.reach)
            shown = slice(field.reach - around, field.reach + around + 1)
            offsets = np.arange(-around, around + 1) * hop
            _draw_field(figure, row[0], field.norms[shown].numpy(), offsets, config)
            row[0].set_title(name, fontweight="bold")
            _draw_along_time(row[1], field, field.along_time[shown].numpy(), offsets, hop)
            _draw_along_frequency(row[2], field.along_frequency.numpy(), config)
        for row in axes:
            row[0].set_xlabel("input before (−) and after (+) the output, in seconds")
            row[1].set_xlabel("offset in seconds")
            row[2].set_xlabel("of the largest, over all offsets")
    return figure


def part(value: float, position: int = 0) -> str:
    """A power of ten up to one as a fraction.

    >>> part(1.0), part(0.001)
    ('1', '1/1,000')
    """
    return f"1/{round(1 / value):,}" if value < 1 else f"{value:,.0f}"


def _draw_field(figure: Figure, ax: Axes, norms: np.ndarray, offsets: np.ndarray, config: FeatureConfig) -> None:
    largest = np.nanmax(norms)
    with np.errstate(divide="ignore"):
        logarithm = np.log10(norms / largest)
    half = (offsets[1] - offsets[0]) / 2
    extent = (offsets[0] - half, offsets[-1] + half, -0.5, config.num_mels - 0.5)
    image = ax.imshow(
        np.maximum(logarithm, -99).T,
        origin="lower",
        aspect="auto",
        extent=extent,
        cmap="inferno",
        vmin=-DECADES,
        vmax=0,
    )
    ax.set_facecolor("#bbbbbb")
    _frequency_axis(ax, config)
    bar = figure.colorbar(image, ax=ax, pad=0.01, aspect=25)
    bar.set_ticks(range(-DECADES, 1), labels=[part(10.0**n) for n in range(-DECADES, 1)])
    bar.set_label("size of the gradient, of the largest")


def _draw_along_time(ax: Axes, field: ReceptiveField, along: np.ndarray, offsets: np.ndarray, hop: float) -> None:
    largest = np.nanmax(along)
    ax.axvline(0, color="#999999", linewidth=0.8)
    ax.semilogy(offsets, np.where(along > 0, along, np.nan) / largest, color="#0072B2")
    ax.set_ylim(max(10.0**-DECADES, np.nanmin(along[along > 0]) / largest) / 2, 2)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_formatter(FuncFormatter(part))
    ax.set_xlim(offsets[0], offsets[-1])
    for share, color in ((0.9, "#D3EAF8"), (0.5, "#F6D58A")):
        reach = (field.within(share) + 0.5) * hop
        label = f"{100 * share:.0f} % within ±{reach:.2f} s"
        ax.axvspan(-reach, reach, color=color, linewidth=0, zorder=0, label=label)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncol=2, frameon=False, title="of the squared gradient")
    ax.set_title("along time: whole frames, of the largest")


def _draw_along_frequency(ax: Axes, along: np.ndarray, config: FeatureConfig) -> None:
    shown = np.where(along > 0, along, np.nan) / along.max()
    ax.semilogx(shown, np.arange(len(along)), color="#0072B2")
    ax.set_xlim(min(0.09, np.nanmin(shown) / 1.5), 1.5)
    ax.xaxis.set_major_formatter(FuncFormatter(part))
    ax.set_ylim(-0.5, config.num_mels - 0.5)
    _frequency_axis(ax, config)
    ax.set_title("along frequency")
