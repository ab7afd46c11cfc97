"""The backward scan of LSTM cells over a grid of one or two axes; `asr.grid.triton_cells` says how it is laid out.

No two programs and no two cells add to the same place: a cell gathers what its successors left for it. A step is two
passes over its cells with a barrier between: from the gradients of hidden and memory to those of the gates, and from
these, by one product, to the gradients of the hidden vectors that arrived.
"""

# mypy: disable-error-code="import-untyped, no-untyped-def, no-untyped-call, untyped-decorator"
# The functions below are compiled by Triton, which has no types of its own.

import triton.language as tl

from asr.grid.triton_cells import cells_of, diagonal_at, gate_at, kernel, matrix, neighbours, steps_of, tanh


@kernel
def backward_kernel(
    gates,  # (B, T, F, D, R), activations
    weight,  # packed
    peephole,
    memory_0,  # (D, B, F, H)
    lengths,
    memory,  # (B, T, F, D, AXES * H)
    d_hidden,  # likewise
    d_last_memory,  # (D, B, F, H)
    d_gates,  # (B, T, F, D, R), out: gradients of what enters the gates
    d_sent_hidden,  # (2, F, B, D, AXES * H): gradients of what arrived at a cell, for the cells before it
    d_sent_memory,
    d_hidden_0,  # (D, B, F, H), out
    d_memory_0,
    batch,
    extent_t,
    extent_f,
    directions,  # bit d * AXES + a: direction d runs backward along axis a
    clip,
    H: tl.constexpr,
    UNITS: tl.constexpr,
    AXES: tl.constexpr,
    D: tl.constexpr,
    BANDS: tl.constexpr,
    GROUP: tl.constexpr,
    GROUP_PADDED: tl.constexpr,
    TILES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    RESIDENT: tl.constexpr,
    STATE: tl.constexpr,
    LAST: tl.constexpr,
    PEEPHOLES: tl.constexpr,
    COUPLED: tl.constexpr,
    CLIP: tl.constexpr,
    INSIDE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    WIDE: tl.constexpr = AXES * UNITS
    GATES: tl.constexpr = 3 if COUPLED else 4
    F: tl.constexpr = GATES - 3  # the number of gate f, and of its peepholes
    SEEN: tl.constexpr = GATES - 1
    d = tl.program_id(1)
    if RESIDENT:
        out, into = tl.arange(0, WIDE)[:, None], tl.arange(0, WIDE)[None, :]
        own = weight + d * (GATES * WIDE * WIDE)
        resident_f = matrix(own, F, out, into, WIDE)
        resident_g = matrix(own, F + 1, out, into, WIDE)
        resident_o = matrix(own, F + 2, out, into, WIDE)
        if not COUPLED:
            resident_i = matrix(own, 0, out, into, WIDE)
    buffer = extent_f * batch * D
    step = steps_of(tl.program_id(0), lengths, batch, AXES, GROUP, GROUP_PADDED) - 1
    while step >= 0:
        for tile in range(TILES):
            real, first_t, first_f, last_t, last_f, band, cell, border, slot, before_t, before_f = cells_of(
                tile, step, lengths, batch, extent_t, extent_f, directions, AXES, D, BANDS, GROUP, ROWS
            )
            sent = slot + (step & 1) * buffer
            after_t = slot + ((step + 1) & 1) * buffer
            after_f = after_t + batch * D
            more_t, more_f, leaves = real & (last_t == 0), real & (last_f == 0), real & last_t
            has_t, has_f, enters = real & (first_t == 0), real & (first_f == 0), real & first_t
            m_t, m_f = cell - before_t, cell - before_f
            for block in range(WIDE // COLUMNS):
                column = block * COLUMNS + tl.arange(0, COLUMNS)
                axis, unit = column // UNITS, column % UNITS
                mask = real[:, None] & (unit < H)[None, :]
                at = (axis * H + unit)[None, :]
                at_f = gate_at(cell, axis, unit, F, H, AXES, GATES)
                # all loads before the first use, so that they wait for memory together
                dh = neighbours(
                    d_sent_hidden,
                    d_hidden,
                    after_t,
                    after_f,
                    more_t,
                    more_f,
                    border,
                    leaves,
                    axis,
                    unit,
                    H,
                    AXES,
                    False,
                )
                dm = neighbours(
                    d_sent_memory,
                    d_last_memory,
                    after_t,
                    after_f,
                    more_t,
                    more_f,
                    border,
                    leaves,
                    axis,
                    unit,
                    H,
                    AXES,
                    LAST,
                )
                m_in = neighbours(memory, memory_0, m_t, m_f, has_t, has_f, border, enters, axis, unit, H, AXES, STATE)
                m = tl.load(memory + cell[:, None] * (AXES * H) + at, mask=mask, other=0.0)
                d_out = tl.load(d_hidden + cell[:, None] * (AXES * H) + at, mask=mask, other=0.0)
                f_gate = tl.load(gates + at_f, mask=mask, other=0.0)
                g = tl.load(gates + at_f + H, mask=mask, other=0.0)
                o = tl.load(gates + at_f + 2 * H, mask=mask, other=0.0)
                if not COUPLED:
                    i = tl.load(gates + at_f - H, mask=mask, other=0.0).to(tl.float32)
                dh += d_out.to(tl.float32)
                f_gate, g, o = f_gate.to(tl.float32), g.to(tl.float32), o.to(tl.float32)
                if COUPLED:
                    i = 1 - f_gate
                if INSIDE:
                    h = tanh(o * m)
                    dz = dh * (1 - h * h)
                    d_o = dz * m * o * (1 - o)
                    dm += dz * o
                else:
                    bounded = tanh(m)
                    d_o = dh * bounded * o * (1 - o)
                    dm += dh * o * (1 - bounded * bounded)
                if PEEPHOLES:
                    p_f = peephole + diagonal_at(d * BANDS + band, axis, unit, F, H, AXES, SEEN)
                    dm += d_o * tl.load(p_f + H, mask=mask, other=0.0)
                if CLIP:
                    dm = tl.where(tl.abs(m) < clip, dm, 0.0)
                d_g = dm * i * (1 - g * g)
                d_i = dm * g * i * (1 - i)
                d_f = dm * m_in * f_gate * (1 - f_gate)
                if COUPLED:
                    d_f -= d_i
                dm *= f_gate
                if PEEPHOLES:
                    dm += d_f * tl.load(p_f, mask=mask, other=0.0)
                    if not COUPLED:
                        dm += d_i * tl.load(p_f - H, mask=mask, other=0.0)
                tl.store(d_sent_memory + sent[:, None] * (AXES * H) + at, dm, mask=mask)
                if STATE:
                    entering = mask & first_t[:, None] & (axis == 0)[None, :]
                    tl.store(d_memory_0 + border[:, None] * H + unit[None, :], dm, mask=entering)
                tl.store(d_gates + at_f, d_f.to(d_gates.dtype.element_ty), mask=mask)
                tl.store(d_gates + at_f + H, d_g.to(d_gates.dtype.element_ty), mask=mask)
                tl.store(d_gates + at_f + 2 * H, d_o.to(d_gates.dtype.element_ty), mask=mask)
                if not COUPLED:
                    tl.store(d_gates + at_f - H, d_i.to(d_gates.dtype.element_ty), mask=mask)
        tl.debug_barrier()
        for tile in range(TILES):
            real, first_t, _, _, _, band, cell, border, slot, _, _ = cells_of(
                tile, step, lengths, batch, extent_t, extent_f, directions, AXES, D, BANDS, GROUP, ROWS
            )
            sent = slot + (step & 1) * buffer
            for block in range(WIDE // COLUMNS):
                column = block * COLUMNS + tl.arange(0, COLUMNS)
                axis, unit = column // UNITS, column % UNITS
                mask = real[:, None] & (unit < H)[None, :]
                if RESIDENT:
                    at_f = gate_at(cell, axis, unit, F, H, AXES, GATES)
                    d_f = tl.load(d_gates + at_f, mask=mask, other=0.0)
                    d_g = tl.load(d_gates + at_f + H, mask=mask, other=0.0)
                    d_o = tl.load(d_gates + at_f + 2 * H, mask=mask, other=0.0)
                    if not COUPLED:
                        d_i = tl.load(d_gates + at_f - H, mask=mask, other=0.0)
                    dh = tl.dot(d_f, resident_f, input_precision=PRECISION)
                    dh = tl.dot(d_g, resident_g, dh, input_precision=PRECISION)
                    dh = tl.dot(d_o, resident_o, dh, input_precision=PRECISION)
                    if not COUPLED:
                        dh = tl.dot(d_i, resident_i, dh, input_precision=PRECISION)
                else:
                    dh = tl.zeros((ROWS, COLUMNS), tl.float32)
                    present = tl.min(tl.where(real, band, BANDS), 0)
                    last_present = tl.max(tl.where(real, band, -1), 0)
                    while present <= last_present:
                        own = weight + (d * BANDS + present) * (GATES * WIDE * WIDE)
                        in_band = real & (band == present)
                        for part in range(GATES * (WIDE // DEPTH)):
                            gate = part // (WIDE // DEPTH)
                            source = part % (WIDE // DEPTH) * DEPTH + tl.arange(0, DEPTH)
                            at_gate = gate_at(cell, source // UNITS, source % UNITS, gate, H, AXES, GATES)
                            known = in_band[:, None] & (source % UNITS < H)[None, :]
                            d_gate = tl.load(d_gates + at_gate, mask=known, other=0.0)
                            w = matrix(own, gate, source[:, None], column[None, :], WIDE)
                            dh = tl.dot(d_gate, w, dh, input_precision=PRECISION)
                        present += 1
                tl.store(d_sent_hidden + sent[:, None] * (AXES * H) + (axis * H + unit)[None, :], dh, mask=mask)
                if STATE:
                    entering = mask & first_t[:, None] & (axis == 0)[None, :]
                    tl.store(d_hidden_0 + border[:, None] * H + unit[None, :], dh, mask=entering)
        tl.debug_barrier()
        step -= 1
