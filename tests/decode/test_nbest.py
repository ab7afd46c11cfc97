"""N-best lists and the probabilities of their words."""

import itertools
import math

import numpy as np
import pytest
from ctc_enumeration import text_of

from asr.decode.beam import BeamSearch
from asr.decode.nbest import ScoredText, merge_texts, posteriors, word_alternatives, word_confidences
from asr.decode.pruning import Pruning
from asr.decode.spelling import Spelling
from asr.score.errors import align_words

LETTERS = ("<blank>", " ", "A", "B")


def entries(**scores: float) -> list[ScoredText]:
    found = [ScoredText(text.replace("_", " ").strip(), (), math.log(p), 0.0, {}) for text, p in scores.items()]
    return sorted(found, key=lambda entry: -entry.total)


def spoken(probabilities: np.ndarray, rng: np.random.Generator) -> str:
    """A text drawn from the model: a token for each frame, collapsed."""
    path = [int(rng.choice(len(row), p=row)) for row in probabilities]
    return text_of([LETTERS[token] for token, _ in itertools.groupby(path) if token])


def test_confidences_are_how_often_words_are_right_where_the_model_is_right_about_itself():
    rng = np.random.default_rng(0)
    search = BeamSearch(Spelling(LETTERS), Pruning(5000, None, None))
    confidences, right = [], []
    for number in range(16):
        probabilities = rng.dirichlet(np.full(4, (0.08, 0.15, 0.3, 0.6)[number % 4]), size=7).clip(1e-9)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        [candidates] = search.decode([np.log(probabilities)])
        texts = merge_texts(candidates, lambda ids: text_of([LETTERS[i] for i in ids]))
        found = word_confidences(texts, limit=len(texts))
        references = [spoken(probabilities, rng) for _ in range(150)]
        for alignment in align_words([texts[0].text] * 150, references):
            confidences += found
            right += [edit.kind == "hit" for edit in alignment if edit.kind != "insertion"]
    sure, correct = np.array(confidences), np.array(right)
    for low, high in ((0.0, 0.4), (0.4, 0.75), (0.75, 1.0)):
        bin_ = (sure > low) & (sure <= high)
        deviation = np.sqrt((sure[bin_] * (1 - sure[bin_])).sum()) / bin_.sum()
        assert bin_.sum() > 200
        assert abs(correct[bin_].mean() - sure[bin_].mean()) < 5 * deviation + 1e-3


def test_what_stands_in_a_words_place_has_probabilities_that_sum_to_one():
    slots = word_alternatives(entries(A_B=0.5, A_C=0.2, A=0.2, X_A_B=0.1))
    assert [sum(slot.values()) for slot in slots] == pytest.approx([1.0, 1.0])
    assert slots[0] == pytest.approx({"A": 1.0})
    assert slots[1] == pytest.approx({"B": 0.6, "C": 0.2, "": 0.2})


def test_scores_count_only_relative_to_each_other():
    texts = entries(A=0.6, B=0.3, C=0.1)
    shifted = [ScoredText(entry.text, (), entry.total - 5000.0, 0.0, {}) for entry in texts]
    assert posteriors(shifted) == pytest.approx([0.6, 0.3, 0.1])


def test_an_empty_text_has_no_words_to_be_sure_of():
    assert word_confidences(entries(_=0.6, B=0.4)) == ()


def test_fewer_texts_are_looked_at_where_a_limit_says_so():
    assert word_confidences(entries(A=0.5, B=0.3, C=0.2), limit=1) == (1.0,)
