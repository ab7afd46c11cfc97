"""The reference and the hypotheses of all runs, word under word."""

from collections.abc import Sequence
from typing import NamedTuple

from asr.score.errors import Alignment

WIDTH = 104
"""Characters of a line."""


class Cell(NamedTuple):
    """What one run has at a place: a word and what it is ("hit", "substitution", "deletion", "insertion"), or ""."""

    kind: str
    text: str


class Column(NamedTuple):
    """A word of the reference (empty where some run has inserted one), and a cell for each run."""

    reference: str
    cells: tuple[Cell, ...]

    @property
    def width(self) -> int:
        """Characters of the widest word, and space around it."""
        return max(len(self.reference), 1, *(len(cell.text) for cell in self.cells)) + 2


NOTHING = Cell("", "")


def columns(alignments: Sequence[Alignment]) -> list[Column]:
    """Put alignments with the same reference beside each other; words inserted at one place share columns.

    >>> from asr.score.errors import align_words
    >>> pair = align_words(["A B", "A B"], ["A X B", "A"])
    >>> [(column.reference, [cell.text for cell in column.cells]) for column in columns(pair)]
    [('A', ['A', 'A']), ('', ['X', '']), ('B', ['B', ''])]
    """
    split = [_by_place(alignment) for alignment in alignments]
    words, found = len(split[0][1]), []
    for place in range(words + 1):
        for number in range(max(len(inserted[place]) for inserted, _ in split)):
            cells = tuple(
                Cell("insertion", inserted[place][number]) if number < len(inserted[place]) else NOTHING
                for inserted, _ in split
            )
            found.append(Column("", cells))
        if place < words:
            found.append(Column(split[0][1][place][0], tuple(aligned[place][1] for _, aligned in split)))
    return found


def _by_place(alignment: Alignment) -> tuple[list[list[str]], list[tuple[str, Cell]]]:
    """The words inserted before each word of the reference and at its end, and what each of them became."""
    inserted: list[list[str]] = [[]]
    aligned: list[tuple[str, Cell]] = []
    for kind, reference, hypothesis in alignment:
        if kind == "insertion":
            inserted[-1].append(hypothesis)
        else:
            aligned.append((reference, Cell(kind, hypothesis)))
            inserted.append([])
    return inserted, aligned


def lines(found: Sequence[Column], width: int = WIDTH) -> list[list[Column]]:
    """Break columns into lines of at most `width` characters, at least one column each."""
    broken: list[list[Column]] = [[]]
    used = 0
    for column in found:
        if broken[-1] and used + column.width > width:
            broken.append([])
            used = 0
        broken[-1].append(column)
        used += column.width
    return broken
