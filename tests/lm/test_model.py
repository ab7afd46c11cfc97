"""Queries of a back-off model say what its file defines, for any model and any history."""

import math
import random

import numpy as np
import pytest
from backoff_models import probability, random_entries, write_arpa_text

from asr.lm.arpa import read_arpa

HISTORIES = 400


def log_prob_of(model, history, word):
    """Natural-log P(word | history) by walking through the states, and the state after it."""
    state = np.array([model.start if history[:1] == ("<s>",) else 0])
    for before in history[history[:1] == ("<s>",) :]:
        state = model.score(state, np.array([model.index(before)]))[1]
    log_probs, states = model.score(state, np.array([model.index(word)]))
    return log_probs[0], states[0]


@pytest.mark.parametrize("prefixes", [True, False], ids=["every context stored", "contexts missing"])
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_a_walk_through_the_states_gives_what_the_definition_gives(tmp_path, order, prefixes):
    entries = random_entries(order, words=6, count=60, seed=order, prefixes=prefixes)
    model = read_arpa(write_arpa_text(tmp_path / "lm.arpa", entries))
    words = [word for word in model.words if word != "<s>"]
    source = random.Random(1)
    for _ in range(HISTORIES):
        history = ("<s>", *source.choices([*words, "NEVER"], k=source.randrange(7)))
        word = source.choice([*words, "NEVER"])
        expected = probability(entries, history[-(order - 1) :] if order > 1 else (), word)
        assert log_prob_of(model, history, word)[0] == pytest.approx(expected * math.log(10), abs=2e-5)


def test_many_contexts_at_once_are_scored_as_one_by_one(tmp_path):
    model = read_arpa(write_arpa_text(tmp_path / "lm.arpa", random_entries(4, 8, 200, seed=3)))
    source = np.random.default_rng(0)
    states = source.integers(0, len(model.words), 50)  # nodes of single words are states too
    states = model.score(np.zeros(50, dtype=np.int64), states)[1]
    words = source.integers(0, len(model.words), 50)
    log_probs, following = model.score(states, words)
    for number in range(50):
        one = model.score(states[number : number + 1], words[number : number + 1])
        assert (one[0][0], one[1][0]) == (log_probs[number], following[number])
    ends = model.score(states, np.full(50, model.index("</s>")))[0]
    np.testing.assert_array_equal(model.end(states), ends)


@pytest.mark.parametrize("table", [True, False], ids=["table", "no table"])
def test_scores_of_all_words_are_those_of_each(tmp_path, monkeypatch, table):
    if not table:
        monkeypatch.setattr("asr.lm.model.DENSE_ENTRIES", 0)
    model = read_arpa(write_arpa_text(tmp_path / "lm.arpa", random_entries(4, 5, 150, seed=4)))
    states = np.array([model.start, 0])
    for _ in range(5):
        log_probs, following = model.score_all(states)
        for word in range(len(model.words)):
            one, after = model.score(states, np.full(len(states), word))
            np.testing.assert_allclose(log_probs[:, word], one, atol=1e-4)
            np.testing.assert_array_equal(following[:, word], after)
        states = np.unique(following[:, 3:])


def test_histories_that_no_continuation_tells_apart_have_one_state(tmp_path):
    entries = {
        **{(word,): (-1.0, -0.5) for word in ("<unk>", "<s>", "A", "B")},
        ("</s>",): (-1.0, None),
        ("A", "B"): (-0.5, None),  # nothing continues A B, and it has no weight
        ("A", "A"): (-0.5, -0.2),
        ("A", "A", "B"): (-0.1, None),
    }
    model = read_arpa(write_arpa_text(tmp_path / "lm.arpa", entries))
    b_alone = log_prob_of(model, (), "B")[1]
    assert log_prob_of(model, ("A",), "B")[1] == b_alone
    assert log_prob_of(model, ("A", "A"), "B")[1] == b_alone
    assert log_prob_of(model, ("A",), "A")[1] != log_prob_of(model, (), "A")[1]


def test_words_and_their_indices_belong_together(tmp_path):
    model = read_arpa(write_arpa_text(tmp_path / "lm.arpa", random_entries(2, 5, 10, seed=0)))
    assert [model.index(word) for word in model.words] == list(range(len(model.words)))
    assert model.words[model.unknown] == "<unk>"
    assert model.index("NEVER") == model.unknown
    assert not model.knows("NEVER")
    assert model.knows("W0")
