"""Batches of sequences padded to the longest."""

from typing import Any

import torch
from torch import Tensor


def padding_mask(lengths: Tensor, num_frames: int) -> Tensor:
    """Which frames are padding, bool (B, T).

    >>> padding_mask(torch.tensor([1, 3]), 3).tolist()
    [[False, True, True], [False, False, False]]
    """
    return torch.arange(num_frames, device=lengths.device) >= lengths[:, None]


def zero_padding(frames: Tensor, lengths: Tensor) -> Tensor:
    """Frames (B, T, ...) with zeros beyond each utterance's length, whatever was there (NaN included)."""
    mask = padding_mask(lengths, frames.shape[1])
    return frames.masked_fill(mask.view(*mask.shape, *[1] * (frames.dim() - 2)), 0)


def reverse(frames: Tensor, lengths: Tensor) -> Tensor:
    """Frames (B, T, C) with each utterance's own frames in reverse order and its padding where it was.

    >>> reverse(torch.tensor([[[1.0], [2.0], [0.0]]]), torch.tensor([2])).flatten().tolist()
    [2.0, 1.0, 0.0]
    """
    frame = torch.arange(frames.shape[1], device=lengths.device)
    mirrored = torch.where(frame < lengths[:, None], lengths[:, None] - 1 - frame, frame)
    rows = mirrored + torch.arange(len(lengths), device=lengths.device)[:, None] * frames.shape[1]
    reversed_frames: Tensor = _Involution.apply(frames, rows.flatten())  # type: ignore[no-untyped-call]
    return reversed_frames


class _Involution(torch.autograd.Function):
    """A permutation of rows that is its own inverse, hence its own gradient (autograd's would be a slow scatter)."""

    @staticmethod
    def forward(ctx: Any, frames: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return frames.flatten(0, 1).index_select(0, rows).view(frames.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return gradient.flatten(0, 1).index_select(0, rows).view(gradient.shape), None
