"""Runs and their scores as they are on disk, and whether they may stand in one table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.decode.hypotheses import read_hypotheses
from asr.errors import InputError
from asr.files import read_json, sha256_of
from asr.score.references import read_references
from asr.score.scores import name_some

NEEDED: dict[str, Any] = {
    "wer": float | int | None,
    "cer": float | int | None,
    "errors": int,
    "words": int,
    "utterances": int,
    "reference_digest": str,
}
"""Keys of scores.json, and the types they must have, for a comparison."""
DECODERS = ("beam", "flashlight")
"""Those whose results have names of their own; of the greedy one they have none. (`asr.decode.options` needs torch.)"""


@dataclass(frozen=True)
class ScoredRun:
    """A run and its scores.

    Args:
        path: the run folder, or the scores file, as it was given.
        name: for tables.
        scores: the content of its scores.json.
        hypotheses: its hypotheses.jsonl, which need not exist.
        references: the file of references that it was scored on, which need not exist; None if it was scored on those
            that stand with the hypotheses.
    """

    path: Path
    name: str
    scores: Mapping[str, Any]
    hypotheses: Path
    references: Path | None = None

    @property
    def folder(self) -> Path:
        """Where configuration, log and weights of the run lie, if it has any."""
        return self.path if self.path.is_dir() else self.path.parent


def read_runs(paths: Sequence[Path], split: str = "test") -> list[ScoredRun]:
    """Read the scores of run folders, or scores files themselves. Runs are called by their folders.

    Raises:
        InputError: there are no scores for that split, they lack something that a comparison needs, they are of an
            earlier state of a run that was trained further, or they were given twice.
    """
    suffix = "" if split == "test" else f"-{split}"
    files = [path / f"scores{suffix}.json" if path.is_dir() else path for path in paths]
    places = [file.resolve() for file in files]
    twice = next((path for path, place in zip(paths, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise InputError(f"{twice} was given twice")
    names = [path.resolve().name if path.is_dir() else path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    runs = []
    for path, file, name in zip(paths, files, names, strict=True):
        if path.is_dir() and not file.is_file():
            raise InputError(f"{path} has no {file.name}: make it with {_command(path, file)}")
        scores = _read_scores(file)
        _check_current(file, scores)
        runs.append(ScoredRun(path, name, scores, hypotheses_of(file, scores), references_of(file, scores)))
    return runs


def _command(run: Path, file: Path) -> str:
    """The command that makes a scores file: `scores-SPLIT-DECODER.json`, less "test" and the greedy decoder.

    >>> _command(Path("run"), Path("scores-dev-beam.json")), _command(Path("run"), Path("scores.json"))
    ('`asr test run --split dev --decoder beam`', '`asr test run --split test`')
    """
    split, decoder = file.stem.removeprefix("scores").removeprefix("-"), ""
    for name in DECODERS:
        if split == name or split.endswith(f"-{name}"):
            split, decoder = split.removesuffix(name).removesuffix("-"), f" --decoder {name}"
    return f"`asr test {run} --split {split or 'test'}{decoder}`"


def references_of(file: Path, scores: Mapping[str, Any]) -> Path | None:
    """The file of references that scores name, where they say or beside them; None if they name none."""
    named = scores.get("references")
    if not isinstance(named, str):
        return None
    beside = file.parent / Path(named).name
    return next((place for place in (Path(named), beside) if place.is_file()), Path(named))


def hypotheses_of(file: Path, scores: Mapping[str, Any]) -> Path:
    """The hypotheses that the scores name, or those beside them: `hypotheses-dev.jsonl` of `scores-dev.json`.

    Collected runs have them packed (`.gz`).
    """
    named = scores.get("hypotheses")
    split = file.stem.removeprefix("scores") if file.stem.startswith("scores") else ""
    first = Path(named) if isinstance(named, str) else file.parent / f"hypotheses{split}.jsonl"
    beside = file.parent / first.name
    places = (first, beside, beside.with_name(f"{beside.name}.gz"))
    return next((place for place in places if place.is_file()), first)


def _check_current(file: Path, scores: Mapping[str, Any]) -> None:
    """Refuse scores of weights that the run they lie in has no more, since it was trained further."""
    model = scores.get("model") or {}
    if not (model.get("sha256") and model.get("source")):
        return
    run, name = file.parent, Path(model["source"]).name
    for weights in (run / "checkpoints" / name, run / name):
        if weights.is_file() and sha256_of(weights) != model["sha256"]:
            step = "" if model.get("step") is None else f", that of step {model['step']}"
            raise InputError(
                f"{file} is of an earlier state of the run{step}: {weights} has been written anew since then; score "
                f"it with {_command(run, file)}"
            )


def _read_scores(file: Path) -> dict[str, Any]:
    scores = read_json(file)
    if not isinstance(scores, dict):
        raise InputError(f"{file} holds no scores")
    for key, kinds in NEEDED.items():
        if key not in scores or isinstance(scores[key], bool) or not isinstance(scores[key], kinds):
            raise InputError(f"{file} holds no scores that can be compared: {key!r} is {scores.get(key)!r}")
    return scores


def check_comparable(runs: Sequence[ScoredRun], references: bool = True) -> None:
    """Refuse runs that were not scored on the same utterances, references and normalisation.

    Args:
        runs: at least one.
        references: whether utterances and references are looked at, or the normalisation alone.

    Raises:
        InputError: naming the first two runs that differ, and in what.
    """
    first = runs[0]
    for other in runs[1:]:
        normalizers = first.scores.get("normalizer"), other.scores.get("normalizer")
        if normalizers[0] != normalizers[1]:
            raise InputError(
                f"{first.path} and {other.path} cannot be compared: their texts were normalised by {normalizers[0]!r} "
                f"and by {normalizers[1]!r}; score both with the same `asr score --normalizer`"
            )
        if references and first.scores["reference_digest"] != other.scores["reference_digest"]:
            raise InputError(f"{first.path} and {other.path} cannot be compared: {_difference(first, other)}")


def _difference(first: ScoredRun, other: ScoredRun) -> str:
    """What differs between the utterances and references of two runs, as far as their hypotheses files tell."""
    if not (first.hypotheses.is_file() and other.hypotheses.is_file()):
        return (
            f"they were scored on different references ({first.scores['utterances']} and "
            f"{other.scores['utterances']} utterances, {first.scores['words']} and {other.scores['words']} words)"
        )
    left, right = (_references(run) for run in (first, other))
    parts = [
        f"{len(alone)} utterances are in {run.path} only ({name_some(alone, 3)})"
        for run, alone in ((first, sorted(left.keys() - right.keys())), (other, sorted(right.keys() - left.keys())))
        if alone
    ]
    changed = sorted(name for name in left.keys() & right.keys() if left[name] != right[name])
    if changed:
        name = changed[0]
        parts.append(f"{len(changed)} references differ ({name}: {left[name]!r} and {right[name]!r})")
    if parts and not changed:
        parts.append("--common compares on the utterances that all runs have")
    return "; ".join(parts) or "their scores.json and hypotheses.jsonl do not belong together: score them again"


def _references(run: ScoredRun) -> dict[str, str]:
    if run.references is not None and run.references.is_file():
        return {name: reference.text for name, reference in read_references(run.references).items()}
    return {row.id: row.reference or "" for row in read_hypotheses(run.hypotheses)}
