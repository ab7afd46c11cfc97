"""What the wavefront computes in the cells of one step, and the gradient of it, on buffers that it owns.

Gates are laid out in blocks, first those with a sigmoid, last the candidate with a tanh, so that each nonlinearity is
one pass over adjacent numbers. `arrange` brings the rows of a parameter, which are ordered as in torch.nn.LSTM, into
that layout.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Cell(Protocol):
    """Elementwise part of a recurrence, for R rows (cells times utterances) in each of D directions.

    Attributes:
        axes: A, the incoming hidden and memory vectors of a cell.
        hidden_size: H, the width of each.
        outputs: O, the outgoing hidden and memory vectors: A (one an axis), 1 (all axes receive the same), or A + 1
            (one an axis, and one for the layer above).

    G is the gates of all outputs.
    """

    @property
    def axes(self) -> int: ...

    @property
    def hidden_size(self) -> int: ...

    @property
    def outputs(self) -> int: ...

    def arrange(self, rows: Tensor) -> Tensor:
        """A parameter (D, G, columns) with its rows in the order of the gate blocks."""

    def forward(self, gates: Tensor, memory_in: Tensor, hidden: Tensor, memory: Tensor, saved: Tensor) -> None:
        """Turn pre-activations into activations, in place, and write the outgoing vectors.

        Args:
            gates: (D, R, G), pre-activations on entry, activations on return.
            memory_in: (D, R, A * H).
            hidden: (D, R, O * H), written.
            memory: (D, R, O * H), written.
            saved: (D, R, O * H), written: what `backward` needs besides the activations.
        """

    def backward(
        self,
        gates: Tensor,
        memory_in: Tensor,
        saved: Tensor,
        hidden: Tensor,
        memory: Tensor,
        pre_activations: Tensor,
        d_memory_in: Tensor,
    ) -> None:
        """The gradient of `forward`.

        Args:
            gates: as `forward` left them, as are `memory_in` and `saved`.
            hidden: the gradient of the outgoing hidden vectors, overwritten.
            memory: the gradient of the outgoing memory vectors, overwritten.
            pre_activations: (D, R, G), written: the gradient of the pre-activations.
            d_memory_in: (D, R, A * H), written: the gradient of `memory_in`.
        """


@dataclass(frozen=True)
class GridCell:
    """The transform of each axis on its own memory (Kalchbrenner et al. 2016, section 3.1), all axes side by side.

        m' = f * m + i * g
        h' = o * tanh(m'), or tanh(o * m') where the output gate is inside

    Blocks: i, f, o, g, each of them A * H wide. Saved: tanh(m'), or m' where the output gate is inside.
    """

    axes: int
    hidden_size: int
    gate_inside: bool = False

    @property
    def outputs(self) -> int:
        return self.axes

    @property
    def blocks(self) -> int:
        return 4

    def arrange(self, rows: Tensor) -> Tensor:
        directions, _, columns = rows.shape
        by_gate = rows.view(directions, self.axes, 4, self.hidden_size, columns)[:, :, [0, 1, 3, 2]]
        return by_gate.transpose(1, 2).reshape(rows.shape)

    def forward(self, gates: Tensor, memory_in: Tensor, hidden: Tensor, memory: Tensor, saved: Tensor) -> None:
        i, f, o, g = _activate(gates, 4)
        torch.mul(f, memory_in, out=memory).addcmul_(i, g)
        if self.gate_inside:
            saved.copy_(memory)
            torch.mul(o, memory, out=hidden)
            tanh(hidden, out=hidden)
        else:
            tanh(memory, out=saved)
            torch.mul(o, saved, out=hidden)

    def backward(
        self,
        gates: Tensor,
        memory_in: Tensor,
        saved: Tensor,
        hidden: Tensor,
        memory: Tensor,
        pre_activations: Tensor,
        d_memory_in: Tensor,
    ) -> None:
        i, f, o, g = gates.chunk(4, dim=-1)
        d_i, d_f, d_o, d_g = pre_activations.chunk(4, dim=-1)
        if self.gate_inside:
            output = torch.mul(o, saved)
            tanh(output, out=output)
            torch.ops.aten.tanh_backward.grad_input(hidden, output, grad_input=hidden)
            torch.mul(hidden, saved, out=d_o)
            memory.addcmul_(hidden, o)
        else:
            torch.mul(hidden, saved, out=d_o)
            hidden.mul_(o)
            memory.add_(torch.ops.aten.tanh_backward.grad_input(hidden, saved, grad_input=hidden))
        torch.mul(memory, g, out=d_i)
        torch.mul(memory, memory_in, out=d_f)
        torch.mul(memory, i, out=d_g)
        _deactivate(pre_activations, gates, 4)
        torch.mul(memory, f, out=d_memory_in)


@dataclass(frozen=True)
class TransferCell:
    """A `GridCell` that also sends a transfer to the layer above: relu, tanh or identity of V [h_1; ...; h_A; x] + b.

    It is one more outgoing hidden vector, after those of the axes, whose memory is not written; its H gates come after
    the others.
    """

    axes: int
    hidden_size: int
    gate_inside: bool
    transfer: str

    @property
    def grid(self) -> GridCell:
        """The cell without the transfer."""
        return GridCell(self.axes, self.hidden_size, self.gate_inside)

    @property
    def outputs(self) -> int:
        return self.axes + 1

    @property
    def gates(self) -> int:
        """Columns of the gates before the transfer's."""
        return 4 * self.axes * self.hidden_size

    @property
    def sent(self) -> int:
        """Columns of the outgoing vectors before the transfer's."""
        return self.axes * self.hidden_size

    def arrange(self, rows: Tensor) -> Tensor:
        return torch.cat([self.grid.arrange(rows[:, : self.gates]), rows[:, self.gates :]], dim=1)

    def forward(self, gates: Tensor, memory_in: Tensor, hidden: Tensor, memory: Tensor, saved: Tensor) -> None:
        along_axes = (x[..., : self.sent] for x in (hidden, memory, saved))
        self.grid.forward(gates[..., : self.gates], memory_in, *along_axes)
        transferred = gates[..., self.gates :]
        if self.transfer == "relu":
            transferred.relu_()
        elif self.transfer == "tanh":
            tanh(transferred, out=transferred)
        hidden[..., self.sent :].copy_(transferred)

    def backward(
        self,
        gates: Tensor,
        memory_in: Tensor,
        saved: Tensor,
        hidden: Tensor,
        memory: Tensor,
        pre_activations: Tensor,
        d_memory_in: Tensor,
    ) -> None:
        transferred, d_transferred = gates[..., self.gates :], pre_activations[..., self.gates :]
        d_hidden = hidden[..., self.sent :]
        if self.transfer == "relu":
            torch.ops.aten.threshold_backward.grad_input(d_hidden, transferred, 0, grad_input=d_transferred)
        elif self.transfer == "tanh":
            torch.ops.aten.tanh_backward.grad_input(d_hidden, transferred, grad_input=d_transferred)
        else:
            d_transferred.copy_(d_hidden)
        saved, hidden, memory = (x[..., : self.sent] for x in (saved, hidden, memory))
        along_axes = gates[..., : self.gates], memory_in, saved, hidden, memory, pre_activations[..., : self.gates]
        self.grid.backward(*along_axes, d_memory_in)


@dataclass(frozen=True)
class MultidimensionalCell:
    """One memory for all axes (Graves, Fernandez, Schmidhuber 2007, arXiv 0705.2011).

        m' = sum_a f_a * m_a + i * g        with a forget gate an axis
        h' = o * tanh(m')

    The sum grows with every cell when the forget gates are near one. The stable cell (Leifert et al., "Cells in
    Multidimensional Recurrent Neural Networks", JMLR 17, 2016) instead forgets a convex combination of the incoming
    memories, which stays within their range:

        m' = f * (l * m_1 + (1 - l) * m_2) + i * g        with l a sigmoid gate, nested for more axes

    Blocks: i, f_1 ... f_A (stable: f, l_1 ... l_{A-1}), o, g, each of them H wide. Saved: tanh(m').
    """

    axes: int
    hidden_size: int
    stable: bool = True

    @property
    def outputs(self) -> int:
        return 1

    @property
    def blocks(self) -> int:
        return 3 + self.axes

    def arrange(self, rows: Tensor) -> Tensor:
        *gates, g, o = rows.chunk(self.blocks, dim=1)
        return torch.cat([*gates, o, g], dim=1)

    def forward(self, gates: Tensor, memory_in: Tensor, hidden: Tensor, memory: Tensor, saved: Tensor) -> None:
        i, *forget, o, g = _activate(gates, self.blocks)
        incoming = memory_in.chunk(self.axes, dim=-1)
        torch.mul(i, g, out=memory)
        if self.stable:
            memory.addcmul_(forget[0], self._combinations(incoming, forget[1:])[0])
        else:
            for f, m in zip(forget, incoming, strict=True):
                memory.addcmul_(f, m)
        tanh(memory, out=saved)
        torch.mul(o, saved, out=hidden)

    @staticmethod
    def _combinations(incoming: Sequence[Tensor], mixing: Sequence[Tensor]) -> list[Tensor]:
        """The convex combinations of the memories from axis a on, for a = 1 ... A."""
        combined = [incoming[-1]]
        for m, mix in zip(reversed(incoming[:-1]), reversed(mixing), strict=True):
            combined.insert(0, torch.lerp(combined[0], m, mix))
        return combined

    def backward(
        self,
        gates: Tensor,
        memory_in: Tensor,
        saved: Tensor,
        hidden: Tensor,
        memory: Tensor,
        pre_activations: Tensor,
        d_memory_in: Tensor,
    ) -> None:
        i, *forget, o, g = gates.chunk(self.blocks, dim=-1)
        d_i, *d_forget, d_o, d_g = pre_activations.chunk(self.blocks, dim=-1)
        incoming = memory_in.chunk(self.axes, dim=-1)
        torch.mul(hidden, saved, out=d_o)
        hidden.mul_(o)
        memory.add_(torch.ops.aten.tanh_backward.grad_input(hidden, saved, grad_input=hidden))
        torch.mul(memory, g, out=d_i)
        torch.mul(memory, i, out=d_g)
        d_incoming = d_memory_in.chunk(self.axes, dim=-1)
        if self.stable:
            combined = self._combinations(incoming, forget[1:])
            torch.mul(memory, combined[0], out=d_forget[0])
            memory.mul_(forget[0])
            for a, (mix, d_mix) in enumerate(zip(forget[1:], d_forget[1:], strict=True)):
                torch.mul(memory, incoming[a] - combined[a + 1], out=d_mix)
                torch.mul(memory, mix, out=d_incoming[a])
                memory.sub_(d_incoming[a])
            d_incoming[-1].copy_(memory)
        else:
            for f, m, d_f, d_m in zip(forget, incoming, d_forget, d_incoming, strict=True):
                torch.mul(memory, m, out=d_f)
                torch.mul(memory, f, out=d_m)
        _deactivate(pre_activations, gates, self.blocks)


def tanh(x: Tensor, out: Tensor) -> Tensor:
    """The hyperbolic tangent of x, written to `out`, which may be x itself.

    On the CPU as 2 sigmoid(2x) - 1, equal up to rounding: torch.tanh calls MKL there, whose path on AMD processors
    takes 2.5 ns a number on one thread; this takes 1.
    """
    if not x.is_cpu:
        return torch.tanh(x, out=out)
    torch.mul(x, 2, out=out).sigmoid_()
    return torch.add(_MINUS_ONE.to(x.dtype), out, alpha=2, out=out)


_MINUS_ONE = torch.tensor(-1.0)


def _activate(gates: Tensor, blocks: int) -> tuple[Tensor, ...]:
    """Pre-activations -> activations in place; returned block by block."""
    width = gates.shape[-1] // blocks
    gates[..., :-width].sigmoid_()
    tanh(gates[..., -width:], out=gates[..., -width:])
    return gates.chunk(blocks, dim=-1)


def _deactivate(gradient: Tensor, gates: Tensor, blocks: int) -> None:
    """Gradient of the activations -> gradient of the pre-activations, in place."""
    width = gates.shape[-1] // blocks
    sigmoid, tanh = gradient[..., :-width], gradient[..., -width:]
    torch.ops.aten.sigmoid_backward.grad_input(sigmoid, gates[..., :-width], grad_input=sigmoid)
    torch.ops.aten.tanh_backward.grad_input(tanh, gates[..., -width:], grad_input=tanh)
