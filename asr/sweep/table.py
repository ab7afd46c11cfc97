"""What a sweep prints of its plan and of its tuning trials, and keeps beside its runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from asr.config import block_of
from asr.report.tables import UNKNOWN, plain_table
from asr.sweep.description import Sweep
from asr.sweep.match import Match
from asr.sweep.options import ENDLESS
from asr.sweep.plan import Variant

HEADINGS = ("model", "encoder", "solved", "parameters", "multiply-adds/s", "epochs", "s/epoch", "differs in")


def plan_text(sweep: Sweep, variants: Sequence[Variant]) -> str:
    """The plan as a table: a line a model and trial, with what was solved for and what it differs in."""
    lines = [
        f'{sweep.path} -> {sweep.folder}: {sweep.match}; the same for all is what does not stand under "differs in"',
        "",
        plain_table(HEADINGS, [_row(variant, sweep.match) for variant in variants]),
        "",
        f"seeds {', '.join(map(str, sweep.seeds))}; tested on {', '.join(sweep.splits)}",
    ]
    steps = block_of(sweep.base, "trainer").get("max_steps", ENDLESS)
    if steps != ENDLESS:
        lines.append(f"A training ends after {steps} steps (trainer.max_steps), if its epochs do not end it before.")
    if not all(variant.settled for variant in variants):
        lines.append("The time of an epoch is measured when the sweep is run.")
    if block_of(sweep.base, "data").get("infeasible") == "drop":
        lines.append(
            "data.infeasible is 'drop': a model of a lower frame rate may leave out more utterances than another."
        )
    return "\n".join(lines)


def _row(variant: Variant, match: Match) -> tuple[str, ...]:
    summary = variant.summary
    trial = "" if variant.trial is None else f" trial{variant.trial}"
    seconds = variant.seconds_per_epoch
    return (
        f"{variant.model.name}{trial}",
        variant.model.encoder["class_path"].removeprefix("asr.encoders."),
        " ".join(f"{name}={value}" for name, value in variant.sizes.items()) or UNKNOWN,
        _cost(None if summary is None else summary.parameters, match.parameters),
        _cost(None if summary is None else summary.multiply_adds_per_second, match.multiply_adds_per_second),
        UNKNOWN if variant.epochs is None else str(variant.epochs),
        UNKNOWN if seconds is None else f"{seconds:.1f}",
        ", ".join(f"{name}={value}" for name, value in variant.overrides.items()) or UNKNOWN,
    )


def _cost(value: int | None, target: float | None) -> str:
    """A count, and how far it is from what was asked for.

    >>> _cost(2_010_000, 2e6), _cost(2_010_000, None)
    ('2,010,000 (+0.5 %)', '2,010,000')
    """
    if value is None:
        return UNKNOWN
    return f"{value:,}" + ("" if target is None else f" ({100 * (value / target - 1):+.1f} %)")


def plan_data(sweep: Sweep, variants: Sequence[Variant]) -> dict[str, Any]:
    """The plan as plain data, for one's own tables."""
    return {
        "description": str(sweep.path),
        "matched": str(sweep.match),
        "seeds": list(sweep.seeds),
        "splits": list(sweep.splits),
        "models": [
            {
                "name": variant.model.name,
                "trial": variant.trial,
                "encoder": variant.content["model"]["encoder"],
                "solved": variant.sizes,
                "parameters": variant.summary and variant.summary.parameters,
                "multiply_adds_per_second": variant.summary and variant.summary.multiply_adds_per_second,
                "epochs": variant.epochs,
                "seconds_per_epoch": variant.seconds_per_epoch,
                "differs_in": variant.overrides,
            }
            for variant in variants
        ],
    }


def times_text(target: float, tolerance: float, seconds: Mapping[str, float]) -> str:
    """How long trainings took that were to take equally long, and which of them did not.

    >>> print(times_text(100.0, 0.05, {"grid": 104.0, "lstm": 127.0}))
    training took grid: 104 s (+4 %), lstm: 127 s (+27 %)
    not matched within 5 % of 100 s after all: lstm (it was measured on a machine that was busier, or less busy)
    """
    took = ", ".join(f"{name}: {value:.0f} s ({100 * (value / target - 1):+.0f} %)" for name, value in seconds.items())
    missed = [name for name, value in seconds.items() if abs(value / target - 1) > tolerance]
    lines = [f"training took {took}"]
    if missed:
        lines.append(
            f"not matched within {100 * tolerance:g} % of {target:,.0f} s after all: {', '.join(missed)} (it was "
            "measured on a machine that was busier, or less busy)"
        )
    return "\n".join(lines)


def trials_text(rates: Mapping[str, Sequence[tuple[float, float] | None]]) -> str:
    """WER on dev of each trial of each model, the best one marked.

    >>> print(trials_text({"grid": [(0.25, 0.1), (0.2, 0.1)], "lstm": [(0.5, 0.3), None]}))
    best WER on dev   trial0    trial1
    grid             25.00 %  20.00 %*
    lstm             50.00 %         –
    """
    width = max(map(len, rates.values()))
    rows = []
    for name, of_model in rates.items():
        known = [rate for rate in of_model if rate is not None]
        best = min(known, default=None) if len(known) == width else None
        first = list(of_model).index(best) if best is not None else None
        cells = [UNKNOWN if rate is None else f"{100 * rate[0]:.2f} %" for rate in of_model]
        rows.append((name, *(f"{cell}*" if index == first else cell for index, cell in enumerate(cells))))
    return plain_table(("best WER on dev", *(f"trial{index}" for index in range(width))), rows)
