"""The picture of a shown utterance: its spectrogram in patches, and each model's posteriors below."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.image import imsave

from asr.data.features import FeatureConfig
from asr.data.tokens import BLANK
from asr.decode.greedy import BLANK_ID, WORD_MARK, timed_tokens, timed_words
from asr.encoders.patches import Patches
from asr.report.html.hearing import Heard, Shown, Spectrogram
from asr.report.html.svg import COLORS, Scale, join, mark, picture, rule, tag, text

WIDTH, LEFT, RIGHT = 1080.0, 64.0, 8.0
HEIGHT = 150.0
"""Of a spectrogram."""
ROW = 9.6
"""Height of a token's row."""
METADATA: Any = {"Software": None}
"""Without matplotlib's version: the same picture is the same bytes."""
LEVELS = 8
"""Steps of certainty that are drawn."""
LEAST = 0.1
"""Certainty that a token must reach somewhere to have a row."""
MOST_ROWS = 36
LETTER, LINE = 7.4, 14.0
"""Width of a letter and height of a line of words, about."""
LONGEST = 9.5
"""Seconds that fit into the width of a page; a longer picture is as much wider."""


def utterance_picture(shown: Shown, names: Sequence[str]) -> Markup | None:
    """The picture of an utterance that could be read; `names` are those of all runs."""
    if not shown.spectrograms:
        return None
    seconds = max(spectrogram.seconds for spectrogram in shown.spectrograms)
    width = WIDTH * max(1.0, seconds / LONGEST)
    time = Scale(0.0, seconds, LEFT, width - RIGHT)
    top, parts = 8.0, []
    for spectrogram in shown.spectrograms:
        parts.append(_spectrogram(spectrogram, time, top))
        top += HEIGHT
        parts.append(_time_axis(time, top))
        top += 22
    for heard in shown.heard:
        drawn, height = _posteriors(heard, names[heard.run], time, top)
        parts.append(drawn)
        top += height + 14
    parts.append(rule(LEFT, 8, LEFT, top - 12, "cursor"))
    name = f"Spectrogram and posteriors of utterance {shown.choice.utterance.id}"
    # With what the page's script needs to follow the sound.
    return picture(
        width,
        top,
        name,
        *parts,
        class_="chart utterance" + (" wide" if width > WIDTH else ""),
        width=f"{width:.0f}",
        data_left=f"{LEFT:g}",
        data_right=f"{width - RIGHT:.2f}",
        data_seconds=f"{seconds:.4f}",
    )


def _time_axis(time: Scale, y: float) -> Markup:
    parts = []
    for second in time.ticks(round(10 * time.end / WIDTH)):
        parts += [
            rule(time(second), y, time(second), y + 4, "axis"),
            text(f"{second:g}", time(second), y + 15, "tick middle"),
        ]
    return join([*parts, text("s", time.end, y + 15, "tick end")])


def _spectrogram(spectrogram: Spectrogram, time: Scale, top: float) -> Markup:
    config = spectrogram.config
    mels = Scale(0.0, float(config.num_mels), top + HEIGHT, top)
    right = time(spectrogram.seconds)
    image = tag(
        "image",
        x=LEFT,
        y=top,
        width=right - LEFT,
        height=HEIGHT,
        preserveAspectRatio="none",
        href=data_uri("image/png", spectrogram_png(spectrogram.features)),
    )
    ticks = [
        text(f"{kilohertz:g}", LEFT - 7, mels(place) + 4, "tick end") for kilohertz, place in frequency_ticks(config)
    ]
    grids = [
        patch_grid(index, patches, spectrogram, time, mels) for index, patches in sorted(spectrogram.patches.items())
    ]
    return join([image, *ticks, text("kHz", 2, top + 10, "tick"), *grids])


def spectrogram_png(features: np.ndarray) -> bytes:
    """Features (T, M) as a PNG of T x M pixels, low frequencies at the bottom, loud ones bright."""
    low, high = np.percentile(features, [5, 99.5])
    packed = io.BytesIO()
    imsave(packed, features.T[::-1], vmin=low, vmax=max(high, low + 1e-6), cmap="magma", metadata=METADATA)
    return packed.getvalue()


def data_uri(kind: str, content: bytes) -> str:
    """A file as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def frequency_ticks(config: FeatureConfig) -> list[tuple[float, float]]:
    """Round frequencies in kHz, and where they are among mel bins 0 ... M (bin m being between m and m + 1)."""

    def mel(frequency: float) -> float:
        return float(2595 * np.log10(1 + frequency / 700))

    lowest = mel(config.min_frequency)
    width = (mel(config.upper_frequency) - lowest) / (config.num_mels + 1)
    inside = [f for f in (0.25, 0.5, 1, 2, 4, 8) if config.min_frequency < 1000 * f < config.upper_frequency]
    return [(f, (mel(1000 * f) - lowest) / width - 0.5) for f in inside]


def patch_grid(index: int, patches: Patches, spectrogram: Spectrogram, time: Scale, mels: Scale) -> Markup:
    """The edges of a model's patches over its spectrogram, one of the patches drawn boldly.

    Edges are drawn where patches begin; those that overlap are wider than that, as the bold one shows.
    """
    config = spectrogram.config
    frame = config.hop_length / config.sample_rate
    frames, num_mels = len(spectrogram.features), config.num_mels
    mel_stride = patches.mel_stride or patches.patch_mels
    right = time(frames * frame)
    columns = range(0, frames, patches.subsampling)
    rows = range(0, num_mels, mel_stride)[: patches.num_blocks]
    edges = [f"M{time(k * frame):.1f} {mels.start:.1f}V{mels.end:.1f}" for k in columns]
    edges += [f"M{LEFT:.1f} {mels(m):.1f}H{right:.1f}" for m in rows]
    first = columns[len(columns) // 2]
    low = rows[len(rows) // 2]
    x, y = time(first * frame), mels(min(low + patches.patch_mels, num_mels))
    one = tag(
        "rect",
        class_="patch",
        x=x,
        y=y,
        width=time(min(first + patches.patch_frames, frames) * frame) - x,
        height=mels(low) - y,
    )
    return tag(
        "g",
        tag("path", d="".join(edges), class_="patches"),
        one,
        class_=f"grid-{index}",
        data_columns=str(len(columns)),
        data_rows=str(len(rows)),
    )


def _posteriors(heard: Heard, name: str, time: Scale, top: float) -> tuple[Markup, float]:
    """A model's name, the letters of its best path, and a row a token; and how high they are together."""
    color = heard.run % COLORS
    words, height = _words(heard, time, top + 26)
    parts = [mark(heard.run, 6, top + 7), text(name, 16, top + 11, "title"), words]
    rows = shown_tokens(heard.posteriors)
    first = top + 26 + height
    for place, token in enumerate(rows):
        y = first + place * ROW
        label = "blank" if heard.tokens[token] == BLANK else written(heard.tokens[token])
        parts.append(text(label, LEFT - 7, y + ROW - 1.5, "token end"))
    height = ROW * len(rows)
    parts.append(tag("rect", class_="frame", x=LEFT, y=first, width=time.end - LEFT, height=height))
    parts.append(_cells(heard, rows[:1], time, first, "blank"))
    parts.append(_cells(heard, rows[1:], time, first + ROW, f"fill{color}"))
    return tag("g", *parts, class_="posteriors", data_run=str(heard.run)), first + height - top


def _words(heard: Heard, time: Scale, top: float) -> tuple[Markup, float]:
    """The words of the best path at their times, in as many lines as they need; and the height of the lines."""
    words = timed_words(timed_tokens(heard.path, heard.tokens, heard.seconds_per_frame))
    ends: list[float] = []
    placed = []
    for word in words:
        half = LETTER * len(word.text) / 2
        middle = min(max(time((word.start + word.end) / 2), LEFT + half), time.end - half)
        row = next((row for row, end in enumerate(ends) if end < middle - half), len(ends))
        ends[row : row + 1] = [middle + half + LETTER / 2]
        placed.append((word.text, middle, row))
    height = LINE * max(1, len(ends))
    parts = [text(content, middle, top + LINE * row + 8, "heard middle") for content, middle, row in placed]
    return join(parts), height


def written(token: str) -> str:
    """A token as it is shown: a space is visible."""
    return token.replace(" ", "␣").replace(WORD_MARK, "␣")


def shown_tokens(posteriors: np.ndarray) -> list[int]:
    """The blank, and the tokens that are somewhere at least `LEAST` certain: of posteriors (T', V), by id.

    Of more than `MOST_ROWS`, those with the highest peaks are taken.
    """
    peaks = posteriors.max(axis=0, initial=0.0)
    found = [i for i in range(posteriors.shape[1]) if i != BLANK_ID and peaks[i] >= LEAST]
    found = sorted(found, key=lambda i: -peaks[i])[: MOST_ROWS - 1]
    return [BLANK_ID, *sorted(found)]


def _cells(heard: Heard, rows: Sequence[int], time: Scale, top: float, class_: str) -> Markup:
    """Posteriors as rectangles, those of one level and row that touch as one; a path for each level."""
    drawn: dict[int, list[str]] = {}
    step = heard.seconds_per_frame
    for place, token in enumerate(rows):
        levels = np.round(heard.posteriors[:, token] * LEVELS).astype(int)
        starts = np.flatnonzero(np.diff(levels, prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(levels)], strict=True):
            if levels[start]:
                x, right = time(start * step), min(time(end * step), time.end)
                corners = f"M{x:.1f} {top + place * ROW:.1f}h{right - x:.1f}v{ROW:g}h{x - right:.1f}z"
                drawn.setdefault(int(levels[start]), []).append(corners)
    return join(
        tag("path", class_=f"cells {class_}", fill_opacity=level / LEVELS, d="".join(corners))
        for level, corners in sorted(drawn.items())
    )
