"""The charts of a report: each is one SVG image, or several that stand side by side."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from asr.report.html.records import Epoch, Gathered
from asr.report.html.svg import COLORS, Panel, Scale, join, line, mark, picture, rule, span, tag, text
from asr.report.html.words import Breakdown

WIDTH, HEIGHT = 340.0, 236.0
"""Of a small chart."""
BOX = (46.0, 332.0, 190.0, 26.0)
"""Left, right, bottom and top of its plane."""
WIDE = 1080.0
ROW = 20.0
MOST_ROWS = 40
"""Speakers that are drawn; the numbers of all are in a table below."""

Interval = tuple[float, float] | None


def percent(value: float) -> str:
    """A share as a tick.

    >>> percent(0.25), percent(0.025)
    ('25 %', '2.5 %')
    """
    return f"{100 * value:.4g} %"


def amount(value: float) -> str:
    """A count as a tick.

    >>> amount(1_200_000), amount(50_000), amount(0.002)
    ('1.2 M', '50 k', '0.002')
    """
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g} {letter}"
    return f"{value:.3g}"


def ends_of(rates: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis of error rates: from 0, unless all are above half of the highest.

    >>> ends_of([0.1, 0.5]), ends_of([])
    ((0.0, 0.54), (0.0, 1.08))
    """
    return span(rates or [1.0], from_zero=not rates or min(rates) <= max(rates) / 2)


class Quantity(NamedTuple):
    """Something that is drawn against an epoch or a time."""

    title: str
    of: Callable[[Epoch], float | None]
    form: Callable[[float], str]


QUANTITIES = (
    Quantity("training loss", lambda epoch: epoch.train_loss, lambda value: f"{value:g}"),
    Quantity("dev loss", lambda epoch: epoch.dev_loss, lambda value: f"{value:g}"),
    Quantity("dev WER", lambda epoch: epoch.dev_wer, percent),
)


def learning_curves(gathered: Gathered) -> list[Markup]:
    """Losses and dev WER against epochs, then against wall time; none where no run has them."""
    longest = max((epoch.seconds or 0.0 for run in gathered.runs for epoch in run.curve), default=0.0)
    unit, seconds = next((u for u in (("hours", 3600.0), ("minutes", 60.0)) if longest >= 2 * u[1]), ("seconds", 1.0))
    across: tuple[tuple[str, Callable[[Epoch], float | None]], ...] = (
        ("epoch", lambda epoch: epoch.epoch),
        (f"wall time in {unit}", lambda epoch: None if epoch.seconds is None else epoch.seconds / seconds),
    )
    charts = [_curves(gathered, quantity, label, x_of) for label, x_of in across for quantity in QUANTITIES]
    return [chart for chart in charts if chart is not None]


def _curves(
    gathered: Gathered, quantity: Quantity, x_label: str, x_of: Callable[[Epoch], float | None]
) -> Markup | None:
    curves = {}
    for index, run in enumerate(gathered.runs):
        pairs = ((x_of(epoch), quantity.of(epoch)) for epoch in run.curve)
        points = [(x, y) for x, y in pairs if x is not None and y is not None]
        if points:
            curves[index] = points
    if not curves:
        return None
    xs = [x for points in curves.values() for x, _ in points]
    ys = [y for points in curves.values() for _, y in points]
    left, right, bottom, top = BOX
    x, y = Scale(0.0, 1.03 * max(xs) or 1.0, left, right), Scale(*span(ys, from_zero=True), bottom, top)
    panel = Panel(quantity.title, x, y, x_label, lambda value: f"{value:g}", quantity.form)
    drawn = [line(index, [(x(a), y(b)) for a, b in points]) for index, points in curves.items()]
    for index, points in curves.items():
        last, name = points[-1], gathered.runs[index].name
        drawn.append(mark(index, x(last[0]), y(last[1]), f"{name}: {quantity.form(last[1])}", 3.5))
    return picture(WIDTH, HEIGHT, f"{quantity.title} against {x_label}", panel.axes(), *drawn)


COSTS = (
    ("parameters", "parameters"),
    ("multiply_adds_per_second", "multiply-adds a second of audio"),
    ("real_time_factor", "real-time factor"),
)


def cost_charts(gathered: Gathered, intervals: Sequence[Interval]) -> list[Markup]:
    """WER against size, arithmetic and time; a chart for each that is known of some run."""
    charts = []
    for name, label in COSTS:
        points: dict[int, tuple[float, float]] = {}
        for index, run in enumerate(gathered.runs):
            cost, rate = {**(run.scores.get("model") or {}), **run.scores}.get(name), run.scores["wer"]
            if isinstance(cost, int | float) and cost > 0 and rate is not None:
                points[index] = (cost, rate)
        if points:
            charts.append(_cost_chart(gathered, label, points, intervals))
    return charts


def _cost_chart(
    gathered: Gathered, label: str, points: dict[int, tuple[float, float]], intervals: Sequence[Interval]
) -> Markup:
    ends = [rate for i, (_, rate) in points.items() for rate in (intervals[i] or (rate, rate))]
    left, right, bottom, top = BOX
    x = Scale(*span([cost for cost, _ in points.values()], log=True), left, right, log=True)
    y = Scale(*ends_of(ends), bottom, top)
    panel = Panel("WER", x, y, label, amount, percent)
    drawn = []
    for index, (cost, _) in points.items():
        interval = intervals[index]
        if interval:
            drawn.append(rule(x(cost), y(interval[0]), x(cost), y(interval[1]), f"whisker stroke{index % COLORS}"))
    for index, (cost, rate) in points.items():
        said = f"{gathered.runs[index].name}: {percent(rate)}, {amount(cost)}"
        drawn.append(mark(index, x(cost), y(rate), said))
    return picture(WIDTH, HEIGHT, f"WER against {label}", panel.axes(), *drawn)


KINDS = ("substitutions", "deletions", "insertions")


def error_types(gathered: Gathered) -> Markup | None:
    """A bar a run: substitutions, deletions and insertions per word of the reference; None if no run has them."""
    known = [(i, s) for i, s in enumerate(gathered.runs) if s.scores["words"] and _types(s.scores)]
    if not known:
        return None
    highest = max((sum(_types(s.scores)) / s.scores["words"] for _, s in known), default=1.0)
    left = 26.0 + 7.2 * max((len(s.name) for _, s in known), default=0)
    x = Scale(0.0, 1.12 * (highest or 1.0), min(left, WIDE / 3), WIDE - 8)
    bottom = 8 + 34.0 * len(known)
    parts = []
    for value in x.ticks(8):
        parts += [rule(x(value), 4, x(value), bottom), text(percent(value), x(value), bottom + 16, "tick middle")]
    for row, (index, run) in enumerate(known):
        parts.append(_error_bar(index, run.name, _types(run.scores), run.scores["words"], x, 8 + 34.0 * row))
    return picture(WIDE, bottom + 22, "Substitutions, deletions and insertions of each run", *parts)


def _types(scores: Mapping[str, Any]) -> tuple[int, ...]:
    """The counts of the kinds of errors; none where a foreign scores.json lacks them."""
    counts = [count for kind in KINDS if isinstance(count := scores.get(kind), int)]
    return tuple(counts) if len(counts) == len(KINDS) else ()


def _error_bar(index: int, name: str, counts: Sequence[int], words: int, x: Scale, top: float) -> Markup:
    parts = [mark(index, 8, top + 12), text(name, 20, top + 16, "label")]
    before = 0
    for kind, count in zip(KINDS, counts, strict=True):
        start, end = x(before / words), x((before + count) / words)
        said = f"{name}: {count} {kind}, {percent(count / words)} of the words"
        bar = tag("rect", tag("title", said), x=start, y=top, width=end - start, height=24.0, class_=f"bar {kind}")
        parts.append(bar)
        if end - start > 8 + 7 * len(str(count)):
            parts.append(text(str(count), (start + end) / 2, top + 16, "inside middle"))
        before += count
    parts.append(text(percent(round(before / words, 4)), x(before / words) + 6, top + 16, "label"))
    return join(parts)


def rows_chart(gathered: Gathered, breakdown: Breakdown) -> Markup:
    """A row a group with a mark for each run's WER; the first `MOST_ROWS` groups."""
    groups = breakdown.groups[:MOST_ROWS]
    rates = [count.rate for group in groups for count in group.counts if count and count.rate is not None]
    left = 18.0 + 7.2 * max(len(group.name) for group in groups)
    x = Scale(*ends_of(rates), min(left, WIDE / 3), WIDE - 110)
    bottom = 8 + ROW * len(groups)
    parts = []
    for value in x.ticks(8):
        parts += [rule(x(value), 4, x(value), bottom), text(percent(value), x(value), bottom + 16, "tick middle")]
    for row, group in enumerate(groups):
        y = 8 + ROW * (row + 0.5)
        known = [(i, c.rate) for i, c in enumerate(group.counts) if c is not None and c.rate is not None]
        parts.append(text(group.name, x.start - 10, y + 4, "label end"))
        parts.append(text(f"{group.words:,} words", WIDE - 6, y + 4, "tick end"))
        if known:
            ends = [x(rate) for _, rate in known]
            parts.append(rule(min(ends), y, max(ends), y, "range"))
        for index, rate in known:
            said = f"{gathered.runs[index].name}, {group.name}: {percent(round(rate, 4))}"
            parts.append(mark(index, x(rate), y, said))
    return picture(WIDE, bottom + 22, f"WER by {breakdown.by}", *parts)


def columns_chart(gathered: Gathered, breakdown: Breakdown) -> Markup:
    """A column a group, in their order, a line a run; utterances and words stand below."""
    groups = breakdown.groups
    rates = [count.rate for group in groups for count in group.counts if count and count.rate is not None]
    x = Scale(-0.5, len(groups) - 0.5, 52.0, WIDE - 8)
    y = Scale(*ends_of(rates), 210.0, 12.0)
    parts = [rule(x.start, y.start, x.end, y.start, "axis")]
    for value in y.ticks():
        parts += [rule(x.start, y(value), x.end, y(value)), text(percent(value), x.start - 7, y(value) + 4, "tick end")]
    for place, group in enumerate(groups):
        parts.append(text(group.name, x(place), 229, "label middle"))
        parts.append(text(f"{group.utterances:,} utt., {group.words:,} words", x(place), 246, "tick middle"))
    for index, run in enumerate(gathered.runs):
        counts = [(place, group.counts[index]) for place, group in enumerate(groups)]
        points = [(x(place), c.rate, place) for place, c in counts if c is not None and c.rate is not None]
        parts.append(line(index, [(at, y(rate)) for at, rate, _ in points]))
        for at, rate, place in points:
            said = f"{run.name}, {groups[place].name}: {percent(round(rate, 4))}"
            parts.append(mark(index, at, y(rate), said))
    return picture(WIDE, 254, f"WER by {breakdown.by}", *parts)
