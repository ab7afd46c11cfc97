"""The multidimensional LSTM."""

import math
from collections.abc import Sequence
from typing import Literal, cast

from torch import Tensor, nn

from asr.grid.arguments import at_least, checked_lengths, directions, one_of, probability, real_cells
from asr.grid.engines import choose_engine
from asr.grid.layers import Merge, ScanParameters, full_precision
from asr.grid.options import MultidimensionalOptions


class MultidimensionalLSTM(nn.Module):
    """Layers of LSTM cells with one memory for all axes (Graves, Fernandez, Schmidhuber 2007, arXiv 0705.2011).

    A cell receives the hidden vector h_a and the memory m_a of its predecessor along each axis a, and the input x:

        i, f_a, o = sigmoid of W [x; h_1; ...; h_A] + b, with rows of their own, and a forget gate an axis
        g = tanh(W_g [x; h_1; ...; h_A] + b_g)
        m = sum_a f_a * m_a + i * g                                             cell="sum", Graves 2007
        h = o * tanh(m)

    The sum adds up as many memories as there are paths to a cell, and grows without bound on large grids. The stable
    cell forgets a convex combination instead, which a gate l mixes (Leifert, Strauss, Gruening, Wustlich, Labahn,
    "Cells in Multidimensional Recurrent Neural Networks", JMLR 17(97), 2016):

        m = f * (l * m_1 + (1 - l) * m_2) + i * g                               cell="stable", the default

    With more axes the combinations are nested, with one gate each; with one axis both cells are the usual LSTM.

    A bidirectional axis is scanned both ways; two of them give four directions, each with weights of its own. Their
    outputs are merged after each layer.

    Parameters of layer k, for D directions, A axes and H = hidden_size: `layers[k].weight_ih` (D, (3 + A) * H, input),
    `layers[k].weight_hh` (D, (3 + A) * H, A * H), `layers[k].bias` (D, (3 + A) * H). Rows are i, f_1 ... f_A (stable:
    f, l_1 ... l_{A-1}), g, o. All are drawn as in torch.nn.LSTM.

    Args:
        input_size: features of a cell's input.
        hidden_size: width of the hidden and memory vectors.
        num_layers: layers.
        axes: extents of the input, at least one.
        cell: "stable" or "sum".
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
        cell: Literal["stable", "sum"] = "stable",
        bidirectional: bool | Sequence[bool] = False,
        merge: Literal["concat", "sum"] = "concat",
        bias: bool = True,
        forget_bias: float | None = None,
        layer_norm: bool = False,
        dropout: float = 0.0,
        engine: str = "auto",
    ) -> None:
        super().__init__()
        one_of("cell", cell, ("stable", "sum"))
        one_of("merge", merge, ("concat", "sum"))
        self.input_size = at_least("input_size", input_size, 1)
        self.options = MultidimensionalOptions(at_least("axes", axes, 1), at_least("hidden_size", hidden_size, 1), cell)
        self.directions = directions(bidirectional, axes)
        self.engine = engine
        choose_engine(engine)
        probability("dropout", dropout)
        at_least("num_layers", num_layers, 1)
        scans = len(self.directions)
        merges = [
            Merge(scans, hidden_size, merge, layer_norm, dropout if number + 1 < num_layers else 0.0)
            for number in range(num_layers)
        ]
        self.output_size = merges[-1].output_size
        self.layers = nn.ModuleList(
            ScanParameters(
                directions=scans,
                blocks=3 + axes,
                hidden_size=hidden_size,
                input_size=layer_input,
                incoming_size=axes * hidden_size,
                bias=bias,
                forget_blocks=[1] if cell == "stable" else range(1, axes + 1),
                forget_bias=forget_bias,
            )
            for layer_input in [input_size] + [self.output_size] * (num_layers - 1)
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
            for layer, merge in zip(layers, self.merges, strict=True):
                x = merge(scan.multidimensional_layer(x, layer.weights(), self.options))
            return x.masked_fill(padded, 0)

    def multiply_adds(self, extents: Sequence[int]) -> int:
        """Multiply-adds of the matrix products for one utterance with these extents, exactly.

        >>> MultidimensionalLSTM(3, 5).multiply_adds((10, 4)) == 10 * 4 * 5 * 5 * (3 + 2 * 5)
        True
        """
        return math.prod(extents) * sum(layer.multiply_adds() for layer in cast(list[ScanParameters], self.layers))

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.options}, directions={len(self.directions)}, engine={self.engine!r}"
