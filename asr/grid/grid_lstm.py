"""The Grid LSTM."""

import math
from collections.abc import Sequence
from typing import Literal, cast

from torch import Tensor, nn

from asr.grid.arguments import at_least, checked_lengths, directions, one_of, probability, real_cells
from asr.grid.engines import choose_engine
from asr.grid.layers import Merge, ScanParameters, full_precision
from asr.grid.options import GridOptions


class GridLSTM(nn.Module):
    """Layers of LSTM cells on a grid (Kalchbrenner, Danihelka, Graves, ICLR 2016, arXiv 1507.01526).

    A cell of the grid receives a hidden and a memory vector along each dimension, and sends one pair along each. With
    H = [h_1; ...; h_N] all incoming hidden vectors, each dimension n applies an LSTM of its own (section 3.1):

        i, f, o = sigmoid(W_i H + b_i), sigmoid(W_f H + b_f), sigmoid(W_o H + b_o)
        g = tanh(W_g H + b_g)
        m_n' = f * m_n + i * g
        h_n' = o * tanh(m_n')        or, as the paper has it, tanh(o * m_n') with output_gate="inside"

    The dimensions are the axes of the input (for a spectrogram: time and frequency) and, with depth="lstm", the depth:
    a memory that runs through the layers. Then the output of a layer is its depth hidden, and the input enters as a
    projected pair of hidden and memory. With depth="none", the output is the axes' hiddens side by side, and layers
    are stacked as usual. The input of a layer takes the place of the hidden that comes in along depth in either case.

    A bidirectional axis is scanned both ways; two of them give four directions, each with weights and memories of its
    own. Their outputs are merged after each layer, so that the next layer's directions see all of them.

    Parameters of layer k: `layers[k].weight_ih` (D, N * 4H, input), `layers[k].weight_hh` (D, N * 4H, axes * H) and
    `layers[k].bias` (D, N * 4H) for D directions and H = hidden_size. Rows are the axes in turn, then the depth, each
    with its gates in torch.nn.LSTM's order i, f, g, o. All are drawn as in torch.nn.LSTM.

    Args:
        input_size: features of a cell's input.
        hidden_size: width of every hidden and memory vector.
        num_layers: layers.
        axes: extents of the input, at least one.
        depth: "lstm" or "none".
        depth_priority: the depth comes last (section 3.2): it sees the hidden vectors that leave along the axes instead
            of those that arrive.
        output_gate: "outside" the tanh (usual) or "inside" (the paper).
        bidirectional: one bool, or one an axis.
        merge: "concat" or "sum" of the directions' outputs.
        bias: whether gates have one.
        forget_bias: initial bias of the forget gates; None draws it like the others.
        layer_norm: normalise the output of each layer (Ba, Kiros, Hinton 2016, arXiv 1607.06450).
        dropout: probability, on the output of each layer but the last.
        engine: "auto", "wavefront", or "definition" (cell by cell, for tests); the results agree to rounding.

    Attributes:
        output_size: features of a cell's output.
        directions: of the scans, each with a bool an axis (True is backward), in the order of the parameters.

    Raises:
        ValueError: an option's value is wrong; the message names both.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        axes: int = 2,
        depth: Literal["lstm", "none"] = "none",
        depth_priority: bool = False,
        output_gate: Literal["outside", "inside"] = "outside",
        bidirectional: bool | Sequence[bool] = False,
        merge: Literal["concat", "sum"] = "concat",
        bias: bool = True,
        forget_bias: float | None = None,
        layer_norm: bool = False,
        dropout: float = 0.0,
        engine: str = "auto",
    ) -> None:
        super().__init__()
        one_of("depth", depth, ("lstm", "none"))
        one_of("output_gate", output_gate, ("outside", "inside"))
        one_of("merge", merge, ("concat", "sum"))
        if depth_priority and depth == "none":
            raise ValueError("depth_priority needs a depth with a memory, and depth is 'none'")
        self.input_size = at_least("input_size", input_size, 1)
        self.options = GridOptions(
            at_least("axes", axes, 1), at_least("hidden_size", hidden_size, 1), depth, depth_priority, output_gate
        )
        self.directions = directions(bidirectional, axes)
        self.engine = engine
        choose_engine(engine)
        probability("dropout", dropout)
        at_least("num_layers", num_layers, 1)
        scans, dimensions = len(self.directions), self.options.dimensions
        merges = [
            Merge(scans, self.options.output_size, merge, layer_norm, dropout if number + 1 < num_layers else 0.0)
            for number in range(num_layers)
        ]
        self.output_size = size = merges[-1].output_size
        if depth == "lstm":
            self.input_projection = nn.Linear(input_size, size + scans * hidden_size)
        inputs = [size if depth == "lstm" else input_size] + [size] * (num_layers - 1)
        self.layers = nn.ModuleList(
            ScanParameters(
                directions=scans,
                blocks=4 * dimensions,
                hidden_size=hidden_size,
                input_size=layer_input,
                incoming_size=axes * hidden_size,
                bias=bias,
                forget_blocks=range(1, 4 * dimensions, 4),
                forget_bias=forget_bias,
            )
            for layer_input in inputs
        )
        self.merges = nn.ModuleList(merges)

    def forward(self, input: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Run over a batch of grids.

        Args:
            input: (B, *extents, input_size); whatever its type, and under autocast, it is computed in the parameters'.
            lengths: (B,) along the first axis, or (B, axes); None if nothing is padded. Padding changes nothing.

        Returns:
            (B, *extents, output_size), zero at padded cells.

        Raises:
            ValueError: shape, type or lengths are wrong; the message names value and limit.
        """
        lengths = checked_lengths(input, lengths, self.options.axes, self.input_size)
        extents = tuple(input.shape[1:-1])
        padded = ~real_cells(extents, lengths).unsqueeze(-1)
        layers = cast(list[ScanParameters], self.layers)
        with full_precision(input.device):
            x = input.to(layers[0].weight_ih.dtype).masked_fill(padded, 0)
            scan = choose_engine(self.engine)(extents, lengths, self.directions)
            memory = None
            if self.options.depth == "lstm":
                x, memory = self.input_projection(x).tensor_split([self.output_size], dim=-1)
                memory = scan.depth_memory(memory.unflatten(-1, (len(self.directions), -1)))
            for layer, merge in zip(layers, self.merges, strict=True):
                outputs, memory = scan.grid_layer(x, memory, layer.weights(), self.options)
                x = merge(outputs)
            return x.masked_fill(padded, 0)

    def multiply_adds(self, extents: Sequence[int]) -> int:
        """Multiply-adds of the matrix products for one utterance with these extents, exactly.

        >>> GridLSTM(3, 5).multiply_adds((10, 4)) == 10 * 4 * 2 * 4 * 5 * (3 + 2 * 5)
        True
        """
        cell = sum(layer.multiply_adds() for layer in cast(list[ScanParameters], self.layers))
        if self.options.depth == "lstm":
            cell += self.input_projection.weight.numel()
        return math.prod(extents) * cell

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.options}, directions={len(self.directions)}, engine={self.engine!r}"
