"""Charts as SVG elements: every text is escaped where it enters, and colours are left to the page's style."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

COLORS = 8
"""Colours and shapes of marks that the style has; runs beyond them begin again."""


def tag(name: str, *children: str | Markup, **attributes: str | float | None) -> Markup:
    """An element; children and attributes are escaped, but for what is `Markup` already.

    An underscore in an attribute's name is a hyphen, a final one is dropped; one that is None is left out.

    >>> print(tag("text", "a < b", x=1.23456, class_="label"))
    <text x="1.23" class="label">a &lt; b</text>
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    content = "".join(escape(child) for child in children)
    return Markup(f"<{name}{written}>{content}</{name}>")


def _number(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def join(parts: Iterable[Markup]) -> Markup:
    """Elements one after another."""
    return Markup("").join(parts)


@dataclass(frozen=True)
class Scale:
    """Numbers between `low` and `high` -> pixels between `start` and `end`; by their logarithms if `log`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        change = math.log if self.log else float
        low, high = change(self.low), change(self.high)
        return self.start + (change(value) - low) / (high - low) * (self.end - self.start)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Round numbers within the scale."""
        return log_ticks(self.low, self.high, wanted) if self.log else linear_ticks(self.low, self.high, wanted)


def linear_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, about as many as wanted.

    >>> linear_ticks(0.0, 0.93), linear_ticks(12, 24)
    ([0.0, 0.2, 0.4, 0.6, 0.8], [12.0, 14.0, 16.0, 18.0, 20.0, 22.0, 24.0])
    """
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * min((factor for factor in (1, 2, 5, 10) if factor * power >= 0.7 * rough), default=10)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def log_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """1, 2 and 5 times powers of ten; powers alone where these would be too many, round numbers where too few.

    >>> log_ticks(0.5, 20), log_ticks(1, 1e6)
    ([0.5, 1.0, 2.0, 5.0, 10.0, 20.0], [1.0, 10.0, 100.0, 1000.0, 10000.0, 100000.0, 1000000.0])
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1,)):
        found = [f * 10.0**p for p in powers for f in factors if low * 0.999 <= f * 10.0**p <= high * 1.001]
        if 2 <= len(found) <= 2 * wanted:
            return found
    return found if len(found) >= 2 else linear_ticks(low, high, wanted)


def span(values: Sequence[float], *, from_zero: bool = False, log: bool = False) -> tuple[float, float]:
    """Ends of an axis that holds the values with some room; a single value gets room on both sides.

    >>> span([0.2, 1.0], from_zero=True)
    (0.0, 1.08)
    >>> low, high = span([1e6, 16e6], log=True)
    >>> round(low), round(high)
    (454545, 35200000)
    """
    low, high = min(values), max(values)
    if log:
        room = 1.1 * (high / low) ** 0.25
        return low / room, high * room
    if from_zero:
        return 0.0, (1.08 * high) or 1.0
    room = 0.08 * (high - low) or abs(high) * 0.1 or 1.0
    return low - room, high + room


def mark(index: int, x: float, y: float, title: str | None = None, size: float = 4.5) -> Markup:
    """A point in the colour and shape of a run, with a text that is shown under the pointer."""
    s = size
    shapes = (
        f"M{-s} 0a{s} {s} 0 1 0 {2 * s} 0a{s} {s} 0 1 0 {-2 * s} 0z",
        f"M{-s} {-s}h{2 * s}v{2 * s}h{-2 * s}z",
        f"M0 {-1.3 * s:.2f}L{1.3 * s:.2f} 0L0 {1.3 * s:.2f}L{-1.3 * s:.2f} 0z",
        f"M0 {-1.2 * s:.2f}L{1.2 * s:.2f} {s}H{-1.2 * s:.2f}z",
        f"M0 {1.2 * s:.2f}L{1.2 * s:.2f} {-s}H{-1.2 * s:.2f}z",
        f"M{-s} {-0.4 * s:.2f}H{-0.4 * s:.2f}V{-s}H{0.4 * s:.2f}V{-0.4 * s:.2f}H{s}V{0.4 * s:.2f}H{0.4 * s:.2f}V{s}"
        f"H{-0.4 * s:.2f}V{0.4 * s:.2f}H{-s}z",
    )
    place = f"translate({_number(x)} {_number(y)})"
    children = [tag("title", title)] if title else []
    return tag("path", *children, class_=f"mark fill{index % COLORS}", d=shapes[index % len(shapes)], transform=place)


def line(index: int, points: Sequence[tuple[float, float]]) -> Markup:
    """A line through points in the colour of a run."""
    return tag(
        "polyline",
        class_=f"line stroke{index % COLORS}",
        points=" ".join(f"{_number(x)},{_number(y)}" for x, y in points),
    )


def text(content: str, x: float, y: float, class_: str = "label", **attributes: str | float | None) -> Markup:
    """A text whose baseline begins (or ends, by its class) at a place."""
    return tag("text", content, x=x, y=y, class_=class_, **attributes)


def rule(x1: float, y1: float, x2: float, y2: float, class_: str = "grid") -> Markup:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def picture(
    width: float, height: float, name: str, /, *children: Markup, class_: str = "chart", **attributes: str
) -> Markup:
    """An SVG image that scales with its column; `name` is what is read aloud for it."""
    box = f"0 0 {_number(width)} {_number(height)}"
    return tag("svg", *children, viewBox=box, class_=class_, role="img", aria_label=name, **attributes)


def key(index: int) -> Markup:
    """The mark of a run beside its name, which alone is read aloud."""
    return tag("svg", mark(index, 6.5, 6.5), viewBox="0 0 13 13", class_="key", aria_hidden="true")


@dataclass(frozen=True)
class Panel:
    """A plane with two axes, in pixels of its picture.

    Args:
        title: above it.
        x, y: the scales; y's `start` is its lower end.
        x_label: below it.
        x_format, y_format: value -> text of a tick.
    """

    title: str
    x: Scale
    y: Scale
    x_label: str
    x_format: Callable[[float], str]
    y_format: Callable[[float], str]

    def axes(self) -> Markup:
        """Grid, tick labels, title and label."""
        x, y = self.x, self.y
        parts = [text(self.title, 0, 14, "title"), rule(x.start, y.start, x.end, y.start, "axis")]
        for value in y.ticks():
            parts.append(rule(x.start, y(value), x.end, y(value)))
            parts.append(text(self.y_format(value), x.start - 7, y(value) + 4, "tick end"))
        for value in x.ticks():
            parts.append(rule(x(value), y.start, x(value), y.start + 4, "axis"))
            parts.append(text(self.x_format(value), x(value), y.start + 17, "tick middle"))
        parts.append(text(self.x_label, x.end, y.start + 34, "label end"))
        return join(parts)
