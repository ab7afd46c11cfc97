"""The table of a report, as `asr compare` has it, and its main result in a sentence."""

from typing import NamedTuple

from asr.report.circumstances import listed
from asr.report.compare import Comparison
from asr.report.evidence import Pair
from asr.report.html.records import Gathered
from asr.report.statements import NAMES
from asr.report.tables import headings, table_rows


class Cell(NamedTuple):
    """A number, and below it in small letters the counts it is made of."""

    text: str
    small: str


class Table(NamedTuple):
    """Headings and rows; the first rows are those of the runs, in their order, others are means over seeds."""

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def table(comparison: Comparison) -> Table:
    """The table of `asr compare`."""
    rows = table_rows(comparison.runs, comparison.evidence)
    return Table(
        headings(comparison.evidence.settings.level), tuple(tuple(_cell(cell) for cell in row) for row in rows)
    )


def _cell(content: str) -> Cell:
    """A rate and its counts apart; other cells as they are.

    >>> _cell("6.79 % (84/1237)"), _cell("grid (old)")
    (Cell(text='6.79 %', small='84/1237'), Cell(text='grid (old)', small=''))
    """
    rate, between, counts = content.partition(" % (")
    return Cell(f"{rate} %", counts.removesuffix(")")) if between else Cell(content, "")


def intervals(gathered: Gathered) -> tuple[tuple[float, float] | None, ...]:
    """Ends of the interval of each run's WER; None where there is none."""
    found = {}
    for rates in gathered.comparison.evidence.runs:
        if rates.words.lower is not None and rates.words.upper is not None:
            found[rates.name] = (rates.words.lower, rates.words.upper)
    return tuple(found.get(run.name) for run in gathered.runs)


def main_result(gathered: Gathered) -> str | None:
    """Which system makes the fewest word errors, and whether it differs from the next one.

    All systems are ranked by their scores, also those without hypotheses, of which no difference can be tested.
    """
    rates = _rates(gathered)
    order = sorted(rates, key=lambda name: rates[name])
    if not order:
        return None
    if len(order) == 1:
        return f"{order[0]} has a word error rate of {100 * rates[order[0]]:.2f} %."
    first, second = order[:2]
    pairs = gathered.comparison.evidence.pairs
    pair = next((pair for pair in pairs if {pair.first, pair.second} == {first, second}), None)
    rate, points = f"{100 * rates[first]:.2f} %", f"{100 * (rates[second] - rates[first]):.2f} points"
    return f"{first} has the lowest word error rate, {rate}{_verdict(pair, second, points)}."


def _rates(gathered: Gathered) -> dict[str, float]:
    """The word error rate of each system, over seeds their mean; none of systems without words to score."""
    rates = {}
    for system in gathered.comparison.systems:
        found = [run.scores["wer"] for run in system.runs if run.scores["wer"] is not None]
        if found:
            rates[system.name] = sum(found) / len(found)
    return rates


def _verdict(pair: Pair | None, other: str, points: str) -> str:
    if pair is None:
        return f", {points} below {other}; that difference has no interval and was not tested"
    if pair.verdict == "difference":
        alone = f"{listed([NAMES[test] for test in pair.votes])} alone" if pair.abstaining else ""
        return f". It is {points} below {other}, a difference by {alone or 'every test that was made'}"
    if pair.verdict == "none":
        return f", but no difference to {other}, {points} above it, can be told"
    return f"; whether {points} to {other} are a difference, the tests disagree"
