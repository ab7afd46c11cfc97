"""From estimated n-grams to a model: relative-entropy pruning (Stolcke 1998) and exact back-off weights."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asr.lm.counts import START_INDEX
from asr.lm.kneser_ney import Level
from asr.lm.trie import Trie, suffixes

NOTHING = 1e-12
"""Mass that is rounding: of a context after which every word is stored."""


def assemble(levels: Sequence[Level], threshold: float = 0.0) -> Trie:
    """A model of estimated n-grams.

    Args:
        levels: the n-grams of the orders 1, 2, ...
        threshold: n-grams whose removal raises the perplexity by a smaller part than this are left out, for example
            1e-8; see `prune`.
    """
    pruned = threshold > 0
    if pruned:
        levels = prune(levels, threshold)
    vocabulary = len(levels[0].word)
    keys = []
    begin = 0
    for level in levels:
        keys.append((level.parent + begin) * vocabulary + level.word)
        begin += 1 if level is levels[0] else len(keys[-2])
    counts = tuple(len(level.word) for level in levels)
    all_keys = np.concatenate(keys)
    suffix = suffixes(all_keys, counts, vocabulary)
    probability = np.concatenate([[1.0], *(level.probability for level in levels)])
    backoff = np.concatenate([[1.0], *(level.backoff for level in levels)])
    if pruned:
        backoff = exact_backoff(all_keys, counts, suffix, probability)
    return Trie(all_keys, np.log(probability).astype(np.float32), np.log(backoff).astype(np.float32), suffix, counts)


def prune(levels: Sequence[Level], threshold: float) -> list[Level]:
    """Leave out the n-grams whose removal, one at a time, raises the training perplexity by less than a part.

    Without w after h, P(w | h) becomes backoff'(h) P(w | h'), h' being h without its first word, and the perplexity
    grows by exp(D) - 1, with (Stolcke 1998, equation 5)

        D = P(h) (P(w | h) (log P(w | h) - log P(w | h') - log backoff'(h)) + m(h) (log backoff(h) - log backoff'(h)))

    where m(h) is the mass that h gives to what is backed off. P(h) is how often h occurs in the text: what a
    Kneser-Ney model itself says of a context's frequency is wrong by design (Chelba et al. 2010). What n-grams
    that stay begin or end with, stays: other tools count on it.
    """
    events = levels[0].occurrences.sum() - levels[0].occurrences[START_INDEX]
    result = list(levels)
    for n in range(len(levels) - 1, 0, -1):
        level, context = result[n], levels[n - 1]
        high, low = level.probability, context.probability[level.suffix]
        sums = [np.bincount(level.parent, weights=weights, minlength=len(context.word)) for weights in (high, low)]
        left = np.maximum(1 - sums[0], NOTHING)[level.parent]
        left_low = np.maximum(1 - sums[1], NOTHING)[level.parent]
        new = np.log(left + high) - np.log(left_low + low)
        old = np.log(left) - np.log(left_low)
        frequency = context.occurrences[level.parent] / events
        loss = frequency * (high * (np.log(high) - np.log(low) - new) + left * (old - new))
        kept = np.expm1(loss) >= threshold
        if n + 1 < len(levels):
            above = result[n + 1]
            for needed in (above.parent, above.suffix):
                kept[needed] = True
            rows = np.cumsum(kept) - 1
            result[n + 1] = above._replace(parent=rows[above.parent], suffix=rows[above.suffix])
        result[n] = level.only(kept)
    return result


def exact_backoff(
    keys: NDArray[np.int64], counts: Sequence[int], suffix: NDArray[np.int32], probability: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Back-off weights of all nodes with which every context's probabilities sum to one.

    backoff(h) = (1 - sum P(w | h)) / (1 - sum P(w | h')), over the words w that are stored after h, where h' w is
    stored too.

    Args:
        keys: as in `Trie`.
        counts: n-grams of each order.
        suffix: as in `Trie`.
        probability: P(last word | the others) of each node, (M + 1,).
    """
    parents = keys[counts[0] :] // counts[0]
    nodes = np.arange(counts[0] + 1, len(probability))
    high, low = (
        np.bincount(parents, weights=probability[of], minlength=len(probability)) for of in (nodes, suffix[nodes])
    )
    some = 1 - low > NOTHING
    backoff = np.ones(len(probability))
    backoff[some] = np.maximum(1 - high[some], NOTHING) / (1 - low[some])
    return backoff
