"""Checks of what users give to `forward`, and padding: every error names the value and its limit."""

from collections.abc import Iterable, Sequence

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


def checked_lengths(inputs: Tensor, lengths: Tensor | None, axes: int, bands: int = 1) -> Tensor:
    """The extents of each utterance, int64 (B, axes), on the device of the input.

    Args:
        inputs: (B, *extents, I), which was checked.
        lengths: None (all cells are real), (B,) along the first axis, or (B, axes).
        bands: that divide the last axis, whose lengths are then its extent: they would divide others otherwise.

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
    least = torch.tensor([extent if bands > 1 and axis == axes - 1 else 1 for axis, extent in enumerate(extents)])
    outside = (given < least) | (given > whole)
    if torch.compiler.is_compiling():  # values are not known yet: the program checks them, with a RuntimeError
        torch._assert_async(~outside.any(), "lengths must be between 1 and the extent")
    elif len(wrong := outside.nonzero()):
        row, axis = wrong[0].tolist()
        limit = f"between 1 and the extent {extents[axis]}"
        if least[axis] > 1:
            limit = f"the extent {extents[axis]}, which {bands} bands divide,"
        raise ValueError(f"lengths must be {limit} along axis {axis}, got {int(given[row, axis])} in row {row}")
    return given.to(inputs.device)


def checked_state(
    state: tuple[Tensor, Tensor | None],
    leading: tuple[int, ...],
    sizes: tuple[int, int],
    lengths: Tensor,
    dtype: torch.dtype,
) -> GridState:
    """A state that was given, with zeros where an utterance has no cell.

    Args:
        state: hidden and memory.
        leading: (num_layers, D, B, *extents[1:]).
        sizes: of hidden and memory vectors; memory may have a size of 0, and is then None.
        lengths: (B, A).
        dtype: what it is converted to.

    Raises:
        ValueError: it is no pair of tensors, a shape, type or device is wrong, or memory is missing or superfluous.
    """
    if lengths.shape[1] == 0:
        raise ValueError("state must be None with axes=0: there is no axis that it could enter along")
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        length = f" of length {len(state)}" if isinstance(state, (tuple, list, Tensor)) else ""
        raise ValueError(f"state must be a pair of hidden and memory, got {type(state).__name__}{length}")
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


def without_padding(values: Tensor, padded: Tensor | None) -> Tensor:
    """Values (B, *extents, C), zero at padded cells (B, *extents, 1); the tensor itself where nothing is padded."""
    return values if padded is None else values.masked_fill(padded, 0)


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
