"""The definition of CTC decoding with language models, by enumeration of all alignments of small cases."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np


def text_of(tokens: Sequence[str]) -> str:
    """The text of tokens, white space between words counting once."""
    return " ".join("".join(tokens).replace("▁", " ").split())


def alignment_sums(log_probs: np.ndarray, tokens: Sequence[str]) -> dict[str, float]:
    """log of the summed probability of all alignments of each text: log_probs (T, V), tokens with the blank first."""
    sums: dict[str, float] = {}
    for path in itertools.product(range(len(tokens)), repeat=len(log_probs)):
        collapsed = [token for token, _ in itertools.groupby(path) if token != 0]
        text = text_of([tokens[token] for token in collapsed])
        probability = sum(row[token] for row, token in zip(log_probs, path, strict=True))
        sums[text] = np.logaddexp(sums.get(text, -math.inf), probability)
    return sums


class ToyBigram:
    """A bigram model with random probabilities. State 0 has no context, state i + 1 is "after word i"."""

    def __init__(self, words: Sequence[str], seed: int) -> None:
        self.words = ("<unk>", "</s>", *words)
        self.unknown, self.start = 0, len(self.words) + 1
        table = np.random.default_rng(seed).dirichlet(np.ones(len(self.words)), size=len(self.words) + 2)
        self.table = np.log(table)  # (contexts, words)
        self.calls = 0

    def score(self, states: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.calls += len(states)
        return self.table[states, words], words + 1

    def end(self, states: np.ndarray) -> np.ndarray:
        return self.table[states, 1]

    def log_prob(self, sequence: Sequence[str]) -> float:
        """Of a sequence and its end, one after the other."""
        state, total = self.start, 0.0
        for name in sequence:
            number = self.words.index(name) if name in self.words else self.unknown
            total += self.table[state, number]
            state = number + 1
        return float(total + self.table[state, 1])


def best_first(sums: dict[str, float], bonus: Callable[[str], float]) -> list[tuple[str, float]]:
    """Texts with their scores, best first; those of bonus -inf are left out."""
    scored = {text: value + bonus(text) for text, value in sums.items()}
    return sorted(((t, s) for t, s in scored.items() if math.isfinite(s)), key=lambda item: -item[1])
