import pytest
import torch

from asr.data.batch import Example, collate


def example(frames: int, tokens: list[int], name: str = "u", text: str = "x") -> Example:
    return Example(torch.full((frames, 2), float(frames)), tokens, name, text, "s", frames / 100)


def test_a_batch_holds_every_utterance_and_zeros_beyond_its_end() -> None:
    batch = collate([example(3, [1, 2], "a"), example(5, [4], "b")])
    assert batch.features.dtype == torch.float32
    assert batch.features.shape == (2, 5, 2)
    assert batch.features[0, :3].eq(3).all()
    assert batch.features[0, 3:].eq(0).all()
    assert batch.features[1].eq(5).all()
    assert batch.tokens.tolist() == [[1, 2], [4, 0]]
    assert batch.utterance_ids == ("a", "b")
    assert batch.seconds == (0.03, 0.05)
    assert batch.speakers == ("s", "s")


def test_padding_is_zero_whatever_the_memory_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "empty", lambda *shape: torch.full(shape, torch.nan))
    batch = collate([example(3, [1, 2], "a"), example(5, [4], "b"), example(1, [], "c")])
    expected = [[3.0] * 3 + [0.0] * 2, [5.0] * 5, [1.0] + [0.0] * 4]
    assert batch.features[:, :, 0].tolist() == batch.features[:, :, 1].tolist() == expected


def test_lengths_and_tokens_are_int64() -> None:
    batch = collate([example(3, [1])])
    for tensor in (batch.feature_lengths, batch.tokens, batch.token_lengths):
        assert tensor.dtype == torch.int64


def test_utterances_without_tokens_make_empty_targets() -> None:
    batch = collate([example(3, []), example(2, [])])
    assert batch.tokens.shape == (2, 0)
    assert batch.tokens.dtype == torch.int64
    assert batch.token_lengths.tolist() == [0, 0]


def test_examples_are_not_changed_by_later_writes_to_the_batch() -> None:
    one = example(3, [1])
    batch = collate([one])
    batch.features.zero_()
    assert one.features.eq(3).all()
