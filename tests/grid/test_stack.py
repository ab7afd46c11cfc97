"""All layers as one wavefront: what layer by layer gives, in fewer steps, wherever there is nothing between layers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from asr.grid import GridLSTM, GridState
from asr.grid.cells import GridCell
from asr.grid.schedule import diagonal_schedule, layers_of_steps
from asr.grid.stack import pays, run_stack

DOUBLE = {"dtype": torch.float64}
LAYERS = 3


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], list[int]]:
    """Makes stacks pay or not; what it returns grows with the number of layers of each stack that runs as one."""

    def chosen(paying: bool) -> list[int]:
        ran: list[int] = []

        def counted(inputs: Tensor, memory: Tensor | None, layers: Any, *arguments: Any) -> tuple[Tensor, GridState]:
            ran.append(len(layers))
            return run_stack(inputs, memory, layers, *arguments)

        monkeypatch.setattr("asr.grid.wavefront.pays", lambda *arguments: paying)
        monkeypatch.setattr("asr.grid.wavefront.run_stack", counted)
        return ran

    return chosen


def stack_of(axes: int = 2, direction: tuple[bool, ...] | None = None, **options: Any) -> GridLSTM:
    module = GridLSTM(3, 2, LAYERS, axes=axes, engine="wavefront", **{"depth": "lstm", **options}).double()
    module.directions = (direction,) if direction else module.directions
    return module


def values_and_gradients(module: GridLSTM, x: Tensor, lengths: Tensor, state: GridState | None) -> list[Tensor]:
    """Output and state that leaves, and the gradients of a random weighted sum of all."""
    generator = torch.Generator().manual_seed(1)
    inputs = [tensor.clone().requires_grad_() for tensor in (x, *(state or ()))]
    output, left = module(inputs[0], lengths, tuple(inputs[1:]) or None)
    values = [output, *left]
    total = sum((value * torch.randn(value.shape, generator=generator, **DOUBLE)).sum() for value in values)
    return [*values, *torch.autograd.grad(total, [*inputs, *module.parameters()])]


@pytest.mark.parametrize("other", ["definition", "layer by layer"])
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize(
    ("extents", "direction", "options"),
    [
        ((4, 3), None, {}),
        ((4, 3), (True, False), {}),
        ((4, 3), (False, True), {"output_gate": "inside"}),
        ((3, 4), None, {"tied": True}),
        ((3, 4), (True, True), {"tied": True, "bias": False}),
        ((4,), None, {}),
        ((4,), (True,), {"tied": True}),
        ((3, 2, 3), (False, True, False), {}),
        ((1, 1), None, {}),
        ((4, 3), None, {"depth": "none"}),
        ((4, 3), (True, False), {"depth": "none", "output_gate": "inside"}),
        ((4,), (True,), {"depth": "none"}),
        ((3, 2, 3), (False, True, False), {"depth": "none", "bias": False}),
        ((4, 3), None, {"depth": "relu"}),
        ((4, 3), (True, False), {"depth": "relu", "output_gate": "inside"}),
        ((3, 4), (False, True), {"depth": "tanh"}),
        ((4,), None, {"depth": "tanh"}),
        ((3, 4), (True, True), {"depth": "identity"}),
        ((3, 2, 3), None, {"depth": "identity"}),
    ],
)
def test_values_state_and_gradients_are_those_of_layer_by_layer_and_of_the_definition(
    choose: Callable[[bool], list[int]],
    extents: tuple[int, ...],
    direction: tuple[bool, ...] | None,
    options: dict[str, Any],
    with_state: bool,
    other: str,
) -> None:
    module = stack_of(len(extents), direction, **options)
    x = torch.randn(2, *extents, 3, **DOUBLE)
    lengths = torch.tensor([list(extents), [max(1, extent - 1) for extent in extents]])
    state = GridState(*torch.randn(2, LAYERS, 1, 2, *extents[1:], 2, **DOUBLE)) if with_state else None
    ran = choose(True)
    found = values_and_gradients(module, x, lengths, state)
    assert ran == [LAYERS]
    ran = choose(False)
    module.engine = "definition" if other == "definition" else "wavefront"
    expected = values_and_gradients(module, x, lengths, state)
    assert not ran
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_pieces_along_time_give_what_one_piece_gives(choose: Callable[[bool], list[int]]) -> None:
    choose(True)
    module, x = stack_of(), torch.randn(2, 5, 3, 3, **DOUBLE)
    whole, last = module(x)
    state, outputs = None, []
    for piece in x.split(2, dim=1):
        output, state = module(piece, None, state)
        outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs, dim=1), whole, rtol=0, atol=1e-14)
    torch.testing.assert_close(state, last, rtol=0, atol=1e-14)


def test_gradients_of_some_of_the_inputs_are_those_of_all(choose: Callable[[bool], list[int]]) -> None:
    choose(True)
    module, x = stack_of(), torch.randn(2, 3, 2, 3, **DOUBLE, requires_grad=True)
    own, *wanted = torch.autograd.grad(module(x)[0].sum(), [x, *module.parameters()])
    found = torch.autograd.grad(module(x.detach())[0].sum(), list(module.parameters()))
    torch.testing.assert_close(list(found), wanted)
    module.requires_grad_(False)
    torch.testing.assert_close(torch.autograd.grad(module(x)[0].sum(), x)[0], own)


@pytest.mark.parametrize("depth", ["lstm", "none", "relu"])
def test_layers_frames_and_blocks_take_their_sum_less_two_steps_and_the_same_products(
    choose: Callable[[bool], list[int]], monkeypatch: pytest.MonkeyPatch, depth: str
) -> None:
    frames, blocks, batch = 7, 4, 2
    inputs = 4 if depth == "none" else 2  # as wide as those of the layers above, which are filled up otherwise
    module = GridLSTM(inputs, 2, LAYERS, depth=depth, engine="wavefront")
    x = torch.randn(batch, frames, blocks, inputs)
    steps: list[int] = []
    forward = GridCell.forward

    def counted(cell: GridCell, gates: Tensor, *arguments: Tensor) -> None:
        steps.append(gates.shape[-2])
        forward(cell, gates, *arguments)

    monkeypatch.setattr(GridCell, "forward", counted)
    choose(True)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)
    assert len(steps) == frames + blocks + LAYERS - 2
    assert sum(steps) == LAYERS * frames * blocks * batch
    biases = frames * blocks * sum(layer.bias.numel() for layer in module.layers)  # one more column of each product
    assert counter.get_total_flops() == 2 * batch * (module.multiply_adds((frames, blocks)) + biases)
    steps.clear()
    choose(False)
    with torch.no_grad():
        module(x)
    assert len(steps) == LAYERS * (frames + blocks - 1 + (depth == "lstm"))  # the depth of a layer is one more


def test_every_row_of_a_step_belongs_to_one_layer() -> None:
    extents, batch = (3, 4, 2), 3
    schedule = diagonal_schedule(extents, torch.device("cpu"))
    layers = schedule.coordinates[schedule.order, 0].repeat_interleave(batch)
    for step, parts in zip(schedule.steps, layers_of_steps(extents, batch), strict=True):
        own = torch.cat([torch.full((rows.stop - rows.start,), layer) for layer, rows in parts.runs])
        assert [rows.start for _, rows in parts.runs] == [0, *(rows.stop for _, rows in parts.runs[:-1])]
        assert parts.equal == (torch.bincount(own, minlength=3).unique().numel() == 1)
        assert own.equal(layers[step.start * batch : step.stop * batch])


@pytest.mark.parametrize(
    ("options", "as_one"),
    [
        ({}, True),
        ({"tied": True, "output_gate": "inside", "forget_bias": 1.0}, True),
        ({"bidirectional": (False, True)}, False),
        ({"bidirectional": (False, True), "merge": "sum"}, False),
        ({"layer_norm": True}, False),
        ({"depth": "none"}, True),
        ({"depth": "relu", "output_gate": "inside"}, True),
        ({"depth": "tanh"}, True),
        ({"depth": "identity"}, True),
        ({"depth": "none", "bidirectional": (True, False)}, False),
        ({"depth": "none", "layer_norm": True}, False),
        ({"depth": "relu", "priority": ["depth"]}, False),
        ({"cell": "gru", "depth": "gru"}, False),
        ({"priority": ["depth"]}, False),
        ({"priority": [0]}, False),
        ({"shared": True}, False),
        ({"peepholes": True}, False),
        ({"coupled": True}, False),
        ({"cell_clip": 1.0}, False),
        ({"proj_size": 1}, False),
        ({"bands": 2}, False),
        ({"recompute": True}, False),
        ({"engine": "definition"}, False),
    ],
    ids=str,
)
def test_stacks_of_the_usual_cells_in_one_direction_run_as_one(
    choose: Callable[[bool], list[int]], options: dict[str, Any], as_one: bool
) -> None:
    ran = choose(True)
    module = GridLSTM(3, 2, LAYERS, **{"depth": "lstm", "engine": "wavefront", **options})
    module(torch.randn(2, 3, 2, 3))
    assert bool(ran) is as_one


@pytest.mark.parametrize("depth", ["lstm", "none", "relu"])
@pytest.mark.parametrize("name", ["dropout", "recurrent_dropout"])
def test_dropout_keeps_layers_apart_in_training_alone(
    choose: Callable[[bool], list[int]], name: str, depth: str
) -> None:
    ran = choose(True)
    module, x = stack_of(depth=depth, **{name: 0.5}), torch.randn(2, 3, 2, 3, **DOUBLE)
    module(x)
    assert not ran
    module.eval()(x)
    assert ran == [LAYERS]


@pytest.mark.parametrize(
    "larger",
    [
        {"layers": 1},
        {"layers": 2},
        {"batch": 10},
        {"hidden_bytes": 384},
        {"input_bytes": 1024},
        {"extents": (500, 500)},
    ],
)
def test_stacks_pay_where_steps_are_small(larger: dict[str, Any]) -> None:
    small = {"layers": 4, "batch": 1, "extents": (100, 10), "hidden_bytes": 192, "input_bytes": 384}
    assert pays(**small)
    assert not pays(**{**small, **larger})
