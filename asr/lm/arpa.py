r"""ARPA files: what language model tools exchange.

    \data\
    ngram 1=4
    ngram 2=1

    \1-grams:
    -1.0<TAB>the word<TAB>-0.3       log10 P, the n-gram, log10 of its back-off weight (absent: 0)
    ...
    \2-grams:
    ...
    \end\
"""

import contextlib
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from asr.errors import InputError
from asr.files import atomic_writer
from asr.lm.model import END, START, UNKNOWN, NGramModel
from asr.lm.sentences import text_start
from asr.lm.trie import Ngrams, build_trie

LINES = 1 << 18
"""Lines that are read or written at once."""
NEVER = -99.0
"""log10 of the probability that files state for what cannot occur, as `<s>`."""
UNKNOWN_MISSING = -100.0
"""log10 P(<unk>) for a model without `<unk>`, as KenLM has it."""
ROUNDING = 1e-6
"""How far above 0 the log10 of a certain event's probability may be written."""
LN10 = float(np.log(10.0))

RECORD = b"# record: "
"""Begins the line, before `\\data\\`, in which a model's record stands."""

_COUNT = re.compile(rb"ngram\s+(\d+)\s*=\s*(\d+)\s*$")


def read_arpa(path: Path | str) -> NGramModel:
    """Read an ARPA file, gzipped if its name ends in `.gz`.

    Fields may be separated by tabs or spaces, and blank lines are skipped; back-off weights may be absent. A model
    without `<unk>` gets one of log10 P = -100. Contexts that are missing are added with the probability that backing
    off gives them.

    Raises:
        InputError: it cannot be read or is no such file; the message names file and line.
    """
    path = Path(path)
    try:
        raw = gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb", buffering=0)  # noqa: SIM115
        with io.BufferedReader(cast(io.RawIOBase, raw), 1 << 20) as file:  # gzip's own lines are slow
            return _Reader(path, file).read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


class _Reader:
    """One reading of a file: knows at which line it is."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file
        self.line = 0
        self.record: Any = None

    def read(self) -> NGramModel:
        counts = self._counts()
        words: list[bytes] = []
        index: dict[bytes, int] = {}
        levels = []
        for order, count in enumerate(counts, start=1):
            if order > 1:
                self._header(order)
            levels.append(self._section(order, count, order == len(counts), words, index))
        if (line := self._next()) != b"\\end\\":
            raise self._wrong(rf"expected \end\ after {counts[-1]} {len(counts)}-grams, found {_shown(line)}")
        while self.file.read(1 << 20):  # to the end, where gzip checks its sum
            pass
        if not index.keys() & {b"<unk>", b"<UNK>"}:
            index[UNKNOWN.encode()] = len(words)
            words.append(UNKNOWN.encode())
            unknown = Ngrams(np.array([[len(words) - 1]]), np.array([UNKNOWN_MISSING]), np.zeros(1))
            levels[0] = _joined([levels[0], unknown])
        if END.encode() not in index:
            raise InputError(f"{self.path}: no {END} among the 1-grams")
        natural = [Ngrams(level.words, level.log_prob * LN10, level.backoff * LN10) for level in levels]
        vocabulary = self._decoded(words)
        try:
            record = self.record if isinstance(self.record, dict) else None
            return NGramModel(vocabulary, build_trie(natural, len(words)), record)
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            twin = " ".join(vocabulary[number] for number in error.args[0])
            raise InputError(f"{self.path}: the n-gram {twin!r} occurs twice") from None

    def _counts(self) -> list[int]:
        """Read the head, up to the headline of the 1-grams."""
        for raw in self.file:  # anything may stand before \data\
            self.line += 1
            if self.line == 1:
                raw = text_start(raw, self.path)
            if raw.strip() == b"\\data\\":
                break
            if raw.startswith(RECORD):
                with contextlib.suppress(ValueError):  # another's words
                    self.record = json.loads(raw[len(RECORD) :])
            if self.line == 1 and b"\0" in raw:
                raise InputError(f"{self.path} is no ARPA file: its first line is binary")
        else:
            raise InputError(rf"{self.path} is no ARPA file: it has no line \data\ (read {self.line} lines)")
        counts: list[int] = []
        while not (line := self._next()).startswith(b"\\"):
            found = _COUNT.match(line)
            if not found or int(found[1]) != len(counts) + 1:
                raise self._wrong(f"expected `ngram {len(counts) + 1}=COUNT`, found {_shown(line)}")
            counts.append(int(found[2]))
        if not counts or line != b"\\1-grams:":
            raise self._wrong(rf"expected counts and then \1-grams:, found {_shown(line)}")
        return counts

    def _header(self, order: int) -> None:
        line = self._next()
        if line != f"\\{order}-grams:".encode():
            more = "; there are more n-grams above than \\data\\ says" if not line.startswith(b"\\") else ""
            raise self._wrong(rf"expected \{order}-grams:, found {_shown(line)}{more}")

    def _next(self) -> bytes:
        """The next line that is not empty, stripped."""
        for raw in self.file:
            self.line += 1
            if line := raw.strip():
                return line
        raise InputError(rf"{self.path} ends after line {self.line}, before \end\: it is truncated")

    def _section(self, order: int, count: int, last: bool, words: list[bytes], index: dict[bytes, int]) -> Ngrams:
        parts = [Ngrams(np.zeros((0, order), dtype=np.int32), np.zeros(0), np.zeros(0))]
        left = count
        while left:
            lines = list(islice(self.file, min(left, LINES)))
            if not lines:
                raise InputError(rf"{self.path} ends after line {self.line}, before \end\: it is truncated")
            for blank, run in groupby(lines, bytes.isspace):
                together = list(run)
                if not blank:
                    parts.append(self._ngrams(together, order, last, words, index))
                    left -= len(together)
                self.line += len(together)
        return _joined(parts)

    def _ngrams(
        self, lines: list[bytes], order: int, last: bool, words: list[bytes], index: dict[bytes, int]
    ) -> Ngrams:
        """Parse lines, each of log10 P, `order` words and perhaps log10 of the back-off weight."""
        tokens = b"".join(lines).split()
        fields = _fields_of_lines(lines)
        weighted = fields == order + 2
        wrong = np.flatnonzero(~weighted & (fields != order + 1))
        if len(wrong):
            raise self._wrong_ngram(lines, int(wrong[0]), order)
        first = np.concatenate([[0], np.cumsum(fields)[:-1]])
        log_prob = self._numbers(tokens, first, 0)
        impossible = np.flatnonzero(log_prob > ROUNDING)
        if len(impossible):
            row = int(impossible[0])
            shown = _shown(tokens[int(first[row])])
            raise self._wrong(f"{shown} is no log10 of a probability, which is at most 0", row + 1)
        log_prob = np.minimum(log_prob, 0.0)
        backoff = np.zeros(len(lines))
        weights = self._numbers(tokens, first[weighted] + order + 1, np.flatnonzero(weighted))
        if not last:  # there, nothing is longer
            backoff[weighted] = weights
        backoff[backoff <= NEVER] = NEVER
        found = np.empty((len(lines), order), dtype=np.int32)
        for number in range(order):
            column = [tokens[place] for place in (first + 1 + number).tolist()]
            if order == 1:
                self._add_words(column, words, index)
            found[:, number] = [index.get(word, -1) for word in column]
        strange = np.flatnonzero((found < 0).any(1))
        if len(strange):
            row = int(strange[0])
            word = tokens[int(first[row]) + 1 + int(np.argmax(found[row] < 0))]
            raise self._wrong(f"{_shown(word)} is not among the 1-grams", row + 1)
        return Ngrams(found, log_prob, backoff)

    def _add_words(self, column: list[bytes], words: list[bytes], index: dict[bytes, int]) -> None:
        for row, word in enumerate(column):
            if index.setdefault(word, len(words)) != len(words):
                raise self._wrong(f"the word {_shown(word)} occurs twice", row + 1)
            words.append(word)

    def _numbers(
        self, tokens: list[bytes], places: NDArray[np.int64], rows: NDArray[np.int64] | int
    ) -> NDArray[np.float64]:
        """The tokens at `places` as numbers; `rows` are their lines (0: every line has one)."""
        texts = [tokens[place] for place in places.tolist()]
        try:
            numbers = np.array(list(map(float, texts)))
        except ValueError:
            row = next(number for number, text in enumerate(texts) if not _is_number(text))
        else:
            bad = np.flatnonzero(np.isnan(numbers) | (numbers == np.inf))
            if not len(bad):
                numbers[numbers < UNKNOWN_MISSING] = UNKNOWN_MISSING  # -inf too is "never"
                return numbers
            row = int(bad[0])
        line = row if isinstance(rows, int) else int(rows[row])
        raise self._wrong(f"{_shown(texts[row])} is not a logarithm of base 10", line + 1)

    def _wrong_ngram(self, lines: list[bytes], row: int, order: int) -> InputError:
        line = lines[row].strip()
        if line.startswith(b"\\"):
            return self._wrong(rf"the {order}-grams end here; \data\ says there are more", row + 1)
        return self._wrong(f"expected log10 P and {order} word(s), found {_shown(line)}", row + 1)

    def _wrong(self, what: str, ahead: int = 0) -> InputError:
        return InputError(f"{self.path}, line {self.line + ahead}: {what}")

    def _decoded(self, words: list[bytes]) -> tuple[str, ...]:
        try:
            return tuple(word.decode() for word in words)
        except UnicodeDecodeError as error:
            raise InputError(f"{self.path} is not UTF-8 text: the word {error.object!r}") from error


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shown(text: bytes) -> str:
    """Some text of a file, for a message."""
    return repr(text[:60].decode(errors="replace"))


def _fields_of_lines(lines: Sequence[bytes]) -> NDArray[np.int64]:
    """How many fields each line has, separated by ASCII white space, as bytes.split has them."""
    characters = np.frombuffer(b"".join(lines), dtype=np.uint8)
    space = (characters == 32) | ((characters >= 9) & (characters <= 13))
    starts = ~space
    starts[1:] &= space[:-1]
    ends = np.cumsum(np.fromiter(map(len, lines), dtype=np.int64, count=len(lines)))
    fields: NDArray[np.int64] = np.add.reduceat(starts, np.concatenate([[0], ends[:-1]]), dtype=np.int64)
    return fields


def _joined(parts: Sequence[Ngrams]) -> Ngrams:
    return Ngrams(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def write_arpa(path: Path | str, model: NGramModel) -> None:
    """Write a model as an ARPA file, gzipped if the name ends in `.gz`; equal models give equal bytes.

    Probabilities have 7 significant digits, as they are kept.

    Raises:
        InputError: the file cannot be written.
    """
    with atomic_writer(path) as file:
        if str(path).endswith(".gz"):
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as packed:
                packed.writelines(_chunks(model))
        else:
            file.writelines(_chunks(model))


def _chunks(model: NGramModel) -> Iterator[bytes]:
    if model.record:
        yield RECORD + json.dumps(model.record, ensure_ascii=False).encode() + b"\n\n"
    yield ("\\data\\\n" + "".join(f"ngram {n}={c}\n" for n, c in enumerate(model.counts, start=1))).encode()
    texts: Sequence[str] = [""]
    parent = 0  # the first node of the order below
    begin = 1
    for order, count in enumerate(model.counts, start=1):
        yield f"\n\\{order}-grams:\n".encode()
        parents, last = np.divmod(model.trie.keys[begin - 1 : begin - 1 + count], len(model.words))
        ends = [model.words[word] for word in last.tolist()]
        heads = (texts[place] for place in (parents - parent).tolist())
        texts = [f"{head} {end}" for head, end in zip(heads, ends, strict=True)] if order > 1 else ends
        for place in range(0, count, LINES):
            nodes = slice(begin + place, min(begin + count, begin + place + LINES))
            yield "".join(_lines(model, nodes, texts[place : place + LINES], order)).encode()
        parent, begin = begin, begin + count
    yield b"\n\\end\\\n"


def _lines(model: NGramModel, nodes: slice, texts: Sequence[str], order: int) -> Iterable[str]:
    log_prob = np.maximum(model.trie.log_prob[nodes].astype(np.float64) / LN10, UNKNOWN_MISSING).tolist()
    if order == 1 and START in texts:
        log_prob[texts.index(START)] = NEVER
    if order == model.order:
        return (f"{p:.7g}\t{text}\n" for p, text in zip(log_prob, texts, strict=True))
    backoff = (model.trie.backoff[nodes].astype(np.float64) / LN10).tolist()
    return (
        f"{p:.7g}\t{text}\t{b:.7g}\n" if b else f"{p:.7g}\t{text}\n"
        for p, text, b in zip(log_prob, texts, backoff, strict=True)
    )
