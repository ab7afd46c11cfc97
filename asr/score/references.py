"""References from wherever they are: lhotse cuts, JSON lines, or Kaldi's text format."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from asr.decode.hypotheses import Hypothesis
from asr.errors import InputError
from asr.files import read_jsonl, shared_key
from asr.score.scores import name_some


class Reference(NamedTuple):
    """What was said in an utterance, and by whom (None: not known)."""

    text: str
    speaker: str | None = None


def read_references(path: Path | str) -> dict[str, Reference]:
    """Read references by utterance id.

    Files `*.jsonl` and `*.jsonl.gz` hold lhotse cuts, or objects with `id` and `reference` (or `text`), and perhaps
    `speaker`. Any other file is text as Kaldi has it: a line `ID WORD WORD ...` each, an id alone being an empty
    reference. A byte order mark and empty lines at the end are passed over.

    Raises:
        InputError: the file cannot be read or is not of such a form, or an id occurs twice; file and line are named.
    """
    path = Path(path)
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        return _read_text(path)
    first = next(iter(read_jsonl(path)), None)
    if isinstance(first, dict) and "recording" in first:
        from asr.data.cuts import read_cuts, speaker_of, text_of

        return {cut.id: Reference(text_of(cut), speaker_of(cut)) for cut in read_cuts(path)}
    return _read_rows(path)


def _read_rows(path: Path) -> dict[str, Reference]:
    references: dict[str, Reference] = {}
    rows = list(read_jsonl(path))
    key = shared_key(rows, ("reference", "text")) or "reference"
    for number, row in enumerate(rows, start=1):
        where = f"{path}, row {number}"
        text = row.get(key) if isinstance(row, dict) else None
        if not (isinstance(text, str) and isinstance(row.get("id"), str)):
            raise InputError(f"{where}: expected a lhotse cut, or an object with id and {key}")
        if not isinstance(row.get("speaker"), str | None):
            raise InputError(f"{where} ({row['id']}): 'speaker' must be a string or null, got {row['speaker']!r}")
        _add(references, row["id"], Reference(text, row.get("speaker")), where)
    return _some(references, path)


def _read_text(path: Path) -> dict[str, Reference]:
    references: dict[str, Reference] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().split("\n")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error}") from error
    for number, line in enumerate(lines if any(lines) else [], start=1):
        name, *words = line.split() or [""]
        if not name:
            raise InputError(f"{path}, line {number}, is empty: expected an utterance id and its words")
        _add(references, name, Reference(" ".join(words)), f"{path}, line {number}")
    return _some(references, path)


def _add(references: dict[str, Reference], name: str, reference: Reference, where: str) -> None:
    if name in references:
        raise InputError(f"{where}: utterance {name!r} occurs twice")
    references[name] = reference


def _some(references: dict[str, Reference], path: Path) -> dict[str, Reference]:
    if not references:
        raise InputError(f"{path} holds no references")
    return references


def with_references(rows: Sequence[Hypothesis], references: dict[str, Reference]) -> list[Hypothesis]:
    """Give hypotheses their references (and speakers where they are known).

    Raises:
        InputError: an utterance is in one and not in the other; the utterances are named.
    """
    ids = {row.id for row in rows}
    without = [row.id for row in rows if row.id not in references]
    if without:
        raise InputError(f"{len(without)} hypotheses have no reference: {name_some(without)}")
    missing = [name for name in references if name not in ids]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(references)} utterances of the reference have no hypothesis: {name_some(missing)}"
        )
    return [
        replace(row, reference=references[row.id].text, speaker=references[row.id].speaker or row.speaker)
        for row in rows
    ]
