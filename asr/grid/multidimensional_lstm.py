"""The multidimensional LSTM."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, cast

from torch import Tensor, nn

from asr.grid.arguments import (
    at_least,
    bands_fit,
    check_input,
    checked_lengths,
    checked_state,
    directions,
    equal_if_tied,
    layer_options,
    one_of,
    real_cells,
    without_padding,
)
from asr.grid.engines import choose_engine, known_engine
from asr.grid.layers import Merge, ParameterShapes, ScanParameters, full_precision, product_type
from asr.grid.options import GridState, MultidimensionalOptions, unusual


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

    Parameters of layer k, for D directions, K bands, S = D * K, A axes and H = hidden_size: `layers[k].weight_ih`
    (S, (3 + A) * H, input), `layers[k].weight_hh` (S, (3 + A) * H, A * H), `layers[k].bias` (S, (3 + A) * H). Rows are
    i, f_1 ... f_A (stable: f, l_1 ... l_{A-1}), g, o. All are drawn as in torch.nn.LSTM.

    Args:
        input_size: features of a cell's input.
        hidden_size: width of the hidden and memory vectors.
        num_layers: layers.
        axes: extents of the input, at least one.
        cell: "stable" or "sum".
        tied: all layers share their weights, but not their normalisation.
        bands: K, of the last axis, with weights of their own: cell f of an extent F (with padding) has those of band
            f * K // F.
        bidirectional: one bool, or one an axis.
        merge: "concat" or "sum" of the directions' outputs.
        bias: whether gates have one.
        forget_bias: initial bias of the forget gates; None draws it like the others.
        layer_norm: normalise the output of each layer (Ba, Kiros, Hinton 2016, arXiv 1607.06450).
        dropout: probability, on the output of each layer but the last.
        engine: "auto" (the first that can), "wavefront" (plain PyTorch), or "definition" (cell by cell, for tests); the
            results agree to rounding.

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
        *,
        cell: Literal["stable", "sum"] = "stable",
        tied: bool = False,
        bands: int = 1,
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
        layer_options(
            tied=tied, merge=merge, bias=bias, forget_bias=forget_bias, layer_norm=layer_norm, dropout=dropout
        )
        self.input_size = at_least("input_size", input_size, 1)
        self.num_layers = at_least("num_layers", num_layers, 1)
        self.options = options = MultidimensionalOptions(
            at_least("axes", axes, 1), at_least("hidden_size", hidden_size, 1), cell, at_least("bands", bands, 1)
        )
        self.directions = directions(bidirectional, axes)
        self.engine = known_engine(engine)
        scans = len(self.directions)
        merges = [
            Merge(scans, hidden_size, merge, layer_norm, dropout if number + 1 < num_layers else 0.0)
            for number in range(num_layers)
        ]
        self.output_size = merges[-1].output_size
        sizes = [input_size] + [self.output_size] * (num_layers - 1)
        equal_if_tied(sizes, tied)
        shapes = ParameterShapes(scans * bands, options.gates * hidden_size, hidden_size, 0, axes * hidden_size)
        forget_blocks = [1] if cell == "stable" else range(1, axes + 1)
        self.layers = nn.ModuleList(
            ScanParameters(replace(shapes, input_size=layer_input), bias, forget_blocks, forget_bias)
            for layer_input in (sizes[:1] if tied else sizes)
        )
        self.merges = nn.ModuleList(merges)

    def forward(
        self, input: Tensor, lengths: Tensor | None = None, state: tuple[Tensor, Tensor | None] | None = None
    ) -> tuple[Tensor, GridState]:
        """Run over a batch of grids.

        Args:
            input: (B, *extents, input_size); whatever its type, and under autocast, it is computed in the parameters'.
            lengths: (B,) along the first axis, or (B, axes); None if nothing is padded. Padding changes nothing.
            state: what enters at each scan's first cells along the first axis, as an earlier call returned it; None is
                zeros. A long input in pieces along the first axis, if that is scanned forward alone, gives what it
                gives as one piece.

        Returns:
            The output (B, *extents, output_size), zero at padded cells, and the state that leaves the last real cells
            along the first axis.

        Raises:
            ValueError: shape, type, lengths or state are wrong; the message names value and limit.
        """
        whole = lengths is None
        layers = self._each_layer()
        check_input(input, self.options.axes, self.input_size, layers[0].weight_ih.device)
        lengths = checked_lengths(input, lengths, self.options.axes)
        bands_fit(self.options.bands, input)
        extents = tuple(input.shape[1:-1])
        padded = None if whole else ~real_cells(extents, lengths).unsqueeze(-1)
        dtype = layers[0].weight_ih.dtype
        leading = (self.num_layers, len(self.directions), len(input), *extents[1:])
        size = self.options.hidden_size
        given = None if state is None else checked_state(state, leading, (size, size), lengths, dtype)
        products = product_type(input.device, layers[0].weight_ih.dtype)
        engine = choose_engine(self.engine, self.options, input.device, products)
        with full_precision(input.device):
            x = without_padding(input.to(dtype), padded)
            scan = engine(extents, lengths, self.directions, products)
            left = []
            for number, (layer, merge) in enumerate(zip(layers, self.merges, strict=True)):
                entering = None if given is None else given.layer(number)
                result = scan.multidimensional_layer(x, layer.weights(), self.options, entering)
                x = merge(result.output)
                left.append(result.state)
            state_out = GridState.of(left)
            assert state_out is not None
            return without_padding(x, padded), state_out

    def _each_layer(self) -> list[ScanParameters]:
        """The parameters of every layer, which are the same for all if they are tied."""
        return cast(list[ScanParameters], list(self.layers)) * (self.num_layers // len(self.layers))

    def multiply_adds(self, extents: Sequence[int]) -> int:
        """Multiply-adds of the matrix products for one utterance with these extents, exactly.

        >>> MultidimensionalLSTM(3, 5).multiply_adds((10, 4)) == 10 * 4 * 5 * 5 * (3 + 2 * 5)
        True
        """
        weights = sum(layer.weight_ih.numel() + layer.weight_hh.numel() for layer in self._each_layer())
        return math.prod(extents) * weights // self.options.bands

    def extra_repr(self) -> str:
        tied = ", tied" if len(self.layers) < self.num_layers else ""
        options = f"{self.input_size}, {unusual(self.options)}, directions={len(self.directions)}"
        return f"{options}{tied}, engine={self.engine!r}"
