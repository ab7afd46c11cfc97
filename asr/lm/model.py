"""Back-off n-gram models: probabilities and states for many contexts at once."""

from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from asr.errors import InputError
from asr.lm.trie import ROOT, Trie

Unit = Literal["word", "character"]
UNITS: tuple[Unit, ...] = get_args(Unit)
UNKNOWN = "<unk>"
START = "<s>"
END = "</s>"
SPACE = "<space>"
"""What stands for the space in models of characters."""

DENSE_ENTRIES = 50_000_000
"""Largest number of states x words for which `NGramModel.score_all` keeps a table."""


class NGramModel:
    """P(word | words before it) by a back-off n-gram model (Katz 1987; what ARPA files hold).

    A state stands for what has been said, as far as the model looks back. States are numbers; two histories that no
    continuation tells apart have the same one. All methods take arrays of any length N.

    Attributes:
        words: the vocabulary, index -> word, with `<unk>`, `<s>` and `</s>`.
        unknown: index of `<unk>`; where a file calls it `<UNK>`, of that.
        order: n of the longest n-grams.
        start: the state at the beginning of a sentence.
        counts: n-grams of each order.
        record: how it was made, plain data; empty if that is not known.

    >>> from asr.lm.trie import Ngrams, build_trie
    >>> import numpy as np
    >>> unigrams = Ngrams(np.array([[0], [1], [2], [3]]), np.log([0.1, 1e-9, 0.3, 0.6]), np.log([1, 0.5, 1, 1]))
    >>> bigrams = Ngrams(np.array([[1, 3]]), np.log([0.8]), np.zeros(1))
    >>> model = NGramModel(("<unk>", "<s>", "</s>", "yes"), build_trie([unigrams, bigrams], 4))
    >>> log_probs, states = model.score(np.array([model.start, model.start]), np.array([3, 0]))
    >>> np.exp(log_probs).round(3).tolist(), np.exp(model.end(states)).round(3).tolist()
    ([0.8, 0.05], [0.3, 0.3])
    """

    def __init__(self, words: tuple[str, ...], trie: Trie, record: dict[str, Any] | None = None) -> None:
        """
        Args:
            words: the vocabulary, index -> word.
            trie: its n-grams; the nodes 1, 2, ... are those of the single words in their order.
            record: how it was made.

        Raises:
            InputError: `<unk>` or `</s>` is not in the vocabulary, or the unigrams are not its words.
        """
        self.words = words
        self.record = record or {}
        self.trie = trie
        self.counts = trie.counts
        self.order = len(trie.counts)
        self._index = {word: number for number, word in enumerate(words)}
        if trie.counts[0] != len(words) or len(self._index) != len(words):
            raise InputError(f"a language model of {len(words)} words cannot have {trie.counts[0]} unigrams")
        for needed in (END,) if "<UNK>" in self._index else (END, UNKNOWN):
            if needed not in self._index:
                raise InputError(f"the language model has no {needed}")
        self.unknown = self._index.get(UNKNOWN, self._index.get("<UNK>", -1))
        self._end = self._index[END]
        self._log_prob = trie.log_prob.astype(np.float64)
        self._backoff = trie.backoff.astype(np.float64)
        self._suffix = trie.suffix.astype(np.int64)
        self._state = self._reduced()
        self.start = int(self._state[self._index[START] + 1]) if START in self._index else ROOT

    def _reduced(self) -> NDArray[np.int64]:
        """The state of each node: its longest suffix that any n-gram continues, or that has a back-off weight."""
        parents = self.trie.keys // len(self.words)
        useful = self._backoff != 0
        useful[parents] = True
        useful[ROOT] = True
        state = np.where(useful, np.arange(len(useful)), -1)
        while len(rest := np.flatnonzero(state < 0)):  # once for each order at most
            suffixes = self._suffix[rest]
            state[rest] = state[suffixes]
        return state

    @property
    def unit(self) -> Unit:
        """What the model's words are, as its record says.

        Without one: "character" if `<space>` is one of them, and the others are single characters.
        """
        for unit in UNITS:
            if unit == self.record.get("unit"):
                return unit
        single = all(len(word) == 1 for word in self.words if word not in (START, END, SPACE, UNKNOWN, "<UNK>"))
        return "character" if single and SPACE in self._index else "word"

    @property
    def states(self) -> int:
        """An upper limit of all states."""
        return 1 + sum(self.counts[:-1])

    def index(self, word: str) -> int:
        """The word's index; that of `<unk>` if the model does not know it."""
        return self._index.get(word, self.unknown)

    def knows(self, word: str) -> bool:
        """Whether the word is in the vocabulary."""
        return word in self._index

    def score(
        self, states: NDArray[np.int64], words: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Natural-log P(words[i] | states[i]), and the states after them.

        Args:
            states: (N,).
            words: indices of words, (N,).

        Returns:
            Log-probabilities and states, both (N,).
        """
        nodes = np.asarray(states, dtype=np.int64)
        words = np.asarray(words, dtype=np.int64)
        found = self.trie.find(nodes, words, len(self.words))
        log_probs = np.zeros(len(nodes))
        pending = np.flatnonzero(found == 0)
        nodes = nodes[pending]
        while len(pending):
            log_probs[pending] += self._backoff[nodes]
            nodes = self._suffix[nodes]
            children = self.trie.find(nodes, words[pending], len(self.words))
            found[pending] = children
            lost = children == 0
            pending, nodes = pending[lost], nodes[lost]
        return log_probs + self._log_prob[found], self._state[found]

    def end(self, states: NDArray[np.int64]) -> NDArray[np.float64]:
        """Natural-log P(</s> | state), (N,)."""
        return self.score(states, np.full(len(states), self._end, dtype=np.int64))[0]

    def score_all(self, states: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Natural-log P(word | state) of every word, and the states after them, both (N, number of words).

        Meant for small vocabularies, as of characters: where states x words are at most 50 million, a table is made
        at the first call.
        """
        states = np.asarray(states, dtype=np.int64)
        if self.states * len(self.words) <= DENSE_ENTRIES:
            log_probs, following = self._table
            return log_probs[states].astype(np.float64), following[states].astype(np.int64)
        size = len(self.words)
        flat = self.score(np.repeat(states, size), np.tile(np.arange(size), len(states)))
        return flat[0].reshape(-1, size), flat[1].reshape(-1, size)

    @cached_property
    def _table(self) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Log-probabilities and following states of all states and words, (states, number of words) each."""
        size = len(self.words)
        log_probs = np.zeros((self.states, size), dtype=np.float32)
        following = np.zeros((self.states, size), dtype=np.int32)
        parents, words = np.divmod(self.trie.keys, size)
        ends = np.cumsum([1, *self.counts[:-1]]).tolist()
        begin = 0
        for end in ends:
            nodes = np.arange(begin, end)
            if begin:
                suffixes = self._suffix[nodes]
                log_probs[nodes] = log_probs[suffixes] + self._backoff[nodes, None]
                following[nodes] = following[suffixes]
            first, last = np.searchsorted(parents, [begin, end])
            children = np.arange(first, last) + 1
            log_probs[parents[first:last], words[first:last]] = self._log_prob[children]
            following[parents[first:last], words[first:last]] = self._state[children]
            begin = end
        return log_probs, following
