"""Relative-entropy pruning leaves out what its definition says, and no probability is lost."""

import math
from itertools import pairwise

import numpy as np
from zipf import sentences_of

from asr.lm.building import BuildOptions, build_from_units
from asr.lm.counts import count_ngrams, vocabulary_of, with_special
from asr.lm.kneser_ney import estimate
from asr.lm.perplexity import predict
from asr.lm.pruning import prune


def distribution(model, history):
    """P(word | history) of all words but <s>."""
    state = np.array([0])
    for word in history:
        state = model.score(state, np.array([model.index(word)]))[1] if word != "<s>" else np.array([model.start])
    size = len(model.words)
    probabilities = np.exp(model.score(np.repeat(state, size), np.arange(size))[0])
    probabilities[model.index("<s>")] = 0
    return probabilities


def test_a_bigram_goes_if_the_perplexity_without_it_alone_grows_by_less_than_the_threshold():
    threshold = 1e-3
    sentences = sentences_of(150, 10, seed=1)
    full, _ = build_from_units(sentences, BuildOptions(order=2))
    pruned, _ = build_from_units(sentences, BuildOptions(order=2, threshold=threshold))
    padded = [("<s>", *sentence, "</s>") for sentence in sentences]
    events = sum(map(len, padded)) - len(padded)
    unigrams = distribution(full, [])
    stays, growths = {}, []
    for context in ["<s>", *full.words[3:]]:
        before = distribution(full, [context])
        followed = {b for words in padded for a, b in pairwise(words) if a == context}
        stored = np.isin(full.words, sorted(followed))
        weight = sum(words.count(context) for words in padded) / events
        for word in followed:
            rest = stored & (np.array(full.words) != word)
            after = np.where(rest, before, unigrams * (1 - before[rest].sum()) / (1 - unigrams[rest].sum()))
            some = before > 0
            divergence = weight * (before[some] * np.log(before[some] / after[some])).sum()
            growths.append(math.expm1(divergence))
            stays[context, word] = growths[-1] >= threshold
    assert min(abs(growth - threshold) for growth in growths) > 1e-6  # none at the brink
    assert 0 < sum(stays.values()) < len(stays)
    kept = {
        (pruned.words[(key // len(pruned.words)) - 1], pruned.words[key % len(pruned.words)])
        for key in pruned.trie.keys[len(pruned.words) :].tolist()
    }
    assert kept == {bigram for bigram, stay in stays.items() if stay}


def ngrams_of(levels, number):
    """The n-grams of a level, as tuples of word indices, by their parents."""
    level = levels[number]
    if number == 0:
        return [(word,) for word in level.word.tolist()]
    parents = ngrams_of(levels, number - 1)
    return [(*parents[row], word) for row, word in zip(level.parent.tolist(), level.word.tolist(), strict=True)]


def test_what_stays_keeps_its_probability_and_what_it_begins_and_ends_with():
    sentences = sentences_of(400, 15, seed=2)
    words = with_special(vocabulary_of(sentences))
    levels, _ = estimate(count_ngrams(sentences, words, 4))
    kept = prune(levels, 1e-4)
    for before, after in zip(levels, kept, strict=True):
        assert set(after.probability) <= set(before.probability)
    counts = [len(level.word) for level in kept]
    assert counts[0] == len(words)
    assert all(0 < after < len(before.word) for before, after in zip(levels[1:], counts[1:], strict=True))
    for number in range(1, 4):
        assert kept[number].parent.max() < counts[number - 1]
        keys = kept[number].parent * len(words) + kept[number].word
        assert (np.diff(keys) > 0).all()
    ngrams = [ngrams_of(kept, number) for number in range(4)]
    originals = [ngrams_of(levels, number) for number in range(4)]
    for number in range(1, 4):
        assert set(ngrams[number]) <= set(originals[number])
        assert {ngram[:-1] for ngram in ngrams[number]} <= set(ngrams[number - 1])
        endings = [ngrams[number - 1][row] for row in kept[number].suffix.tolist()]
        assert endings == [ngram[1:] for ngram in ngrams[number]]


def test_a_higher_threshold_leaves_less_and_predicts_worse():
    sentences = sentences_of(600, 25, seed=3)
    models = [build_from_units(sentences, BuildOptions(threshold=t))[0] for t in (0, 1e-5, 1e-4, 1e-3, 0.5)]
    sizes = [sum(model.counts) for model in models]
    perplexities = [predict(model, sentences).perplexity for model in models]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)
    assert perplexities == sorted(perplexities)
    assert models[-1].counts[1:] == (0, 0)
