"""Modified Kneser-Ney by hand, by its definition, and by KenLM."""

import math
import random
import shutil
import subprocess
from collections import Counter, defaultdict
from itertools import product

import numpy as np
import pytest
from zipf import sentences_of

from asr.errors import InputError
from asr.lm.arpa import read_arpa, write_arpa
from asr.lm.building import BuildOptions, build_from_units
from asr.lm.kneser_ney import FALLBACK, discounts_of


def probability(model, history, word):
    state = np.array([model.start if history[:1] == ("<s>",) else 0])
    for before in history[history[:1] == ("<s>",) :]:
        state = model.score(state, np.array([model.index(before)]))[1]
    return math.exp(model.score(state, np.array([model.index(word)]))[0][0])


def sums_over_the_vocabulary(model):
    """Of every context that can be reached, the sum over all words but <s>."""
    states, seen = np.unique(np.array([0, model.start])), set()
    size = len(model.words)
    sums = []
    while len(states := np.array([state for state in states.tolist() if state not in seen], dtype=np.int64)):
        seen.update(states.tolist())
        flat, following = model.score(np.repeat(states, size), np.tile(np.arange(size), len(states)))
        probabilities = np.exp(flat).reshape(len(states), size)
        probabilities[:, model.index("<s>")] = 0
        sums += probabilities.sum(1).tolist()
        usable = np.tile(~np.isin(np.arange(size), [model.index("<s>"), model.index("</s>")]), len(states))
        states = np.unique(following[usable])
    return np.array(sums)


def test_bigrams_of_two_sentences_are_what_the_arithmetic_says():
    # "A B" and "A": the bigrams <s> A (2), A B (1), B </s> (1), A </s> (1).
    # Counts of counts 3, 1, 0: no discounts can be told, so these are 0.5, 1 and 1.5.
    #
    # Words before: A 1 (<s>), B 1 (A), </s> 2 (A, B); 4 together. Left over: (0.5 + 0.5 + 1) / 4 = 1/2, shared by
    # <unk>, </s>, A and B, 1/8 each.
    #   P(A) = P(B) = (1 - 0.5) / 4 + 1/8 = 1/4;  P(</s>) = (2 - 1) / 4 + 1/8 = 3/8;  P(<unk>) = 1/8
    # After <s>: A twice of 2, discount 1: back-off 1/2.  P(A | <s>) = (2 - 1) / 2 + 1/2 P(A) = 5/8
    # After A: B and </s> once each of 2, back-off (0.5 + 0.5) / 2 = 1/2.
    #   P(B | A) = 0.5 / 2 + 1/2 P(B) = 3/8;  P(</s> | A) = 0.5 / 2 + 1/2 P(</s>) = 7/16
    # After B: </s> once of 1, back-off 1/2.  P(</s> | B) = 0.5 + 1/2 P(</s>) = 11/16
    model, discounts = build_from_units([["A", "B"], ["A"]], BuildOptions(order=2))
    assert [entry.amounts for entry in discounts] == [FALLBACK, FALLBACK]
    assert discounts[1].counts_of_counts == (3, 1, 0, 0)
    expected = {
        ((), "A"): 1 / 4,
        ((), "B"): 1 / 4,
        ((), "</s>"): 3 / 8,
        ((), "<unk>"): 1 / 8,
        (("<s>",), "A"): 5 / 8,
        (("<s>",), "B"): 1 / 2 * 1 / 4,
        (("A",), "B"): 3 / 8,
        (("A",), "</s>"): 7 / 16,
        (("A",), "A"): 1 / 2 * 1 / 4,
        (("A",), "NEVER"): 1 / 2 * 1 / 8,
        (("B",), "</s>"): 11 / 16,
    }
    found = {key: probability(model, *key) for key in expected}
    assert found == pytest.approx(expected, rel=1e-6)


def test_discounts_are_those_of_chen_and_goodman():
    # 8 n-grams once, 4 twice, 3 three times, 2 four times: Y = 8 / (8 + 8) = 1/2,
    # D1 = 1 - 2 Y 4/8 = 1/2, D2 = 2 - 3 Y 3/4 = 7/8, D3 = 3 - 4 Y 2/3 = 5/3. The counts of 0 and 9 do not matter.
    found = discounts_of(np.array([1] * 8 + [2] * 4 + [3] * 3 + [4] * 2 + [0, 9]))
    assert found.amounts == pytest.approx((1 / 2, 7 / 8, 5 / 3))
    assert found.counts_of_counts == (8, 4, 3, 2)
    assert not found.fallback


@pytest.mark.parametrize("counts", [[], [1, 1, 2], [2, 2, 3, 4], [1, 1, 3, 4], [1] * 9 + [2] + [3] * 9 + [4]], ids=str)
def test_discounts_that_cannot_be_told_are_the_fallback(counts):
    # The last but one: Y = 9/11, D2 = 2 - 3 Y 9/1 < 0. The last: Y = 1/3, D2 = 2 - 3 Y 4/2 = 0, which leaves
    # nothing to words that were not seen.
    found = discounts_of(np.array(counts, dtype=np.int64))
    assert found.fallback
    assert found.amounts == (0.5, 1.0, 1.5)


class Definition:
    """Modified Kneser-Ney by dictionaries and one recursion, n-gram by n-gram."""

    def __init__(self, sentences, order, cutoffs):
        self.order = order
        self.limits = [*cutoffs, *[cutoffs[-1]] * order][:order] if cutoffs else [0] * order
        padded = [("<s>", *sentence, "</s>") for sentence in sentences]
        self.raw = Counter(s[i : i + n] for s in padded for n in range(1, order + 1) for i in range(len(s) - n + 1))
        self.words = {word for sentence in padded for word in sentence} - {"<s>"} | {"<unk>"}
        before = Counter(ngram[1:] for ngram in self.raw)
        self.counts = {
            g: c if len(g) == order or g[0] == "<s>" else before[g] for g, c in self.raw.items() if g != ("<s>",)
        }
        self.discounts = [
            discounts_of(np.array([c for g, c in self.counts.items() if len(g) == n + 1])).amounts for n in range(order)
        ]
        self.after = defaultdict(set)
        for ngram in self.counts:
            self.after[ngram[:-1]].add(ngram[-1])

    def probability(self, history, word):
        total = sum(self.counts[*history, other] for other in self.after[history])
        lower = self.probability(history[1:], word) if history else 1 / len(self.words)
        if total == 0:
            return lower
        taken = {other: self.taken((*history, other)) for other in self.after[history]}
        own = self.counts[*history, word] - taken[word] if word in taken else 0
        return own / total + sum(taken.values()) / total * lower

    def taken(self, ngram):
        if len(ngram) > 1 and self.raw[ngram] <= self.limits[len(ngram) - 1]:
            return self.counts[ngram]
        return self.discounts[len(ngram) - 1][min(self.counts[ngram], 3) - 1]


@pytest.mark.parametrize("cutoffs", [(), (0, 0, 1), (0, 1)], ids=str)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_every_probability_is_that_of_the_definition(order, cutoffs):
    sentences = sentences_of(300, 12, seed=order)
    model, discounts = build_from_units(sentences, BuildOptions(order=order, cutoffs=cutoffs[:order]))
    definition = Definition(sentences, order, cutoffs[:order])
    assert not all(entry.fallback for entry in discounts) or order == 1
    source = random.Random(2)
    contexts = [(), ("<s>",), ("W11", "W11", "W11"), *source.choices(sorted(definition.raw), k=120)]
    for history, word in product(contexts, ["W00", "W05", "W11", "<unk>", "</s>"]):
        if "</s>" not in history:
            history = history[max(0, len(history) - order + 1) :]
            assert probability(model, history, word) == pytest.approx(definition.probability(history, word), rel=1e-5)


@pytest.mark.parametrize("threshold", [0.0, 1e-5, 1e-3])
@pytest.mark.parametrize("cutoffs", [(), (0, 0, 1), (0, 1, 2)], ids=str)
def test_probabilities_of_every_context_sum_to_one(cutoffs, threshold):
    sentences = sentences_of(400, 20, seed=7)
    model, _ = build_from_units(sentences, BuildOptions(order=3, cutoffs=cutoffs, threshold=threshold, min_count=12))
    sums = sums_over_the_vocabulary(model)
    assert len(sums) > 10
    np.testing.assert_allclose(sums, 1, atol=2e-6)


def test_a_tiny_text_of_commands_yields_a_model_that_sums_to_one():
    model, discounts = build_from_units([["YES"], ["NO"], ["YES"], []], BuildOptions(order=3))
    np.testing.assert_allclose(sums_over_the_vocabulary(model), 1, atol=1e-6)
    assert all(entry.fallback for entry in discounts)
    assert probability(model, ("<s>",), "YES") > probability(model, ("<s>",), "NO") > 0


def test_words_outside_the_vocabulary_are_unk_wherever_they_occur():
    sentences = sentences_of(200, 15, seed=3)
    limited, _ = build_from_units(sentences, BuildOptions(max_words=6))
    known = set(limited.words)
    assert len(known) == 6 + 3
    replaced = [[word if word in known else "<unk>" for word in sentence] for sentence in sentences]
    same, _ = build_from_units(replaced, BuildOptions())
    assert same.words == limited.words
    np.testing.assert_array_equal(same.trie.keys, limited.trie.keys)
    np.testing.assert_array_equal(same.trie.log_prob, limited.trie.log_prob)


def test_vocabularies_are_the_most_frequent_words(tmp_path):
    sentences = [["B", "A", "C"], ["B", "A"], ["B", "D"]]
    assert build_from_units(sentences, BuildOptions(min_count=2))[0].words[3:] == ("A", "B")
    assert build_from_units(sentences, BuildOptions(max_words=3))[0].words[3:] == ("A", "B", "C")
    (tmp_path / "words").write_text("Z\nA a transcription\n\nA\n")
    of_file = build_from_units(sentences, BuildOptions(vocabulary=str(tmp_path / "words")))[0]
    assert of_file.words == ("<unk>", "<s>", "</s>", "A", "Z")
    assert 0 < probability(of_file, (), "Z") < probability(of_file, (), "A")


def test_a_vocabulary_of_transcripts_holds_all_their_words(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": "b yes"}\n{"text": "no"}\n')
    options = BuildOptions(vocabulary=str(tmp_path / "train.jsonl"), normalizer="english/1")
    assert build_from_units([["B", "A"]], options)[0].words[3:] == ("B", "NO", "YES")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"order": 0}, "order 0"),
        ({"cutoffs": (1,)}, "cut-offs 1: the first must be 0"),
        ({"cutoffs": (0, 2, 1)}, "cut-offs 0 2 1"),
        ({"cutoffs": (0, 0, 0, 1)}, "4 cut-offs for a model of order 3"),
        ({"threshold": 1.5}, "threshold 1.5"),
        ({"min_count": 0}, "min_count 0"),
    ],
)
def test_options_out_of_range_are_named(options, named):
    with pytest.raises(InputError, match=named):
        build_from_units([["A"]], BuildOptions(**options))


def test_no_text_and_reserved_words_are_refused():
    with pytest.raises(InputError, match="there are no sentences"):
        build_from_units([], BuildOptions())
    with pytest.raises(InputError, match="sentence 2 of the text has </s> in it"):
        build_from_units([["A"], ["A", "</s>"]], BuildOptions())


@pytest.mark.skipif(not shutil.which("lmplz"), reason="KenLM's lmplz is not in the PATH")
@pytest.mark.parametrize("cutoffs", [(), (0, 0, 1), (0, 1, 2)], ids=str)
def test_the_model_is_that_of_kenlm(tmp_path, cutoffs):
    sentences = [sentence for sentence in sentences_of(2000, 60, seed=5) if sentence]
    (tmp_path / "text").write_text("".join(f"{' '.join(sentence)}\n" for sentence in sentences))
    pruning = ["--prune", *map(str, cutoffs)] if cutoffs else []
    command = ["lmplz", "-o", "3", "-S", "50M", "--discount_fallback", *pruning, "--text", "text", "--arpa", "k.arpa"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    model, _ = build_from_units(sentences, BuildOptions(order=3, cutoffs=cutoffs))
    write_arpa(tmp_path / "ours.arpa", model)
    ours, kenlm = (
        {line.split("\t")[1]: line.split("\t") for line in (tmp_path / name).read_text().splitlines() if "\t" in line}
        for name in ("ours.arpa", "k.arpa")
    )
    assert ours.keys() == kenlm.keys()
    for key in ours.keys() - {"<s>"}:
        assert float(ours[key][0]) == pytest.approx(float(kenlm[key][0]), abs=2e-5)
        assert float([*ours[key], "0"][2]) == pytest.approx(float([*kenlm[key], "0"][2]), abs=2e-5)
    assert read_arpa(tmp_path / "k.arpa").counts == model.counts
