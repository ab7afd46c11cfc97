"""How well a model predicts a text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.lm.model import NGramModel


@dataclass(frozen=True)
class Prediction:
    """What a model says of a text; logarithms are natural. Ends of sentences are predicted too.

    Attributes:
        sentences: of the text.
        words: of the text: words, or characters with the spaces between words; without the sentences' ends.
        unknown: of these, those that the model does not know; they are predicted as `<unk>`.
        log_prob: of everything, as the sum over words and ends.
        log_prob_unknown: of the unknown words alone.
    """

    sentences: int
    words: int
    unknown: int
    log_prob: float
    log_prob_unknown: float

    @property
    def perplexity(self) -> float:
        """exp(-log P / (words + sentences)), unknown words being predicted as `<unk>`."""
        return _exp(-self.log_prob / (self.words + self.sentences))

    @property
    def perplexity_known(self) -> float:
        """The same without the unknown words: neither their probabilities nor their number counts."""
        known = self.words - self.unknown + self.sentences
        return _exp(-(self.log_prob - self.log_prob_unknown) / known)

    @property
    def unknown_rate(self) -> float:
        """Unknown words / words."""
        return self.unknown / self.words if self.words else 0.0

    @property
    def bits(self) -> float:
        """Bits for each word (or character) and each end of a sentence: log2 of the perplexity."""
        return -self.log_prob / math.log(2) / (self.words + self.sentences)


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def predict(model: NGramModel, sentences: Sequence[Sequence[str]]) -> Prediction:
    """Predict sentences of words, or of characters if the model is one of characters; all of them side by side."""
    by_length = sorted(sentences, key=len, reverse=True)
    lengths = np.array([len(sentence) for sentence in by_length], dtype=np.int64)
    states = np.full(len(by_length), model.start, dtype=np.int64)
    total = unknown_total = 0.0
    unknown = 0
    for place in range(int(lengths.max(initial=0)) + 1):
        ending = lengths[: len(states)] == place
        total += float(model.end(states[ending]).sum())
        states = states[~ending]
        here = [sentence[place] for sentence in by_length[: len(states)]]
        words = np.array([model.index(word) for word in here], dtype=np.int64)
        strange: NDArray[np.bool_] = words == model.unknown
        log_probs, states = model.score(states, words)
        total += float(log_probs.sum())
        unknown_total += float(log_probs[strange].sum())
        unknown += int(strange.sum())
    return Prediction(len(by_length), int(lengths.sum()), unknown, total, unknown_total)
