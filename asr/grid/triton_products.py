"""What the CUDA scan computes for all cells at once, in natural order: products around its kernels."""

import torch
from torch import Tensor
from torch.nn import functional

from asr.grid.triton_plan import Grid


def input_product(inputs: Tensor, weight_ih: Tensor, bias: Tensor, grid: Grid) -> Tensor:
    """What inputs (B, *extents, I) and bias contribute to the gates, (B, *extents, D, R)."""
    contributions = inputs.new_empty(*inputs.shape[:-1], len(grid.directions), grid.rows)
    for band, start, count in grid.band_parts():
        weight, added = (_of_band(x, band, grid).flatten(0, 1).to(inputs.dtype) for x in (weight_ih, bias))
        x = inputs.narrow(grid.axes, start, count)
        if grid.bands == 1:
            torch.addmm(added, x.flatten(0, -2), weight.t(), out=contributions.view(-1, len(weight)))
        else:
            target = contributions.narrow(grid.axes, start, count)
            target.copy_(functional.linear(x, weight, added).view_as(target))
    return contributions


def arriving_values(values: Tensor, start: Tensor | None, lengths: Tensor, grid: Grid) -> Tensor:
    """What arrives at each cell along each axis: `values` (B, *extents, D, axes * H) of the cell before, or the state.

    Padded cells must be zero in `values`; what arrives at them is finite and otherwise arbitrary.
    """
    moved = torch.zeros_like(values)
    for d, direction in enumerate(grid.directions):
        sources, targets = (torch.split(x.select(-2, d), grid.hidden, dim=-1) for x in (values, moved))
        for axis, (backward, source, target) in enumerate(zip(direction, sources, targets, strict=True)):
            count = source.shape[axis + 1] - 1
            target.narrow(axis + 1, 1 - backward, count).copy_(source.narrow(axis + 1, int(backward), count))
        if start is not None:
            utterance = torch.arange(len(values), device=values.device)
            first = lengths[:, 0] - 1 if direction[0] else torch.zeros_like(lengths[:, 0])
            targets[0][utterance, first] = start[d].to(values.dtype)
    return moved


def activations(
    pre: Tensor,
    weight_hh: Tensor,
    peephole: Tensor | None,
    arriving: Tensor,
    arriving_memory: Tensor | None,
    memory: Tensor,
    grid: Grid,
) -> Tensor:
    """The gates (B, *extents, D, R) of all cells from what inputs contribute to them, which is overwritten."""
    for band, start, count in grid.band_parts():
        at = (grid.axes, start, count)
        for d, weight in enumerate(_of_band(weight_hh, band, grid).to(pre.dtype)):
            gates = _by_gate(pre.narrow(*at).select(-2, d), grid)
            sums = gates.float() + functional.linear(arriving.narrow(*at).select(-2, d), weight).view_as(gates)
            if peephole is not None and arriving_memory is not None:
                diagonals = _diagonals(peephole, grid)[d, band].float()
                seen = _seen(arriving_memory.narrow(*at), memory.narrow(*at), grid)
                for number, (gate, m) in enumerate(seen):
                    sums[..., gate, :] += diagonals[:, number] * m.select(-3, d)
            *opened, g, o = sums.unbind(-2)
            activated = [*(x.sigmoid() for x in opened), g.tanh(), o.sigmoid()]
            gates.copy_(torch.stack(activated, dim=-2))
    return pre


def input_gradient(d_gates: Tensor, weight_ih: Tensor, grid: Grid) -> Tensor:
    """Of inputs, (B, *extents, I), all directions summed."""
    d_inputs = d_gates.new_empty(*d_gates.shape[:-2], weight_ih.shape[-1])
    for band, start, count in grid.band_parts():
        weight = _of_band(weight_ih, band, grid).flatten(0, 1).to(d_gates.dtype)
        part = d_gates.narrow(grid.axes, start, count).flatten(-2).flatten(0, -2)
        target = d_inputs.narrow(grid.axes, start, count)
        target.copy_((part @ weight).view_as(target))
    return d_inputs


def weight_gradients(d_gates: Tensor, inputs: Tensor, arriving: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """Of weight_ih (S, R, I), weight_hh (S, R, axes * H) and bias (S, R), the last in float32."""
    d_ih, d_hh, d_bias = [], [], []
    for _, start, count in grid.band_parts():
        x, d_rows, h = (part.narrow(grid.axes, start, count) for part in (inputs, d_gates, arriving))
        d_rows, h = d_rows.flatten(0, -3), h.flatten(0, -3)
        d_ih.append((d_rows.flatten(1).t() @ x.flatten(0, -2)).view(*d_rows.shape[1:], -1))
        d_hh.append(torch.bmm(d_rows.permute(1, 2, 0), h.transpose(0, 1)))
        d_bias.append(d_rows.sum(0, dtype=torch.float32))
    return tuple(torch.stack(bands, dim=1).flatten(0, 1) for bands in (d_ih, d_hh, d_bias))  # type: ignore[return-value]


def peephole_gradient(d_gates: Tensor, arriving_memory: Tensor, memory: Tensor, grid: Grid) -> Tensor:
    """Of the diagonals, (S, axes * 3 * H) or coupled (S, axes * 2 * H), in float32."""
    d_pre = _by_gate(d_gates, grid)
    along = []  # of each diagonal, (last axis, D, axes, H)
    for gate, m in _seen(arriving_memory, memory, grid):
        along.append((d_pre.select(-2, gate).float() * m).flatten(0, grid.axes - 1).sum(0))
    d_diagonals = torch.stack(along, dim=-2)
    bands = [d_diagonals.narrow(0, start, count).sum(0) for _, start, count in grid.band_parts()]
    return torch.stack(bands, dim=1).flatten(0, 1).flatten(1)


def _of_band(weights: Tensor, band: int, grid: Grid) -> Tensor:
    """(S, ...) -> (D, ...)"""
    return weights.reshape(len(grid.directions), grid.bands, *weights.shape[1:]).select(1, band)


def _by_gate(rows: Tensor, grid: Grid) -> Tensor:
    """(..., R) -> (..., axes, gates, H)"""
    return rows.view(*rows.shape[:-1], grid.axes, grid.gates, grid.hidden)


def _diagonals(peephole: Tensor, grid: Grid) -> Tensor:
    return peephole.reshape(len(grid.directions), grid.bands, grid.axes, grid.gates - 1, grid.hidden)


def _seen(arriving: Tensor, memory: Tensor, grid: Grid) -> list[tuple[int, Tensor]]:
    """The gates with peepholes, and the memory (..., D, axes, H) that each sees: i, f the arriving, o the new one."""
    before, after = (x.view(*x.shape[:-1], grid.axes, grid.hidden) for x in (arriving, memory))
    if grid.gates == 3:
        return [(0, before), (2, after)]
    return [(0, before), (1, before), (3, after)]
