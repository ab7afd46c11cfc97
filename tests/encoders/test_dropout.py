"""Dropout against torch's own."""

import pytest
import torch
from torch import nn

from asr.encoders.dropout import Dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("p", [0.05, 0.3, 0.5])
@pytest.mark.parametrize("shape", [(3,), (4, 7, 33)])
def test_it_is_torchs_own_to_the_bit_and_leaves_the_generator_in_the_same_state(
    shape: tuple[int, ...], p: float, dtype: torch.dtype
) -> None:
    found = []
    inputs = torch.randn(shape).to(dtype)
    for module in (Dropout(p), nn.Dropout(p)):
        torch.manual_seed(3)
        given = inputs.clone().requires_grad_()
        output = module(given)
        output.backward(torch.ones_like(output))
        found.append((output.detach(), given.grad, torch.get_rng_state()))
    assert all(ours.equal(theirs) for ours, theirs in zip(*found, strict=True))
    assert not found[0][0].equal(inputs)


def test_nothing_is_dropped_or_drawn_in_evaluation_and_with_probability_zero() -> None:
    inputs, state = torch.randn(3, 5), torch.get_rng_state()
    assert Dropout(0.5).eval()(inputs).equal(inputs)
    assert Dropout(0.0)(inputs).equal(inputs)
    assert torch.get_rng_state().equal(state)
