"""What language models and lexica add to the prefixes of a beam search.

The score of a text with words w_1 ... w_n is

    log P(sound | text) + alpha (sum_i log P(w_i | w_<i) + log P(</s> | w_1 ... w_n)) + beta n - penalty characters

where `characters` counts those of the words that the model does not know (each has the probability of <unk> beside). A
model of tokens adds its weight times (sum_j log P(c_j | c_<j) + log P(</s> | c)). All logarithms are natural.

A word's score is added when it ends. Until then a prefix may carry a loan that the end of the word pays back: what its
word will cost at least (look-ahead, the best unigram below its place in the trie), or the penalty of the characters of
a word that can be no known one any more. Loans change what is pruned, and no score of a finished text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from asr.decode.spelling import OUTSIDE, ROOT, Spelling, WordTrie
from asr.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SPACE_NAMES = (" ", "▁", "<space>", "|")
"""What a language model over characters may call the space."""


NO_CONTEXT = 0
"""The state in which a language model gives unigram probabilities."""


class LanguageModel(Protocol):
    """An n-gram model as the search needs it. States and words are numbers."""

    @property
    def words(self) -> tuple[str, ...]:
        """The vocabulary by number."""

    @property
    def unknown(self) -> int:
        """Number of `<unk>`."""

    @property
    def start(self) -> int:
        """The state at the beginning of a text."""

    def score(self, states: Ints, words: Ints) -> tuple[Floats, Ints]:
        """Natural log P(word | state) and the next states, all (N,)."""

    def end(self, states: Ints) -> Floats:
        """Natural log P(</s> | state), (N,)."""


class ScoreCache:
    """Remembers what a language model said of (state, word), in arrays of a fixed size; new pairs displace old ones."""

    def __init__(self, model: LanguageModel, bits: int = 18) -> None:
        self.model = model
        self.mask = np.uint64((1 << bits) - 1)
        self.states = np.full(1 << bits, -1, dtype=np.int64)
        self.words = np.full(1 << bits, -1, dtype=np.int64)
        self.scores = np.zeros(1 << bits)
        self.following = np.zeros(1 << bits, dtype=np.int64)

    def score(self, states: Ints, words: Ints) -> tuple[Floats, Ints]:
        """As `LanguageModel.score`."""
        mixed = states.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + words.astype(np.uint64)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        slots = ((mixed >> np.uint64(32)) & self.mask).astype(np.int64)
        missing = np.flatnonzero((self.states[slots] != states) | (self.words[slots] != words))
        scores, following = self.scores[slots], self.following[slots]
        if len(missing):
            scores[missing], following[missing] = self.model.score(states[missing], words[missing])
            # One pair a slot, so that what is kept belongs together.
            taken, first = np.unique(slots[missing], return_index=True)
            chosen = missing[first]
            self.states[taken], self.words[taken] = states[chosen], words[chosen]
            self.scores[taken], self.following[taken] = scores[chosen], following[chosen]
        return scores, following


@dataclass(frozen=True)
class WordWeights:
    """Weights of `WordFusion`; see the score above.

    Args:
        alpha: of the language model.
        beta: of the number of words.
        unknown_penalty: for each character of an unknown word.
    """

    alpha: float = 0.5
    beta: float = 0.0
    unknown_penalty: float = 0.0

    def __post_init__(self) -> None:
        for name, at_least in (("alpha", 0.0), ("beta", -np.inf), ("unknown_penalty", 0.0)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= at_least):
                limit = "a number" if at_least < 0 else "a number of at least 0"
                raise InputError(f"--{name.replace('_', '-')} must be {limit}, got {value}")


class _WordState(NamedTuple):
    """Arrays (U, B): what is known of the words of each prefix."""

    node: NDArray[np.int32]  # of the word that is being spelt, in the trie
    pending: Ints  # its characters
    context: Ints  # the language model's state before it
    closed: Floats  # what its end would add, NaN if that is not known yet
    following: Ints  # and the state after it
    log_prob: Floats  # of the finished words
    words: Ints  # how many they are
    unknown: Ints  # characters of the unknown ones among them
    word_log_prob: Floats  # of the word that is being spelt, where `closed` is known


class WordFusion:
    """A word n-gram model, a lexicon, or both.

    Args:
        spelling: the tokens.
        words: the words of the trie: those that the model knows, or the lexicon's.
        weights: see there.
        model: the language model; None for a lexicon alone.
        closed: whether words outside `words` are forbidden.
        look_ahead: whether a word that is being spelt is charged the best unigram below it.
    """

    def __init__(
        self,
        spelling: Spelling,
        words: Sequence[str],
        weights: WordWeights,
        model: LanguageModel | None = None,
        closed: bool = False,
        look_ahead: bool = False,
    ) -> None:
        self.spelling, self.weights, self.model, self.closed = spelling, weights, model, closed
        self.trie = WordTrie(words, spelling.characters)
        self.cache = None if model is None else ScoreCache(model)
        number = {} if model is None else {word: index for index, word in enumerate(model.words)}
        unknown = -1 if model is None else model.unknown
        of_word = np.array([number.get(word, unknown) for word in words] + [-1], dtype=np.int64)
        self.known = (of_word >= 0) & (of_word != unknown)
        self.known[:-1] |= model is None  # a lexicon alone knows its words
        self.numbers = of_word[self.trie.word]  # by node; -1 where no word ends
        self.known = self.known[self.trie.word]
        self.ends = self.trie.word >= 0
        self.best_below = np.zeros(len(self.ends))
        if look_ahead and model is not None:
            self._look_ahead(of_word[:-1], model)

    def _look_ahead(self, numbers: Ints, model: LanguageModel) -> None:
        """The best unigram below each node."""
        unigrams, _ = model.score(np.full(len(numbers), NO_CONTEXT, dtype=np.int64), numbers)
        self.best_below = self.trie.highest_below(unigrams)
        self.best_below[OUTSIDE] = model.score(np.array([NO_CONTEXT]), np.array([model.unknown]))[0][0]
        self.best_below[ROOT] = 0.0

    def start(self, utterances: int) -> tuple[Any, ...]:
        shape = (utterances, 1)
        zeros, none = np.zeros(shape), np.zeros(shape, dtype=np.int64)
        context = np.full(shape, 0 if self.model is None else self.model.start, dtype=np.int64)
        node = np.full(shape, ROOT, dtype=np.int32)
        return _WordState(node, none, context, zeros, context, zeros, none, none, zeros)

    def extend(self, state: tuple[Any, ...], tokens: Ints) -> tuple[Floats, _WordState]:
        before = _WordState(*state)
        breaks = self.spelling.breaks[tokens]  # (U, K)
        before = self._close(before, np.asarray(breaks.any(axis=1)))
        nodes = np.where(breaks[:, None, :], ROOT, before.node[:, :, None]).astype(np.int32)  # (U, B, K)
        spelled = self.spelling.spelled[tokens]  # (U, K, L)
        nodes = self.trie.walk(nodes, np.broadcast_to(spelled[:, None], (*nodes.shape, spelled.shape[-1])))
        sizes = self.spelling.sizes[tokens][:, None, :]
        pending = sizes + np.where(breaks[:, None, :], 0, before.pending[:, :, None])
        changes = self._loan(nodes, pending) - self._loan(before.node, before.pending)[:, :, None]
        closed = np.nan_to_num(before.closed, nan=0.0, neginf=-np.inf)
        changes = changes + np.where(breaks[:, None, :], closed[:, :, None], 0.0)
        if self.closed:
            changes[nodes == OUTSIDE] = -np.inf
        return changes, before

    def advance(self, state: tuple[Any, ...], tokens: Ints) -> _WordState:
        now = _WordState(*state)
        breaks = self.spelling.breaks[tokens]
        ended = breaks & (now.node != ROOT)
        oov = ended & ~self.known[now.node]
        node = self.trie.walk(np.where(breaks, ROOT, now.node).astype(np.int32), self.spelling.spelled[tokens])
        pending = np.where(breaks, 0, now.pending) + self.spelling.sizes[tokens]
        same = tokens == 0
        return _WordState(
            node=np.where(same, now.node, node),
            pending=np.where(same, now.pending, pending),
            context=np.where(ended, now.following, now.context),
            closed=np.where(same, now.closed, np.where(pending == 0, 0.0, np.nan)),
            following=now.following,
            log_prob=now.log_prob + np.where(ended, now.word_log_prob, 0.0),
            words=now.words + ended,
            unknown=now.unknown + np.where(oov, now.pending, 0),
            word_log_prob=np.where(same, now.word_log_prob, 0.0),
        )

    def finish(self, state: tuple[Any, ...]) -> Floats:
        now = self._finished(state)
        changes = now.closed - self._loan(now.node, now.pending)
        if self.model is not None:
            last = np.where(now.node == ROOT, now.context, now.following)
            changes = changes + self.weights.alpha * self.model.end(last.reshape(-1)).reshape(last.shape)
        return changes

    def parts(self, state: tuple[Any, ...]) -> dict[str, Floats]:
        now = self._finished(state)
        open_word = now.node != ROOT
        words = now.words + open_word
        unknown = now.unknown + np.where(open_word & ~self.known[now.node], now.pending, 0)
        parts = {"words": words.astype(np.float64), "unknown_characters": unknown.astype(np.float64)}
        if self.model is not None:
            last = np.where(open_word, now.following, now.context)
            end = self.model.end(last.reshape(-1)).reshape(last.shape)
            parts["word_lm"] = now.log_prob + np.where(open_word, now.word_log_prob, 0.0) + end
        return parts

    def _finished(self, state: tuple[Any, ...]) -> _WordState:
        now = _WordState(*state)
        return self._close(now, np.ones(len(now.node), dtype=bool))

    def _loan(self, nodes: NDArray[np.int32], pending: Ints) -> Floats:
        loans: Floats = self.weights.alpha * self.best_below[nodes]
        return loans - self.weights.unknown_penalty * np.where(nodes == OUTSIDE, pending, 0)

    def _close(self, state: _WordState, rows: NDArray[np.bool_]) -> _WordState:
        """Fill in what the ends of words add, in rows (U,) where a word may end."""
        places = np.nonzero(np.isnan(state.closed) & rows[:, None])
        if not len(places[0]):
            return state
        nodes, context = state.node[places], state.context[places]
        known = self.known[nodes]
        log_prob, following = np.zeros(len(nodes)), context
        if self.model is not None and self.cache is not None:
            words = np.where(self.ends[nodes], self.numbers[nodes], self.model.unknown)
            log_prob, following = self.cache.score(context, words)
        weights = self.weights
        closed = weights.alpha * log_prob + weights.beta
        closed = closed - weights.unknown_penalty * np.where(known, 0, state.pending[places])
        if self.closed:
            closed[~self.ends[nodes]] = -np.inf
        state = state._replace(
            closed=state.closed.copy(), following=state.following.copy(), word_log_prob=state.word_log_prob.copy()
        )
        state.closed[places], state.following[places], state.word_log_prob[places] = closed, following, log_prob
        return state


class _TokenState(NamedTuple):
    """Arrays (U, B)."""

    context: Ints  # the language model's state
    log_prob: Floats  # of all tokens
    before: Ints  # the state and
    log_prob_before: Floats  # log-probability without a separator at the end, which the end of a text does not count


class TokenFusion:
    """An n-gram model of the tokens (characters, or a model's pieces), applied at every token.

    Args:
        spelling: the tokens; the model calls the separator by one of `SPACE_NAMES`.
        model: the language model.
        weight: of its log-probabilities, at least 0.

    Raises:
        InputError: the weight is negative or not finite, or the model knows fewer than half of the tokens.
    """

    def __init__(self, spelling: Spelling, model: LanguageModel, weight: float) -> None:
        if not (np.isfinite(weight) and weight >= 0):
            raise InputError(f"--char-alpha must be a number of at least 0, got {weight}")
        number = {word: index for index, word in enumerate(model.words)}
        names = [_names(token) for token in spelling.tokens]
        found = [next((number[name] for name in choices if name in number), model.unknown) for choices in names]
        missing = [token for token, index in zip(spelling.tokens[1:], found[1:], strict=True) if index == model.unknown]
        if 2 * len(missing) > len(found) - 1:
            raise InputError(
                f"the language model over tokens does not know {len(missing)} of the {len(found) - 1} tokens: "
                f"{missing[:10]}; is it one over other tokens, or in the other case?"
            )
        self.missing = tuple(missing)
        self.numbers = np.array(found, dtype=np.int64)
        self.model, self.weight = model, weight
        self.separator = -1 if spelling.separator is None else spelling.separator
        self.cache = ScoreCache(model, bits=20)

    def start(self, utterances: int) -> _TokenState:
        context = np.full((utterances, 1), self.model.start, dtype=np.int64)
        zeros = np.zeros((utterances, 1))
        return _TokenState(context, zeros, context, zeros)

    def extend(self, state: tuple[Any, ...], tokens: Ints) -> tuple[Floats, _TokenState]:
        now = _TokenState(*state)
        shape = (*now.context.shape, tokens.shape[1])
        states = np.broadcast_to(now.context[:, :, None], shape).reshape(-1)
        words = np.broadcast_to(self.numbers[tokens][:, None, :], shape).reshape(-1)
        log_probs, _ = self.cache.score(states, words)
        return self.weight * log_probs.reshape(shape), now

    def advance(self, state: tuple[Any, ...], tokens: Ints) -> _TokenState:
        now = _TokenState(*state)
        log_probs, following = self.cache.score(now.context.reshape(-1), self.numbers[tokens].reshape(-1))
        log_probs, following = log_probs.reshape(tokens.shape), following.reshape(tokens.shape)
        same, space = tokens == 0, tokens == self.separator
        context = np.where(same, now.context, following)
        log_prob = np.where(same, now.log_prob, now.log_prob + log_probs)
        return _TokenState(
            context,
            log_prob,
            np.where(same, now.before, np.where(space, now.context, context)),
            np.where(same, now.log_prob_before, np.where(space, now.log_prob, log_prob)),
        )

    def finish(self, state: tuple[Any, ...]) -> Floats:
        now = _TokenState(*state)
        changes: Floats = self.weight * (self.parts(state)["token_lm"] - now.log_prob)
        return changes

    def parts(self, state: tuple[Any, ...]) -> dict[str, Floats]:
        now = _TokenState(*state)
        return {"token_lm": now.log_prob_before + self.model.end(now.before.reshape(-1)).reshape(now.before.shape)}


def _names(token: str) -> tuple[str, ...]:
    return SPACE_NAMES if token in SPACE_NAMES[:2] else (token,)
