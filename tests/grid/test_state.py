"""The state that enters and leaves along the first axis, and input that is wrong or unusual."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asr.grid import GridLSTM, GridState, MultidimensionalLSTM
from asr.grid.engines import ENGINES

DOUBLE = {"dtype": torch.float64}
FREQUENCY = [False, True]  # scanned both ways, and time forward alone
STREAMED: list[tuple[type[nn.Module], dict[str, Any]]] = [
    (GridLSTM, {"bidirectional": FREQUENCY}),
    (GridLSTM, {"depth": "lstm", "priority": ["depth"], "bidirectional": FREQUENCY, "layer_norm": True}),
    (GridLSTM, {"cell": "gru", "depth": "gru", "shared": True}),
    (GridLSTM, {"cell": "rnn", "depth": "relu", "bands": 2}),
    (GridLSTM, {"bands": 3, "peepholes": True, "coupled": True, "cell_clip": 0.5, "proj_size": 1}),
    (GridLSTM, {"bands": 2, "bidirectional": FREQUENCY, "tied": True, "depth": "lstm"}),
    (GridLSTM, {"axes": 1}),
    (GridLSTM, {"axes": 3}),
    (MultidimensionalLSTM, {"bidirectional": FREQUENCY}),
    (MultidimensionalLSTM, {"cell": "sum", "bands": 2}),
    (MultidimensionalLSTM, {"peepholes": True, "proj_size": 1, "cell_clip": 0.5}),
]
every_streamed = pytest.mark.parametrize(("kind", "options"), STREAMED, ids=str)
every_engine = pytest.mark.parametrize("engine", ["definition", "wavefront"])


def grid_of(module: nn.Module, batch: int) -> Tensor:
    return torch.randn(batch, 5, *(3, 2)[: module.options.axes - 1], 3, **DOUBLE)


def in_pieces(
    module: nn.Module, x: Tensor, size: int, lengths: Tensor | None = None, state: GridState | None = None
) -> tuple[Tensor, GridState | None]:
    """Output and last state of an input that is fed in pieces of so many frames."""
    outputs = []
    for number, piece in enumerate(x.split(size, dim=1)):
        own = None if lengths is None else lengths.clone()
        if own is not None:
            own[:, 0] = (own[:, 0] - number * size).clamp(0, piece.shape[1])
        output, state = module(piece, own, state)
        outputs.append(output)
    return torch.cat(outputs, dim=1), state


@every_engine
@every_streamed
def test_pieces_of_any_size_give_what_one_piece_gives(
    kind: type[nn.Module], options: dict[str, Any], engine: str
) -> None:
    module = kind(3, 2, 2, engine=engine, **options).double()
    x = grid_of(module, batch=1)
    whole, last = module(x)
    for size in (1, 2, 3, 4):
        output, state = in_pieces(module, x, size)
        torch.testing.assert_close(output, whole, rtol=0, atol=1e-14)
        torch.testing.assert_close(state, last, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("products", "way"), [(torch.float32, ""), (torch.bfloat16, ""), (torch.bfloat16, "widened")])
@pytest.mark.parametrize(
    "options",
    [{}, {"depth": "lstm", "bidirectional": FREQUENCY}, {"axes": 1}, {"bands": 2, "peepholes": True}, {"cell": "gru"}],
    ids=str,
)
def test_pieces_on_the_kernel_give_what_one_piece_gives(
    options: dict[str, Any], products: torch.dtype, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASR_GRID_PRODUCTS", way)
    module = GridLSTM(3, 5, 2, engine="cpu", **options)
    if ENGINES["cpu"].refusal(module.options, torch.device("cpu"), products):
        pytest.skip("the kernel is not there")
    x = grid_of(module, batch=2).float()
    with torch.autocast("cpu", products, enabled=products != torch.float32):
        whole, last = module(x)
        for size in (1, 2, 3, 4):
            output, state = in_pieces(module, x, size)
            torch.testing.assert_close(output, whole, rtol=0, atol=1e-6)
            torch.testing.assert_close(state, last, rtol=0, atol=1e-6)


RAGGED = [
    *((kind, options, engine) for kind, options in STREAMED for engine in ("definition", "wavefront")),
    *((GridLSTM, options, "cpu") for options in ({"bidirectional": FREQUENCY}, {"depth": "lstm"}, {"axes": 1})),
    (GridLSTM, {"bands": 2, "peepholes": True}, "cpu"),
    (GridLSTM, {"recompute": True}, "cpu"),
]


@pytest.mark.parametrize(("kind", "options", "engine"), RAGGED, ids=str)
@pytest.mark.parametrize("begun", [False, True])
def test_a_ragged_batch_in_pieces_gives_what_it_gives_whole_with_its_gradients(
    kind: type[nn.Module], options: dict[str, Any], engine: str, begun: bool
) -> None:
    """Pieces behind an utterance's end have no frame of it, and its state passes by."""
    dtype = torch.float32 if engine == "cpu" else torch.float64
    module = kind(3, 2, 2, engine=engine, **options).to(dtype)
    if ENGINES[engine].refusal(module.options, torch.device("cpu"), dtype):
        pytest.skip(f"engine {engine!r} refuses these options")
    x, axes = grid_of(module, batch=3).to(dtype), module.options.axes
    lengths = torch.tensor([[2, 3, 2], [5, 2, 1], [1, 3, 2]])[:, :axes]
    if module.options.bands > 1:
        lengths[:, -1] = x.shape[axes]
    state = module(grid_of(module, batch=3).to(dtype))[1] if begun else None
    state = state and GridState(*(None if y is None else y.detach().requires_grad_() for y in state))
    given = [x.requires_grad_(), *module.parameters(), *(y for y in state or () if y is not None)]
    results = []
    for size in (5, 1, 2, 3):
        output, left = in_pieces(module, x, size, lengths, state)
        values = [output, *(y for y in left if y is not None)]
        weights = (torch.linspace(-1, 1, y.numel(), dtype=dtype).view_as(y) for y in values)
        total = sum((y * weight).sum() for y, weight in zip(values, weights, strict=True))
        results.append([*values, *torch.autograd.grad(total, given)])
    atol = 1e-5 if engine == "cpu" else 1e-13
    for found in results[1:]:
        torch.testing.assert_close(found, results[0], rtol=0, atol=atol)


@pytest.mark.parametrize("engine", [None, "definition", "wavefront", "cpu"])
def test_what_an_utterance_without_cells_holds_reaches_no_gradient(engine: str | None) -> None:
    """Its input and state may be NaN; the state leaves as it entered."""
    module = GridLSTM(3, 2, 2, depth="lstm", engine=engine or "auto", layer_norm=True)
    if ENGINES["cpu"].refusal(module.options, torch.device("cpu"), torch.float32):
        pytest.skip("the kernel is not there")
    x, lengths = torch.randn(2, 4, 3, 3), torch.tensor([4, 0])
    state = [torch.randn(2, 1, 2, 3, 2) for _ in range(2)]
    found = []
    for filling in (0.0, math.nan):
        for tensor in (x[1], state[0][:, :, 1], state[1][:, :, 1]):
            tensor.fill_(filling)
        output, left = module(x, lengths, tuple(state))
        assert not output[1].any()
        assert left.memory[:, :, 1].isnan().all() == math.isnan(filling)
        gradients = torch.autograd.grad(output.sum() + left.memory[:, :, 0].sum(), list(module.parameters()))
        found.append([output, left.hidden[:, :, 0], *gradients])
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)


@every_streamed
def test_gradients_flow_through_the_state_as_through_one_piece(kind: type[nn.Module], options: dict[str, Any]) -> None:
    module = kind(3, 2, 2, engine="wavefront", **options).double()
    x = grid_of(module, batch=2).requires_grad_()
    direction = torch.randn_like(module(x)[0])
    inputs = [x, *module.parameters()]
    expected = torch.autograd.grad(module(x)[0], inputs, direction)
    first, state = module(x[:, :2])
    second, _ = module(x[:, 2:], None, state)
    found = torch.autograd.grad(torch.cat([first, second], dim=1), inputs, direction)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


@every_engine
@pytest.mark.parametrize("kind", [GridLSTM, MultidimensionalLSTM])
def test_what_leaves_is_what_the_last_real_cell_of_the_scan_sends(engine: str, kind: type[nn.Module]) -> None:
    """At the utterance's own end scanning forward, at its first cell backward; zero where it has no cell."""
    module = kind(3, 2, bidirectional=True, engine=engine).double()
    x, lengths = torch.randn(2, 4, 3, 3, **DOUBLE), torch.tensor([[4, 3], [2, 2]])
    output, state = module(x, lengths)
    hidden = output.unflatten(-1, (4, -1))[..., :2]  # of time
    assert state.hidden.shape == state.memory.shape == (1, 4, 2, 3, 2)
    for d, (backward, _) in enumerate(module.directions):
        for b, (time, _) in enumerate(lengths.tolist()):
            assert state.hidden[0, d, b].equal(hidden[b, 0 if backward else time - 1, :, d])
    assert not state.hidden[0, :, 1, 2].any()
    assert not state.memory[0, :, 1, 2].any()


@every_engine
def test_what_enters_is_what_the_first_cell_of_the_scan_receives(engine: str) -> None:
    """A memory alone, with open forget gates, shows where it came in: it passes along time and nowhere else."""
    module = GridLSTM(3, 1, bidirectional=True, engine=engine).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.layers[0].bias.view(4, 2, 4)[:] = torch.tensor([0.0, 60.0, 0.0, 60.0])
    lengths = torch.tensor([[4, 3], [2, 2]])
    memory = torch.arange(1.0, 25, **DOUBLE).view(1, 4, 2, 3, 1) / 10
    output, state = module(torch.randn(2, 4, 3, 3, **DOUBLE), lengths, (torch.zeros_like(memory), memory))
    expected = memory.clone()
    expected[:, :, 1, 2] = 0  # no cell
    torch.testing.assert_close(state.memory, expected)
    along_time = output.unflatten(-1, (4, 2))[..., 0]
    for b, (time, frequency) in enumerate(lengths.tolist()):
        wanted = expected[0, :, b, :frequency, 0].tanh().T.expand(time, -1, -1)
        torch.testing.assert_close(along_time[b, :time, :frequency], wanted)
    assert not output.unflatten(-1, (4, 2))[..., 1].any()


def test_a_state_of_zeros_is_none() -> None:
    module, x = GridLSTM(3, 2, 2, bidirectional=True), torch.randn(2, 4, 3, 3)
    _, like = module(x)
    zeros = GridState(*map(torch.zeros_like, like))
    torch.testing.assert_close(module(x, None, zeros), module(x))


@every_engine
def test_a_state_is_taken_in_the_type_of_the_parameters(engine: str) -> None:
    module, x = GridLSTM(3, 2, engine=engine), torch.randn(2, 4, 3, 3)
    state = torch.randn(1, 1, 2, 3, 2), torch.randn(1, 1, 2, 3, 2)
    torch.testing.assert_close(module(x, None, tuple(tensor.double() for tensor in state)), module(x, None, state))


@pytest.mark.parametrize("kind", [GridLSTM, MultidimensionalLSTM])
def test_what_a_state_holds_where_an_utterance_has_no_cell_changes_neither_values_nor_gradients(
    kind: type[nn.Module],
) -> None:
    module, x, lengths = kind(3, 2), torch.randn(2, 4, 3, 3), torch.tensor([[4, 3], [2, 1]])
    hidden, memory = torch.randn(1, 1, 2, 3, 2), torch.randn(1, 1, 2, 3, 2)
    found = []
    for filling in (0.0, math.nan):
        hidden[:, :, 1, 1:] = memory[:, :, 1, 1:] = filling
        output, state = module(x, lengths, (hidden, memory))
        gradients = torch.autograd.grad(output.sum() + state.memory.sum(), list(module.parameters()))
        found.append([output, *state, *gradients])
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)


LIKE = torch.zeros(2, 4, 2, 3, 2)


@pytest.mark.parametrize(
    ("kind", "options", "state", "message"),
    [
        (GridLSTM, {}, (LIKE[:1], LIKE), r"hidden must have shape \(2, 4, 2, 3, 2\), got \(1, 4, 2, 3, 2\)"),
        (GridLSTM, {}, (LIKE, LIKE[:, :, :, :2]), r"memory must have shape \(2, 4, 2, 3, 2\), got \(2, 4, 2, 2, 2\)"),
        (GridLSTM, {}, (LIKE, None), "memory must be a tensor with these cells"),
        (GridLSTM, {"cell": "gru"}, (LIKE, LIKE), "memory must be None with these cells"),
        (GridLSTM, {"proj_size": 1}, (LIKE, LIKE), r"hidden must have shape \(2, 4, 2, 3, 1\), got \(2, 4, 2, 3, 2\)"),
        (MultidimensionalLSTM, {}, (LIKE[:, :1], LIKE), r"hidden must have shape \(2, 4, 2, 3, 2\)"),
        (GridLSTM, {"cell": "gru"}, LIKE, "state must be a pair of hidden and memory, got Tensor of length 2"),
        (GridLSTM, {}, (LIKE,), "state must be a pair of hidden and memory, got tuple of length 1"),
        (MultidimensionalLSTM, {}, (LIKE, None), "memory must be a tensor with these cells"),
        (GridLSTM, {}, 3, "state must be a pair of hidden and memory, got int"),
        (GridLSTM, {}, (LIKE, 1.0), "memory must be a tensor, got float"),
        (GridLSTM, {}, (LIKE.long(), LIKE), "hidden must be floating point, got torch.int64"),
        (GridLSTM, {}, (LIKE, LIKE.to(torch.complex64)), "memory must be floating point, got torch.complex64"),
        (GridLSTM, {}, (LIKE.to("meta"), LIKE), "hidden must be on cpu, got meta"),
    ],
)
def test_a_wrong_state_is_refused_with_its_shape(
    kind: type[nn.Module], options: dict[str, Any], state: tuple[Tensor, Tensor | None], message: str
) -> None:
    module = kind(3, 2, 2, bidirectional=True, **options)
    with pytest.raises(ValueError, match=message):
        module(torch.zeros(2, 4, 3, 3), None, state)


def test_a_grid_without_axes_has_no_state_and_no_lengths() -> None:
    module, x = GridLSTM(3, 2, axes=0, depth="lstm"), torch.zeros(2, 3)
    assert module(x)[1] is None
    with pytest.raises(ValueError, match="state must be None with axes=0"):
        module(x, None, (torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)))
    with pytest.raises(ValueError, match="lengths must be None with axes=0"):
        module(x, torch.tensor([1, 1]))
    with pytest.raises(ValueError, match=r"the input must be \(B, 0 extents, 3\), got shape \(2, 1, 3\)"):
        module(x[:, None])


@pytest.mark.parametrize("kind", [GridLSTM, MultidimensionalLSTM])
def test_fewer_cells_than_bands_are_refused(kind: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match="3 bands need as many cells along the last axis, got an extent of 2"):
        kind(3, 2, bands=3)(torch.zeros(1, 5, 2, 3))


@pytest.mark.parametrize("kind", [GridLSTM, MultidimensionalLSTM])
def test_padding_along_the_axis_that_bands_divide_is_refused(kind: type[nn.Module]) -> None:
    module, x = kind(3, 2, bands=2), torch.zeros(2, 5, 4, 3)
    message = "lengths must be the extent 4, which 2 bands divide, along axis 1, got 3 in row 1"
    with pytest.raises(ValueError, match=message):
        module(x, torch.tensor([[5, 4], [5, 3]]))
    module(x, torch.tensor([[5, 4], [2, 4]]))


@every_streamed
def test_nan_in_one_utterance_reaches_no_other_not_even_as_a_gradient(
    kind: type[nn.Module], options: dict[str, Any]
) -> None:
    module = kind(3, 2, 2, engine="wavefront", **options).double()
    lengths = torch.tensor([[5, 3, 2], [3, 3, 1], [4, 2, 2]])[:, : module.options.axes]
    if module.options.bands > 1:
        lengths = lengths[:, 0]
    x = grid_of(module, batch=3)
    values, gradients = [], []
    for poisoned in (False, True):
        given = x.clone()
        if poisoned:
            given[0, 1] = math.nan
        given.requires_grad_()
        output, state = module(given, lengths)
        sum(tensor.sum() for tensor in (output, *state) if tensor is not None).backward()
        values.append([output[1:], state.hidden[:, :, 1:]])
        gradients.append(given.grad[1:])
    torch.testing.assert_close(values[1], values[0], rtol=0, atol=0)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=0)
