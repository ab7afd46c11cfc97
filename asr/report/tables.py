"""The table of `asr compare`, and tables in plain text and Markdown."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from asr.report.circumstances import UNKNOWN
from asr.report.evidence import Evidence
from asr.report.runs import ScoredRun
from asr.score.uncertainty import Interval

HEADINGS = ("model", "parameters", "multiply-adds/s", "WER", "interval", "CER", "real-time factor", "training time")


def headings(level: float) -> tuple[str, ...]:
    """`HEADINGS`, with the level of the intervals.

    >>> headings(0.95)[4]
    '95 % interval'
    """
    return tuple(f"{100 * level:g} % {name}" if name == "interval" else name for name in HEADINGS)


def table_rows(runs: Sequence[ScoredRun], evidence: Evidence | None = None) -> list[tuple[str, ...]]:
    """The cells of the table below `HEADINGS`: a row a run, then one for the mean of each model with several runs."""
    known = {} if evidence is None else {rates.name: rates.words for rates in evidence.runs}
    rows = [_run_row(run, known.get(run.name)) for run in runs]
    for rates in evidence.systems if evidence else ():
        if len(rates.runs) > 1:
            seeds = rates.word_seeds
            lower = None if seeds.lower is None else max(0.0, seeds.lower)  # Student's interval knows of no bounds
            mean = [percent(seeds.mean), _span(lower, seeds.upper), percent(rates.character_seeds.mean)]
            rows.append((f"{rates.name}, mean of {seeds.runs}", UNKNOWN, UNKNOWN, *mean, UNKNOWN, UNKNOWN))
    return rows


def _run_row(run: ScoredRun, interval: Interval | None) -> tuple[str, ...]:
    model, scores = run.scores.get("model") or {}, run.scores
    return (
        run.name,
        _amount(model.get("parameters")),
        _amount(model.get("multiply_adds_per_second")),
        f"{percent(scores['wer'])} ({scores['errors']}/{scores['words']})",
        _span(interval.lower, interval.upper) if interval else UNKNOWN,
        percent(scores["cer"]),
        _decimal(scores.get("real_time_factor")),
        duration(scores.get("training_seconds")),
    )


def _span(lower: float | None, upper: float | None) -> str:
    """The ends of an interval of a rate.

    >>> _span(0.0612, 0.08)
    '6.12 to 8.00 %'
    """
    return UNKNOWN if lower is None or upper is None else f"{100 * lower:.2f} to {100 * upper:.2f} %"


def percent(rate: float | None) -> str:
    """A rate in percent, with two digits."""
    return "undefined" if rate is None else f"{100 * rate:.2f} %"


def _decimal(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.4f}"


def _amount(value: float | None) -> str:
    """A count, large ones in millions.

    >>> _amount(1_234_567), _amount(950_000_000), _amount(4321)
    ('1.23 M', '950 M', '4,321')
    """
    if value is None:
        return UNKNOWN
    if value < 100_000:
        return f"{value:,.0f}"
    return f"{value / 1e6:.0f} M" if value >= 100e6 else f"{value / 1e6:.2f} M"


def duration(seconds: float | None) -> str:
    """Hours, minutes and seconds.

    >>> duration(3725.4), duration(59.6)
    ('1:02:05', '0:01:00')
    """
    if seconds is None:
        return UNKNOWN
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def notes(runs: Sequence[ScoredRun], unlike: Sequence[str] = ()) -> list[str]:
    """What must be known to read the table: the test set, and where real-time factors come from.

    Args:
        runs: of the table.
        unlike: names of those whose hypotheses are not normalised as the references are.
    """
    scores = runs[0].scores
    normalizer = scores.get("normalizer")
    normalised = f"normalised by {normalizer}" if normalizer else "no text normalisation recorded"
    if unlike:
        normalised = f"references {normalised}, hypotheses of {', '.join(unlike)} not all"
    lines = [f"{scores['utterances']} utterances, {scores['words']} words, {normalised}."]
    machines: dict[str, list[str]] = {}
    for run in runs:
        if run.scores.get("machine"):
            machines.setdefault(machine_of(run.scores["machine"]), []).append(run.name)
    if len(machines) > 1:
        places = "; ".join(f"{', '.join(names)}: {machine}" for machine, names in machines.items())
        lines.append(f"The real-time factors are not comparable, they come from {places}.")
    elif machines:
        lines.append(f"Real-time factors on {next(iter(machines))}.")
    return lines


def machine_of(machine: Mapping[str, Any]) -> str:
    """The machine in scores.json, in words."""
    on = machine.get("cpu") if machine.get("device") == "cpu" else machine.get("device")
    return f"{on}, {machine.get('processes')} process(es) with {machine.get('threads')} thread(s)"


def plain_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned by spaces, the first to the left and the others to the right.

    >>> print(plain_table(["model", "WER"], [["grid", "9 %"], ["lstm", "10 %"]]))
    model   WER
    grid    9 %
    lstm   10 %
    """
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        name, *others = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        return "  ".join([name.strip().ljust(widths[0]), *others])

    return "\n".join(line(cells) for cells in (headings, *rows))


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for a README.

    >>> print(markdown_table(["model", "WER"], [["grid|<b>", "9 %"]]))
    | model | WER |
    |---|---:|
    | grid\\|&lt;b> | 9 % |
    """
    rule = "|" + "|".join(["---", *["---:"] * (len(headings) - 1)]) + "|"
    lines = [f"| {' | '.join(markdown_text(cell) for cell in cells)} |" for cells in (headings, *rows)]
    return "\n".join([lines[0], rule, *lines[1:]])


MARKS = re.compile(r"[|*`\[\]]|\\(?=[!-/:-@\[-`{-~]|$)|(?<!\w)_+|_+(?!\w)")
"""What Markdown would take for a column, emphasis, code, a link or an escape; an underscore within a word is none."""


def markdown_text(text: str) -> str:
    """Text on one line in which nothing is taken for a sign of Markdown or for HTML.

    >>> print(markdown_text("a|b <i>&lt; p < 0.05"), markdown_text("grid_lstm *_new_* [1]"))
    a\\|b &lt;i>&amp;lt; p < 0.05 grid_lstm \\*\\_new\\_\\* \\[1\\]
    """
    escaped = MARKS.sub(lambda found: "".join(f"\\{sign}" for sign in found[0]), " ".join(text.split()))
    escaped = re.sub(r"&(?=#?\w+;)", "&amp;", escaped)
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", escaped)
