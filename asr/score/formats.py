"""References and hypotheses in the formats of NIST's sclite: TRN, STM and CTM.

A line of TRN is `WORD WORD ... (ID)`. A line of STM is a segment of the reference, `FILE CHANNEL SPEAKER START END WORD
WORD ...`; a line of CTM is a word of the hypothesis, `FILE CHANNEL START DURATION WORD`. The utterance stands for the
file here, and times are seconds. Lines that begin with `;;` are comments.

sclite reads `{ A / B }` as alternatives, `@` as no word and `(A)` as an optional word; it drops what follows `;`, a
final `*` and every backslash, takes `<...>` at the beginning of a segment for a label, and dies of a brace within a
word. So a word or id that has one of these characters is written as in a URL, `%` and the character's code (a percent
sign as `%25`): equal words stay equal and different ones different, and no count changes. A file in which that was done
begins with the comment `ESCAPED`, by which `asr.score.foreign` knows that it is to be undone.
"""

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

from asr.decode.hypotheses import Hypothesis
from asr.score.scores import UNKNOWN_SPEAKER

SPECIAL = frozenset("%()*/;<>@\\{}")
"""Characters that have a meaning for sclite, or for the escape."""
IGNORED_SEGMENT = "IGNORE_TIME_SEGMENT_IN_SCORING"
"""A segment of STM that begins with this word, in any case, is not scored."""
ESCAPED = ";; escaped: %XX stands for the character of that code, as in a URL"
EVENLY = "words without known times are spread evenly over their utterance"
CHANNEL = "1"


def escape(word: str) -> str:
    """A word or id such that sclite reads it as nothing else.

    >>> escape("A/B"), escape("(50%)"), escape("O'CLOCK"), escape("speaker one")
    ('A%2FB', '%2850%25%29', "O'CLOCK", 'speaker%20one')
    """
    if word.upper() == IGNORED_SEGMENT:
        return f"%{ord(word[0]):02X}{word[1:]}"
    return "".join(quote(c, safe="") if c in SPECIAL or c.isspace() else c for c in word)


def _comments(names: Iterable[str], texts: Iterable[str]) -> list[str]:
    """The comment that tells of escapes, if there are any."""
    words = (word for text in texts for word in text.split())
    return [ESCAPED] if any(escape(word) != word for group in (names, words) for word in group) else []


def format_trn(texts: Mapping[str, str]) -> str:
    """Texts by utterance id as TRN, in their order.

    >>> print(format_trn({"anna-1": "THE CAT", "bo-1": ""}), end="")
    THE CAT (anna-1)
    (bo-1)
    """
    lines = [" ".join([*map(escape, text.split()), f"({escape(name)})"]) for name, text in texts.items()]
    return _joined(_comments(texts, texts.values()) + lines)


def format_stm(rows: Iterable[Hypothesis]) -> str:
    """The references as STM: a segment an utterance, from 0 to its end (see `duration`).

    >>> print(format_stm([Hypothesis("anna-1", "A CAT", "THE CAT", "anna", 1.5)]), end="")
    anna-1 1 anna 0.000 1.500 THE CAT
    """
    rows = _in_byte_order(rows)
    comments = _comments(
        [name for row in rows for name in (row.id, row.speaker or "")], [row.reference or "" for row in rows]
    )
    lines = [
        " ".join(
            [escape(row.id), CHANNEL, escape(row.speaker or UNKNOWN_SPEAKER), "0.000", f"{duration(row):.3f}"]
            + [escape(word) for word in (row.reference or "").split()]
        )
        for row in rows
    ]
    return _joined(comments + lines)


def format_ctm(rows: Iterable[Hypothesis]) -> str:
    """The hypotheses as CTM: their words with times, and with confidences if they are known of all words.

    Words without known times are spread evenly over their utterance, which the first line then says. An utterance
    without words has no line, and sclite counts the words of its reference as deleted.

    >>> print(format_ctm([Hypothesis("anna-1", "A CAT", "THE CAT", "anna", 1.5)]), end="")
    ;; words without known times are spread evenly over their utterance
    anna-1 1 0.000 0.750 A
    anna-1 1 0.750 0.750 CAT
    """
    rows = [row for row in _in_byte_order(rows) if row.hypothesis.split()]
    comments = _comments([row.id for row in rows], [row.hypothesis for row in rows])
    if any(row.times is None for row in rows):
        comments.append(f";; {EVENLY}")
    sure = all(row.confidences is not None for row in rows)
    return _joined(comments + [line for row in rows for line in _ctm_lines(row, sure)])


def _ctm_lines(row: Hypothesis, sure: bool) -> Iterable[str]:
    words = row.hypothesis.split()
    times = row.times or spread_evenly(len(words), duration(row))
    for word, (start, end), confidence in zip(words, times, row.confidences or [0.0] * len(words), strict=True):
        line = f"{escape(row.id)} {CHANNEL} {start:.3f} {end - start:.3f} {escape(word)}"
        yield f"{line} {confidence:.4f}" if sure else line


def duration(row: Hypothesis) -> float:
    """Seconds of an utterance; if they are not known, one for each word of the longer text."""
    if row.seconds:
        return row.seconds
    return float(max(len((row.reference or "").split()), len(row.hypothesis.split()), 1))


def spread_evenly(words: int, seconds: float) -> list[tuple[float, float]]:
    """Times of so many words, each as long as the others.

    >>> spread_evenly(2, 1.5)
    [(0.0, 0.75), (0.75, 1.5)]
    """
    return [(seconds * n / words, seconds * (n + 1) / words) for n in range(words)]


def _in_byte_order(rows: Iterable[Hypothesis]) -> list[Hypothesis]:
    """As sclite wants its files sorted."""
    return sorted(rows, key=lambda row: escape(row.id).encode("utf-8"))


def _joined(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
