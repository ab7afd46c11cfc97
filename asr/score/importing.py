"""`asr import`: another system's hypotheses, scored on references of ours, as a folder that `asr compare` takes."""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from asr.decode.hypotheses import Hypothesis, write_hypotheses
from asr.errors import InputError
from asr.files import read_json, read_jsonl, sha256_of, write_json, write_text
from asr.provenance import provenance
from asr.score.command import recorded, summary
from asr.score.foreign import ENDINGS, Recognized, read_recognized, read_texts
from asr.score.references import Reference, read_references
from asr.score.scores import format_alignments, name_some, reference_digest, score
from asr.text import Normalizer, normalizer


class Utterances(NamedTuple):
    """What is known of the utterances of a test set.

    Args:
        file: where they were read.
        references: text and speaker by utterance id.
        seconds: durations, of those whose duration the file has.
        normalizer: that the references went through; None if that is not recorded beside the file.
    """

    file: Path
    references: Mapping[str, Reference]
    seconds: Mapping[str, float]
    normalizer: str | None


def read_utterances(path: Path, split: str = "test") -> Utterances:
    """Read references: a run folder (its hypotheses of a split), TRN, or what `read_references` takes.

    Raises:
        InputError: see there.
    """
    if path.is_dir():
        path = hypotheses_in(path, split)
    if path.name.endswith(".trn"):
        return Utterances(path, {name: Reference(text) for name, text in read_texts(path).items()}, {}, None)
    references = read_references(path)
    rows = list(read_jsonl(path)) if path.name.endswith((".jsonl", ".jsonl.gz")) else []
    seconds = {row["id"]: row.get("seconds", row.get("duration")) for row in rows}
    known = {name: float(value) for name, value in seconds.items() if isinstance(value, int | float)}
    return Utterances(path, references, known, _recorded_normalizer(path, references))


def split_name(stem: str, split: str, ending: str) -> str:
    """The name of a split's file in a run folder: that of the split "test" has no suffix."""
    return f"{stem}{'' if split == 'test' else f'-{split}'}{ending}"


def hypotheses_in(folder: Path, split: str) -> Path:
    """The hypotheses of a split in a run folder, which collected runs have packed."""
    plain = folder / split_name("hypotheses", split, ".jsonl")
    packed = plain.with_name(f"{plain.name}.gz")
    return packed if packed.is_file() and not plain.is_file() else plain


def _recorded_normalizer(path: Path, references: Mapping[str, Reference]) -> str | None:
    """From scores beside hypotheses that they belong to, else from the normalization.json of a prepared corpus."""
    record = recorded(path)
    if record.get("reference_digest") == reference_digest((name, r.text) for name, r in references.items()):
        return record.get("normalizer")
    beside = path.parent / "normalization.json"
    content = read_json(beside) if beside.is_file() and path.name.endswith((".jsonl", ".jsonl.gz")) else None
    return f"{content['name']}/{content['version']}" if content and {"name", "version"} <= content.keys() else None


def match(
    texts: Mapping[str, Recognized], utterances: Utterances, missing_as_empty: bool = False
) -> tuple[list[Hypothesis], list[str]]:
    """Give each reference its hypothesis, by utterance id, also where the speaker stands before it (`SPEAKER-ID`).

    Returns:
        The rows in the order of the references, and the ids of those that had no hypothesis.

    Raises:
        InputError: hypotheses of utterances that the references do not have, two of one utterance, or references
            without a hypothesis unless `missing_as_empty`; the utterances are named.
    """
    references = utterances.references
    aliases = _aliases(references)
    names = {name: name if name in references else aliases.get(name) for name in texts}
    unknown = [name for name, meant in names.items() if meant is None]
    if unknown:
        raise InputError(
            f"{len(unknown)} of {len(texts)} hypotheses are of utterances that {utterances.file} does not have: "
            f"{name_some(unknown)}"
        )
    found = {meant: texts[name] for name, meant in names.items() if meant is not None}
    if len(found) < len(texts):
        times = Counter(names.values())
        twice = [name for name, meant in names.items() if times[meant] > 1 and meant != name]
        number = sum(several > 1 for several in times.values())
        raise InputError(f"{number} utterances occur twice, with and without their speaker: {name_some(twice)}")
    missing = [name for name in references if name not in found]
    if missing and not missing_as_empty:
        raise InputError(
            f"{len(missing)} of {len(references)} utterances have no hypothesis: {name_some(missing)}; if nothing was "
            "recognised in them, say so with --missing-as-empty, and their words count as deleted"
        )
    # Of a CTM that has confidences, an utterance without a line has no word, and so a confidence for each of them.
    sure = all(recognized.confidences is not None for recognized in found.values())
    nothing = Recognized("", () if sure else None)
    rows = []
    for name, reference in references.items():
        text, confidences = found.get(name, nothing)
        seconds = utterances.seconds.get(name)
        rows.append(Hypothesis(name, text, reference.text, reference.speaker, seconds, confidences if sure else None))
    return rows, missing


def _aliases(references: Mapping[str, Reference]) -> dict[str, str | None]:
    """Utterances by their ids with the speaker before them; None where two would be called the same."""
    aliases: dict[str, str | None] = {}
    for name, reference in references.items():
        for mark in "-_" if reference.speaker else "":
            alias = f"{reference.speaker}{mark}{name}"
            aliases[alias] = None if alias in aliases else name
    return aliases


def main(arguments: Sequence[str]) -> int:
    """`asr import`."""
    options = _parser().parse_args(arguments)
    folder, given = Path(options.output), Path(options.hypotheses)
    _check_place(folder, options.split)
    normalize = normalizer(options.normalizer) if options.normalizer else None
    utterances = read_utterances(Path(options.references), options.split)
    rows, missing = match(read_recognized(given, options.format), utterances, options.missing_as_empty)
    if normalize:
        rows = [_normalized(row, normalize) for row in rows]
    scores = score(rows, normalize.identifier if normalize else utterances.normalizer)
    made_with = provenance()
    record = {
        **scores.to_dict(),
        "manifest": str(utterances.file),
        "seed": None,
        "model": {"name": options.name or folder.resolve().name},
        "imported": {
            "file": str(given),
            "sha256": sha256_of(given),
            "normalizer": normalize.identifier if normalize else None,
            "missing_as_empty": missing,
        },
        "versions": made_with["versions"],
        "commit": made_with["commit"],
    }
    write_hypotheses(folder / split_name("hypotheses", options.split, ".jsonl"), rows)
    write_text(folder / split_name("alignments", options.split, ".txt"), format_alignments(scores))
    write_json(folder / split_name("scores", options.split, ".json"), record)
    print(summary(scores))
    for note in _notes(rows, missing, scores.normalizer, normalize is not None):
        print(f"note: {note}")
    print(f"wrote {folder}, which `asr compare` takes as it takes runs")
    return 0


def _check_place(folder: Path, split: str) -> None:
    file = folder / split_name("scores", split, ".json")
    if (folder / "checkpoints").is_dir() or (file.is_file() and "imported" not in read_json(file)):
        raise InputError(f"{folder} holds a run of another system: give another folder with -o")


def _normalized(row: Hypothesis, normalize: Normalizer) -> Hypothesis:
    """Confidences stay where the normaliser neither joined nor dropped words."""
    text = normalize(row.hypothesis)
    kept = row.confidences if row.confidences is not None and len(row.confidences) == len(text.split()) else None
    return replace(row, hypothesis=text, reference=normalize(row.reference or ""), confidences=kept)


def _notes(rows: Sequence[Hypothesis], missing: Sequence[str], identifier: str | None, normalized: bool) -> list[str]:
    """What must be known to trust the rates."""
    notes = []
    if missing:
        notes.append(f"{len(missing)} utterances without a hypothesis were scored as empty: {name_some(missing)}")
    empty = [row.id for row in rows if not row.hypothesis and row.id not in missing]
    if empty:
        notes.append(f"{len(empty)} hypotheses are empty: {name_some(empty)}")
    if identifier and not normalized:
        change = normalizer(identifier)
        other = [row.id for row in rows if change(row.hypothesis) != row.hypothesis]
        if other:
            notes.append(
                f"the references were normalised by {identifier}, and {len(other)} hypotheses are not written so: "
                f"{name_some(other)}; --normalizer {identifier} treats them alike"
            )
    return notes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asr import",
        description="Score hypotheses that another system wrote, and lay them down as a folder that `asr compare` and "
        "the other commands take as they take runs. Hypotheses are matched with references by utterance id; missing, "
        "unknown and repeated utterances are refused by name.",
        epilog="Formats: TRN `WORD WORD ... (ID)`; CTM `ID CHANNEL START DURATION WORD`, which cannot tell an empty "
        "hypothesis from a missing one; JSON lines with id and hypothesis, pred_text or text; Kaldi's `ID WORD WORD "
        "...`. Before an ID its speaker may stand: SPEAKER-ID or SPEAKER_ID. `(UH)` and `<sil>` are words, as they are "
        "for sclite (without its option -D); `@` and alternatives in braces are refused in TRN and CTM.",
    )
    parser.add_argument("hypotheses", help="the other system's file")
    parser.add_argument(
        "--references",
        required=True,
        help="a run folder that was scored on the same utterances, lhotse cuts, hypotheses.jsonl, or a file of "
        "references (.jsonl, .trn, or lines `ID WORD WORD ...`)",
    )
    parser.add_argument("-o", "--output", required=True, help="folder for the results; tables call the system by it")
    parser.add_argument("--name", help="name of the system, kept in scores.json (default: the folder's)")
    parser.add_argument("--split", default="test", help="which split this is, as `asr compare --split` (default: test)")
    parser.add_argument(
        "--format", choices=sorted(set(ENDINGS.values())), help="of the file (default: by the ending of its name)"
    )
    parser.add_argument("--missing-as-empty", action="store_true", help="score utterances without one as empty")
    parser.add_argument("--normalizer", help="apply a text normaliser to both sides first, for example english/1")
    return parser
