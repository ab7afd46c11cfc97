"""Alignments side by side say what each of them says alone."""

import random

from asr.report.html.alignment import NOTHING, Cell, columns, lines
from asr.score.errors import align_words


def test_columns_hold_the_reference_once_and_every_hypothesis_in_order() -> None:
    random.seed(3)
    for _ in range(200):
        reference = " ".join(random.choices("ABCD", k=random.randint(0, 6)))
        heard = [" ".join(random.choices("ABCD", k=random.randint(0, 7))) for _ in range(3)]
        alignments = align_words([reference] * 3, heard)
        found = columns(alignments)
        assert " ".join(column.reference for column in found if column.reference) == reference
        for index, (written, alignment) in enumerate(zip(heard, alignments, strict=True)):
            cells = [column.cells[index] for column in found]
            assert " ".join(cell.text for cell in cells if cell.text) == written
            kinds = [cell.kind for cell in cells if cell.kind]
            assert kinds == [edit.kind for edit in alignment]


def test_words_of_one_reference_word_stand_under_each_other() -> None:
    found = columns(align_words(["A B C"] * 2, ["A X C", "A C"]))
    assert [column.reference for column in found] == ["A", "B", "C"]
    assert found[1].cells == (Cell("substitution", "X"), Cell("deletion", ""))


def test_words_inserted_by_one_system_leave_a_gap_for_the_others() -> None:
    found = columns(align_words(["A"] * 2, ["A B C", "D A"]))
    assert [(column.reference, column.cells) for column in found] == [
        ("", (NOTHING, Cell("insertion", "D"))),
        ("A", (Cell("hit", "A"), Cell("hit", "A"))),
        ("", (Cell("insertion", "B"), NOTHING)),
        ("", (Cell("insertion", "C"), NOTHING)),
    ]


def test_lines_are_as_wide_as_they_may_and_hold_every_column() -> None:
    found = columns(align_words(["AAA BB C DDDD EE"], ["AAA BB C"]))
    broken = lines(found, 12)
    assert [column for line in broken for column in line] == found
    assert all(sum(column.width for column in line) <= 12 for line in broken)
    assert len(lines(found, 1)) == len(found)
    assert lines([], 10) == [[]]
