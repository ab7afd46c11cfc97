"""What the forward and the backward Triton kernel share: where a step's cells are, and how their vectors are read.

One program has a group of utterances and a direction, and walks over the steps of the wavefront by itself: what it
reads in a step, it wrote in the step before, so that a barrier inside the program is all that steps need. The rows of
step s are the cells (t, f) = (s - f, f) of its utterances, addressed in natural order; with one axis, f is 0.

The hidden vectors of all axes are one row of WIDE columns: column a * UNITS + u is unit u of axis a, where UNITS is H
rounded up. Weights are padded likewise (`asr.grid.triton_plan.packed`): (S, GATES, WIDE out, WIDE in). RESIDENT weights
are read before the first step and stay in shared memory; others are read again in each step.

Names: B batch, D directions, T and F extents, S sets of weights (D times BANDS), R rows of weights = AXES * GATES * H.
Buffers of (2, F, B, D, WIDE or AXES * H) hold the last two steps, by the parity of the step.
"""

# mypy: disable-error-code="import-untyped, no-untyped-def, no-untyped-call, untyped-decorator"
# The functions below are compiled by Triton, which has no types of its own.

from typing import Any

import triton
import triton.language as tl

jit: Any = triton.jit
kernel: Any = triton.jit(do_not_specialize=["batch", "extent_t", "extent_f", "directions"])
"""Compiled once for all sizes of a batch."""


@jit
def tanh(x):
    decay = tl.exp(-2 * tl.abs(x))
    size = (1 - decay) / (1 + decay)
    return tl.where(x < 0, -size, size)


@jit
def steps_of(group, lengths, batch, AXES: tl.constexpr, GROUP: tl.constexpr, GROUP_PADDED: tl.constexpr):
    """Steps until the last real cell of a group of utterances."""
    number = tl.arange(0, GROUP_PADDED)
    b = group * GROUP + number
    present = (number < GROUP) & (b < batch)
    steps = tl.load(lengths + b * AXES, mask=present, other=0).to(tl.int32)
    if AXES == 2:
        steps += tl.load(lengths + b * AXES + 1, mask=present, other=1).to(tl.int32) - 1
    return tl.max(steps, 0)


@jit
def cells_of(
    tile,
    step,
    lengths,
    batch,
    extent_t,
    extent_f,
    directions,
    AXES: tl.constexpr,
    D: tl.constexpr,
    BANDS: tl.constexpr,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
):
    """The cells of a tile, (ROWS,) each.

    Returns whether a row is a real cell; whether it is the first, and the last, along each axis in scan direction; its
    band; its place among the cells (B, T, F, D), among the borders (D, B, F) and in a buffer's step (F, B, D); and the
    distance from a cell to the one before it along each axis.
    """
    d = tl.program_id(1)
    row = tile * ROWS + tl.arange(0, ROWS)
    f = row // GROUP
    t = step - f
    b = tl.program_id(0) * GROUP + row % GROUP
    length_t = tl.load(lengths + b * AXES, mask=b < batch, other=0).to(tl.int32)
    length_f = length_t * 0 + 1
    if AXES == 2:
        length_f = tl.load(lengths + b * AXES + 1, mask=b < batch, other=0).to(tl.int32)
    backward_t = (directions >> (d * AXES)) & 1
    backward_f = (directions >> (d * AXES + AXES - 1)) & 1
    natural_t = t + backward_t * (length_t - 1 - 2 * t)
    natural_f = f
    if AXES == 2:
        natural_f += backward_f * (length_f - 1 - 2 * f)
    band = row * 0
    if BANDS > 1:
        band = natural_t * BANDS // extent_t if AXES == 1 else natural_f * BANDS // extent_f
    real = (t >= 0) & (t < length_t) & (f < length_f)
    cell = ((b.to(tl.int64) * extent_t + natural_t) * extent_f + natural_f) * D + d
    border = (d * batch + b).to(tl.int64) * extent_f + natural_f
    slot = (f.to(tl.int64) * batch + b) * D + d
    before_t = (1 - 2 * backward_t) * extent_f * D
    before_f = (1 - 2 * backward_f) * D
    return real, t == 0, f == 0, t == length_t - 1, f == length_f - 1, band, cell, border, slot, before_t, before_f


@jit
def neighbours(
    values,
    border_values,
    along_t,
    along_f,
    from_t,
    from_f,
    border,
    at_border,
    axis,
    unit,
    H: tl.constexpr,
    AXES: tl.constexpr,
    BORDERS: tl.constexpr,
):
    """(rows, columns) of what comes to each row along the axis of each column: from a cell, a border or nowhere.

    Along an axis it comes from row `along` of `values` where `from` says so; along the first axis, with BORDERS, from
    row `border` of `border_values` where `at_border` says so; else it is zero.
    """
    known = (unit < H)[None, :]
    first = (axis == 0)[None, :]
    at = tl.where(first, along_t[:, None], along_f[:, None]) * (AXES * H) + (axis * H + unit)[None, :]
    x = tl.load(values + at, mask=tl.where(first, from_t[:, None], from_f[:, None]) & known, other=0.0)
    if BORDERS:
        entering = at_border[:, None] & first & known
        y = tl.load(border_values + border[:, None] * H + unit[None, :], mask=entering, other=0.0)
        x = tl.where(entering, y, x)
    return x


@jit
def gate_at(cell, axis, unit, gate, H: tl.constexpr, AXES: tl.constexpr, GATES: tl.constexpr):
    """Where a gate of each row and column is in (B, T, F, D, R)."""
    return cell[:, None] * (AXES * GATES * H) + (axis * (GATES * H) + gate * H + unit)[None, :]


@jit
def diagonal_at(s, axis, unit, number, H: tl.constexpr, AXES: tl.constexpr, COUNT: tl.constexpr):
    """Where a peephole of each row and column is in (S, AXES * COUNT * H)."""
    return s[:, None] * (AXES * COUNT * H) + (axis * (COUNT * H) + number * H + unit)[None, :]


@jit
def matrix(weight, gate, out, into, WIDE: tl.constexpr):
    """One gate's matrix, with the shape that `out` and `into` have together."""
    return tl.load(weight + (gate * WIDE + out) * WIDE + into)
