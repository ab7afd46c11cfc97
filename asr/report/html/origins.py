"""Where the numbers of a report come from: corpora, machine, commits, versions, and how each model was trained."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from asr.provenance import commit
from asr.report.circumstances import UNKNOWN, decoding, place, shared_length, short, training_data
from asr.report.html.records import Gathered, RunRecord
from asr.report.tables import machine_of

HEADINGS = ("source", "trained on", "epochs", "seed", "trained at", "scored at", "decoding", "measured on")


def facts(gathered: Gathered, made: datetime) -> list[tuple[str, str]]:
    """What the head of the page says."""
    scores = gathered.runs[0].scores
    roots = shared_length(run.record.get("data_root") for run in gathered.runs)
    found = [
        ("test set", _test_set(gathered)),
        ("utterances, words", f"{scores['utterances']:,} utterances, {scores['words']:,} words" + _speakers(gathered)),
        ("training data", _same(gathered, lambda _, record: training_data(record, roots))),
        ("text normaliser", _same(gathered, lambda s, _: s.get("normalizer") or "none recorded")),
        ("decoding", _same(gathered, lambda s, _: decoding(s))),
        ("machine", _same(gathered, lambda s, _: machine(s))),
        ("scored at commit", _same(gathered, lambda s, _: short(s.get("commit")))),
        ("page made", f"{made:%Y-%m-%d %H:%M} UTC, at commit {short(commit())}"),
    ]
    return [(name, value) for name, value in found if value != UNKNOWN]


def _same(gathered: Gathered, value_of: Callable[[Mapping[str, Any], Mapping[str, Any]], str]) -> str:
    """The value that all runs have of which it is known; where they differ, they are at the end of the page."""
    values = [value_of(run.scores, run.record) for run in gathered.runs]
    known = [value for value in values if value != UNKNOWN]
    if len(set(known)) > 1:
        return "not the same for all: see the end of the page"
    if not known:
        return UNKNOWN
    return known[0] if len(known) == len(values) else f"{known[0]} (known of {len(known)} of {len(values)})"


def _test_set(gathered: Gathered) -> str:
    manifests = [place(s.scores["manifest"]) for s in gathered.runs if s.scores.get("manifest")]
    return manifests[0] if manifests else gathered.split


def _speakers(gathered: Gathered) -> str:
    speakers = {utterance.speaker for utterance in gathered.utterances} - {None}
    seconds = [utterance.seconds for utterance in gathered.utterances]
    said = f", {len(speakers):,} speakers" if speakers else ""
    if seconds and all(one is not None for one in seconds):
        total = sum(one or 0.0 for one in seconds)
        said += f", {total / 3600:.2f} hours" if total >= 3600 else f", {total / 60:.1f} minutes"
    return said


def machine(scores: Mapping[str, Any]) -> str:
    """Where the real-time factor was measured."""
    found = scores.get("machine")
    return machine_of(found) if isinstance(found, Mapping) else UNKNOWN


def origin_rows(gathered: Gathered) -> list[tuple[str, ...]]:
    """The cells of each run, below `HEADINGS`."""
    rows: list[tuple[str, ...]] = []
    for run in gathered.runs:
        scores, record = run.scores, run.record
        epochs = str(record.get("epochs", UNKNOWN)) + ("" if record.get("finished", True) else ", not finished")
        seed = scores.get("seed")
        rows.append(
            (
                _source(run),
                training_data(record),
                epochs,
                UNKNOWN if seed is None else str(seed),
                short(record.get("commit")) if record else UNKNOWN,
                short(scores.get("commit")),
                decoding(scores),
                machine(scores),
            )
        )
    return rows


def _source(run: RunRecord) -> str:
    """The weights, or the file that hypotheses were imported from."""
    model, imported = run.scores.get("model") or {}, run.scores.get("imported")
    if isinstance(imported, Mapping):
        empty = imported.get("missing_as_empty") or ()
        said = (
            f", {len(empty):,} utterances that it lacks count as empty" if isinstance(empty, Sequence) and empty else ""
        )
        return f"imported from {place(imported.get('file'))}{said}"
    step = f", step {model['step']:,}" if isinstance(model.get("step"), int) else ""
    digest = f", sha256 {str(model['sha256'])[:10]}" if model.get("sha256") else ""
    weights = model.get("source") or run.scores.get("hypotheses") or run.scored.path
    return f"{place(weights)}{step}{digest}"


def versions(gathered: Gathered) -> list[str]:
    """What the scores were made with; a line each if that differs."""
    lines: dict[str, list[str]] = {}
    for run in gathered.runs:
        found = run.scores.get("versions")
        if isinstance(found, Mapping):
            written = ", ".join(f"{name} {version}" for name, version in found.items() if version)
            lines.setdefault(written, []).append(run.name)
    if len(lines) == 1:
        return [f"Scored with {next(iter(lines))}."]
    return [f"{', '.join(names)}: scored with {written}." for written, names in lines.items()]
