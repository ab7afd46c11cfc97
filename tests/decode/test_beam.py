"""The beam search against the enumeration of all alignments."""

import math

import numpy as np
import pytest
import torch
from ctc_enumeration import ToyBigram, alignment_sums, best_first, text_of

from asr.decode.beam import BeamSearch
from asr.decode.fusion import TokenFusion, WordFusion, WordWeights
from asr.decode.greedy import greedy_decode
from asr.decode.nbest import merge_texts
from asr.decode.pruning import NOTHING_PRUNED, Pruning, skip_blanks
from asr.decode.spelling import Spelling
from asr.errors import InputError

LETTERS = ("<blank>", " ", "A", "B")
PIECES = ("<blank>", "▁", "▁A", "A", "▁B")
KNOWN = ("A", "AB", "BA")


def random_log_probs(seed: int, frames: int, tokens: int) -> np.ndarray:
    return np.log(np.random.default_rng(seed).dirichlet(np.full(tokens, 0.6), size=frames))


def texts_of(search: BeamSearch, log_probs: np.ndarray, tokens: tuple[str, ...]) -> list[tuple[str, float]]:
    [candidates] = search.decode([log_probs])
    return [
        (entry.text, entry.total) for entry in merge_texts(candidates, lambda ids: text_of([tokens[i] for i in ids]))
    ]


def assert_same(found: list[tuple[str, float]], expected: list[tuple[str, float]]) -> None:
    assert dict(found) == pytest.approx(dict(expected), abs=1e-9)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


@pytest.mark.parametrize("tokens", [LETTERS, PIECES, ("<blank>", "A", "B"), ("<blank>",)], ids=len)
@pytest.mark.parametrize("frames", [0, 1, 2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_without_pruning_every_text_has_the_sum_over_its_alignments(tokens, frames, seed):
    log_probs = random_log_probs(seed, frames, len(tokens))
    found = texts_of(BeamSearch(Spelling(tokens), NOTHING_PRUNED), log_probs, tokens)
    assert_same(found, best_first(alignment_sums(log_probs, tokens), lambda text: 0.0))
    assert np.logaddexp.reduce([score for _, score in found]) == pytest.approx(0.0, abs=1e-9)


def test_repeats_and_spaces_are_counted_as_ctc_does_over_six_frames():
    log_probs = random_log_probs(3, 6, len(LETTERS))
    found = texts_of(BeamSearch(Spelling(LETTERS), NOTHING_PRUNED), log_probs, LETTERS)
    assert_same(found, best_first(alignment_sums(log_probs, LETTERS), lambda text: 0.0))


def word_bonus(text: str, model: ToyBigram, weights: WordWeights) -> float:
    words = text.split()
    unknown = sum(len(word) for word in words if word not in model.words)
    score = weights.alpha * model.log_prob(words)
    return score + weights.beta * len(words) - weights.unknown_penalty * unknown


WEIGHTS = WordWeights(alpha=0.7, beta=0.4, unknown_penalty=0.3)


@pytest.mark.parametrize("tokens", [LETTERS, PIECES], ids=["letters", "pieces"])
@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
@pytest.mark.parametrize("look_ahead", [False, True], ids=["", "look-ahead"])
@pytest.mark.parametrize("seed", range(3))
def test_with_a_word_model_every_text_has_the_score_of_the_definition(tokens, closed, look_ahead, seed):
    model = ToyBigram(KNOWN, seed)
    log_probs = random_log_probs(10 + seed, 5, len(tokens))
    spelling = Spelling(tokens)
    fusion = WordFusion(spelling, KNOWN, WEIGHTS, model, closed=closed, look_ahead=look_ahead)
    found = texts_of(BeamSearch(spelling, NOTHING_PRUNED, [fusion]), log_probs, tokens)

    def bonus(text: str) -> float:
        allowed = not closed or all(word in KNOWN for word in text.split())
        return word_bonus(text, model, WEIGHTS) if allowed else -math.inf

    expected = best_first(alignment_sums(log_probs, tokens), bonus)
    assert len(expected) > 3
    assert_same(found, expected)


def test_a_lexicon_alone_allows_its_words_only_and_changes_no_sum():
    log_probs = random_log_probs(0, 5, len(LETTERS))
    spelling = Spelling(LETTERS)
    fusion = WordFusion(spelling, ["AB", "B"], WordWeights(beta=0.0), closed=True)
    found = texts_of(BeamSearch(spelling, NOTHING_PRUNED, [fusion]), log_probs, LETTERS)
    sums = alignment_sums(log_probs, LETTERS)
    allowed = {text: score for text, score in sums.items() if set(text.split()) <= {"AB", "B"}}
    assert_same(found, best_first(allowed, lambda text: 0.0))


@pytest.mark.parametrize("space", [" ", "▁", "<space>", "|"])
@pytest.mark.parametrize("both", [False, True], ids=["tokens", "tokens and words"])
def test_with_a_model_of_characters_every_text_has_the_score_of_the_definition(space, both):
    model, words = ToyBigram([space, "A", "B"], 1), ToyBigram(KNOWN, 2)
    log_probs = random_log_probs(20, 5, len(LETTERS))
    spelling = Spelling(LETTERS)
    fusions = [TokenFusion(spelling, model, 0.8)]
    if both:
        fusions.append(WordFusion(spelling, KNOWN, WEIGHTS, words))
    found = texts_of(BeamSearch(spelling, NOTHING_PRUNED, fusions), log_probs, LETTERS)

    def bonus(text: str) -> float:
        characters = 0.8 * model.log_prob([space if c == " " else c for c in text])
        return characters + (word_bonus(text, words, WEIGHTS) if both else 0.0)

    assert_same(found, best_first(alignment_sums(log_probs, LETTERS), bonus))


def test_scores_are_made_of_their_parts():
    model, words = ToyBigram([" ", "A", "B"], 1), ToyBigram(KNOWN, 2)
    spelling = Spelling(LETTERS)
    fusions = [TokenFusion(spelling, model, 0.8), WordFusion(spelling, KNOWN, WEIGHTS, words, look_ahead=True)]
    search = BeamSearch(spelling, Pruning(beam=8), fusions)
    [candidates] = search.decode([random_log_probs(21, 12, len(LETTERS))])
    assert len(candidates) == 8
    for candidate in candidates:
        text = text_of([LETTERS[i] for i in candidate.tokens])
        parts = candidate.parts
        unknown = sum(len(word) for word in text.split() if word not in KNOWN)
        assert (parts["words"], parts["unknown_characters"]) == (len(text.split()), unknown)
        assert parts["word_lm"] == pytest.approx(words.log_prob(text.split()))
        assert parts["token_lm"] == pytest.approx(model.log_prob(list(text)))
        fused = 0.7 * parts["word_lm"] + 0.4 * parts["words"] - 0.3 * unknown + 0.8 * parts["token_lm"]
        assert candidate.total == pytest.approx(candidate.acoustic + fused)


@pytest.mark.parametrize("fused", [False, True])
def test_no_result_depends_on_the_utterances_decoded_beside_it(fused):
    spelling = Spelling(LETTERS)
    fusions = [WordFusion(spelling, KNOWN, WEIGHTS, ToyBigram(KNOWN, 5))] if fused else []
    search = BeamSearch(spelling, Pruning(beam=6, beam_threshold=4.0, token_threshold=3.0), fusions)
    several = [random_log_probs(seed, frames, len(LETTERS)) for seed, frames in enumerate((7, 30, 0, 12, 12))]
    together = search.decode(several)
    alone = [search.decode([log_probs])[0] for log_probs in several]
    for left, right in zip(together, alone, strict=True):
        assert {c.tokens: c.total for c in left} == pytest.approx({c.tokens: c.total for c in right}, abs=1e-12)


def test_prefixes_stay_distinct_and_no_probability_is_counted_twice_when_prefixes_leave_and_return():
    search = BeamSearch(Spelling(LETTERS), Pruning(beam=5, beam_threshold=None, token_threshold=None))
    for seed in range(20):
        log_probs = random_log_probs(seed, 6, len(LETTERS))
        [candidates] = search.decode([log_probs])
        sums = alignment_sums(log_probs, LETTERS)
        texts = [text_of([LETTERS[i] for i in c.tokens]) + "|" * (c.tokens[-1:] == (1,)) for c in candidates]
        assert len(set(texts)) == len(texts) == 5
        for entry in merge_texts(candidates, lambda ids: text_of([LETTERS[i] for i in ids])):
            assert entry.total <= sums[entry.text] + 1e-9


def test_a_wider_beam_misses_no_more_probability():
    log_probs = random_log_probs(7, 40, len(LETTERS))
    found = []
    for beam in (1, 4, 16, 64):
        [candidates] = BeamSearch(Spelling(LETTERS), Pruning(beam, None, None)).decode([log_probs])
        found.append(np.logaddexp.reduce([candidate.acoustic for candidate in candidates]))
    assert found == sorted(found)
    assert found[-1] <= 1e-9


def test_of_sure_frames_any_beam_finds_the_greedy_path():
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.integers(0, 4, (3, 50)))
    log_probs = (40.0 * torch.nn.functional.one_hot(frames, 4).double()).log_softmax(dim=-1)
    greedy = greedy_decode(log_probs, torch.full((3,), 50))
    expected = [text_of([LETTERS[i] for i in ids]) for ids in greedy]
    for beam in (1, 10):
        found = BeamSearch(Spelling(LETTERS), Pruning(beam)).decode(list(log_probs.numpy()))
        assert [text_of([LETTERS[i] for i in candidates[0].tokens]) for candidates in found] == expected


def test_the_number_of_prefixes_never_exceeds_the_beam():
    [candidates] = BeamSearch(Spelling(LETTERS), Pruning(beam=7)).decode([random_log_probs(0, 30, 4)])
    assert len(candidates) == 7


def test_prefixes_far_below_the_best_are_dropped_whatever_is_decoded_beside_them():
    several = [random_log_probs(0, 20, 4), np.log(np.full((3, 4), 0.25))]
    for threshold in (1.0, 3.0):
        search = BeamSearch(Spelling(LETTERS), Pruning(500, beam_threshold=threshold, token_threshold=None))
        for candidates in search.decode(several):
            totals = [candidate.total for candidate in candidates]
            assert len(totals) > 1
            assert max(totals) - min(totals) <= threshold


def test_tokens_that_are_pruned_extend_no_prefix():
    log_probs = np.log([[0.5, 0.01, 0.3, 0.19]] * 2)
    search = BeamSearch(Spelling(LETTERS), Pruning(100, None, token_threshold=math.log(0.5 / 0.25)))
    assert {c.tokens for c in search.decode([log_probs])[0]} == {(), (2,)}
    search = BeamSearch(Spelling(LETTERS), Pruning(100, None, None, top_tokens=2))
    assert {c.tokens for c in search.decode([log_probs])[0]} == {(), (2,), (3,), (2, 3), (3, 2)}


def test_skipped_blanks_count_and_still_part_repeated_tokens():
    log_probs = np.log([[0.02, 0.01, 0.96, 0.01], [0.97, 0.01, 0.01, 0.01], [0.98, 0.01, 0.005, 0.005]] * 2)
    shorter, kept = skip_blanks(log_probs, 0.95)
    assert kept.tolist() == [0, 1, 3, 4]
    assert len(shorter) == 4
    assert shorter[1, 0] == pytest.approx(math.log(0.97 * 0.98))
    search = BeamSearch(Spelling(LETTERS), Pruning(10, blank_skip=0.95))
    best = search.decode([log_probs])[0][0]
    assert best.tokens == (2, 2)
    assert best.acoustic == pytest.approx(
        BeamSearch(Spelling(LETTERS), Pruning(10)).decode([log_probs])[0][0].acoustic, abs=0.1
    )


def test_where_a_lexicon_lets_no_text_end_the_last_word_is_left_out():
    spelling = Spelling(LETTERS)
    sure = np.full((4, 4), -30.0)
    sure[range(4), [2, 3, 1, 2]] = 0.0  # "AB A"
    fusion = WordFusion(spelling, ["AB"], WordWeights(), closed=True)
    [candidates] = BeamSearch(spelling, Pruning(beam=1), [fusion]).decode([sure])
    assert candidates[0].tokens == (2, 3)
    assert merge_texts(candidates, lambda ids: text_of([LETTERS[i] for i in ids]))[0].text == "AB"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"beam": 0}, "--beam must be a number of at least 1, got 0"),
        ({"top_tokens": 0}, "--top-tokens must be a number of at least 1, got 0"),
        ({"beam_threshold": 0.0}, "--beam-threshold must be a positive number of nats, got 0.0"),
        ({"token_threshold": math.nan}, "--token-threshold must be a positive number of nats, got nan"),
        ({"blank_skip": 0.2}, "--blank-skip must be a probability above 0.5, got 0.2"),
    ],
)
def test_impossible_limits_are_refused(options, named):
    with pytest.raises(InputError, match=named):
        Pruning(**options)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"alpha": -0.1}, "--alpha must be a number of at least 0, got -0.1"),
        ({"alpha": math.nan}, "--alpha must be a number of at least 0, got nan"),
        ({"beta": math.inf}, "--beta must be a number, got inf"),
        ({"unknown_penalty": -1.0}, "--unknown-penalty must be a number of at least 0, got -1.0"),
    ],
)
def test_impossible_weights_are_refused(options, named):
    with pytest.raises(InputError, match=named):
        WordWeights(**options)


def test_log_probs_that_are_not_numbers_are_refused_with_their_frame():
    log_probs = random_log_probs(0, 5, 4)
    log_probs[3, 1] = math.nan
    with pytest.raises(InputError, match="entry 1 are not finite at frame 3"):
        BeamSearch(Spelling(LETTERS), Pruning()).decode([random_log_probs(0, 2, 4), log_probs])


def test_a_model_of_other_characters_is_refused():
    with pytest.raises(InputError, match=r"does not know 2 of the 3 tokens: \['A', 'B'\]"):
        TokenFusion(Spelling(LETTERS), ToyBigram([" ", "a", "b"], 0), 0.5)


def test_tokens_with_white_space_inside_are_refused():
    with pytest.raises(InputError, match="white space at their beginning only"):
        Spelling(["<blank>", "A B"])
