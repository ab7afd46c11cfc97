"""Error counts against hand-counted cases and an edit distance written from its definition."""

import functools
import random

import pytest

from asr.score.errors import (
    Edit,
    ErrorCounts,
    align_characters,
    align_words,
    character_counts,
    character_errors,
    count,
    format_alignment,
    word_errors,
)


def edit_distance(reference: tuple[str, ...], hypothesis: tuple[str, ...]) -> int:
    """Levenshtein's definition as a recursion over prefixes."""

    @functools.cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        substitution = distance(i - 1, j - 1) + (reference[i - 1] != hypothesis[j - 1])
        return min(substitution, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    return distance(len(reference), len(hypothesis))


def random_pairs(alphabet: str, number: int) -> list[tuple[str, str]]:
    draw = random.Random(1)
    return [
        (
            " ".join(draw.choices(alphabet, k=draw.randrange(9))),
            " ".join(draw.choices(alphabet, k=draw.randrange(9))),
        )
        for _ in range(number)
    ]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "hits", "substitutions", "deletions", "insertions"),
    [
        ("THE CAT SAT", "THE CAT SAT", 3, 0, 0, 0),
        ("THE CAT SAT", "THE HAT SAT", 2, 1, 0, 0),
        ("THE CAT SAT", "THE SAT", 2, 0, 1, 0),
        ("THE CAT SAT", "THE CAT UP SAT", 3, 0, 0, 1),
        ("A B C D E F", "A X C E F G", 4, 1, 1, 1),
        ("A B", "", 0, 0, 2, 0),
        ("", "A B", 0, 0, 0, 2),
        ("", "", 0, 0, 0, 0),
        ("ONE", "TWO THREE FOUR", 0, 1, 0, 2),
        ("CAN'T", "CANT", 0, 1, 0, 0),
        ("  A \t B\n", "A B", 2, 0, 0, 0),
    ],
)
def test_word_errors_agree_with_counting_by_hand(reference, hypothesis, hits, substitutions, deletions, insertions):
    assert word_errors(reference, hypothesis) == ErrorCounts(hits, substitutions, deletions, insertions)


def test_word_errors_are_the_edit_distance_over_words():
    for reference, hypothesis in random_pairs("ABC", 300):
        counts = word_errors(reference, hypothesis)
        assert counts.errors == edit_distance(tuple(reference.split()), tuple(hypothesis.split()))
        assert counts.length == len(reference.split())
        assert counts.hits + counts.substitutions + counts.insertions == len(hypothesis.split())


def test_character_errors_are_the_edit_distance_over_characters_with_spaces():
    for reference, hypothesis in random_pairs("AB", 200):
        counts = character_errors(reference, hypothesis)
        assert counts.errors == edit_distance(tuple(reference), tuple(hypothesis))
        assert counts.length == len(reference)


def test_a_lost_space_is_one_character_error():
    assert character_errors("TO DAY", "TODAY") == ErrorCounts(hits=5, deletions=1)


def test_an_alignment_spells_both_texts_and_its_hits_are_equal():
    pairs = random_pairs("ABC", 100)
    for (reference, hypothesis), alignment in zip(pairs, align_words(*zip(*pairs, strict=True)), strict=True):
        assert [e.reference for e in alignment if e.kind != "insertion"] == reference.split()
        assert [e.hypothesis for e in alignment if e.kind != "deletion"] == hypothesis.split()
        assert all((e.reference == e.hypothesis) == (e.kind == "hit") for e in alignment)


def test_pairs_are_aligned_each_by_itself():
    pairs = random_pairs("ABC", 50)
    references, hypotheses = zip(*pairs, strict=True)
    assert align_characters(references, hypotheses) == [align_characters([r], [h])[0] for r, h in pairs]
    assert align_words([], []) == []


def test_texts_without_a_partner_are_refused():
    with pytest.raises(ValueError, match="2 references and 1 hypotheses"):
        align_words(["A", "B"], ["A"])


def test_the_rate_of_a_sum_is_the_sum_of_errors_over_the_sum_of_lengths():
    short, long = word_errors("A", "B"), word_errors("A B C D E F G H I", "A B C D E F G H I")
    assert (short + long).rate == pytest.approx(1 / 10)
    assert sum([short, long], ErrorCounts()) == ErrorCounts(hits=9, substitutions=1)


def test_the_rate_of_an_empty_reference_is_undefined_and_its_insertions_still_count_in_a_corpus():
    empty = word_errors("", "A B")
    assert empty.rate is None
    assert ErrorCounts().rate is None
    assert (empty + word_errors("A B C D", "A B C D")).rate == pytest.approx(2 / 4)


def test_the_rate_may_exceed_one():
    assert word_errors("A", "B C D").rate == pytest.approx(3.0)


def test_an_alignment_is_printed_column_by_column():
    alignment = (
        Edit("hit", "THE", "THE"),
        Edit("substitution", "CAT", "HATS"),
        Edit("deletion", "SAT", ""),
        Edit("insertion", "", "NOW"),
    )
    assert format_alignment(alignment).splitlines() == [
        "REF: THE CAT  SAT ***",
        "HYP: THE HATS *** NOW",
        "         S    D   I",
    ]
    assert count(alignment) == ErrorCounts(1, 1, 1, 1)


def test_counting_characters_without_alignments_gives_the_counts_of_the_alignments():
    pairs = [*random_pairs("ab ", 200), ("", ""), ("", "A B"), ("A B", "")]
    references, hypotheses = [r for r, _ in pairs], [h for _, h in pairs]
    counts = character_counts(references, hypotheses)
    assert counts == [count(alignment) for alignment in align_characters(references, hypotheses)]
    for (reference, hypothesis), found in zip(pairs, counts, strict=True):
        left, right = (tuple(" ".join(text.split())) for text in (reference, hypothesis))
        assert (found.errors, found.length) == (edit_distance(left, right), len(left))
    assert character_counts([], []) == []
