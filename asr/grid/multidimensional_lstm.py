"""The multidimensional LSTM."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from asr.grid.arguments import (
    at_least,
    directions,
    equal_if_tied,
    layer_options,
    multidimensional_options,
    yes_or_no,
)
from asr.grid.engines import choose_engine, known_engine
from asr.grid.inputs import (
    Padding,
    check_input,
    check_parameters,
    checked_state,
)
from asr.grid.layers import Merge, ParameterShapes, ScanParameters, full_precision, product_type
from asr.grid.options import Engine, GridState, MultidimensionalOptions, unusual


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

    Peepholes (Graves 2007) show memories to the gates: f_a sees p_f,a * m_a, its own axis' alone; i sees
    sum_a p_i,a * m_a; o sees p_o * m. In the stable cell, i and f see the combination l * m_1 + (1 - l) * m_2, which is
    the memory there is to forget, and l sees none. The output gate may be inside the tanh, h = tanh(o * m), a clip
    bounds m to +-clip, before o sees it, and a projection W_hr h is sent out in the place of h. Coupled, i = 1 - f,
    which needs a single forget gate: the stable cell, or one axis. There is one memory and one transform, so nothing
    is to be shared between dimensions, and none can be computed before another.

    A bidirectional axis is scanned both ways; two of them give four directions, each with weights of its own. Their
    outputs are merged after each layer.

    Parameters of layer k, for D directions, K bands, S = D * K, A axes, H = hidden_size, P = proj_size or H and R =
    (3 + A) * H, coupled (2 + A) * H: `layers[k].weight_ih` (S, R, input), `layers[k].weight_hh` (S, R, A * P),
    `layers[k].bias` (S, R). Rows are i, f_1 ... f_A (stable: f, l_1 ... l_{A-1}), g, o; coupled without i. Where wanted
    there are `peephole` (S, (2A + 1) * H: i_1 ... i_A, f_1 ... f_A, o; stable 3H: i, f, o; coupled 2H: f, o) and
    `weight_hr` (S, 1, P, H). All are drawn uniformly from +-1/sqrt(H), as each of torch.nn.LSTM's is, which has two
    biases that add up where there is one here.

    Args:
        input_size: features of a cell's input.
        hidden_size: width of the hidden and memory vectors.
        num_layers: layers.
        axes: extents of the input, at least one.
        cell: "stable" or "sum".
        tied: all layers share their weights, but not their normalisation.
        bands: K, of the last of two axes or more, with weights of their own: cell f of its extent F has those of band
            f * K // F. They divide the extent of the tensor, so nothing can be padded along that axis.
        output_gate: "outside" the tanh (usual) or "inside".
        peepholes: whether the gates see the memory.
        coupled: whether the input gate is one minus the forget gate.
        cell_clip: bound of the memory; None is none.
        proj_size: P, width of projected hidden vectors, smaller than H; 0 projects none, as in torch.nn.LSTM.
        bidirectional: one bool, or one an axis.
        merge: "concat" or "sum" of the directions' outputs.
        bias: whether gates have one.
        forget_bias: initial bias of the forget gates; None draws it like the others.
        layer_norm: normalise the output of each layer (Ba, Kiros, Hinton 2016, arXiv 1607.06450).
        dropout: probability, on the output of each layer but the last.
        recurrent_dropout: probability, on the hidden vectors that arrive along the axes, where products see them: one
            mask an utterance, direction, axis and layer for the whole grid (Gal and Ghahramani 2016, arXiv 1512.05287).
        recompute: keep less for the backward pass and compute it again there, for less memory and more time.
        engine: "auto" (the first that can), "wavefront" (plain PyTorch), or "definition" (cell by cell, for tests); the
            results agree to rounding.

    Attributes:
        output_size: features of a cell's output.
        directions: of the scans, each with a bool an axis (True is backward), in the order of the parameters.

    Raises:
        ValueError: an option's value is wrong, or options exclude each other; the message names them.
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
        output_gate: Literal["outside", "inside"] = "outside",
        peepholes: bool = False,
        coupled: bool = False,
        cell_clip: float | None = None,
        proj_size: int = 0,
        bidirectional: bool | Sequence[bool] = False,
        merge: Literal["concat", "sum"] = "concat",
        bias: bool = True,
        forget_bias: float | None = None,
        layer_norm: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        recompute: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__()
        dropout, forget_bias = layer_options(
            tied=tied, merge=merge, bias=bias, forget_bias=forget_bias, layer_norm=layer_norm, dropout=dropout
        )
        yes_or_no(recompute=recompute)
        self.options = options = multidimensional_options(
            MultidimensionalOptions(
                axes=axes,
                hidden_size=hidden_size,
                cell=cell,
                bands=bands,
                output_gate=output_gate,
                peepholes=peepholes,
                coupled=coupled,
                cell_clip=cell_clip,
                proj_size=proj_size,
                recurrent_dropout=recurrent_dropout,
            )
        )
        self.input_size = at_least("input_size", input_size, 1)
        self.num_layers = at_least("num_layers", num_layers, 1)
        self.directions = directions(bidirectional, axes)
        self.recompute = recompute
        self.engine = known_engine(engine)
        scans = len(self.directions)
        merges = [
            Merge(scans, options.width, merge, layer_norm, dropout if number + 1 < num_layers else 0.0)
            for number in range(num_layers)
        ]
        self.output_size = merges[-1].output_size
        sizes = [input_size] + [self.output_size] * (num_layers - 1)
        equal_if_tied(sizes, tied)
        first = 0 if coupled else 1
        forget_blocks = range(first, first + options.forget_gates)
        self.layers = nn.ModuleList(
            ScanParameters(parameter_shapes(options, scans, layer_input), bias, forget_blocks, forget_bias)
            for layer_input in (sizes[:1] if tied else sizes)
        )
        self.merges = nn.ModuleList(merges)

    def forward(
        self, input: Tensor, lengths: Tensor | None = None, state: tuple[Tensor, Tensor | None] | None = None
    ) -> tuple[Tensor, GridState]:
        """Run over a batch of grids.

        Args:
            input: (B, *extents, input_size), in the parameters' type; under autocast in any, and it is computed in the
                parameters'.
            lengths: (B,) along the first axis, or (B, axes); None if nothing is padded. Padding changes nothing. Along
                the first axis an utterance may have no cell: then its output is zero, and its state passes by. With
                bands the extent of the tensor along the last axis, which they divide.
            state: what enters at each scan's first cells along the first axis, as an earlier call returned it; None is
                zeros. A long input in pieces along the first axis, if that is scanned forward alone, gives what it
                gives as one piece; but recurrent dropout draws its masks anew in every call.

        Returns:
            The output (B, *extents, output_size), zero at padded cells, and the state that leaves the last real cells
            along the first axis.

        Raises:
            ValueError: shape, type, lengths or state are wrong; the message names value and limit.
        """
        parameter = self._each_layer()[0].weight_ih
        check_input(input, self.options.axes, self.input_size)
        check_parameters(input, parameter, self.named_parameters())
        padding = Padding.of(input, lengths, self.options.axes, self.options.bands)
        extents = tuple(input.shape[1:-1])
        options = self.options if self.training else replace(self.options, recurrent_dropout=0.0)
        scans = (self.num_layers, len(self.directions))
        sizes = (self.options.width, self.options.hidden_size)
        given = checked_state(state, scans, extents, sizes, padding.lengths, parameter.dtype)
        products = product_type(input.device, parameter.dtype)
        engine = choose_engine(self.engine, options, input.device, products)
        with full_precision(input.device):
            scan = engine(extents, padding.lengths, self.directions, products, self.recompute)
            output, left = self._run(scan, padding.cleared(input.to(parameter.dtype)), options, padding.entering(given))
            return padding.cleared(output), padding.leaving(left, given)

    def _run(
        self, scan: Engine, x: Tensor, options: MultidimensionalOptions, given: GridState | None
    ) -> tuple[Tensor, GridState]:
        """Run all layers."""
        compute = scan.multidimensional_layer
        if self.recompute and torch.is_grad_enabled() and not scan.recomputes:
            compute = partial(checkpoint, compute, use_reentrant=False)
        left = []
        entered = GridState.layers(given, self.num_layers)
        for layer, merge, entering in zip(self._each_layer(), self.merges, entered, strict=True):
            result = compute(x, layer.weights(), options, entering, self._mask(x, options))
            x = merge(result.output)
            left.append(result.state)
        state = GridState.of(left)
        assert state is not None
        return x, state

    def _mask(self, x: Tensor, options: MultidimensionalOptions) -> Tensor | None:
        """One layer's mask of recurrent dropout, (D, B, A, P)."""
        if not options.recurrent_dropout:
            return None
        kept = 1 - options.recurrent_dropout
        return x.new_empty(len(self.directions), len(x), options.axes, options.width).bernoulli_(kept) / kept

    def _each_layer(self) -> list[ScanParameters]:
        """The parameters of every layer, which are the same for all if they are tied."""
        return cast(list[ScanParameters], list(self.layers)) * (self.num_layers // len(self.layers))

    def multiply_adds(self, extents: Sequence[int]) -> int:
        """Multiply-adds of the matrix products for one utterance with these extents, exactly.

        >>> MultidimensionalLSTM(3, 5).multiply_adds((10, 4)) == 10 * 4 * 5 * 5 * (3 + 2 * 5)
        True
        """
        weights = 0
        for layer in self._each_layer():
            projection = 0 if layer.weight_hr is None else layer.weight_hr.numel()
            weights += layer.weight_ih.numel() + layer.weight_hh.numel() + projection
        return math.prod(extents) * weights // self.options.bands

    def extra_repr(self) -> str:
        tied = ", tied" if len(self.layers) < self.num_layers else ""
        options = f"{self.input_size}, {unusual(self.options)}, directions={len(self.directions)}"
        return f"{options}{tied}, engine={self.engine!r}"


def parameter_shapes(options: MultidimensionalOptions, scans: int, input_size: int) -> ParameterShapes:
    """The shapes of a layer's parameters."""
    return ParameterShapes(
        sets=scans * options.bands,
        rows=options.gates * options.hidden_size,
        hidden_size=options.hidden_size,
        input_size=input_size,
        incoming_size=options.axes * options.width,
        peephole=options.peephole_blocks * options.hidden_size if options.peepholes else 0,
        projection=(1, options.proj_size) if options.proj_size else None,
    )
