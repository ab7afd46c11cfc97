"""Sentences for language models: from text and manifests, as words or characters, without those of a test."""

import gzip
import hashlib
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from asr.errors import InputError
from asr.files import read_jsonl
from asr.lm.model import SPACE, Unit
from asr.text import LOWER_1, Normalizer

GZIP = b"\x1f\x8b"
"""How gzipped files begin."""


def text_start(line: bytes, path: Path) -> bytes:
    """The first line of a file of text, without a byte order mark.

    Raises:
        InputError: the file is gzipped, and was not opened as such.
    """
    if line.startswith(GZIP):
        raise InputError(f"{path} begins as gzipped files do: is it one? Name it {path.name}.gz")
    return line.removeprefix(BOM_UTF8)


def is_manifest(path: Path | str) -> bool:
    """Whether a file is one of transcripts (`*.jsonl`, `*.jsonl.gz`), and not one of text."""
    return Path(path).name.endswith((".jsonl", ".jsonl.gz"))


def read_sentences(path: Path | str) -> list[str]:
    """The sentences of a file, empty ones left out.

    Files `*.jsonl` and `*.jsonl.gz` hold lhotse cuts, whose supervisions have the texts, or objects with `text` or
    `reference`. Any other file is text, one sentence a line, gzipped if its name ends in `.gz`; a byte order
    mark at its beginning is no part of it.

    Raises:
        InputError: the file cannot be read or is of another form; file and line are named.
    """
    path = Path(path)
    texts: Iterable[str]
    if is_manifest(path):
        texts = (text for number, row in enumerate(read_jsonl(path), start=1) for text in _texts(row, path, number))
    else:
        texts = _lines(path)
    return [text for text in texts if text and not text.isspace()]


def _texts(row: Any, path: Path, number: int) -> list[str]:
    if isinstance(row, dict):
        parts = row["supervisions"] if isinstance(row.get("supervisions"), list) else [row]
        texts = [part.get("text", part.get("reference")) for part in parts if isinstance(part, dict)]
        strings = [text for text in texts if isinstance(text, str)]
        if len(strings) == len(parts):
            return strings
    raise InputError(f"{path}, row {number}: expected a cut with transcripts, or an object with text or reference")


def _lines(path: Path) -> Iterator[str]:
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            for line in file:
                number += 1
                yield (text_start(line, path) if number == 1 else line).decode()
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {path}{f' after line {number}' if number else ''}: {reason}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, line {number}, is not UTF-8 text: {error.reason}") from error


def split(sentence: str, unit: Unit) -> list[str]:
    """The words of a sentence, or its characters, a space between words being `<space>`.

    >>> split("AM I ", "character")
    ['A', 'M', '<space>', 'I']
    """
    words = sentence.split()
    return words if unit == "word" else [SPACE if character == " " else character for character in " ".join(words)]


def joined(units: Iterable[str], unit: Unit) -> str:
    """The sentence of such units.

    >>> joined(["A", "M", "<space>", "I"], "character")
    'AM I'
    """
    return " ".join(units) if unit == "word" else "".join(" " if each == SPACE else each for each in units)


def digest_of(sentences: Iterable[str]) -> str:
    """SHA-256 of sentences, one a line: of what a file says, whatever its form and wherever the audio of its cuts lies.

    >>> digest_of(["A B\\n", "C"])[:8]  # as of `printf 'A B\\nC\\n' | sha256sum`
    'cd3b6c69'
    """
    return hashlib.sha256("".join(" ".join(sentence.split()) + "\n" for sentence in sentences).encode()).hexdigest()


class Exclusion(NamedTuple):
    """What was left out because it is held out elsewhere.

    Attributes:
        path: of the held-out transcripts.
        transcripts: there, different ones.
        found: of these, those that occurred in the text.
        sentences: of the text, that were left out because of them.
        sha256: of these transcripts by `digest_of`, so that a model tells what it was built without.
    """

    path: str
    transcripts: int
    found: int
    sentences: int
    sha256: str


def without_held_out(
    sentences: Sequence[str], held_out: Iterable[Path | str], normalize: Normalizer
) -> tuple[list[str], list[Exclusion]]:
    """Leave out sentences that are equal to a held-out transcript.

    Two texts are equal if they are after `normalize` and, then, without case and punctuation, and something is left.

    Args:
        sentences: the text, normalised.
        held_out: files as `read_sentences` takes them.
        normalize: is applied to the held-out transcripts.

    Returns:
        The other sentences, and for every file what it removed, a sentence being counted at the first that has it.
    """
    keys = [LOWER_1(sentence) for sentence in sentences]
    kept = list(range(len(keys)))
    exclusions = []
    for path in held_out:
        held = read_sentences(path)
        transcripts = {LOWER_1(normalize(text)) for text in held} - {""}
        removed = [number for number in kept if keys[number] in transcripts]
        found = transcripts.intersection(keys)
        exclusions.append(Exclusion(str(path), len(transcripts), len(found), len(removed), digest_of(held)))
        kept = [number for number in kept if keys[number] not in transcripts]
    return [sentences[number] for number in kept], exclusions
