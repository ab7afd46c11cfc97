"""The forward scan of LSTM cells over a grid of one or two axes; `asr.grid.triton_cells` says how it is laid out."""

# mypy: disable-error-code="import-untyped, no-untyped-def, no-untyped-call, untyped-decorator"
# The functions below are compiled by Triton, which has no types of its own.

import triton.language as tl

from asr.grid.triton_cells import cells_of, diagonal_at, gate_at, kernel, matrix, neighbours, steps_of, tanh


@kernel
def forward_kernel(
    gates,  # (B, T, F, D, R): in: what inputs and bias contribute; out, with KEEP_GATES: activations
    weight,  # packed
    peephole,
    hidden_0,  # (D, B, F, H)
    memory_0,
    lengths,
    hidden,  # (B, T, F, D, AXES * H)
    memory,  # likewise; without KEEP_MEMORY (2, F, B, D, AXES * H)
    last_memory,  # (D, B, F, H)
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
    KEEP_MEMORY: tl.constexpr,
    KEEP_GATES: tl.constexpr,
    STATE: tl.constexpr,
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
        out, into = tl.arange(0, WIDE)[None, :], tl.arange(0, WIDE)[:, None]
        own = weight + d * (GATES * WIDE * WIDE)
        resident_f = matrix(own, F, out, into, WIDE)
        resident_g = matrix(own, F + 1, out, into, WIDE)
        resident_o = matrix(own, F + 2, out, into, WIDE)
        if not COUPLED:
            resident_i = matrix(own, 0, out, into, WIDE)
    steps = steps_of(tl.program_id(0), lengths, batch, AXES, GROUP, GROUP_PADDED)
    step = 0
    while step < steps:
        for tile in range(TILES):
            real, first_t, first_f, last_t, _, band, cell, border, slot, before_t, before_f = cells_of(
                tile, step, lengths, batch, extent_t, extent_f, directions, AXES, D, BANDS, GROUP, ROWS
            )
            enters, has_t, has_f = real & first_t, real & (first_t == 0), real & (first_f == 0)
            s = d * BANDS + band
            h_t, h_f = cell - before_t, cell - before_f
            m_at, m_t, m_f = cell, h_t, h_f
            if not KEEP_MEMORY:
                buffer = extent_f * batch * D
                m_at = slot + (step & 1) * buffer
                m_t = slot + ((step + 1) & 1) * buffer
                m_f = m_t - batch * D
            for block in range(WIDE // COLUMNS):
                column = block * COLUMNS + tl.arange(0, COLUMNS)
                axis, unit = column // UNITS, column % UNITS
                mask = real[:, None] & (unit < H)[None, :]
                at_f = gate_at(cell, axis, unit, F, H, AXES, GATES)
                # all loads before the first use, so that they wait for memory together
                x_f = tl.load(gates + at_f, mask=mask, other=0.0)
                x_g = tl.load(gates + at_f + H, mask=mask, other=0.0)
                x_o = tl.load(gates + at_f + 2 * H, mask=mask, other=0.0)
                if not COUPLED:
                    x_i = tl.load(gates + at_f - H, mask=mask, other=0.0)
                if RESIDENT:
                    h = neighbours(hidden, hidden_0, h_t, h_f, has_t, has_f, border, enters, axis, unit, H, AXES, STATE)
                m = neighbours(memory, memory_0, m_t, m_f, has_t, has_f, border, enters, axis, unit, H, AXES, STATE)
                if RESIDENT:
                    pre_f = tl.dot(h, resident_f, input_precision=PRECISION)
                    pre_g = tl.dot(h, resident_g, input_precision=PRECISION)
                    pre_o = tl.dot(h, resident_o, input_precision=PRECISION)
                    if not COUPLED:
                        pre_i = tl.dot(h, resident_i, input_precision=PRECISION)
                else:
                    pre_f = tl.zeros((ROWS, COLUMNS), tl.float32)
                    pre_g, pre_o, pre_i = pre_f, pre_f, pre_f
                    present = tl.min(tl.where(real, band, BANDS), 0)
                    last_present = tl.max(tl.where(real, band, -1), 0)
                    while present <= last_present:
                        own = weight + (d * BANDS + present) * (GATES * WIDE * WIDE)
                        in_band = band == present
                        in_t, in_f, in_0 = has_t & in_band, has_f & in_band, enters & in_band
                        for part in range(WIDE // DEPTH):
                            source = part * DEPTH + tl.arange(0, DEPTH)
                            from_axis, from_unit = source // UNITS, source % UNITS
                            h = neighbours(
                                hidden,
                                hidden_0,
                                h_t,
                                h_f,
                                in_t,
                                in_f,
                                border,
                                in_0,
                                from_axis,
                                from_unit,
                                H,
                                AXES,
                                STATE,
                            )
                            out, into = column[None, :], source[:, None]
                            pre_f = tl.dot(h, matrix(own, F, out, into, WIDE), pre_f, input_precision=PRECISION)
                            pre_g = tl.dot(h, matrix(own, F + 1, out, into, WIDE), pre_g, input_precision=PRECISION)
                            pre_o = tl.dot(h, matrix(own, F + 2, out, into, WIDE), pre_o, input_precision=PRECISION)
                            if not COUPLED:
                                pre_i = tl.dot(h, matrix(own, 0, out, into, WIDE), pre_i, input_precision=PRECISION)
                        present += 1
                pre_f += x_f.to(tl.float32)
                pre_g += x_g.to(tl.float32)
                pre_o += x_o.to(tl.float32)
                if not COUPLED:
                    pre_i += x_i.to(tl.float32)
                if PEEPHOLES:
                    p_f = peephole + diagonal_at(s, axis, unit, F, H, AXES, SEEN)
                    pre_f += tl.load(p_f, mask=mask, other=0.0) * m
                    if not COUPLED:
                        pre_i += tl.load(p_f - H, mask=mask, other=0.0) * m
                f_gate, g = tl.sigmoid(pre_f), tanh(pre_g)
                if COUPLED:
                    m = f_gate * m + (1 - f_gate) * g
                else:
                    i = tl.sigmoid(pre_i)
                    m = f_gate * m + i * g
                if CLIP:
                    m = tl.minimum(tl.maximum(m, -clip), clip)
                if PEEPHOLES:
                    pre_o += tl.load(p_f + H, mask=mask, other=0.0) * m
                o = tl.sigmoid(pre_o)
                h_new = tanh(o * m) if INSIDE else o * tanh(m)
                at = (axis * H + unit)[None, :]
                tl.store(hidden + cell[:, None] * (AXES * H) + at, h_new.to(hidden.dtype.element_ty), mask=mask)
                tl.store(memory + m_at[:, None] * (AXES * H) + at, m, mask=mask)
                leaves = mask & last_t[:, None] & (axis == 0)[None, :]
                tl.store(last_memory + border[:, None] * H + unit[None, :], m, mask=leaves)
                if KEEP_GATES:
                    tl.store(gates + at_f, f_gate.to(gates.dtype.element_ty), mask=mask)
                    tl.store(gates + at_f + H, g.to(gates.dtype.element_ty), mask=mask)
                    tl.store(gates + at_f + 2 * H, o.to(gates.dtype.element_ty), mask=mask)
                    if not COUPLED:
                        tl.store(gates + at_f - H, i.to(gates.dtype.element_ty), mask=mask)
        tl.debug_barrier()
        step += 1
