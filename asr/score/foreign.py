"""Hypotheses of other systems: TRN and CTM (see `asr.score.formats`), JSON lines, and Kaldi's `ID WORD WORD ...`.

Words are what sclite takes for words: `(UH)` and `<sil>` too (sclite passes over a missing `(UH)` with its option -D
alone). `@`, which is no word, and the braces of alternatives are refused.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import unquote

from asr.errors import InputError
from asr.files import read_jsonl, shared_key
from asr.score.formats import ESCAPED
from asr.score.scores import name_some

Form = Literal["trn", "ctm", "jsonl", "kaldi"]
ENDINGS: dict[str, Form] = {
    ".trn": "trn",
    ".ctm": "ctm",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".text": "kaldi",
    ".txt": "kaldi",
}
"""Endings of file names, and the formats they stand for; Kaldi's files are also just called `text`."""
TEXT_KEYS = ("hypothesis", "pred_text", "text")
"""Where the objects of a JSON-lines file have their texts: all of them in the first of these that any has."""
TRN_LINE = re.compile(r"(?P<words>.*)\((?P<name>[^()]+)\)\s*")


class Line(NamedTuple):
    """A line of a text file, its escapes not undone, and where it stands."""

    text: str
    where: str


class Recognized(NamedTuple):
    """What a system recognised in an utterance.

    Args:
        text: the words.
        confidences: of each of them, between 0 and 1; None if one is not known.
    """

    text: str
    confidences: tuple[float, ...] | None = None


def read_texts(path: Path | str, form: Form | None = None) -> dict[str, str]:
    """The texts of `read_recognized`, with which it shares arguments and errors."""
    return {name: recognized.text for name, recognized in read_recognized(path, form).items()}


def read_recognized(path: Path | str, form: Form | None = None) -> dict[str, Recognized]:
    """Read hypotheses by utterance id; a CTM may have confidences.

    Args:
        path: the file.
        form: of the file; by the ending of its name if None (see `ENDINGS`).

    Raises:
        InputError: the file cannot be read or holds nothing, its format is not known, a line is not of that format, or
            utterances occur more than once; file and line, or the utterances, are named.
    """
    path = Path(path)
    form = form or _form_of(path)
    pairs = list(_read_jsonl(path) if form == "jsonl" else _READERS[form](_lines(path, form)))
    if not pairs and form != "ctm":  # a CTM without a line is of a system that recognised nothing
        raise InputError(f"{path} holds no hypotheses")
    repeated = sorted(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
    if repeated:
        raise InputError(f"{path}: {len(repeated)} utterances occur more than once: {name_some(repeated)}")
    return dict(pairs)


def _form_of(path: Path) -> Form:
    for ending, form in ENDINGS.items():
        if path.name.endswith(ending):
            return form
    if path.name == "text":
        return "kaldi"
    raise InputError(f"{path}: the name does not tell its format: give --format trn, ctm, jsonl or kaldi")


def _read_jsonl(path: Path) -> Iterable[tuple[str, Recognized]]:
    rows = list(read_jsonl(path))
    key = shared_key(rows, TEXT_KEYS)
    for number, row in enumerate(rows, start=1):
        text = row.get(key) if isinstance(row, dict) else None
        if not (isinstance(text, str) and isinstance(row.get("id"), str)):
            wanted = f"{key}, as others have it," if key else f"one of {', '.join(TEXT_KEYS)},"
            raise InputError(f"{path}, row {number}: expected an object with id and {wanted} both strings")
        yield row["id"], Recognized(" ".join(text.split()))


def _lines(path: Path, form: Form) -> list[Line]:
    """The lines that hold something and are no comment, which there are none of in Kaldi's format."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error}") from error
    return [
        Line(text.rstrip("\r"), f"{path}, line {number}")
        for number, text in enumerate(lines, start=1)
        if text.strip() and not (form != "kaldi" and text.startswith(";;") and text.rstrip() != ESCAPED)
    ]


def _read_kaldi(lines: list[Line]) -> Iterable[tuple[str, Recognized]]:
    for line in lines:
        name, *words = line.text.split()
        yield name, Recognized(" ".join(words))


def _unescaping(lines: list[Line]) -> tuple[Callable[[str], str], list[Line]]:
    """What turns a word of the file into the one that was meant, and the lines without the comment that says so."""
    rest = [line for line in lines if line.text.rstrip() != ESCAPED]
    return (unquote if len(rest) < len(lines) else str), rest


def _read_trn(lines: list[Line]) -> Iterable[tuple[str, Recognized]]:
    meant, lines = _unescaping(lines)
    for line in lines:
        match = TRN_LINE.fullmatch(line.text)
        if match is None:
            raise InputError(f"{line.where}: expected `WORD WORD ... (ID)`, got {line.text!r}")
        words = match["words"].split()
        for word in words:
            _check_word(word, f"{line.where} ({match['name']})")
        yield meant(match["name"]).strip(), Recognized(" ".join(map(meant, words)))


def _check_word(word: str, where: str) -> None:
    if word == "@" or "{" in word or "}" in word:
        raise InputError(f"{where}: {word!r} stands for alternatives or for no word, and a hypothesis is one text")


def _read_ctm(lines: list[Line]) -> Iterable[tuple[str, Recognized]]:
    """The words of each file, which must stand together and in the order of their times."""
    meant, lines = _unescaping(lines)
    name, channel, before = "", "", 0.0
    words: list[tuple[str, float | None]] = []
    for line in lines:
        fields = line.text.split()
        start, confidence = _numbers(fields, line.where)
        _check_word(fields[4], f"{line.where} ({fields[0]})")
        if fields[0] != name:
            if name:
                yield meant(name), _joined(words)
            name, channel, words = fields[0], fields[1], []
        elif fields[1] != channel:
            raise InputError(f"{line.where}: {name} has words on the channels {channel} and {fields[1]}")
        elif start < before:
            raise InputError(f"{line.where}: the times of {name} go back, from {before} s to {start} s")
        before = start
        words.append((meant(fields[4]), confidence))
    if name:
        yield meant(name), _joined(words)


def _joined(words: Sequence[tuple[str, float | None]]) -> Recognized:
    """Confidences outside of 0 to 1, as logarithms are, count as not known."""
    known = [sure for _, sure in words if sure is not None and 0 <= sure <= 1]
    return Recognized(" ".join(word for word, _ in words), tuple(known) if len(known) == len(words) else None)


def _numbers(fields: list[str], where: str) -> tuple[float, float | None]:
    """Start and confidence of a word, once all numbers of its line are known to be some; NaN and infinity are none."""
    try:
        start, duration, *confidence = (float(field) for field in (*fields[2:4], *fields[5:]))
        if (
            len(fields) in (5, 6)
            and all(map(math.isfinite, (start, duration, *confidence)))
            and min(start, duration) >= 0
        ):
            return start, confidence[0] if confidence else None
    except ValueError:
        pass
    raise InputError(
        f"{where}: expected `FILE CHANNEL START DURATION WORD [CONFIDENCE]` with times in seconds of at least 0, got "
        f"{' '.join(fields)!r}"
    )


_READERS: dict[Form, Callable[[list[Line]], Iterable[tuple[str, Recognized]]]] = {
    "trn": _read_trn,
    "ctm": _read_ctm,
    "kaldi": _read_kaldi,
}
