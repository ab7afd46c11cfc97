"""What `asr robustness` kept of runs: their error rates under noise and other changes of the same audio."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from asr.errors import InputError
from asr.files import read_json
from asr.report.runs import ScoredRun
from asr.score.errors import ErrorCounts

FILE = "robustness.json"
"""In a run folder: what `asr robustness RUN --json RUN/robustness.json` writes."""


class Heard(NamedTuple):
    """How a run did under a condition."""

    utterances: int
    counts: ErrorCounts


@dataclass(frozen=True)
class Conditions:
    """What was measured of a run.

    Args:
        rows: name of a condition -> utterances and word errors, in their order.
        setting: what must be the same for runs side by side: split, seed, limit, decoder.
        missing: why there is nothing, though there is a file; else "".
    """

    rows: Mapping[str, Heard] = field(default_factory=dict)
    setting: tuple[Any, ...] = ()
    missing: str = ""


def read_conditions(run: ScoredRun) -> Conditions:
    """What lies beside the scores of a run.

    Raises:
        InputError: the file is no record of `asr robustness`.
    """
    file = run.folder / FILE
    if not file.is_file():
        return Conditions()
    record = read_json(file)
    try:
        rows = {str(row["condition"]): _heard(row) for row in record["rows"]}
        manifest, digest = Path(record["manifest"]).name, record["model"].get("sha256")
        decoding = record["decoding"]
        decoder = decoding.get("decoder") if isinstance(decoding, Mapping) else decoding
        setting = (manifest, record["seed"], record["limit"], decoder)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is no record that `asr robustness --json` wrote: {error!r}") from error
    weights = (run.scores.get("model") or {}).get("sha256")
    if digest and weights and digest != weights:
        return Conditions(missing=f"its {FILE} is of other weights than its scores")
    scored = run.scores.get("manifest")
    if scored and Path(str(scored)).name != manifest:
        return Conditions(missing=f"its {FILE} is of {manifest}, and its scores are of {Path(str(scored)).name}")
    return Conditions(rows, setting)


def _heard(row: Mapping[str, Any]) -> Heard:
    substitutions, deletions, insertions = (int(row[kind]) for kind in ("substitutions", "deletions", "insertions"))
    hits = int(row["words"]) - substitutions - deletions
    return Heard(int(row["utterances"]), ErrorCounts(hits, substitutions, deletions, insertions))


def side_by_side(measured: Sequence[Conditions]) -> list[Conditions]:
    """The conditions of runs, less those that were measured otherwise than the first: which is said."""
    first = next((one for one in measured if one.rows), None)
    if first is None:
        return list(measured)
    found = []
    for one in measured:
        other = one.rows and (one.setting != first.setting or _words(one, first) != _words(first, one))
        reason = f"its {FILE} is of another split, seed, number of utterances or decoder than that of other runs"
        found.append(Conditions(missing=reason) if other else one)
    return found


def _words(one: Conditions, beside: Conditions) -> list[tuple[int, int]]:
    """Utterances and words under the conditions that both have."""
    return [(row.utterances, row.counts.length) for name, row in one.rows.items() if name in beside.rows]
