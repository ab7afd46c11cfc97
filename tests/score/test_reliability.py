"""Confidences beside what is right: against definitions and counts by hand."""

import itertools
import math

import numpy as np
import pytest

from asr.decode.hypotheses import Hypothesis
from asr.score.errors import align_words
from asr.score.reliability import BINS, Reliability, reliability
from asr.score.scores import score


def of(confidences, right) -> Reliability:
    return Reliability(np.array(confidences, dtype=float), np.array(right, dtype=bool))


def simulated(words: int = 400) -> Reliability:
    rng = np.random.default_rng(3)
    sure = rng.integers(1, 20, words) / 20  # with ties
    return of(sure, rng.uniform(size=words) < sure)


def test_one_confidence_for_all_that_is_the_share_of_right_words_says_nothing_of_them():
    found = of([0.75] * 8, [True] * 6 + [False] * 2)
    assert found.normalised_cross_entropy == pytest.approx(0.0, abs=1e-12)
    assert (found.area, found.expected) == (0.5, 0.75)


def test_certainty_that_is_always_right_says_everything():
    found = of([1.0, 1.0, 0.0, 1.0], [True, True, False, True])
    assert found.normalised_cross_entropy == pytest.approx(1.0, abs=1e-3)
    assert found.area == 1.0


def test_certainty_that_is_wrong_misleads_by_a_finite_amount():
    value = of([1.0, 1.0], [True, False]).normalised_cross_entropy
    assert value is not None
    assert -10 < value < -5


def test_the_cross_entropy_is_that_of_its_definition():
    found = simulated()
    right, total = int(found.right.sum()), len(found.right)
    most = -right * math.log2(right / total) - (total - right) * math.log2(1 - right / total)
    sum_right = sum(math.log2(p) for p, ok in zip(found.confidences, found.right, strict=True) if ok)
    sum_wrong = sum(math.log2(1 - p) for p, ok in zip(found.confidences, found.right, strict=True) if not ok)
    assert found.normalised_cross_entropy == pytest.approx((most + sum_right + sum_wrong) / most, rel=1e-12)


def test_the_area_is_the_share_of_pairs_in_the_right_order():
    found = simulated()
    pairs = itertools.product(found.confidences[found.right], found.confidences[~found.right])
    ordered = [1.0 if right > wrong else 0.5 if right == wrong else 0.0 for right, wrong in pairs]
    assert found.area == pytest.approx(sum(ordered) / len(ordered), rel=1e-12)


def test_words_that_are_all_right_cannot_be_told_apart():
    found = of([0.9, 0.8], [True, True])
    assert (found.normalised_cross_entropy, found.area) == (None, None)


def test_every_word_is_in_one_bin_and_a_confidence_of_one_in_the_last():
    found = of([0.0, 0.05, 0.3, 0.31, 1.0, 0.99], [False, False, True, False, True, True])
    bins = found.bins()
    assert len(bins) == BINS
    assert [b.words for b in bins] == [2, 0, 0, 2, 0, 0, 0, 0, 0, 2]
    assert [b.right for b in bins] == [0, 0, 0, 1, 0, 0, 0, 0, 0, 2]
    assert bins[3].expected == pytest.approx(0.305)


def test_insertions_and_substitutions_are_wrong_words_and_deletions_none():
    [alignment] = align_words(["GO RIGHT BACK HOME"], ["GO WRITE BACK NOW NOW"])
    found = reliability([alignment], [[0.1, 0.2, 0.3, 0.4, 0.5]])
    assert found is not None
    assert found.right.tolist() == [True, False, True, False, False]


@pytest.mark.parametrize("confidences", [None, (0.5,)])
def test_confidences_that_do_not_belong_to_the_words_give_no_reliability(confidences):
    alignments = align_words(["A B", "A"], ["A B", "A"])
    assert reliability(alignments, [confidences, (0.5,)]) is None
    assert reliability(align_words([""], [""]), [()]) is None


def test_scores_hold_what_confidences_are_worth():
    rows = [
        Hypothesis("a", "A B", "A C", confidences=(0.9, 0.2)),
        Hypothesis("b", "", "A", confidences=()),
    ]
    assert score(rows).to_dict()["confidences"] == {
        "words": 2,
        "right": 1,
        "expected": pytest.approx(0.55),
        "normalised_cross_entropy": pytest.approx(1 + (math.log2(0.9) + math.log2(0.8)) / 2),
        "area": 1.0,
    }
    assert score([*rows, Hypothesis("c", "A", "A")]).to_dict()["confidences"] is None
