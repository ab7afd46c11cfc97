"""Checks of what users give: every error names the value and its limit."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from asr.grid.options import Direction


def at_least(name: str, value: int, minimum: int) -> int:
    """An integer option with a lower limit.

    Raises:
        ValueError: it is no integer or below the limit.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, got {value!r}")
    return value


def one_of(name: str, value: str, choices: Sequence[str]) -> None:
    """An option that is one of several words.

    Raises:
        ValueError: it is none of them.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def probability(name: str, value: float) -> float:
    """A dropout probability.

    Raises:
        ValueError: it is not in [0, 1).
    """
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {value!r}")
    return value


def directions(bidirectional: bool | Sequence[bool], axes: int) -> tuple[Direction, ...]:
    """The scans of a layer: both ways along each bidirectional axis, in all combinations.

    >>> directions((False, True), 2)
    ((False, False), (False, True))

    Raises:
        ValueError: `bidirectional` is neither one bool nor one an axis.
    """
    per_axis = [bidirectional] * axes if isinstance(bidirectional, bool) else list(bidirectional)
    if len(per_axis) != axes or not all(isinstance(both, bool) for both in per_axis):
        raise ValueError(f"bidirectional must be a bool or a list of {axes} bools, one an axis, got {bidirectional!r}")
    return tuple(itertools.product(*((False, True) if both else (False,) for both in per_axis)))


def checked_lengths(inputs: Tensor, lengths: Tensor | None, axes: int, input_size: int) -> Tensor:
    """The extents of each utterance, int64 (B, axes), on the device of the input.

    Args:
        inputs: (B, *extents, input_size).
        lengths: None (all cells are real), (B,) along the first axis, or (B, axes).

    Raises:
        ValueError: the input's rank, size or type, or the lengths' shape, type or range is wrong.
    """
    if inputs.dim() != axes + 2 or inputs.shape[-1] != input_size:
        raise ValueError(f"the input must be (B, {axes} extents, {input_size}), got shape {tuple(inputs.shape)}")
    if not inputs.is_floating_point():
        raise ValueError(f"the input must be floating point, got {inputs.dtype}")
    if 0 in inputs.shape[:-1]:
        raise ValueError(f"the input must have no extent of 0, got shape {tuple(inputs.shape)}")
    batch, *extents = inputs.shape[:-1]
    whole = torch.tensor(extents).expand(batch, axes)
    if lengths is None:
        return whole.to(inputs.device)
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        raise ValueError(f"lengths must be integers, got {lengths.dtype}")
    if lengths.shape not in ((batch,), (batch, axes)):
        raise ValueError(f"lengths must have shape ({batch},) or ({batch}, {axes}), got {tuple(lengths.shape)}")
    given = lengths.detach().to("cpu", torch.int64).reshape(batch, -1)
    given = torch.cat([given, whole[:, given.shape[1] :]], dim=1)
    wrong = ((given < 1) | (given > whole)).nonzero()
    if len(wrong):
        row, axis = wrong[0].tolist()
        limit = f"1 and the extent {extents[axis]}"
        raise ValueError(f"lengths must be between {limit} along axis {axis}, got {int(given[row, axis])} in row {row}")
    return given.to(inputs.device)


def real_cells(extents: Sequence[int], lengths: Tensor) -> Tensor:
    """Which cells of a padded grid belong to an utterance, bool (B, *extents).

    >>> real_cells((3,), torch.tensor([[2]])).tolist()
    [[True, True, False]]
    """
    real = torch.ones((), dtype=torch.bool, device=lengths.device)
    for axis, extent in enumerate(extents):
        along = torch.arange(extent, device=lengths.device) < lengths[:, axis, None]
        shape = [1] * len(extents)
        shape[axis] = extent
        real = real & along.view(-1, *shape)
    return real
