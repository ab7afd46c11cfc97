"""Scales put numbers where they belong, and no text becomes an element."""

import itertools
import math
import xml.etree.ElementTree as ElementTree

import pytest
from markupsafe import Markup

from asr.report.html.svg import Panel, Scale, key, line, linear_ticks, log_ticks, mark, picture, span, tag, text

EVIL = '"><script>alert(1)</script>&amp;'


def test_a_scale_is_linear_between_its_ends_or_in_the_logarithm() -> None:
    assert [Scale(0, 10, 100, 300)(value) for value in (0, 5, 10)] == [100, 200, 300]
    assert [Scale(0, 10, 300, 100)(value) for value in (0, 5, 10)] == [300, 200, 100]
    assert Scale(1, 100, 0, 50, log=True)(10) == pytest.approx(25)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 0.093), (-3, 8), (12, 24), (1e-7, 3e-7), (0, 54321.0)])
def test_linear_ticks_are_equally_spaced_round_numbers_within_the_ends(low: float, high: float) -> None:
    ticks = linear_ticks(low, high)
    assert 3 <= len(ticks) <= 11
    assert low - 1e-12 <= ticks[0] <= ticks[-1] <= high * (1 + 1e-9)
    step = ticks[1] - ticks[0]
    digit = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert any(digit == pytest.approx(factor) for factor in (1, 2, 5))
    assert [b - a for a, b in itertools.pairwise(ticks)] == pytest.approx([step] * (len(ticks) - 1))


@pytest.mark.parametrize(("low", "high"), [(1, 10), (0.001, 0.004), (1e6, 1.1e6), (3, 4), (1e-3, 1e9)])
def test_logarithmic_axes_have_two_ticks_at_least(low: float, high: float) -> None:
    ticks = log_ticks(low, high)
    assert len(ticks) >= 2
    assert all(low * 0.99 <= tick <= high * 1.01 for tick in ticks)


def test_an_axis_has_room_around_a_single_value_and_around_zeros() -> None:
    for values in ([0.0], [5.0], [5.0, 5.0]):
        for from_zero in (False, True):
            low, high = span(values, from_zero=from_zero)
            assert low <= min(values) <= max(values) <= high
            assert low < high
    low, high = span([7.0], log=True)
    assert 0 < low < 7 < high


def test_texts_and_attributes_are_escaped_once() -> None:
    element = ElementTree.fromstring(str(tag("text", EVIL, class_=EVIL)))
    assert (element.text, element.get("class"), len(element)) == (EVIL, EVIL, 0)
    nested = ElementTree.fromstring(str(tag("g", tag("text", EVIL), text(EVIL, 1, 2))))
    assert [child.text for child in nested] == [EVIL, EVIL]


def test_every_chart_part_is_one_well_formed_element() -> None:
    panel = Panel(EVIL, Scale(0, 1, 0, 10), Scale(0, 1, 10, 0), EVIL, str, str)
    parts = [panel.axes(), line(0, [(0, 0), (1, 1)]), *(mark(i, 1, 2, EVIL) for i in range(20)), key(3)]
    drawn = picture(10, 20, EVIL, *parts)
    assert isinstance(drawn, Markup)
    root = ElementTree.fromstring(str(drawn))
    assert root.get("aria-label") == EVIL
    assert not root.findall(".//script")
    assert [title.text for title in root.iter("title")] == [EVIL] * 20


def test_systems_beyond_the_eighth_begin_again_with_the_colours() -> None:
    assert 'class="mark fill1"' in mark(9, 0, 0)
    assert 'class="line stroke7"' in line(7, [(0, 0)])
