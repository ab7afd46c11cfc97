"""Scored run folders for tests of comparisons and reports, made without any model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr.decode.hypotheses import Hypothesis, write_hypotheses
from asr.files import write_json, write_text
from asr.score.scores import score


def write_scored_run(
    folder: Path,
    rows: Sequence[Hypothesis],
    curve: str | None = None,
    record: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """A run folder with hypotheses and their scores.

    Args:
        folder: made if need be.
        rows: with references.
        curve: content of its metrics.csv, if it has one.
        record: content of its run.json, if it has one.
        changes: of scores.json.
    """
    write_hypotheses(folder / "hypotheses.jsonl", rows)
    write_json(folder / "scores.json", {**score(rows, "verbatim/1").to_dict(), **changes})
    if curve is not None:
        write_text(folder / "metrics.csv", curve)
    if record is not None:
        write_json(folder / "run.json", record)
    return folder
