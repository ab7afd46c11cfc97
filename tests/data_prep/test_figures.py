"""Pictures show the numbers they are given."""

import io
from collections import Counter

import matplotlib.image
import numpy as np
import pytest
import torch
import torchaudio
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from data_prep.figures import COLORS, MOST_CHARACTERS, Example, augmentation_figure, corpus_figure, png
from data_prep.report import PartSummary


def part(name: str, seconds: list[float], characters: str = "AB A", **speakers: float) -> PartSummary:
    return PartSummary(name, tuple(seconds), speakers, Counter(characters), Counter(), tuple(2 * s for s in seconds))


def panel(figure: Figure, title: str):
    return next(axis for axis in figure.axes if axis.get_title(loc="left").startswith(title))


def texts(axis) -> str:
    return "\n".join(text.get_text() for text in axis.texts)


PARTS = [
    part("train", [1.0, 2.0, 3.0, 3600.0], "AAAB", ann=3600, bob=6),
    part("dev", [2.0], "ABBB", cleo=1800),
]


def test_bars_of_hours_are_as_long_as_the_parts_and_say_so() -> None:
    axis = panel(corpus_figure(PARTS), "Hours")
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([3606 / 3600, 2 / 3600])
    assert "1.00 h, 4 utterances, 2 speakers" in texts(axis)
    assert "0.00 h, 1 utterances, 1 speakers" in texts(axis)


def test_each_speaker_is_counted_once_at_its_minutes() -> None:
    axis = panel(corpus_figure(PARTS), "Speech of each speaker")
    drawn = {color: [p for p in axis.patches if p.get_facecolor()[:3] == to_rgb(color)] for color in COLORS[:2]}
    assert [sum(p.get_height() for p in bars) for bars in drawn.values()] == [2, 1]
    middle = next(p for p in drawn[COLORS[1]] if p.get_height() == 1)
    assert middle.get_x() == pytest.approx(30, abs=60 / 8)


def test_a_few_long_speakers_stay_visible_beside_many_short_ones() -> None:
    many = part("train", [1.0], **{f"s{n}": 10.0 for n in range(200)}, long=3000.0)
    assert panel(corpus_figure([many]), "Speech of each speaker").get_yscale() == "log"


def test_parts_without_speakers_say_so() -> None:
    figure = corpus_figure([part("train", [1.0])])
    assert "no speakers are given" in texts(panel(figure, "Speech"))
    assert "unknown speakers" in texts(panel(figure, "Hours"))


@pytest.mark.parametrize(("title", "factor"), [("Durations", 1.0), ("Speaking rate", 2.0)])
def test_histograms_share_a_hundred_per_cent_for_each_part(title: str, factor: float) -> None:
    random = np.random.default_rng(0)
    parts = [part(name, random.uniform(1, 9, count).tolist()) for name, count in (("train", 300), ("dev", 40))]
    axis = panel(corpus_figure(parts), title)
    heights = np.array([bar.get_height() for bar in axis.patches if hasattr(bar, "get_height")])
    assert heights.sum() == pytest.approx(200)
    edges = [bar.get_x() + bar.get_width() for bar in axis.patches if hasattr(bar, "get_height")]
    assert max(edges) == pytest.approx(factor * max(max(p.seconds) for p in parts))


def test_characters_are_shares_of_each_part_in_falling_order() -> None:
    axis = panel(corpus_figure(PARTS), "Characters")
    assert [label.get_text() for label in axis.get_xticklabels()] == ["A", "B"]
    assert [bar.get_height() for bar in axis.patches] == [75, 25]
    assert list(axis.lines[0].get_ydata()) == [25, 75]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["train", "dev"]


def test_many_characters_and_characters_without_a_glyph_are_drawn_without_a_warning() -> None:
    chinese = "".join(chr(0x4E00 + index) * (100 - index) for index in range(70))
    figure = corpus_figure([part("中文$x^2$", [1.0], " " * 999 + chinese)])
    axis = panel(figure, f"Characters, the {MOST_CHARACTERS} most frequent of 71")
    assert [label.get_text() for label in axis.get_xticklabels()][:3] == ["␣", "U+4E00", "U+4E01"]
    assert png(figure)


def test_a_corpus_without_transcripts_can_be_drawn() -> None:
    silent = PartSummary("noise", (1.0, 2.0), {"(unknown)": 3.0}, Counter(), Counter(), ())
    assert png(corpus_figure([silent]))


def example(frames: int, bins: int = 80, **changes: object) -> Example:
    before = np.random.default_rng(frames).standard_normal((frames, bins))
    after = before.copy()
    after[:, 10:20] = 0
    made = Example("utt-1", "HELLO $5^2$ 中", before, after, 100.0, 20.0, 8000.0, 1.0)
    return made._replace(**changes)


def test_spectrograms_are_drawn_before_and_after_on_one_time_axis() -> None:
    short, long = example(150), example(300, speed=0.9)
    figure = augmentation_figure([short, long])
    (first, first_after), (second, second_after) = np.reshape(figure.axes[:4], (2, 2))
    for axis, features in ((first, short.before), (first_after, short.after), (second, long.before)):
        np.testing.assert_array_equal(axis.images[0].get_array(), features.T)
        assert axis.get_xlim() == (0, 3.0)
    assert first.images[0].get_extent()[1] == 1.5
    assert first_after.get_title(loc="left") == "speed unchanged"
    assert second_after.get_title(loc="left") == "speed 0.9"
    assert first.get_title(loc="left") == "utt-1: HELLO $5^2$ U+4E2D"


def test_the_frequency_axis_puts_kilohertz_where_the_filters_have_their_centres() -> None:
    filters = torchaudio.functional.melscale_fbanks(4097, 20.0, 8000.0, 80, 16000)
    centres = torch.linspace(0, 8000, 4097)[filters.argmax(dim=0)].numpy()
    axis = augmentation_figure([example(50)]).axes[0]
    ticks = dict(zip([t.get_text() for t in axis.get_yticklabels()], axis.get_yticks(), strict=True))
    for label in ("1", "2", "4"):
        place = np.interp(1000 * float(label), centres, np.arange(80)) + 0.5  # the middle of bin i is drawn at i + 0.5
        assert ticks[label] == pytest.approx(place, abs=0.15)
    assert ticks["8"] == 80


def test_a_png_is_decodable_and_depends_on_the_figure_alone() -> None:
    contents = {png(augmentation_figure([example(60)])) for _ in range(2)}
    assert len(contents) == 1
    assert matplotlib.image.imread(io.BytesIO(contents.pop())).shape[2] == 4
