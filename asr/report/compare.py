"""`asr compare`: one table of several runs that were scored on the same thing."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.decode.hypotheses import Hypothesis, read_hypotheses
from asr.errors import InputError
from asr.files import read_json, sha256_of, write_text
from asr.score.scores import name_some

HEADINGS = ("model", "parameters", "multiply-adds/s", "WER", "CER", "real-time factor", "training time")
UNKNOWN = "–"
NEEDED: dict[str, Any] = {
    "wer": float | int | None,
    "cer": float | int | None,
    "errors": int,
    "words": int,
    "utterances": int,
    "reference_digest": str,
}
"""Keys of scores.json, and the types they must have, for a comparison."""


@dataclass(frozen=True)
class ScoredRun:
    """A run and its scores.

    Args:
        path: the run folder, or the scores file, as it was given.
        name: for tables.
        scores: the content of its scores.json.
        hypotheses: its hypotheses.jsonl, which need not exist.
    """

    path: Path
    name: str
    scores: Mapping[str, Any]
    hypotheses: Path


def read_runs(paths: Sequence[Path], split: str = "test") -> list[ScoredRun]:
    """Read the scores of run folders, or scores files themselves. Runs are called by their folders.

    Raises:
        InputError: there are no scores for that split, they lack something that a comparison needs, or they are of an
            earlier state of a run that was trained further.
    """
    suffix = "" if split == "test" else f"-{split}"
    files = [path / f"scores{suffix}.json" if path.is_dir() else path for path in paths]
    names = [path.resolve().name if path.is_dir() else path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    runs = []
    for path, file, name in zip(paths, files, names, strict=True):
        if path.is_dir() and not file.is_file():
            raise InputError(f"{path} has no {file.name}: make it with `asr test {path} --split {split}`")
        scores = _read_scores(file)
        if path.is_dir():
            _check_current(path, file, scores, split)
        runs.append(ScoredRun(path, name, scores, file.parent / f"hypotheses{suffix}.jsonl"))
    return runs


def _check_current(run: Path, file: Path, scores: Mapping[str, Any], split: str) -> None:
    """Refuse scores of weights that a run has no more, since it was trained further."""
    model = scores.get("model") or {}
    if not (model.get("sha256") and model.get("source")):
        return
    name = Path(model["source"]).name
    for weights in (run / "checkpoints" / name, run / name):
        if weights.is_file() and sha256_of(weights) != model["sha256"]:
            step = "" if model.get("step") is None else f", that of step {model['step']}"
            raise InputError(
                f"{file} is of an earlier state of the run{step}: {weights} has been written anew since then; score "
                f"it with `asr test {run} --split {split}`"
            )


def _read_scores(file: Path) -> dict[str, Any]:
    scores = read_json(file)
    if not isinstance(scores, dict):
        raise InputError(f"{file} holds no scores")
    for key, kinds in NEEDED.items():
        if key not in scores or isinstance(scores[key], bool) or not isinstance(scores[key], kinds):
            raise InputError(f"{file} holds no scores that can be compared: {key!r} is {scores.get(key)!r}")
    return scores


def check_comparable(runs: Sequence[ScoredRun]) -> None:
    """Refuse runs that were not scored on the same utterances, references and normalisation.

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
        if first.scores["reference_digest"] != other.scores["reference_digest"]:
            raise InputError(f"{first.path} and {other.path} cannot be compared: {_difference(first, other)}")


def _difference(first: ScoredRun, other: ScoredRun) -> str:
    """What differs between the utterances and references of two runs, as far as their hypotheses files tell."""
    if not (first.hypotheses.is_file() and other.hypotheses.is_file()):
        return (
            f"they were scored on different references ({first.scores['utterances']} and "
            f"{other.scores['utterances']} utterances, {first.scores['words']} and {other.scores['words']} words)"
        )
    left, right = (_references(read_hypotheses(run.hypotheses)) for run in (first, other))
    parts = [
        f"{len(alone)} utterances are in {run.path} only ({name_some(alone, 3)})"
        for run, alone in ((first, sorted(left.keys() - right.keys())), (other, sorted(right.keys() - left.keys())))
        if alone
    ]
    changed = sorted(name for name in left.keys() & right.keys() if left[name] != right[name])
    if changed:
        name = changed[0]
        parts.append(f"{len(changed)} references differ ({name}: {left[name]!r} and {right[name]!r})")
    return "; ".join(parts) or "their scores.json and hypotheses.jsonl do not belong together: score them again"


def _references(rows: Sequence[Hypothesis]) -> dict[str, str]:
    return {row.id: row.reference or "" for row in rows}


def table_rows(runs: Sequence[ScoredRun]) -> list[tuple[str, ...]]:
    """The cells of the table, a row a run, below `HEADINGS`."""
    rows: list[tuple[str, ...]] = []
    for run in runs:
        model, scores = run.scores.get("model") or {}, run.scores
        rows.append(
            (
                run.name,
                _amount(model.get("parameters")),
                _amount(model.get("multiply_adds_per_second")),
                f"{_percent(scores['wer'])} ({scores['errors']}/{scores['words']})",
                _percent(scores["cer"]),
                _decimal(scores.get("real_time_factor")),
                _duration(scores.get("training_seconds")),
            )
        )
    return rows


def _percent(rate: float | None) -> str:
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


def _duration(seconds: float | None) -> str:
    """Hours, minutes and seconds.

    >>> _duration(3725.4), _duration(59.6)
    ('1:02:05', '0:01:00')
    """
    if seconds is None:
        return UNKNOWN
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def notes(runs: Sequence[ScoredRun]) -> list[str]:
    """What must be known to read the table: the test set, and where real-time factors come from."""
    scores = runs[0].scores
    normalizer = scores.get("normalizer")
    lines = [
        f"{scores['utterances']} utterances, {scores['words']} words, "
        + (f"normalised by {normalizer}." if normalizer else "no text normalisation recorded.")
    ]
    machines = {json.dumps(run.scores["machine"], sort_keys=True): run for run in runs if run.scores.get("machine")}
    places = [
        f"{run.name}: {_place(run.scores['machine'])}" if len(machines) > 1 else _place(run.scores["machine"])
        for run in machines.values()
    ]
    if len(places) > 1:
        lines.append(f"The real-time factors are not comparable, they come from {'; '.join(places)}.")
    elif places:
        lines.append(f"Real-time factors on {places[0]}.")
    return lines


def _place(machine: Mapping[str, Any]) -> str:
    on = machine["cpu"] if machine["device"] == "cpu" else machine["device"]
    return f"{on}, {machine['processes']} process(es) with {machine['threads']} thread(s)"


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

    >>> print(markdown_table(["model", "WER"], [["grid", "9 %"]]))
    | model | WER |
    |---|---:|
    | grid | 9 % |
    """
    rule = "|" + "|".join(["---", *["---:"] * (len(headings) - 1)]) + "|"
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in (headings, *rows)]
    return "\n".join([lines[0], rule, *lines[1:]])


def main(arguments: Sequence[str]) -> int:
    """`asr compare`."""
    options = _parser().parse_args(arguments)
    runs = read_runs([Path(path) for path in options.runs], options.split)
    check_comparable(runs)
    if options.json:
        text = json.dumps([{"name": run.name, **run.scores} for run in runs], indent=2, ensure_ascii=False)
    else:
        table = (markdown_table if options.markdown else plain_table)(HEADINGS, table_rows(runs))
        text = table + "\n\n" + "\n".join(notes(runs))
    print(text)
    if options.output:
        write_text(options.output, text + "\n")
    if options.picture:
        from asr.report.pictures import comparison_picture, read_groups

        groups = read_groups(options.groups) if options.groups else None
        comparison_picture(runs, Path(options.picture), options.utterance, groups)
        # JSON on stdout is not to be mixed with anything.
        print(f"picture: {options.picture}", file=sys.stderr if options.json else sys.stdout)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asr compare",
        description="One table of runs that were scored on the same utterances, references and text normalisation; "
        "others are refused, and what differs is named.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders (or scores.json files)")
    parser.add_argument("--split", default="test", help="which scores of the run folders (default: test)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print a Markdown table")
    form.add_argument("--json", action="store_true", help="print all scores as JSON")
    parser.add_argument("-o", "--output", help="write the table to this file too")
    parser.add_argument("--picture", help="draw one utterance as all models hear it, and the WER of speakers, as PNG")
    parser.add_argument("--utterance", help="which utterance (default: one on which the models differ)")
    parser.add_argument("--groups", help="table (TSV) with the columns speaker and family: bars are drawn by family")
    return parser
