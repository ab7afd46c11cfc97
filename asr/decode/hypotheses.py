"""hypotheses.jsonl: what was recognised in each utterance, beside what was said."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asr.errors import InputError
from asr.files import read_jsonl, write_jsonl


@dataclass(frozen=True)
class Hypothesis:
    """One row.

    Args:
        id: of the utterance.
        hypothesis: the recognised text; may be empty.
        reference: the transcript; None if there is none.
        speaker: None if unknown.
        seconds: duration of the audio; None if unknown.
        confidences: of each word of the hypothesis, the probability that it is right, as the decoder has it; None if
            unknown.
        times: of each word of the hypothesis, where it was seen: from and to, in seconds; None if unknown.
    """

    id: str
    hypothesis: str
    reference: str | None = None
    speaker: str | None = None
    seconds: float | None = None
    confidences: tuple[float, ...] | None = None
    times: tuple[tuple[float, float], ...] | None = None


def write_hypotheses(path: Path | str, rows: Iterable[Hypothesis]) -> None:
    """Write rows sorted by utterance id, atomically."""
    order = ("id", "speaker", "seconds", "reference", "hypothesis", "confidences", "times")
    data = [asdict(row) for row in sorted(rows, key=lambda row: row.id)]
    left_out = {name for name in ("confidences", "times") if all(row[name] is None for row in data)}
    write_jsonl(path, ({name: row[name] for name in order if name not in left_out} for row in data))


def read_hypotheses(path: Path | str) -> list[Hypothesis]:
    """Read rows; `id` and `hypothesis` are required, other keys than `Hypothesis` has are passed over.

    Raises:
        InputError: the file cannot be read, holds no row, a row lacks a field or has one of the wrong type, or an
            id occurs twice; the message names file and row.
    """
    rows: dict[str, Hypothesis] = {}
    for number, data in enumerate(read_jsonl(path), start=1):
        row = parse_hypothesis(data, f"{path}, row {number}")
        if row.id in rows:
            raise InputError(f"{path}, row {number}: utterance {row.id!r} occurs twice")
        rows[row.id] = row
    if not rows:
        raise InputError(f"{path} holds no hypotheses")
    return list(rows.values())


def parse_hypothesis(data: Any, where: str) -> Hypothesis:
    """The row of plain data; other keys than `Hypothesis` has are passed over.

    Raises:
        InputError: a field is missing or of the wrong type; the message begins with `where`.
    """
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected an object with id and hypothesis, got {data!r}")
    for name in ("id", "hypothesis"):
        if not isinstance(data.get(name), str):
            raise InputError(f"{where}: {name!r} must be a string, got {data.get(name)!r}")
    for name in ("reference", "speaker"):
        if not isinstance(data.get(name), str | None):
            raise InputError(f"{where} ({data['id']}): {name!r} must be a string or null, got {data[name]!r}")
    seconds = data.get("seconds")
    if seconds is not None and (
        isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf
    ):
        raise InputError(f"{where} ({data['id']}): 'seconds' must be a number of at least 0 or null, got {seconds!r}")
    known = data["id"], data["hypothesis"], data.get("reference"), data.get("speaker"), seconds
    return Hypothesis(*known, _confidences(data, where), _times(data, where))


def _confidences(data: dict[str, Any], where: str) -> tuple[float, ...] | None:
    values = data.get("confidences")
    if values is None:
        return None
    words = len(data["hypothesis"].split())
    numbers = isinstance(values, list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1 for value in values
    )
    if not numbers or len(values) != words:
        raise InputError(
            f"{where} ({data['id']}): 'confidences' must be {words} numbers between 0 and 1, one a word, got {values!r}"
        )
    return tuple(float(value) for value in values)


def _times(data: dict[str, Any], where: str) -> tuple[tuple[float, float], ...] | None:
    values = data.get("times")
    if values is None:
        return None
    words = len(data["hypothesis"].split())
    try:
        times = tuple((float(start), float(end)) for start, end in values)
    except (TypeError, ValueError):
        times = ((math.nan, math.nan),) * words
    starts = [0.0, *(start for start, _ in times)]
    forward = all(a <= b for a, b in itertools.pairwise(starts)) and all(a <= b < math.inf for a, b in times)
    if not forward or len(times) != words:
        raise InputError(
            f"{where} ({data['id']}): 'times' must be {words} pairs [from, to] in seconds, one a word, that do not go "
            f"back, got {values!r}"
        )
    return times
