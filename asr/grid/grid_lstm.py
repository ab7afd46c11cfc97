"""The Grid LSTM."""

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
    dimensions,
    directions,
    grid_options,
    has_lstm_cells,
    input_sizes_fit,
    layer_options,
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
from asr.grid.options import Engine, GridOptions, GridState, StackEngine, unusual


class GridLSTM(nn.Module):
    """Layers of LSTM cells on a grid (Kalchbrenner, Danihelka, Graves, ICLR 2016, arXiv 1507.01526).

    A cell of the grid receives a hidden and a memory vector along each dimension, and sends one pair along each. With
    H = [h_1; ...; h_N] all incoming hidden vectors, each dimension n applies an LSTM of its own (section 3.1):

        i, f, o = sigmoid(W_i H + b_i), sigmoid(W_f H + b_f), sigmoid(W_o H + b_o)
        g = tanh(W_g H + b_g)
        m_n' = f * m_n + i * g
        h_n' = o * tanh(m_n')        or, as the paper has it, tanh(o * m_n') with output_gate="inside"

    The dimensions are the axes of the input (for a spectrogram: time and frequency) and, with a depth, the depth. With
    depth="lstm" a memory runs through the layers; then the output of a layer is its depth hidden, and the input enters
    as a projected pair of hidden and memory. With depth="none", the output is the axes' hiddens side by side, and
    layers are stacked as usual. The input x of a layer takes the place of the hidden that comes in along depth in
    either case. A depth that is a transfer (section 3.3) has no memory: h' = relu, tanh or identity of V [H; x] + b;
    with one axis, that is a stacked LSTM with a layer between. Without axes there is a depth alone, a feed-forward
    network with gates.

    The cells of all dimensions may be those of a GRU or an RNN instead, which have no memory; there, with W_x the
    columns for x and W_h those for the axes' hidden vectors,

        r, z = sigmoid(W_r H + b_r), sigmoid(W_z H + b_z)                            cell="gru"
        c = tanh(W_x x + b_x + r * (W_h [h_1; ...; h_A] + b_h))
        h_n' = (1 - z) * c + z * h_n
        h_n' = tanh(W H + b)                                                         cell="rnn"

    A GRU's h_n along depth is the direction's own part of the layer's input, and the input enters projected.

    LSTM cells may have peepholes p (Gers and Schmidhuber 2000): i and f see p * m_n, o sees p * m_n'. With coupled
    gates i = 1 - f. A clip bounds m_n' to +-clip.

    A bidirectional axis is scanned both ways; two of them give four directions, each with weights and memories of its
    own. Their outputs are merged after each layer, so that the next layer's directions see all of them. K bands divide
    the last of two axes or more: cell f of its extent F has the weights of band f * K // F (Kreyssig, Zhang, Woodland
    2018). They divide the extent of the tensor, so nothing can be padded along that axis, and it is none to be fed in
    pieces.

    Parameters of layer k, for D directions, S = D * K sets of weights, H = hidden_size and P = proj_size or H:
    `layers[k].weight_ih` (S, R, input), `layers[k].weight_hh` (S, R, axes * P) and `layers[k].bias` (S, R). The R rows
    are the axes in turn, then the depth, each with its gates in torch.nn's order: i, f, g, o; coupled f, g, o; GRU r,
    z, n; a transfer has H rows. Where wanted there are for N dimensions with cells `peephole` (S, N * 3H: i, f, o;
    coupled 2H: f, o), the projections `weight_hr` (S, N, P, H), and the GRU's b_h, `bias_hh` (S, N * H). With shared
    weights N is 1. All are drawn uniformly from +-1/sqrt(H), as each of torch.nn.LSTM's is, which has two biases that
    add up where there is one here; the projected input, with a recurrent depth, is a torch.nn.Linear.

    Args:
        input_size: features of a cell's input.
        hidden_size: width of every memory vector, and of hidden vectors that are not projected.
        num_layers: layers.
        axes: extents of the input; 0 needs a depth.
        cell: "lstm", "gru" or "rnn".
        depth: "none", a cell's name (the same as `cell`), "lstm" or "gru", or a transfer, "relu", "tanh" or "identity".
        priority: axis numbers and "depth", of dimensions that are computed last, in this order (section 3.2): each sees
            the hidden vectors that were sent out before it in the place of those that arrived.
        tied: all layers share their weights, but not their normalisation (section 3.5).
        shared: all dimensions with cells share their weights.
        output_gate: "outside" the tanh (usual) or "inside" (the paper).
        peepholes: whether the gates see the memory.
        coupled: whether the input gate is one minus the forget gate.
        cell_clip: bound of the memory; None is none.
        proj_size: P, width of projected hidden vectors, smaller than H; 0 projects none, as in torch.nn.LSTM.
        bands: K, of the last axis, with weights of their own; more than one need two axes.
        bidirectional: one bool, or one an axis.
        merge: "concat" or "sum" of the directions' outputs.
        bias: whether gates have one.
        forget_bias: initial bias of the forget gates; None draws it like the others.
        layer_norm: normalise the output of each layer (Ba, Kiros, Hinton 2016, arXiv 1607.06450).
        dropout: probability, on the output of each layer but the last.
        recurrent_dropout: probability, on the hidden vectors that arrive along the axes, where products see them: one
            mask an utterance, direction, axis and layer for the whole grid (Gal and Ghahramani 2016, arXiv 1512.05287).
        recompute: keep less for the backward pass and compute it again there, for less memory and more time.
        engine: "auto" (the first that can), "triton" (CUDA), "cpu" (C++), "wavefront" (plain PyTorch), or "definition"
            (cell by cell, for tests); the results agree to rounding.

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
        cell: Literal["lstm", "gru", "rnn"] = "lstm",
        depth: Literal["none", "lstm", "gru", "relu", "tanh", "identity"] = "none",
        priority: Sequence[int | Literal["depth"]] = (),
        tied: bool = False,
        shared: bool = False,
        output_gate: Literal["outside", "inside"] = "outside",
        peepholes: bool = False,
        coupled: bool = False,
        cell_clip: float | None = None,
        proj_size: int = 0,
        bands: int = 1,
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
        self.options = grid_options(
            GridOptions(
                axes=axes,
                hidden_size=hidden_size,
                cell=cell,
                depth=depth,
                priority=dimensions(priority),
                shared=shared,
                output_gate=output_gate,
                peepholes=peepholes,
                coupled=coupled,
                cell_clip=cell_clip,
                proj_size=proj_size,
                bands=bands,
                recurrent_dropout=recurrent_dropout,
            )
        )
        if forget_bias is not None:
            has_lstm_cells(f"forget_bias={forget_bias!r}", self.options)
        self.input_size = at_least("input_size", input_size, 1)
        self.num_layers = at_least("num_layers", num_layers, 1)
        self.directions = directions(bidirectional, axes)
        self.recompute = recompute
        self.engine = known_engine(engine)
        scans = len(self.directions)
        merges = [
            Merge(scans, self.options.output_size, merge, layer_norm, dropout if number + 1 < num_layers else 0.0)
            for number in range(num_layers)
        ]
        self.output_size = size = merges[-1].output_size
        if self.options.recurrent_depth:  # the input enters as a hidden vector, and with an LSTM as a memory too
            self.input_projection = nn.Linear(input_size, size + scans * self.options.memory_size)
        sizes = [size if self.options.recurrent_depth else input_size] + [size] * (num_layers - 1)
        input_sizes_fit(sizes, tied, self.options)
        self.layers = nn.ModuleList(
            ScanParameters(parameter_shapes(self.options, scans, layer_input), bias, self._forget_blocks(), forget_bias)
            for layer_input in (sizes[:1] if tied else sizes)
        )
        self.merges = nn.ModuleList(merges)

    def _forget_blocks(self) -> range:
        gates = self.options.gates
        return range(0 if self.options.coupled else 1, self.options.weight_sets * gates, gates)

    def forward(
        self, input: Tensor, lengths: Tensor | None = None, state: tuple[Tensor, Tensor | None] | None = None
    ) -> tuple[Tensor, GridState | None]:
        """Run over a batch of grids.

        Args:
            input: (B, *extents, input_size), in the parameters' type; under autocast in any, and it is computed in the
                parameters', with the products in autocast's type if the engine can.
            lengths: (B,) along the first axis, or (B, axes); None if nothing is padded. Padding changes nothing. Along
                the first axis an utterance may have no cell: then its output is zero, and its state passes by. With
                axes=0 always None; with bands the extent of the tensor along the last axis, which they divide.
            state: what enters at each scan's first cells along the first axis, as an earlier call returned it; None is
                zeros. A long input in pieces along the first axis, if that is scanned forward alone, gives what it
                gives as one piece, to the rounding of the state; but recurrent dropout draws its masks anew in every
                call.

        Returns:
            The output (B, *extents, output_size), zero at padded cells, and the state that leaves the last real cells
            along the first axis; the state is None with axes=0.

        Raises:
            ValueError: shape, type, lengths or state are wrong, or the engine cannot run the options there; the
                message names value and limit.
        """
        parameter = self._each_layer()[0].weight_ih
        check_input(input, self.options.axes, self.input_size)
        check_parameters(input, parameter, self.named_parameters())
        padding = Padding.of(input, lengths, self.options.axes, self.options.bands)
        extents = tuple(input.shape[1:-1])
        options = self.options if self.training else replace(self.options, recurrent_dropout=0.0)
        scans = (self.num_layers, len(self.directions))
        sizes = (self.options.width, self.options.memory_size)
        given = checked_state(state, scans, extents, sizes, padding.lengths, parameter.dtype)
        products = product_type(input.device, parameter.dtype)
        engine = choose_engine(self.engine, options, input.device, products)
        with full_precision(input.device):
            scan = engine(extents, padding.lengths, self.directions, products, self.recompute)
            # no name is given to what enters, so that it is freed as soon as it was used
            output, left = self._run(scan, padding.cleared(input.to(parameter.dtype)), options, padding.entering(given))
            return padding.cleared(output), None if left is None else padding.leaving(left, given)

    def _run(
        self, scan: Engine, x: Tensor, options: GridOptions, given: GridState | None
    ) -> tuple[Tensor, GridState | None]:
        """Run all layers, as one where the engine does that, nothing lies between them, and nothing is recomputed."""
        recompute = self.recompute and torch.is_grad_enabled()
        x, memory = self._entering(x)
        entered = GridState.layers(given, self.num_layers)
        if isinstance(scan, StackEngine) and not recompute and all(merge.idle for merge in self.merges):
            run = scan.grid_stack(x, memory, [layer.weights() for layer in self._each_layer()], options, entered)
            if run is not None:
                return run
        compute = scan.grid_layer
        if recompute and not scan.recomputes:
            compute = partial(checkpoint, scan.grid_layer, use_reentrant=False)
        memory = None if memory is None else scan.depth_memory(memory)
        left = []
        for layer, merge, entering in zip(self._each_layer(), self.merges, entered, strict=True):
            result = compute(x, memory, layer.weights(), options, entering, self._mask(x, options))
            x, memory = merge(result.output), result.depth_memory
            left.append(result.state)
        return x, GridState.of(left)

    def _each_layer(self) -> list[ScanParameters]:
        """The parameters of every layer, which are the same for all if they are tied."""
        return cast(list[ScanParameters], list(self.layers)) * (self.num_layers // len(self.layers))

    def _entering(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The first layer's input, and with an LSTM along depth the memory that enters there, (B, *extents, D, H)."""
        if not self.options.recurrent_depth:
            return x, None
        x, memory = self.input_projection(x).tensor_split([self.output_size], dim=-1)
        if not self.options.memory_size:
            return x, None
        return x, memory.unflatten(-1, (len(self.directions), -1))

    def _mask(self, x: Tensor, options: GridOptions) -> Tensor | None:
        """One layer's mask of recurrent dropout, (D, B, A, P)."""
        if not options.recurrent_dropout:
            return None
        kept = 1 - options.recurrent_dropout
        return x.new_empty(len(self.directions), len(x), options.axes, options.width).bernoulli_(kept) / kept

    def multiply_adds(self, extents: Sequence[int]) -> int:
        """Multiply-adds of the matrix products for one utterance with these extents, exactly.

        >>> GridLSTM(3, 5).multiply_adds((10, 4)) == 10 * 4 * 2 * 4 * 5 * (3 + 2 * 5)
        True
        """
        cell = sum(self.options.multiply_adds(layer.weight_ih.shape[-1]) for layer in self._each_layer())
        cell *= len(self.directions)
        if self.options.recurrent_depth:
            cell += self.input_projection.weight.numel()
        return math.prod(extents) * cell

    def extra_repr(self) -> str:
        tied = ", tied" if len(self.layers) < self.num_layers else ""
        options = f"{self.input_size}, {unusual(self.options)}, directions={len(self.directions)}"
        return f"{options}{tied}, engine={self.engine!r}"


def parameter_shapes(options: GridOptions, directions: int, input_size: int) -> ParameterShapes:
    """Shapes of one layer's parameters."""
    own = options.weight_sets
    return ParameterShapes(
        sets=directions * options.bands,
        rows=options.rows,
        hidden_size=options.hidden_size,
        input_size=input_size,
        incoming_size=options.axes * options.width,
        peephole=own * (2 if options.coupled else 3) * options.hidden_size if options.peepholes else 0,
        projection=(own, options.proj_size) if options.proj_size else None,
        bias_hh=own * options.hidden_size if options.cell == "gru" else 0,
    )
