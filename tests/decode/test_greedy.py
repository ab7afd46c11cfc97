"""Greedy decoding against its definition, read frame by frame."""

import itertools

import pytest
import torch

from asr.data.tokens import CharacterTokenizer, SentencePieceTokenizer
from asr.decode.greedy import TimedText, TokenPath, greedy_decode, greedy_paths, timed_tokens, timed_words
from asr.errors import InputError


def collapsed(frames: list[int]) -> list[int]:
    """The definition of CTC's mapping from frames to tokens: repeats become one, then blanks go."""
    return [token for token, _ in itertools.groupby(frames) if token != 0]


def peaked(frames: list[int], num_tokens: int) -> torch.Tensor:
    """Log-probabilities (1, T, V) that are highest at `frames`."""
    return (4.0 * torch.nn.functional.one_hot(torch.tensor([frames]), num_tokens)).log_softmax(dim=-1)


def test_every_path_of_five_frames_over_three_tokens_collapses_as_defined():
    paths = list(itertools.product(range(3), repeat=5))
    log_probs = torch.cat([peaked(list(path), 3) for path in paths])
    assert greedy_decode(log_probs, torch.full((len(paths),), 5)) == [collapsed(list(path)) for path in paths]


def test_random_log_probs_give_the_collapsed_argmax_of_their_own_frames_alone():
    log_probs = torch.randn(6, 40, 7).log_softmax(dim=-1)
    lengths = torch.tensor([40, 1, 17, 0, 39, 2])
    expected = [collapsed(log_probs[b, :n].argmax(dim=-1).tolist()) for b, n in enumerate(lengths.tolist())]
    assert greedy_decode(log_probs, lengths) == expected
    log_probs[2, 17:] = float("nan")  # what lies beyond the length must not matter
    assert greedy_decode(log_probs, lengths) == expected


def test_a_token_lasts_from_the_first_to_the_last_frame_of_its_run():
    frames = [0, 2, 2, 2, 0, 0, 2, 1]
    path = greedy_paths(peaked(frames, 3), torch.tensor([8]))[0]
    assert (path.ids, path.starts, path.ends) == ((2, 2, 1), (1, 6, 7), (4, 7, 8))


def test_the_confidence_of_a_token_is_its_highest_posterior_within_the_run():
    posteriors = torch.tensor([[[0.2, 0.7, 0.1], [0.05, 0.9, 0.05], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]]])
    path = greedy_paths(posteriors.log(), torch.tensor([4]))[0]
    assert path.ids == (1, 2)
    assert path.confidences == pytest.approx((0.9, 0.8))


def test_a_confidence_is_a_probability_even_when_the_log_softmax_rounds_above_zero():
    log_probs = torch.tensor([[[-20.0, 1e-6]]])
    assert greedy_paths(log_probs, torch.tensor([1]))[0].confidences == (1.0,)


def test_log_probs_without_a_most_probable_token_are_refused_by_place():
    log_probs = torch.randn(2, 5, 3)
    log_probs[1, 3, 0] = float("nan")
    with pytest.raises(InputError, match="batch entry 1 are not finite at frame 3"):
        greedy_decode(log_probs, torch.tensor([5, 5]))
    with pytest.raises(InputError, match="batch entry 0 are not finite at frame 0"):
        greedy_decode(torch.full((1, 2, 3), float("-inf")), torch.tensor([2]))


def test_times_are_frames_times_their_length():
    path = TokenPath((1, 2), (0, 5), (2, 6), (0.5, 0.75))
    assert timed_tokens(path, ("<blank>", "A", "B"), 0.04) == (
        TimedText("A", 0.0, 0.08, 0.5),
        TimedText("B", 0.2, 0.24, 0.75),
    )


@pytest.mark.parametrize("text", ["ONE TWO", " ONE  TWO ", "A", "", "  ", "ONE TWO ONE"])
def test_words_of_characters_are_those_of_the_decoded_text(text):
    tokenizer = CharacterTokenizer(" ENOTWA")
    ids = tuple(tokenizer.encode(text))
    path = TokenPath(ids, tuple(range(len(ids))), tuple(range(1, len(ids) + 1)), (0.5,) * len(ids))
    words = timed_words(timed_tokens(path, tokenizer.tokens, 1.0))
    assert [word.text for word in words] == tokenizer.decode(ids).split() == text.split()
    assert all(text[int(word.start) : int(word.end)] == word.text for word in words)


@pytest.mark.parametrize("vocabulary_size", [9, 14])
def test_words_of_byte_pairs_are_those_of_the_decoded_text(vocabulary_size):
    tokenizer = SentencePieceTokenizer.train(["ONE TWO ONE", "TWO ONE TOE", "WON TON"] * 3, vocabulary_size)
    for text in ["ONE TWO", "TWO", "WON TON ONE", ""]:
        ids = tuple(tokenizer.encode(text))
        path = TokenPath(ids, tuple(range(len(ids))), tuple(range(1, len(ids) + 1)), (0.5,) * len(ids))
        words = timed_words(timed_tokens(path, tokenizer.tokens, 1.0))
        assert [word.text for word in words] == tokenizer.decode(ids).split() == text.split()


def test_a_word_is_as_sure_as_all_of_its_tokens_are_together():
    tokens = [
        TimedText(c, i, i + 1, p) for i, (c, p) in enumerate(zip("AB CD", [0.9, 0.4, 0.7, 0.1, 0.8], strict=True))
    ]
    assert [word.confidence for word in timed_words(tokens)] == pytest.approx([0.36, 0.08])
