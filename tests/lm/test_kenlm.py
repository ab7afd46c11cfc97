"""KenLM, another implementation, reads our files and scores them as we do. Skipped where it is not installed."""

import math
import random

import numpy as np
import pytest
from backoff_models import random_entries, write_arpa_text
from zipf import sentences_of

from asr.lm.arpa import read_arpa, write_arpa
from asr.lm.building import BuildOptions, build_from_units

kenlm = pytest.importorskip("kenlm")


def by_kenlm(path, sentence):
    return [part[0] for part in kenlm.Model(str(path)).full_scores(" ".join(sentence))]


def by_us(model, sentence):
    state, found = np.array([model.start]), []
    for word in [*sentence, "</s>"]:
        log_prob, state = model.score(state, np.array([model.index(word)]))
        found.append(log_prob[0] / math.log(10))
    return found


@pytest.mark.parametrize("threshold", [0.0, 1e-5])
def test_files_of_ours_score_the_same_in_kenlm(tmp_path, threshold):
    sentences = sentences_of(500, 30, seed=1)
    model, _ = build_from_units(sentences, BuildOptions(order=4, min_count=3, threshold=threshold))
    write_arpa(tmp_path / "lm.arpa", model)
    for sentence in [*sentences_of(30, 40, seed=2), []]:
        assert by_us(model, sentence) == pytest.approx(by_kenlm(tmp_path / "lm.arpa", sentence), abs=1e-5)


def test_files_that_no_estimator_made_score_the_same_in_kenlm(tmp_path):
    entries = random_entries(3, 8, 60, seed=3)
    for key in [key for key in entries if len(key) == 3]:  # KenLM needs most n-grams to end in shorter ones
        entries.setdefault(key[1:], (-0.75, -0.125))
    filled = {key: (p, None if len(key) == 3 else weight or 0.0) for key, (p, weight) in entries.items()}
    path = write_arpa_text(tmp_path / "lm.arpa", filled)
    model = read_arpa(path)
    source = random.Random(0)
    for _ in range(30):
        sentence = source.choices([*model.words[3:], "NEVER"], k=6)
        assert by_us(model, sentence) == pytest.approx(by_kenlm(path, sentence), abs=1e-5)
