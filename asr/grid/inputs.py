"""Checks of what users give to `forward`, and padding: every error names the value and its limit."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from asr.grid.layers import autocasting
from asr.grid.options import GridState


def check_input(inputs: Tensor, axes: int, input_size: int) -> None:
    """Whether it is (B, *extents, input_size), dense and floating point.

    Raises:
        ValueError: it is not, or has an extent of 0.
    """
    if not isinstance(inputs, Tensor):
        raise ValueError(f"the input must be a tensor, got {type(inputs).__name__}")
    _check_dense("the input", inputs)
    if inputs.dim() != axes + 2 or inputs.shape[-1] != input_size:
        raise ValueError(f"the input must be (B, {axes} extents, {input_size}), got shape {tuple(inputs.shape)}")
    if not inputs.is_floating_point():
        raise ValueError(f"the input must be floating point, got {inputs.dtype}")
    if 0 in inputs.shape[:-1]:
        raise ValueError(f"the input must have no extent of 0, got shape {tuple(inputs.shape)}")


def check_parameters(inputs: Tensor, like: Tensor, named: Iterable[tuple[str, Tensor]]) -> None:
    """Whether all parameters and the input are in one place and of one type; the input's is free under autocast.

    Args:
        inputs: (B, *extents, I), which was checked.
        like: one of the parameters.
        named: all of them.

    Raises:
        ValueError: they are not.
    """
    if inputs.device != like.device:
        raise ValueError(f"the input must be on {like.device} like the parameters, got {inputs.device}")
    for name, parameter in named:
        if parameter.device != like.device:
            raise ValueError(
                f"all parameters must be on one device, got {like.device}, and {parameter.device} of {name}"
            )
        if parameter.dtype != like.dtype:
            raise ValueError(f"all parameters must be of one type, got {like.dtype}, and {parameter.dtype} of {name}")
    if inputs.dtype != like.dtype and not autocasting(inputs.device):
        raise ValueError(f"without autocast the input must be {like.dtype} like the parameters, got {inputs.dtype}")


def _check_dense(name: str, tensor: Tensor) -> None:
    if tensor.layout != torch.strided or tensor.is_nested:
        layout = "a nested tensor" if tensor.is_nested else str(tensor.layout)
        raise ValueError(f"{name} must be dense, got {layout}")


class Padding(NamedTuple):
    """Which cells of a batch belong to no utterance.

    An utterance may have none at all: a piece of a batch that is fed in pieces, behind its end. Engines compute one
    cell of it, from zeros, which counts nowhere; the state that entered leaves as it is.

    Attributes:
        lengths: int64 (B, A), all at least 1, which engines are given.
        padded: bool (B, *extents, 1); None where all cells are real.
        ended: bool (B, 1, ..., 1), with a dimension an axis: whether an utterance has no cell; None likewise.
    """

    lengths: Tensor
    padded: Tensor | None
    ended: Tensor | None

    @classmethod
    def of(cls, inputs: Tensor, lengths: Tensor | None, axes: int, bands: int) -> "Padding":
        """That of an input (B, *extents, I), from lengths as users give them.

        Raises:
            ValueError: as `checked_lengths`; lengths along the first axis may be 0.
        """
        own = checked_lengths(inputs, lengths, axes, bands, shortest=0)
        if lengths is None:
            return cls(own, None, None)
        ended = (own[:, 0] == 0).view(-1, *[1] * axes)
        return cls(own.clamp(min=1), ~real_cells(inputs.shape[1:-1], own).unsqueeze(-1), ended)

    def cleared(self, values: Tensor) -> Tensor:
        """Values (B, *extents, C), zero at padded cells; the tensor itself where nothing is padded."""
        return values if self.padded is None else values.masked_fill(self.padded, 0)

    def entering(self, state: GridState | None) -> GridState | None:
        """What engines are to begin with: zeros where an utterance has ended, so that NaN there reaches no gradient."""
        if state is None or self.ended is None:
            return state
        memory = None if state.memory is None else state.memory.masked_fill(self.ended, 0)
        return GridState(state.hidden.masked_fill(self.ended, 0), memory)

    def leaving(self, left: GridState, entered: GridState | None) -> GridState:
        """What engines left, or what entered where an utterance has ended."""
        if self.ended is None:
            return left
        zeros = left.hidden.new_zeros(())
        hidden, memory = (zeros, zeros) if entered is None else entered
        memory = None if left.memory is None or memory is None else torch.where(self.ended, memory, left.memory)
        return GridState(torch.where(self.ended, hidden, left.hidden), memory)


def checked_lengths(inputs: Tensor, lengths: Tensor | None, axes: int, bands: int = 1, shortest: int = 1) -> Tensor:
    """The extents of each utterance, int64 (B, axes), on the device of the input.

    Args:
        inputs: (B, *extents, I), which was checked.
        lengths: None (all cells are real), (B,) along the first axis, or (B, axes).
        bands: that divide the last axis, whose lengths are then its extent: they would divide others otherwise.
        shortest: the limit along the first axis; along others it is 1.

    Raises:
        ValueError: the lengths' shape, type or range is wrong, or there are more bands than cells along the last axis.
    """
    batch, *extents = inputs.shape[:-1]
    if bands > 1 and extents[-1] < bands:
        raise ValueError(f"{bands} bands need as many cells along the last axis, got an extent of {extents[-1]}")
    whole = torch.tensor(extents, dtype=torch.int64).expand(batch, axes)
    if lengths is not None and axes == 0:
        raise ValueError("lengths must be None with axes=0: there is no axis that they could be along")
    if lengths is None:
        return whole.to(inputs.device)
    if not isinstance(lengths, Tensor):
        raise ValueError(f"lengths must be a tensor, got {type(lengths).__name__}")
    _check_dense("lengths", lengths)
    if lengths.device.type == "meta":
        raise ValueError("lengths must have values, got a tensor on meta")
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        raise ValueError(f"lengths must be integers, got {lengths.dtype}")
    if lengths.shape not in ((batch,), (batch, axes)):
        raise ValueError(f"lengths must have shape ({batch},) or ({batch}, {axes}), got {tuple(lengths.shape)}")
    given = lengths.detach().to("cpu", torch.int64).reshape(batch, -1)
    given = torch.cat([given, whole[:, given.shape[1] :]], dim=1)
    least = [shortest, *[1] * (axes - 1)]
    if bands > 1:
        least[-1] = extents[-1]
    outside = (given < torch.tensor(least)) | (given > whole)
    if torch.compiler.is_compiling():  # values are not known yet: the program checks them, with a RuntimeError
        torch._assert_async(
            ~outside.any(), f"lengths must be between {shortest} along the first axis, or 1, and the extent"
        )
    elif len(wrong := outside.nonzero()):
        row, axis = wrong[0].tolist()
        limit = f"between {least[axis]} and the extent {extents[axis]}"
        if bands > 1 and axis == axes - 1:
            limit = f"the extent {extents[axis]}, which {bands} bands divide,"
        raise ValueError(f"lengths must be {limit} along axis {axis}, got {int(given[row, axis])} in row {row}")
    return given.to(inputs.device)


def checked_state(
    state: tuple[Tensor, Tensor | None] | None,
    scans: tuple[int, int],
    extents: Sequence[int],
    sizes: tuple[int, int],
    lengths: Tensor,
    dtype: torch.dtype,
) -> GridState | None:
    """A state that was given, with zeros where an utterance has no cell; None if none was.

    Args:
        state: hidden and memory, (num_layers, D, B, *extents[1:], size) each.
        scans: num_layers and D.
        extents: of the grid.
        sizes: of hidden and memory vectors; memory may have a size of 0, and is then None.
        lengths: (B, A).
        dtype: what it is converted to.

    Raises:
        ValueError: it is no pair of tensors, a shape, type or device is wrong, or memory is missing or superfluous.
    """
    if state is None:
        return None
    if lengths.shape[1] == 0:
        raise ValueError("state must be None with axes=0: there is no axis that it could enter along")
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        length = f" of length {len(state)}" if isinstance(state, (tuple, list, Tensor)) else ""
        raise ValueError(f"state must be a pair of hidden and memory, got {type(state).__name__}{length}")
    leading = (*scans, lengths.shape[0], *extents[1:])
    padded = ~real_cells(leading[3:], lengths[:, 1:]).unsqueeze(-1)
    checked = []
    for name, tensor, size in zip(("hidden", "memory"), state, sizes, strict=True):
        if (tensor is None) != (size == 0):
            raise ValueError(f"the state's {name} must be {'None' if size == 0 else 'a tensor'} with these cells")
        if tensor is not None:
            _check_state_tensor(name, tensor, (*leading, size), lengths.device)
        checked.append(None if tensor is None else tensor.to(dtype).masked_fill(padded, 0))
    assert checked[0] is not None
    return GridState(checked[0], checked[1])


def _check_state_tensor(name: str, tensor: Tensor, shape: tuple[int, ...], device: torch.device) -> None:
    if not isinstance(tensor, Tensor):
        raise ValueError(f"the state's {name} must be a tensor, got {type(tensor).__name__}")
    _check_dense(f"the state's {name}", tensor)
    if tensor.shape != shape:
        raise ValueError(f"the state's {name} must have shape {shape}, got {tuple(tensor.shape)}")
    if not tensor.is_floating_point():
        raise ValueError(f"the state's {name} must be floating point, got {tensor.dtype}")
    if tensor.device != device:
        raise ValueError(f"the state's {name} must be on {device}, got {tensor.device}")


def real_cells(extents: Sequence[int], lengths: Tensor) -> Tensor:
    """Which cells of a padded grid belong to an utterance, bool (B, *extents).

    >>> real_cells((3,), torch.tensor([[2]])).tolist()
    [[True, True, False]]
    """
    real = torch.ones(lengths.shape[0], *[1] * len(extents), dtype=torch.bool, device=lengths.device)
    for axis, extent in enumerate(extents):
        along = torch.arange(extent, device=lengths.device) < lengths[:, axis, None]
        shape = [1] * len(extents)
        shape[axis] = extent
        real = real & along.view(-1, *shape)
    return real
