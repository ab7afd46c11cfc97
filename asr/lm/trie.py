"""The n-grams of a back-off model as one sorted array: every n-gram is a node, named by its place."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

ROOT = 0
"""The node of the empty n-gram."""


class Ngrams(NamedTuple):
    """All n-grams of one order, n, in any order and each once; N of them. Logarithms are natural.

    Attributes:
        words: indices of their words, (N, n).
        log_prob: log P(last word | the others), (N,).
        backoff: log back-off weights of the n-grams as contexts, (N,).
    """

    words: NDArray[np.integer[Any]]
    log_prob: NDArray[np.floating[Any]]
    backoff: NDArray[np.floating[Any]]


class Trie(NamedTuple):
    """A back-off model. Node 0 is the empty n-gram; node i > 0 is the n-gram of `keys[i - 1]`.

    Nodes are sorted by order, then by their words, so that a node's parent (the n-gram without its last word) comes
    before it, and the nodes of one parent lie side by side. There are M nodes beside the root.

    Attributes:
        keys: parent * (number of words) + last word, ascending, (M,).
        log_prob: natural log P(last word | the others), (M + 1,); 0 for the root.
        backoff: natural logarithm of the back-off weight, (M + 1,).
        suffix: node of the longest stored n-gram that ends this one and is shorter, (M + 1,).
        counts: n-grams of each order.
    """

    keys: Ints
    log_prob: Floats
    backoff: Floats
    suffix: NDArray[np.int32]
    counts: tuple[int, ...]

    def find(self, parents: Ints, words: NDArray[np.integer[Any]], vocabulary: int) -> Ints:
        """The nodes `parents` + `words`, or 0 where there is none."""
        return find(self.keys, parents, words, vocabulary)


def find(keys: Ints, parents: Ints, words: NDArray[np.integer[Any]], vocabulary: int) -> Ints:
    """Nodes by parent and last word among sorted keys, or 0 (the root, which is no one's child) where there is none."""
    wanted = parents * vocabulary + words
    places = np.searchsorted(keys, wanted)
    found = places < len(keys)
    found[found] = keys[places[found]] == wanted[found]
    return np.where(found, places + 1, 0)


def build_trie(levels: Sequence[Ngrams], vocabulary: int) -> Trie:
    """Sort n-grams into a trie. An n-gram whose context is missing brings it along, with its backed-off probability.

    Args:
        levels: the n-grams of orders 1, 2, ...; the first has every word of the vocabulary.
        vocabulary: number of words.

    Raises:
        ValueError: an n-gram is there twice; the message has its word indices.
    """
    while (missing := _first_missing(levels, vocabulary)) is not None:
        depth, words = missing
        levels = list(levels)
        known = levels[depth - 1]
        levels[depth - 1] = Ngrams(
            np.concatenate([known.words, words]),
            np.concatenate([known.log_prob, np.full(len(words), np.nan)]),
            np.concatenate([known.backoff, np.zeros(len(words))]),
        )
    return _sorted(levels, vocabulary)


def _first_missing(levels: Sequence[Ngrams], vocabulary: int) -> tuple[int, NDArray[np.integer[Any]]] | None:
    """Contexts of the lowest order that are needed and not there: their order and their words; None if all are."""
    keys: Ints = np.empty(0, dtype=np.int64)
    for level in levels:
        order = level.words.shape[1]
        parents, depths = _walk(keys, level.words[:, :-1], vocabulary)
        lost = depths < order - 1
        if lost.any():
            depth = int(depths[lost].min()) + 1
            return depth, np.unique(level.words[lost & (depths == depth - 1), :depth], axis=0)
        keys = np.concatenate([keys, np.sort(parents * vocabulary + level.words[:, -1])])
    return None


def _walk(keys: Ints, contexts: NDArray[np.integer[Any]], vocabulary: int) -> tuple[Ints, Ints]:
    """Nodes of `contexts` (N, n) and how many of their words were found, both (N,)."""
    nodes: Ints = np.zeros(len(contexts), dtype=np.int64)
    depths: Ints = np.zeros(len(contexts), dtype=np.int64)
    for number in range(contexts.shape[1]):
        children = find(keys, nodes, contexts[:, number], vocabulary)
        on = (depths == number) & (children > 0)
        nodes = np.where(on, children, nodes)
        depths += on
    return nodes, depths


def _sorted(levels: Sequence[Ngrams], vocabulary: int) -> Trie:
    total = sum(len(level.words) for level in levels)
    keys: Ints = np.empty(total, dtype=np.int64)
    log_prob = np.zeros(total + 1, dtype=np.float32)
    backoff = np.zeros(total + 1, dtype=np.float32)
    begin = 0
    for level in levels:
        parents, _ = _walk(keys[:begin], level.words[:, :-1], vocabulary)
        new = parents * vocabulary + level.words[:, -1]
        by_key = np.argsort(new, kind="stable")
        end = begin + len(new)
        keys[begin:end] = new[by_key]
        _refuse_twins(keys[begin:end], level.words[by_key])
        log_prob[begin + 1 : end + 1] = level.log_prob[by_key]
        backoff[begin + 1 : end + 1] = level.backoff[by_key]
        begin = end
    counts = tuple(len(level.words) for level in levels)
    suffix = suffixes(keys, counts, vocabulary)
    _fill(keys, log_prob, backoff, suffix, vocabulary)
    return Trie(keys, log_prob, backoff, suffix, counts)


def _refuse_twins(keys: Ints, words: NDArray[np.integer[Any]]) -> None:
    twins = np.flatnonzero(keys[1:] == keys[:-1])
    if len(twins):
        raise ValueError(words[twins[0]].tolist())


def suffixes(keys: Ints, counts: Sequence[int], vocabulary: int) -> NDArray[np.int32]:
    """For every node, the longest stored n-gram that ends it and is shorter: of (a, b, c) that is (b, c) if stored."""
    suffix = np.zeros(len(keys) + 1, dtype=np.int32)
    begin = counts[0]
    for count in counts[1:]:
        level = keys[begin : begin + count]
        parents, words = np.divmod(level, vocabulary)
        result = np.zeros(count, dtype=np.int64)
        pending = np.arange(count)
        nodes = suffix[parents].astype(np.int64)
        while len(pending):
            children = find(keys[:begin], nodes, words[pending], vocabulary)
            result[pending] = children
            lost = children == 0
            pending, nodes = pending[lost], suffix[nodes[lost]].astype(np.int64)
        suffix[begin + 1 : begin + count + 1] = result
        begin += count
    return suffix


def _fill(keys: Ints, log_prob: Floats, backoff: Floats, suffix: NDArray[np.int32], vocabulary: int) -> None:
    """Give contexts that no one stored, marked by NaN, the probability that backing off gives them."""
    for node in np.flatnonzero(np.isnan(log_prob)).tolist():  # shorter ones come first
        context, word = divmod(int(keys[node - 1]), vocabulary)
        total = 0.0
        child = node
        while child == node or child == 0:
            total += float(backoff[context])
            context = int(suffix[context])
            child = int(find(keys, np.array([context]), np.array([word]), vocabulary)[0])
        log_prob[node] = total + float(log_prob[child])
