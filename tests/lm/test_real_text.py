"""Language models of real transcripts, and a file that another tool made of them."""

import re

import numpy as np
import pytest

from asr.lm.arpa import read_arpa
from asr.lm.building import BuildOptions, build, build_from_units
from asr.lm.perplexity import predict
from asr.lm.sentences import split


@pytest.fixture
def an4(corpora):
    """Transcripts of AN4, `train` and `test`, as lists of words."""
    folder = corpora / "an4" / "etc"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return {
        name: [
            re.sub(r"<s>|</s>|\([^)]*\)$", "", line).split()
            for line in (folder / f"an4_{name}.transcription").read_text().splitlines()
        ]
        for name in ("train", "test")
    }


def test_the_transcripts_of_an4_are_enough_for_a_model(an4):
    model, discounts = build_from_units(an4["train"], BuildOptions(order=3))
    assert not discounts[2].fallback  # 948 short sentences tell the discounts of trigrams, not those of words
    trained, unigrams = (build_from_units(an4["train"], BuildOptions(order=n))[0] for n in (3, 1))
    test = predict(trained, an4["test"])
    assert test.words == 773
    assert test.perplexity < 25 < predict(unigrams, an4["test"]).perplexity
    states = np.arange(model.states)
    probabilities = np.exp(model.score_all(states)[0])
    probabilities[:, model.index("<s>")] = 0
    usable = ~np.isin(states, [model.index("</s>") + 1])  # no context ends in the end
    np.testing.assert_allclose(probabilities.sum(1)[usable], 1, atol=1e-4)


def test_the_model_that_came_with_an4_is_read(corpora, an4):
    path = corpora / "an4" / "etc" / "an4.lm"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    model = read_arpa(path)
    assert model.words[model.unknown] == "<UNK>"
    sentence = [word.lower() for word in an4["test"][0]]
    assert np.isfinite(predict(model, [sentence]).perplexity)


def test_characters_of_an4_predict_its_test(an4, tmp_path):
    (tmp_path / "train.txt").write_text("".join(f"{' '.join(words)}\n" for words in an4["train"]))
    model = build([tmp_path / "train.txt"], BuildOptions(order=6, unit="character"))
    test = [split(" ".join(words), "character") for words in an4["test"]]
    assert predict(model, test).bits < 2  # 4.75 is a letter among 26 and a space
