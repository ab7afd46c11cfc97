"""Corpus scores: sums divided once, by hand-counted cases; what cannot be scored is refused by name."""

import pytest

from asr.decode.hypotheses import Hypothesis
from asr.errors import InputError
from asr.score.scores import format_alignments, name_some, reference_digest, score

ROWS = [
    Hypothesis("u1", "THE CAT SAT", "THE CAT SAT", "anna", 1.0),
    Hypothesis("u2", "HAT", "CAT", "bo", 0.5),
    Hypothesis("u3", "ON", "ON THE MAT", "anna", 1.0),
    Hypothesis("u4", "UM", "", None, 0.3),
]


def test_corpus_rates_are_errors_summed_and_divided_once():
    # u1 0 of 3; u2 one substitution of 1; u3 two deletions of 3; u4 one insertion of 0
    data = score(ROWS).to_dict()
    assert (data["errors"], data["words"], data["wer"]) == (4, 7, pytest.approx(4 / 7))
    assert (data["substitutions"], data["deletions"], data["insertions"]) == (1, 2, 1)
    # characters: u2 C->H, u3 " THE MAT" lost (8), u4 two inserted; lengths 11 + 3 + 10 + 0
    assert (data["character_errors"], data["characters"]) == (11, 24)
    assert data["cer"] == pytest.approx(11 / 24)
    assert (data["utterances"], data["empty_references"]) == (4, 1)


def test_speakers_are_scored_each_by_themselves_and_unknown_ones_together():
    speakers = score(ROWS).to_dict()["speakers"]
    assert speakers == {
        "anna": {"wer": pytest.approx(2 / 6), "errors": 2, "words": 6, "utterances": 2},
        "bo": {"wer": 1.0, "errors": 1, "words": 1, "utterances": 1},
        "unknown": {"wer": None, "errors": 1, "words": 0, "utterances": 1},
    }


def test_a_corpus_of_empty_references_has_no_rate_and_does_not_crash():
    scores = score([Hypothesis("a", "UM", ""), Hypothesis("b", "", "")])
    data = scores.to_dict()
    assert (data["wer"], data["cer"], data["errors"], data["words"]) == (None, None, 1, 0)
    assert "undefined (1 errors, no reference words)" in format_alignments(scores)


def test_normalisation_applies_to_both_sides_and_is_recorded():
    rows = [Hypothesis("a", "The Cat", "the CAT")]
    assert score(rows).words.errors == 2
    normalised = score(rows, "lower/1", str.lower)
    assert (normalised.words.errors, normalised.to_dict()["normalizer"]) == (0, "lower/1")


def test_the_worst_utterances_come_first_by_errors_then_rate():
    rows = [
        Hypothesis("one-of-four", "A B C X", "A B C D"),
        Hypothesis("right", "A", "A"),
        Hypothesis("two-of-four", "A B X X", "A B C D"),
        Hypothesis("one-of-one", "X", "A"),
    ]
    assert [u.id for u in score(rows).worst()] == ["two-of-four", "one-of-one", "one-of-four", "right"]


def test_the_alignment_file_begins_with_the_total_and_the_worst_utterance():
    lines = format_alignments(score(ROWS)).splitlines()
    assert lines[0] == "WER 57.14 % (4/7): 1 substitutions, 2 deletions, 1 insertions; 4 utterances, worst first"
    assert lines[1] == "CER 45.83 % (11/24), spaces included"
    assert lines[3:7] == [
        "u3, speaker anna: 66.67 % (2/3)",
        "REF: ON THE MAT",
        "HYP: ON *** ***",
        "        D   D",
    ]


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([], "no hypothesis to score"),
        ([ROWS[0], ROWS[1], ROWS[0]], "1 utterances occur more than once: u1"),
        ([ROWS[0], Hypothesis("x", "A"), Hypothesis("y", "A")], "2 of 3 utterances have no reference: x, y"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_name(rows, named):
    with pytest.raises(InputError, match=named):
        score(rows)


def test_the_digest_tells_other_references_and_other_utterances_but_not_order_or_spacing():
    pairs = [("a", "ONE TWO"), ("b", "THREE")]
    same = reference_digest(pairs)
    assert reference_digest([("b", "THREE"), ("a", " ONE  TWO")]) == same
    others = [[("a", "ONE"), ("b", "TWO THREE")], [("a", "ONE TWO")], [("a", "ONE TWO"), ("c", "THREE")]]
    assert same not in {reference_digest(other) for other in others}


def test_a_long_list_of_names_is_cut_and_counted():
    assert name_some(list("abcdefg")) == "a, b, c, d, e and 2 more"
    assert name_some(["a"]) == "a"
