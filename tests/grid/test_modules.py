"""GridLSTM and MultidimensionalLSTM: lengths, directions, initialisation, cost, and what they refuse."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from asr.grid import GridLSTM, MultidimensionalLSTM

MODULES: dict[str, Callable[..., nn.Module]] = {
    "grid": GridLSTM,
    "grid with depth": lambda *args, **kwargs: GridLSTM(*args, depth="lstm", **kwargs),
    "grid with depth last": lambda *args, **kwargs: GridLSTM(*args, depth="lstm", priority=["depth"], **kwargs),
    "multidimensional": MultidimensionalLSTM,
    "multidimensional sum": lambda *args, **kwargs: MultidimensionalLSTM(*args, cell="sum", **kwargs),
}
every_module = pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)


def run(module: nn.Module, *arguments: Any) -> Tensor:
    """The output, without the state."""
    output, _ = module(*arguments)
    return output


LENGTHS = torch.tensor([[5, 3], [2, 3], [4, 1]])


def padded_input(filling: float) -> Tensor:
    x = torch.randn(3, 5, 3, 4)
    for utterance, (time, frequency) in enumerate(LENGTHS.tolist()):
        x[utterance, time:] = filling
        x[utterance, :, frequency:] = filling
    return x


@every_module
def test_each_utterance_gets_what_it_gets_alone(make: Callable[..., nn.Module]) -> None:
    module = make(4, 3, 2, bidirectional=True)
    x = padded_input(filling=0.5)
    output = run(module, x, LENGTHS)
    for utterance, (time, frequency) in enumerate(LENGTHS.tolist()):
        alone = run(module, x[utterance : utterance + 1, :time, :frequency])
        torch.testing.assert_close(output[utterance, :time, :frequency], alone[0], rtol=0, atol=1e-6)


@every_module
def test_padding_is_zero_in_the_output_and_has_no_effect_whatever_it_holds(make: Callable[..., nn.Module]) -> None:
    module = make(4, 3, 2, bidirectional=True)
    torch.manual_seed(1)
    output = run(module, padded_input(filling=math.nan), LENGTHS)
    torch.manual_seed(1)
    assert output.equal(run(module, padded_input(filling=7.0), LENGTHS))
    for utterance, (time, frequency) in enumerate(LENGTHS.tolist()):
        assert not output[utterance, time:].any()
        assert not output[utterance, :, frequency:].any()


@every_module
def test_padding_gets_no_gradient_and_gives_none(make: Callable[..., nn.Module]) -> None:
    module = make(4, 3, 2, bidirectional=True)
    gradients = []
    for filling in (math.nan, 3.0):
        torch.manual_seed(1)
        x = padded_input(filling).requires_grad_()
        module.zero_grad()
        run(module, x, LENGTHS).square().sum().backward()
        gradients.append([x.grad, *(p.grad for p in module.parameters())])
    assert all(a.equal(b) for a, b in zip(*gradients, strict=True))
    assert not gradients[0][0][1, 2:].any()


@every_module
def test_nan_in_one_utterance_reaches_no_other(make: Callable[..., nn.Module]) -> None:
    module = make(4, 3, 2, bidirectional=True)
    x = padded_input(filling=0.0)
    expected = run(module, x, LENGTHS)
    x[0, 1, 1, 2] = math.nan
    output = run(module, x, LENGTHS)
    assert output[0].isnan().any()
    assert output[1:].equal(expected[1:])


@every_module
def test_lengths_along_the_first_axis_are_enough(make: Callable[..., nn.Module]) -> None:
    module, x = make(4, 3, bidirectional=True), torch.randn(2, 5, 3, 4)
    assert run(module, x, torch.tensor([5, 2])).equal(run(module, x, torch.tensor([[5, 3], [2, 3]])))
    assert run(module, x).equal(run(module, x, torch.tensor([5, 5], dtype=torch.int32)))


@every_module
def test_a_forward_scan_sees_the_past_of_its_axes_and_a_backward_one_the_future(make: Callable[..., nn.Module]) -> None:
    x = torch.randn(1, 4, 3, 4)
    changed = x.clone()
    changed[0, 2, 1] += 1.0
    for both in (False, True):
        module = make(4, 3, 2, bidirectional=both)
        moved = (run(module, changed) - run(module, x)).abs().sum(-1)[0] > 1e-9
        if both:
            assert moved.all()
        else:
            reached = torch.zeros(4, 3, dtype=torch.bool)
            reached[2:, 1:] = True
            assert moved.equal(reached)


@pytest.mark.parametrize("kind", [GridLSTM, MultidimensionalLSTM])
def test_scanning_backward_is_scanning_the_flipped_input_forward(kind: Callable[..., nn.Module]) -> None:
    both, forward = kind(4, 3, bidirectional=[True, False]), kind(4, 3)
    for name, parameter in forward.layers[0].named_parameters():
        parameter.data = both.layers[0].get_parameter(name).data[1:]
    x = torch.randn(2, 5, 3, 4)
    backward = run(both, x)[..., forward.output_size :]
    torch.testing.assert_close(backward, run(forward, x.flip(1)).flip(1), rtol=0, atol=1e-6)


@every_module
def test_directions_are_concatenated_or_summed(make: Callable[..., nn.Module]) -> None:
    concatenated, summed = make(4, 3, bidirectional=True), make(4, 3, bidirectional=True, merge="sum")
    assert concatenated.directions == ((False, False), (False, True), (True, False), (True, True))
    assert concatenated.output_size == 4 * summed.output_size
    if not hasattr(summed, "input_projection"):
        summed.load_state_dict(concatenated.state_dict())
        x = torch.randn(2, 3, 2, 4)
        expected = run(concatenated, x).unflatten(-1, (4, -1)).sum(-2)
        torch.testing.assert_close(run(summed, x), expected)


@every_module
def test_parameters_are_drawn_uniformly_within_one_by_the_root_of_the_hidden_size(
    make: Callable[..., nn.Module],
) -> None:
    module = make(40, 16, 2, forget_bias=None)
    for layer in module.layers:
        for parameter in layer.parameters():
            assert parameter.abs().max() <= 0.25
            assert parameter.abs().max() > 0.2
            assert parameter.std().item() == pytest.approx(0.25 / math.sqrt(3), rel=0.15)


@pytest.mark.parametrize(
    ("module", "forget_rows"),
    [
        (GridLSTM(3, 2, forget_bias=1.5), [2, 3, 10, 11]),
        (GridLSTM(3, 2, depth="lstm", forget_bias=1.5), [2, 3, 10, 11, 18, 19]),
        (GridLSTM(3, 2, depth="relu", forget_bias=1.5), [2, 3, 10, 11]),
        (GridLSTM(3, 2, coupled=True, forget_bias=1.5), [0, 1, 6, 7]),
        (GridLSTM(3, 2, depth="lstm", shared=True, bands=2, forget_bias=1.5), [2, 3]),
        (MultidimensionalLSTM(3, 2, cell="stable", forget_bias=1.5), [2, 3]),
        (MultidimensionalLSTM(3, 2, cell="sum", forget_bias=1.5), [2, 3, 4, 5]),
        (MultidimensionalLSTM(3, 2, coupled=True, forget_bias=1.5), [0, 1]),
    ],
)
def test_forget_bias_sets_the_rows_of_the_forget_gates_alone(module: nn.Module, forget_rows: list[int]) -> None:
    for bias in module.layers[0].bias:
        assert (bias == 1.5).nonzero().flatten().tolist() == forget_rows


@every_module
def test_without_bias_there_are_no_bias_parameters_and_zero_input_gives_zero(make: Callable[..., nn.Module]) -> None:
    module = make(4, 3, bias=False)
    assert not [name for name, _ in module.layers.named_parameters() if "bias" in name]
    if not hasattr(module, "input_projection"):
        assert not run(module, torch.zeros(1, 3, 2, 4)).any()


def counted_multiply_adds(module: nn.Module, x: Tensor) -> int:
    """By PyTorch, of the engine whose products it sees."""
    module.engine = "wavefront"
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)
    return counter.get_total_flops() // 2


@every_module
def test_multiply_adds_are_what_pytorch_counts(make: Callable[..., nn.Module]) -> None:
    module, x = make(4, 3, 2, bidirectional=True), torch.randn(1, 5, 3, 4)
    # The bias is one more column of the engine's products, but not where the depth adds it to them.
    rows = sum(layer.bias.numel() for layer in module.layers)
    depth_rows = rows // 3 if isinstance(module, GridLSTM) and module.options.depth == "lstm" else 0
    assert module.multiply_adds((5, 3)) == counted_multiply_adds(module, x) - 15 * (rows - depth_rows)


@pytest.mark.parametrize(
    "options",
    [
        {"cell": "gru", "depth": "gru", "tied": True},
        {"cell": "rnn", "depth": "relu"},
        {"coupled": True, "proj_size": 2, "depth": "lstm"},
        {"shared": True, "depth": "tanh"},
        {"shared": True, "depth": "lstm", "priority": ["depth"]},
        {"peepholes": True, "priority": [1, 0]},
        {"axes": 1, "cell": "rnn"},
        {"axes": 0, "depth": "lstm", "coupled": True},
    ],
    ids=str,
)
def test_multiply_adds_of_any_options_are_what_pytorch_counts(options: dict[str, Any]) -> None:
    """Of products that autograd records, which have the bias apart."""
    module = GridLSTM(4, 3, 2, bidirectional=options.get("axes") != 0, **options)
    extents = (5, 3)[: module.options.axes]
    assert module.multiply_adds(extents) == counted_multiply_adds(module, torch.randn(1, *extents, 4))


@pytest.mark.parametrize("options", [{"peepholes": True}, {"proj_size": 2, "cell": "sum"}, {"coupled": True}], ids=str)
def test_multiply_adds_of_a_multidimensional_lstm_are_what_pytorch_counts(options: dict[str, Any]) -> None:
    module = MultidimensionalLSTM(4, 3, 2, bidirectional=True, **options)
    assert module.multiply_adds((5, 3)) == counted_multiply_adds(module, torch.randn(1, 5, 3, 4))


@pytest.mark.parametrize("kind", [GridLSTM, MultidimensionalLSTM])
def test_bands_cost_parameters_and_no_multiply_adds(kind: Callable[..., nn.Module]) -> None:
    plain, banded = kind(4, 3, 2), kind(4, 3, 2, bands=3)
    assert banded.multiply_adds((5, 4)) == plain.multiply_adds((5, 4))
    assert sum(p.numel() for p in banded.parameters()) == 3 * sum(p.numel() for p in plain.parameters())


@every_module
def test_dropout_is_between_layers_and_in_training_only(make: Callable[..., nn.Module]) -> None:
    x = torch.randn(2, 3, 2, 4)
    module = make(4, 3, 2, dropout=0.9)
    assert not run(module, x).equal(run(module, x))
    module.eval()
    assert run(module, x).equal(run(module, x))
    single = make(4, 3, 1, dropout=0.9)
    assert run(single, x).equal(run(single, x))


@every_module
def test_layer_norm_makes_every_real_output_zero_mean_and_unit_variance(make: Callable[..., nn.Module]) -> None:
    output = run(make(4, 6, 2, layer_norm=True), torch.randn(2, 3, 2, 4))
    torch.testing.assert_close(output.mean(-1), torch.zeros(2, 3, 2), rtol=0, atol=1e-5)
    torch.testing.assert_close(output.var(-1, correction=0), torch.ones(2, 3, 2), rtol=0, atol=1e-2)


@every_module
def test_autocast_computes_in_the_type_of_the_parameters(make: Callable[..., nn.Module]) -> None:
    module, x = make(4, 3, 2), torch.randn(2, 3, 2, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert run(module, x).equal(run(module, x.float()))
        assert run(module, x.bfloat16()).dtype == torch.float32


@every_module
def test_input_need_not_be_contiguous(make: Callable[..., nn.Module]) -> None:
    module, x = make(4, 3), torch.randn(2, 4, 3, 2).transpose(1, 3)
    assert run(module, x).equal(run(module, x.contiguous()))


@every_module
def test_a_copy_and_a_reloaded_module_compute_the_same(make: Callable[..., nn.Module]) -> None:
    module, other = make(4, 3, 2), make(4, 3, 2)
    other.load_state_dict(module.state_dict())
    x = torch.randn(2, 3, 2, 4)
    assert run(copy.deepcopy(module), x).equal(run(module, x))
    assert run(other, x).equal(run(module, x))


GOOD = torch.zeros(2, 3, 2, 4)


@pytest.mark.parametrize(
    ("x", "lengths", "message"),
    [
        (GOOD[0], None, r"must be \(B, 2 extents, 4\), got shape \(3, 2, 4\)"),
        (GOOD[..., :3], None, r"must be \(B, 2 extents, 4\), got shape \(2, 3, 2, 3\)"),
        (GOOD.long(), None, "must be floating point, got torch.int64"),
        (GOOD.tolist(), None, "the input must be a tensor, got list"),
        (GOOD.to("meta"), None, "the input must be on cpu like the parameters, got meta"),
        (GOOD[:, :0], None, r"no extent of 0, got shape \(2, 0, 2, 4\)"),
        (GOOD[:0], None, r"no extent of 0, got shape \(0, 3, 2, 4\)"),
        (GOOD.double(), None, "the input must be torch.float32 like the parameters, got torch.float64"),
        (GOOD.bfloat16(), None, "the input must be torch.float32 like the parameters, got torch.bfloat16"),
        (GOOD.to_sparse(), None, "the input must be dense, got torch.sparse_coo"),
        (GOOD, torch.tensor([3, 3]).to_sparse(), "lengths must be dense, got torch.sparse_coo"),
        (GOOD, torch.tensor([3, 3], device="meta"), "lengths must have values, got a tensor on meta"),
        (GOOD, torch.tensor([3.0, 2.0]), "lengths must be integers, got torch.float32"),
        (GOOD, [3, 2], "lengths must be a tensor, got list"),
        (GOOD, torch.tensor([True, True]), "lengths must be integers, got torch.bool"),
        (GOOD, torch.tensor([3]), r"lengths must have shape \(2,\) or \(2, 2\), got \(1,\)"),
        (GOOD, torch.tensor([3, 4]), "between 0 and the extent 3 along axis 0, got 4 in row 1"),
        (GOOD, torch.tensor([-1, 3]), "between 0 and the extent 3 along axis 0, got -1 in row 0"),
        (GOOD, torch.tensor([[3, 2], [0, 0]]), "between 1 and the extent 2 along axis 1, got 0 in row 1"),
        (GOOD, torch.tensor([[3, 2], [3, 5]]), "between 1 and the extent 2 along axis 1, got 5 in row 1"),
    ],
)
def test_wrong_input_is_refused_with_value_and_limit(x: Any, lengths: Any, message: str) -> None:
    for engine in ("auto", "wavefront", "definition"):
        for module in (GridLSTM(4, 3, engine=engine), MultidimensionalLSTM(4, 3, engine=engine)):
            with pytest.raises(ValueError, match=message):
                module(x, lengths)


@every_module
def test_parameters_in_two_places_or_of_two_types_are_refused_by_name(make: Callable[..., nn.Module]) -> None:
    module = make(4, 3, 2, layer_norm=True)
    layer = module.layers[1]
    layer.bias = nn.Parameter(layer.bias.to("meta"))
    with pytest.raises(ValueError, match="one device, got cpu, and meta of layers.1.bias"):
        module(GOOD)
    layer.bias = None
    module.merges[1].norm.double()
    with pytest.raises(ValueError, match="one type, got torch.float32, and torch.float64 of merges.1.norm.weight"):
        module(GOOD)


@pytest.mark.parametrize("engine", ["auto", "wavefront", "definition"])
@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("options", [{}, {"cell": "gru"}, {"depth": "lstm"}], ids=str)
def test_without_bias_a_module_made_on_meta_computes_what_it_was_loaded_from(
    engine: str, assign: bool, options: dict[str, Any]
) -> None:
    module = GridLSTM(4, 3, 2, bias=False, engine=engine, **options)
    with torch.device("meta"):
        loaded = GridLSTM(4, 3, 2, bias=False, engine=engine, **options)
    if not assign:
        loaded.to_empty(device="cpu")
        for tensor in (*loaded.parameters(), *loaded.buffers()):
            tensor.detach().fill_(math.nan)  # what fresh memory may hold
    loaded.load_state_dict(module.state_dict(), assign=assign)
    x = torch.randn(2, 3, 2, 4)
    assert run(loaded, x).equal(run(module, x))


def test_a_grid_learns_what_needs_both_axes() -> None:
    """Whether a mark was seen above and to the left: exact in a few dozen steps, and beyond an LSTM along one axis."""
    grid = GridLSTM(1, 8)
    head = nn.Linear(grid.output_size, 1)
    optimizer = torch.optim.Adam([*grid.parameters(), *head.parameters()], lr=0.03)
    for _ in range(60):
        marks = (torch.rand(32, 6, 5) < 0.08).float()
        seen = (marks.cumsum(1).cumsum(2) > 0).float()
        logits = head(run(grid, marks.unsqueeze(-1))).squeeze(-1)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, seen)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert ((logits > 0) == (seen > 0)).float().mean() > 0.97
