"""How often each n-gram occurs in a text: vocabularies, and counts of all orders."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.errors import InputError
from asr.lm.model import END, START, UNKNOWN

SPECIAL = (UNKNOWN, START, END)
"""The first words of every vocabulary that is made here, in this order."""
UNKNOWN_INDEX, START_INDEX, END_INDEX = range(3)
MAX_KEY = 1 << 62


class Counts(NamedTuple):
    """All n-grams of one order that occur, N of them, sorted by their words; of order 1, the whole vocabulary.

    Attributes:
        parent: the n-gram without its last word, as a row of the order below, (N,); 0 for single words.
        word: its last word, (N,).
        suffix: the n-gram without its first word, as a row of the order below, (N,); 0 for single words.
        initial: whether it begins with `<s>`, (N,).
        occurrences: how often it occurs, (N,).
    """

    parent: NDArray[np.int64]
    word: NDArray[np.int64]
    suffix: NDArray[np.int64]
    initial: NDArray[np.bool_]
    occurrences: NDArray[np.int64]


def vocabulary_of(sentences: Iterable[Sequence[str]], min_count: int = 1, max_words: int | None = None) -> list[str]:
    """The words of a text, sorted: those that occur `min_count` times, the `max_words` most frequent of them.

    Of words that are equally frequent, the alphabetically first are taken.

    >>> vocabulary_of([["TO", "BE", "OR", "NOT", "TO", "BE"]], max_words=3)
    ['BE', 'NOT', 'TO']
    """
    counts = Counter(chain.from_iterable(sentences))
    for special in SPECIAL:
        counts.pop(special, None)
    frequent = [(-count, word) for word, count in counts.items() if count >= min_count]
    if max_words is not None:
        frequent = sorted(frequent)[:max_words]
    return sorted(word for _, word in frequent)


def with_special(vocabulary: Iterable[str]) -> tuple[str, ...]:
    """A vocabulary as models have it: `<unk>`, `<s>`, `</s>`, then the words in their order, each once."""
    return tuple(dict.fromkeys((*SPECIAL, *vocabulary)))


def count_ngrams(sentences: Sequence[Sequence[str]], words: Sequence[str], order: int) -> list[Counts]:
    """Count the n-grams of all orders up to `order` in sentences, each within `<s>` and `</s>`.

    Args:
        sentences: words or characters; what is not in the vocabulary counts as `<unk>`.
        words: the vocabulary, which begins with `SPECIAL`.
        order: the longest n-grams.

    Raises:
        InputError: there are no sentences, or a sentence has `<s>` or `</s>` in it.
    """
    ids, ends = _indexed(sentences, words)
    positions = np.arange(len(ids))
    nodes = ids  # the row of the n-gram that begins at each position
    first = np.zeros(len(words), dtype=np.int64)
    levels = [
        Counts(first, np.arange(len(words)), first, np.arange(len(words)) == START_INDEX, _counted(ids, len(words)))
    ]
    for n in range(2, order + 1):
        below = levels[-1]
        if len(below.word) * len(words) > MAX_KEY:
            raise InputError(f"{len(below.word)} {n - 1}-grams of {len(words)} words are too many to count {n}-grams")
        positions = positions[positions + n - 1 <= ends[positions]]
        keys = nodes[positions] * len(words) + ids[positions + n - 1]
        unique, first_seen, inverse, count = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        parent, word = np.divmod(unique, len(words))
        suffix = nodes[positions[first_seen] + 1]
        levels.append(Counts(parent, word, suffix, below.initial[parent], count))
        nodes = np.zeros(len(ids), dtype=np.int64)
        nodes[positions] = inverse
    return levels


def _counted(ids: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    return np.bincount(ids, minlength=size).astype(np.int64)


def _indexed(sentences: Sequence[Sequence[str]], words: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All sentences in one row of indices, and for each place the one where its sentence ends."""
    if not sentences:
        raise InputError("a language model needs text; there are no sentences")
    index = {word: number for number, word in enumerate(words)}
    lengths = np.fromiter(map(len, sentences), dtype=np.int64, count=len(sentences)) + 2
    last = np.cumsum(lengths) - 1
    ids = np.full(int(lengths.sum()), -1, dtype=np.int64)
    ids[last] = END_INDEX
    ids[last - lengths + 1] = START_INDEX
    inner = [index.get(word, UNKNOWN_INDEX) for word in chain.from_iterable(sentences)]
    places = np.flatnonzero(ids < 0)
    ids[places] = inner
    reserved = places[(ids[places] == START_INDEX) | (ids[places] == END_INDEX)]
    if len(reserved):
        number = int(np.searchsorted(last, reserved[0]))
        raise InputError(f"sentence {number + 1} of the text has {words[ids[reserved[0]]]} in it, which is reserved")
    return ids, np.repeat(last, lengths)
