"""Runs reduced to what their results rest on, small enough to keep beside the code: no weights, no audio.

A collected run is a folder that `asr compare` and `asr report` take like the run it was. Paths of the machine it was
made on are shortened, since they mean nothing elsewhere; references that were read from a file of their own stand with
the hypotheses.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from asr.config import read_yaml
from asr.errors import InputError
from asr.files import read_json, read_jsonl, write_json, write_jsonl, write_text
from asr.report.runs import hypotheses_of, references_of
from asr.score.references import Reference, read_references

SCORES = "scores*.json"
JSON = ("run.json", SCORES, "robustness*.json", "decoder*.json")
METRICS = "metrics.csv"
LISTS = ("hypotheses*.jsonl", "hypotheses*.jsonl.gz")
OPTIONS = "config.yaml"


def collect_runs(runs: Sequence[Path], folder: Path, here: Path | None = None) -> Iterator[Path]:
    """Copy configurations, logs, scores and hypotheses (packed) of runs into `folder / run.name`, each when asked for.

    Args:
        runs: run folders with at least one scores file each, of different names.
        folder: where collected runs lie. An earlier copy of the same run is replaced.
        here: paths below this folder become relative to it, the current one by default; of other absolute paths the
            last two parts are kept.

    Yields:
        The folders that were written.

    Raises:
        InputError: two runs have one name, one is no run or has no scores, its folder holds another run or is the run
            itself, or the references that it was scored on are not there; nothing was written then of that run.
    """
    names = [run.resolve().name for run in runs]
    twice = [str(run) for run, name in zip(runs, names, strict=True) if names.count(name) > 1]
    if twice:
        raise InputError(f"these runs would be collected under one name: {', '.join(twice)}; give each a folder, -o")
    shorten = _shortener(here or Path.cwd())
    for run, name in zip(runs, names, strict=True):
        yield _collect(run, folder / name, shorten)


def _collect(run: Path, target: Path, shorten: Callable[[str], str]) -> Path:
    files = list(_matching(run, [SCORES]))
    if not files:
        raise InputError(f"{run} holds no scores: make them with `asr test {run}`")
    _check_target(run, target, shorten)
    scores = {file: read_json(file) for file in files}
    rows = _hypotheses(run, scores)
    for file, content in scores.items():
        write_json(target / file.name, _mapped(_without_references(content), shorten))
    for file in _matching(run, [pattern for pattern in JSON if pattern != SCORES]):
        write_json(target / file.name, _mapped(read_json(file), shorten))
    for name, of_file in rows.items():
        write_jsonl(target / name, of_file)
    for file in _matching(run, [METRICS]):
        write_text(target / file.name, file.read_text(encoding="utf-8"))
    for file in _matching(run, [OPTIONS]):
        options = _mapped(read_yaml(file), shorten)
        write_text(target / file.name, yaml.safe_dump(options, sort_keys=False, allow_unicode=True))
    kept = {*rows, *(file.name for file in _matching(run, [*JSON, METRICS, OPTIONS]))}
    for file in _matching(target, [*JSON, METRICS, *LISTS, OPTIONS]):
        if file.name not in kept:  # of an earlier state of the run
            file.unlink()
    return target


def _check_target(run: Path, target: Path, shorten: Callable[[str], str]) -> None:
    """Refuse a folder that holds another run."""
    if run.resolve() == target.resolve():
        raise InputError(f"{run} would be collected into itself: give another folder with -o")
    if list(_matching(target, [*JSON, METRICS, *LISTS, OPTIONS])) and not _are_one(run, target, shorten):
        raise InputError(
            f"{target} holds another run than {run}: remove it if it is of no use any more, or give another folder "
            "with -o"
        )


def _are_one(run: Path, target: Path, shorten: Callable[[str], str]) -> bool:
    """Whether a collected run is of this training; without a log of it, of the same weights, or made the same way."""
    logs = [_beginning(folder / METRICS) for folder in (run, target)]
    if any(logs):
        return logs[0] == logs[1]
    sources = [_sources(folder, shorten) for folder in (run, target)]
    if any(sources):
        return not sources[0].isdisjoint(sources[1])
    records = [
        [_mapped(read_yaml(file), shorten) for file in _matching(folder, ["run.json", OPTIONS])]  # JSON is YAML too
        for folder in (run, target)
    ]
    return records[0] == records[1]


def _beginning(metrics: Path) -> list[str]:
    """Head and first epoch, whose loss and time no other training has; empty without a log."""
    return metrics.read_text(encoding="utf-8").splitlines()[:2] if metrics.is_file() else []


def _sources(folder: Path, shorten: Callable[[str], str]) -> set[str]:
    """Weights or files that the scores of a folder are of."""
    found = set()
    for file in _matching(folder, [SCORES]):
        scores = read_json(file)
        places = [(scores.get(block) or {}).get(key) for block, key in (("model", "source"), ("imported", "file"))]
        found |= {shorten(str(place)) for place in (*places, scores.get("hypotheses")) if place}
    return found


def _hypotheses(run: Path, scores: Mapping[Path, Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows by the name of the file for them: of all hypotheses of a run, and of others that its scores name."""
    references: dict[Path, Path] = {}
    for file, content in scores.items():
        found = hypotheses_of(file, content)
        place = references_of(file, content)
        if place is not None and found.is_file():
            other = references.setdefault(found.resolve(), place)
            if other != place:
                raise InputError(f"{run}: {found} was scored on the references of {other} and on those of {place}")
    files = [*_matching(run, LISTS), *(hypotheses_of(file, content) for file, content in scores.items())]
    rows: dict[str, list[Any]] = {}
    for file in dict.fromkeys(file.resolve() for file in files if file.is_file()):
        place = references.get(file)
        name = f"{file.name.removesuffix('.gz')}.gz"
        rows[name] = _with(read_jsonl(file), None if place is None else read_references(place))
    return rows


def _with(rows: Iterable[Any], references: Mapping[str, Reference] | None) -> list[Any]:
    """Rows of hypotheses with the references in the place of their own."""
    if references is None:
        return list(rows)
    known = [(row, references[row["id"]]) for row in rows]
    return [{**row, "reference": found.text, "speaker": found.speaker or row.get("speaker")} for row, found in known]


def _without_references(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Scores that name no file of references: those stand with the hypotheses."""
    return {key: value for key, value in scores.items() if key != "references"}


def _matching(run: Path, patterns: Iterable[str]) -> Iterator[Path]:
    for pattern in patterns:
        yield from sorted(run.glob(pattern))


def _shortener(here: Path) -> Callable[[str], str]:
    base = f"{here.resolve()}/"

    def shorten(text: str) -> str:
        if text.startswith(base):
            return text.removeprefix(base)
        return str(Path(*Path(text).parts[-2:])) if text.startswith("/") and "\n" not in text else text

    return shorten


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Plain data with every text changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_mapped(item, change) for item in value]
    return value
