"""Loops over the cells of a 2-D Grid LSTM layer, in plain PyTorch: what its other implementations are, and could be."""

import torch
from torch import Tensor, nn


def cell_by_cell(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The fastest eager form: one cell of all utterances after the other.

    A cell is one product and ten other operations: the sigmoids of both axes are one pass, as are their tanhs.
    unbind and stack keep the backward pass linear in cells, which indexing would not.

    Args:
        inputs: (B, T, F, I).
        weight: (I + 2H, 8H), over input, hidden along time, hidden along frequency; columns are the gates i, f, o, g,
            each of both axes (time, frequency).
        bias: (8H,).

    Returns:
        (B, T, F, 2H), the hidden vectors of both axes side by side.
    """
    size = len(bias) // 8
    border = inputs.new_zeros(len(inputs), size)
    along_time = [(border, border)] * inputs.shape[2]
    outputs = []
    for frame in inputs.unbind(1):
        h_freq, m_freq = border, border
        for f, x in enumerate(frame.unbind(1)):
            h_time, m_time = along_time[f]
            gates = torch.addmm(bias, torch.cat((x, h_time, h_freq), 1), weight)
            sigmoids, candidate = torch.split(gates, [6 * size, 2 * size], 1)
            i, forget, o = sigmoids.sigmoid().chunk(3, 1)
            memory = torch.addcmul(forget * torch.cat((m_time, m_freq), 1), i, candidate.tanh())
            hidden = o * memory.tanh()
            outputs.append(hidden)
            (h_time, h_freq), (m_time, m_freq) = hidden.chunk(2, 1), memory.chunk(2, 1)
            along_time[f] = (h_time, m_time)
    return torch.stack(outputs, 1).view(*inputs.shape[:3], -1)


class PublicStyleGrid(nn.Module):
    """The form that Grid LSTMs on the net have: an LSTM cell an axis, called for one position after the other.

    The gates are a linear layer of each axis and are taken apart; every nonlinearity is an operation of its own. Where
    such code indexes the input at each position, which makes its backward pass quadratic, this one unbinds it.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.axes = nn.ModuleList(nn.Linear(input_size + 2 * hidden_size, 4 * hidden_size) for _ in range(2))

    def cell(self, axis: int, seen: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """One axis' transform of what its cell sees, (B, I + 2H), and its memory -> hidden and memory, (B, H) each."""
        i, f, g, o = self.axes[axis](seen).chunk(4, 1)
        memory = torch.sigmoid(f) * memory + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(memory), memory

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, T, F, I) -> (B, T, F, 2H)."""
        border = inputs.new_zeros(len(inputs), self.hidden_size)
        along_time = [(border, border)] * inputs.shape[2]
        outputs = []
        for frame in inputs.unbind(1):
            along_frequency = border, border
            for f, x in enumerate(frame.unbind(1)):
                (h_time, m_time), (h_freq, m_freq) = along_time[f], along_frequency
                seen = torch.cat([x, h_time, h_freq], 1)
                along_time[f], along_frequency = self.cell(0, seen, m_time), self.cell(1, seen, m_freq)
                outputs.append(torch.cat([along_time[f][0], along_frequency[0]], 1))
        return torch.stack(outputs, 1).view(*inputs.shape[:3], -1)
