"""LSTM and GRU layers of torch.nn on the kernel against the same layers in float64."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asr.encoders import StackedRNNEncoder
from asr.encoders.recurrent import RecurrentStack
from asr.grid import engines, torch_layers
from asr.grid.native import build
from asr.model import CTCModel

LENGTHS = torch.tensor([9, 30, 1, 21])
needs_kernel = pytest.mark.skipif(build.unavailable() is not None, reason="the kernel is not there")


def frames(size: int) -> Tensor:
    """Frames (B, T, size) for LENGTHS, zero beyond them."""
    drawn = torch.randn(len(LENGTHS), 30, size)
    return drawn * (torch.arange(30) < LENGTHS[:, None])[..., None]


def under_autocast(stack: nn.Module, inputs: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        output: Tensor = stack(inputs, LENGTHS)
    return output


@pytest.fixture
def kernel_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one entry with each layer that runs on the kernel."""
    calls: list[str] = []

    def noted(*arguments: object) -> Tensor:
        calls.append("recurrent_layer")
        return torch_layers.recurrent_layer(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("asr.encoders.recurrent.recurrent_layer", noted)
    return calls


def outcome(stack: nn.Module, inputs: Tensor, weighting: Tensor, bfloat16: bool) -> dict[str, Tensor]:
    """The output, and gradients of the input and of all parameters, as float64."""
    stack.zero_grad()
    inputs = inputs.detach().requires_grad_()
    output = under_autocast(stack, inputs) if bfloat16 else stack(inputs, LENGTHS)
    (output.to(weighting.dtype) * weighting).sum().backward()
    found = {"output": output, "inputs": inputs.grad, **{name: p.grad for name, p in stack.named_parameters()}}
    return {name: tensor.detach().double() for name, tensor in found.items()}


@needs_kernel
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("input_size", "hidden_size"), [(24, 17), (40, 48), (33, 70)])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_values_and_gradients_are_as_near_to_float64_as_those_of_torch_nn(
    cell: Any,
    input_size: int,
    hidden_size: int,
    bidirectional: bool,
    kernel_calls: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stack = RecurrentStack(input_size, hidden_size, 2, cell, bidirectional=bidirectional, layer_norm=False)
    inputs, weighting = frames(input_size), torch.randn(len(LENGTHS), 30, stack.output_size)
    truth = outcome(copy.deepcopy(stack).double(), inputs.double(), weighting.double(), bfloat16=False)
    ours = outcome(stack, inputs, weighting, bfloat16=True)
    assert len(kernel_calls) == 2
    monkeypatch.setenv(engines.OVERRIDE, "wavefront")
    theirs = outcome(stack, inputs, weighting, bfloat16=True)
    assert len(kernel_calls) == 2
    for name, value in truth.items():
        error, allowed = (ours[name] - value).norm(), 1.5 * (theirs[name] - value).norm()
        assert error <= allowed, f"{name}: {error} against {allowed}"
        assert error <= 0.02 * value.norm(), name


@needs_kernel
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_padding_has_no_influence_and_zeros_come_out_there(cell: Any, kernel_calls: list[str]) -> None:
    stack, inputs = RecurrentStack(6, 20, 2, cell, bidirectional=True), frames(6)
    expected = under_autocast(stack, inputs)
    for utterance, length in enumerate(LENGTHS.tolist()):
        with torch.autocast("cpu", torch.bfloat16):
            alone = stack(inputs[utterance : utterance + 1, :length], torch.tensor([length]))
        assert alone[0].equal(expected[utterance, :length])
        assert not expected[utterance, length:].any()
        inputs[utterance, length:] = math.nan
    assert under_autocast(stack, inputs).equal(expected)
    assert kernel_calls


@needs_kernel
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_padding_gets_no_gradient_and_gives_none(cell: Any) -> None:
    stack, inputs = RecurrentStack(6, 20, 1, cell, bidirectional=True, layer_norm=False), frames(6).requires_grad_()
    ones = torch.ones(len(LENGTHS), 30, stack.output_size)
    real = (torch.arange(30) < LENGTHS[:, None])[..., None]
    with torch.autocast("cpu", torch.bfloat16):
        output = torch_layers.recurrent_layer(inputs, LENGTHS, stack.forwards[0], stack.backwards[0])
    of_all = torch.autograd.grad(output, [inputs, *stack.parameters()], ones.bfloat16(), retain_graph=True)
    of_real = torch.autograd.grad(output, [inputs, *stack.parameters()], (ones * real).bfloat16())
    assert all(a.equal(b) for a, b in zip(of_all, of_real, strict=True))
    assert not (of_all[0] * ~real).any()


def test_without_autocast_and_with_other_cells_and_types_the_kernel_is_not_asked(kernel_calls: list[str]) -> None:
    inputs = frames(6)
    for cell in ("lstm", "gru"):
        RecurrentStack(6, 8, 2, cell, bidirectional=True)(inputs, LENGTHS)
        RecurrentStack(6, 8, 1, cell).double()(inputs.double(), LENGTHS)
    under_autocast(RecurrentStack(6, 8, 1, "rnn"), inputs)
    with torch.autocast("cpu", torch.float16):
        assert not torch_layers.kernel_is_faster(inputs, nn.LSTM(6, 8))
        assert not torch_layers.kernel_is_faster(inputs, nn.GRU(6, 8))
    assert not kernel_calls


@pytest.mark.parametrize("missing", ["the kernel", "its choice"])
def test_where_the_kernel_is_not_there_or_not_chosen_nn_lstm_takes_over(
    missing: str, kernel_calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing == "the kernel":
        monkeypatch.setattr(build, "unavailable", lambda: "there is no compiler")
    else:
        monkeypatch.setenv(engines.OVERRIDE, "wavefront")
    stack, inputs = RecurrentStack(6, 8, 1, layer_norm=False), frames(6)
    output = under_autocast(stack, inputs)
    with torch.autocast("cpu", torch.bfloat16):
        expected = stack.forwards[0](inputs)[0]
    real = torch.arange(30) < LENGTHS[:, None]
    assert output[real].equal(expected[real])
    assert not kernel_calls


@needs_kernel
@pytest.mark.parametrize("length", [0, 31])
def test_a_length_that_is_no_frame_count_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"lengths must be between 1 and the extent 30 along axis 0, got {length} in"):
        torch_layers.recurrent_layer(frames(6), torch.tensor([30, 30, length, 2]), nn.LSTM(6, 8))


def train(model: CTCModel, bfloat16: bool) -> float:
    """The loss after some steps on one batch of random spectrograms and token sequences."""
    features, lengths = torch.randn(4, 60, 20), torch.tensor([60, 44, 52, 60])
    tokens = torch.randint(1, 6, (4, 5))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(30):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            log_probs, frames = model(features, lengths)
        loss = nn.functional.ctc_loss(log_probs.transpose(0, 1), tokens, frames, torch.full((4,), 5))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


@needs_kernel
def test_training_under_autocast_arrives_at_float32s_loss(kernel_calls: list[str]) -> None:
    losses = []
    for bfloat16 in (False, True):
        torch.manual_seed(4)
        losses.append(train(CTCModel(StackedRNNEncoder(20, 24, 2, dropout=0.0), 6), bfloat16))
    assert len(kernel_calls) == 2 * 30
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[0] < 0.1
