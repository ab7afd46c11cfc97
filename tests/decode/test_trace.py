"""How sure the beam was of a word when it ended."""

import numpy as np
import pytest

from asr.data.tokens import CharacterTokenizer, SentencePieceTokenizer
from asr.decode.alignment import align
from asr.decode.nbest import word_confidences
from asr.decode.options import DecodingOptions
from asr.decode.reading import Reader, Reading, words_of
from asr.decode.trace import Step, Trace, Word, beam_confidences

TOKENIZER = CharacterTokenizer(" ABC")


def frames(*columns: dict[int, float]) -> np.ndarray:
    """Log-probabilities with the given probabilities of tokens, 1e-6 for the others; a blank frame after each."""
    rows = []
    for column in columns:
        rows += [[column.get(token, 1e-6) for token in range(5)], [1.0, 1e-6, 1e-6, 1e-6, 1e-6]]
    probabilities = np.array(rows)
    return np.log(probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float32)


def reader(tokenizer=TOKENIZER, **options: float) -> Reader:
    return Reader(Reading(tokenizer.to_dict(), 0.03, DecodingOptions("beam", **options)))


@pytest.mark.parametrize("blank_skip", [0.0, 0.9])
def test_a_word_is_as_sure_as_its_frames_were_also_at_the_beginning_of_a_long_text(blank_skip):
    doubtful = [{1: 1.0}, {2: 0.55, 3: 0.45}] * 40  # " A" or " B", forty times: no beam holds all of these texts
    log_probs = frames({2: 1.0}, {1: 1.0}, {2: 0.7, 3: 0.3}, *doubtful)
    search = reader(beam=50, blank_skip=blank_skip)
    [found] = search.read([log_probs])
    assert found.text == " ".join(["A"] * 42)
    assert [word.confidence for word in found.words[:4]] == pytest.approx([1.0, 0.7, 0.55, 0.55], abs=0.02)
    [(texts, _)] = search.decoder.results([log_probs])
    assert word_confidences(texts)[1] > 0.9  # what the last beam has left of it


def test_words_of_several_characters_share_the_doubt_of_all():
    log_probs = frames({2: 0.8, 3: 0.2}, {3: 0.9, 4: 0.1}, {1: 1.0}, {4: 1.0}, {1: 1.0}, {2: 1.0})
    [found] = reader().read([log_probs])
    assert [word.text for word in found.words] == ["AB", "C", "A"]
    assert [word.confidence for word in found.words] == pytest.approx([0.72, 1.0, 1.0], abs=1e-3)


def test_utterances_decoded_together_are_as_sure_as_alone():
    rng = np.random.default_rng(0)
    several = [np.log(rng.dirichlet(np.full(5, 0.3), size=size)).astype(np.float32) for size in (9, 60, 0, 31)]
    together = reader(beam=20).read(several)
    for values, found in zip(several, together, strict=True):
        [alone] = reader(beam=20).read([values])
        assert [w.text for w in alone.words] == [w.text for w in found.words]
        assert [w.confidence for w in alone.words] == pytest.approx([w.confidence for w in found.words], abs=1e-6)
        assert all(0 <= word.confidence <= 1 for word in found.words)


def test_byte_pairs_of_random_frames_give_every_word_a_probability():
    tokenizer = SentencePieceTokenizer.train(["ABBA BAB AB A"] * 5, 8)
    rng = np.random.default_rng(1)
    size = len(tokenizer.tokens)
    for values in [np.log(rng.dirichlet(np.full(size, 0.2), size=40)).astype(np.float32) for _ in range(8)]:
        [found] = reader(tokenizer).read([values])
        assert [word.text for word in found.words] == found.text.split()
        assert all(0 < word.confidence <= 1 for word in found.words)


def test_words_are_found_in_a_path_as_in_its_text():
    rng = np.random.default_rng(2)
    for _ in range(20):
        values = np.log(rng.dirichlet(np.full(5, 0.3), size=12))
        tokens = tuple(int(t) for t in rng.choice([1, 2, 3, 4], size=4))
        path = align(values, tokens)
        words = words_of(path, TOKENIZER.tokens)
        spelt = [TOKENIZER.decode(path.ids[first : last + 1]) for (first, last), _ in words]
        assert spelt == TOKENIZER.decode(tokens).split()


class Counted(np.ndarray):
    """Says how often an element or a part of it was asked for."""

    asked = 0

    def __getitem__(self, place):
        Counted.asked += 1
        return super().__getitem__(place)


class CountedTrace(Trace):
    """The steps at which a prefix grew are counted."""

    def path(self, place):
        places, grew = super().path(place)
        return places, grew.view(Counted)


def asked_for_each_word(words: int) -> float:
    """How often the confidence of a word looks at where tokens are, in a text of so many words of one token."""
    source, score = np.zeros((1, 1), np.int32), np.zeros((1, 1), np.float32)
    steps = [Step(source, np.full((1, 1), token, np.int32), score) for token in (1, 2) * words]  # " A A A"
    trace = CountedTrace(steps, 0, np.arange(len(steps)))
    Counted.asked = 0
    spelt = [Word((2 * number, 2 * number + 1), 2 * number + 2) for number in range(words)]
    assert beam_confidences(trace, 0, spelt, TOKENIZER.decode) == (1.0,) * words
    return Counted.asked / words


def test_a_word_of_a_long_text_is_no_more_work_than_one_of_a_short_text():
    assert asked_for_each_word(200) == asked_for_each_word(20) > 0
