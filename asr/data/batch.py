"""What the datamodule hands to a model."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Example(NamedTuple):
    """One utterance, ready for training: features (T, M) float32; seconds are those of the audio as it is heard."""

    features: Tensor
    tokens: list[int]
    utterance_id: str
    text: str
    speaker: str | None
    seconds: float


class Batch(NamedTuple):
    """B utterances, padded with zeros at their ends.

    Args:
        features: (B, T, M) float32.
        feature_lengths: (B,) int64, frames of each utterance.
        tokens: (B, U) int64; zero-padded.
        token_lengths: (B,) int64.
        utterance_ids: B ids.
        texts: B references; empty where there is none.
        speakers: B speakers; None where unknown.
        seconds: B durations of the audio as it is heard, that is after speed perturbation.
    """

    features: Tensor
    feature_lengths: Tensor
    tokens: Tensor
    token_lengths: Tensor
    utterance_ids: tuple[str, ...]
    texts: tuple[str, ...]
    speakers: tuple[str | None, ...]
    seconds: tuple[float, ...]


def collate(examples: Sequence[Example]) -> Batch:
    """Pad examples to one batch, in their order.

    >>> one = Example(torch.ones(2, 3), [5], "a", "X", None, 0.04)
    >>> two = Example(torch.ones(4, 3), [5, 6], "b", "XY", "s", 0.06)
    >>> batch = collate([one, two])
    >>> batch.features.shape, batch.feature_lengths.tolist(), batch.tokens.tolist()
    (torch.Size([2, 4, 3]), [2, 4], [[5, 0], [5, 6]])
    """
    lengths = [example.features.shape[0] for example in examples]
    token_lengths = [len(example.tokens) for example in examples]
    longest, most = max(lengths), max(token_lengths)
    features = torch.empty(len(examples), longest, examples[0].features.shape[1])
    for row, example, length in zip(features, examples, lengths, strict=True):
        row[:length] = example.features
        row[length:] = 0
    tokens = [[*example.tokens, *[0] * (most - len(example.tokens))] for example in examples]
    return Batch(
        features=features,
        feature_lengths=torch.tensor(lengths),
        tokens=torch.tensor(tokens, dtype=torch.int64),
        token_lengths=torch.tensor(token_lengths),
        utterance_ids=tuple(example.utterance_id for example in examples),
        texts=tuple(example.text for example in examples),
        speakers=tuple(example.speaker for example in examples),
        seconds=tuple(example.seconds for example in examples),
    )
