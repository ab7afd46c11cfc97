"""Edit-distance alignments of one hypothesis with one reference, and counts that add up to a corpus."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jiwer

WORDS = jiwer.Compose([jiwer.ReduceToListOfListOfWords()])
CHARACTERS = jiwer.Compose([jiwer.ReduceToListOfListOfChars()])
LABELS = ("REF: ", "HYP: ", "     ")


class Edit(NamedTuple):
    """One step of an alignment: a word (or character) of the reference, of the hypothesis, or of both."""

    kind: Literal["hit", "substitution", "deletion", "insertion"]
    reference: str
    hypothesis: str


Alignment = tuple[Edit, ...]


@dataclass(frozen=True)
class ErrorCounts:
    """Counts of an alignment; those of several utterances add up, and the rate is divided once at the end.

    >>> ErrorCounts(hits=9, deletions=1) + ErrorCounts(hits=1, insertions=2)
    ErrorCounts(hits=10, substitutions=0, deletions=1, insertions=2)
    >>> (ErrorCounts(hits=9, deletions=1) + ErrorCounts(hits=1, insertions=2)).rate  # not the mean of 10 % and 200 %
    0.2727272727272727
    """

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def length(self) -> int:
        """Words (or characters) of the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float | None:
        """Errors over reference length, which may exceed 1; None where the reference has no words.

        The insertions into an empty reference count as errors of the corpus; alone they are no rate.
        """
        return self.errors / self.length if self.length else None

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        return ErrorCounts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


def align_words(references: Sequence[str], hypotheses: Sequence[str]) -> list[Alignment]:
    """A minimal alignment of each pair of texts over their words, which white space separates.

    >>> [edit.kind for edit in align_words(["GO RIGHT BACK"], ["GO WRITE BACK NOW"])[0]]
    ['hit', 'substitution', 'hit', 'insertion']
    """
    return _align(references, hypotheses, WORDS)


def align_characters(references: Sequence[str], hypotheses: Sequence[str]) -> list[Alignment]:
    """A minimal alignment of each pair of texts over their characters, one space between words included."""
    return _align(references, hypotheses, CHARACTERS)


def character_counts(references: Sequence[str], hypotheses: Sequence[str]) -> list[ErrorCounts]:
    """What `count` says of each of `align_characters`, in less time: no step becomes an object.

    >>> character_counts(["GO ON"], ["GO IN A"])
    [ErrorCounts(hits=4, substitutions=1, deletions=0, insertions=2)]
    """
    if not _are_pairs(references, hypotheses):
        return []
    output = jiwer.process_words(_single_spaced(references), _single_spaced(hypotheses), CHARACTERS, CHARACTERS)
    return [_count_chunks(chunks) for chunks in output.alignments]


def count(alignment: Alignment) -> ErrorCounts:
    """The counts of one alignment."""
    kinds = [edit.kind for edit in alignment]
    return ErrorCounts(*(kinds.count(kind) for kind in ("hit", "substitution", "deletion", "insertion")))


def word_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """The word errors of one text.

    >>> word_errors("A B C", "A C D C")
    ErrorCounts(hits=2, substitutions=1, deletions=0, insertions=1)
    """
    return count(align_words([reference], [hypothesis])[0])


def character_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """The character errors of one text, spaces between words included."""
    return character_counts([reference], [hypothesis])[0]


def format_alignment(alignment: Alignment) -> str:
    """Lines with reference and hypothesis, and if something is wrong a third with S, D or I under it.

    >>> print(format_alignment(align_words(["GO RIGHT BACK"], ["GO WRITE BACK NOW"])[0]))
    REF: GO RIGHT BACK ***
    HYP: GO WRITE BACK NOW
            S          I
    """
    rows: tuple[list[str], list[str], list[str]] = ([], [], [])
    for kind, reference, hypothesis in alignment:
        width = max(len(reference), len(hypothesis))
        rows[0].append((reference or "*" * width).ljust(width))
        rows[1].append((hypothesis or "*" * width).ljust(width))
        rows[2].append(("" if kind == "hit" else kind[0].upper()).ljust(width))
    lines = [(label + " ".join(row)).rstrip() for label, row in zip(LABELS, rows, strict=True)]
    return "\n".join(lines if lines[2] else lines[:2])


def _align(references: Sequence[str], hypotheses: Sequence[str], units: jiwer.Compose) -> list[Alignment]:
    if not _are_pairs(references, hypotheses):
        return []
    output = jiwer.process_words(_single_spaced(references), _single_spaced(hypotheses), units, units)
    return [
        tuple(edit for chunk in chunks for edit in _edits(chunk, reference, hypothesis))
        for chunks, reference, hypothesis in zip(output.alignments, output.references, output.hypotheses, strict=True)
    ]


def _are_pairs(references: Sequence[str], hypotheses: Sequence[str]) -> bool:
    """Whether there is a pair at all: jiwer would make one empty pair of none."""
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses are no pairs")
    return bool(references)


def _count_chunks(chunks: Sequence[jiwer.AlignmentChunk]) -> ErrorCounts:
    sizes = {"equal": 0, "substitute": 0, "delete": 0, "insert": 0}
    for chunk in chunks:
        sizes[chunk.type] += max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
    return ErrorCounts(*sizes.values())


def _single_spaced(texts: Sequence[str]) -> list[str]:
    return [" ".join(text.split()) for text in texts]


def _edits(chunk: jiwer.AlignmentChunk, reference: list[str], hypothesis: list[str]) -> list[Edit]:
    left = reference[chunk.ref_start_idx : chunk.ref_end_idx]
    right = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
    match chunk.type:
        case "equal":
            return [Edit("hit", a, b) for a, b in zip(left, right, strict=True)]
        case "substitute":
            return [Edit("substitution", a, b) for a, b in zip(left, right, strict=True)]
        case "delete":
            return [Edit("deletion", a, "") for a in left]
        case _:
            return [Edit("insertion", "", b) for b in right]
