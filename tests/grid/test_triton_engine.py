"""The engine on Triton's kernels computes what the definition says: on a GPU, or in Triton's interpreter."""

import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from asr.grid import GridLSTM
from asr.grid.native_engine import TritonKernel

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
OPTIONS: list[dict[str, Any]] = [
    {},
    {"depth": "lstm", "num_layers": 2, "bidirectional": True},
    {"depth": "lstm", "priority": ["depth"], "output_gate": "inside"},
    {"depth": "lstm", "bands": 2, "peepholes": True, "coupled": True, "cell_clip": 0.3},
    {"depth": "lstm", "peepholes": True, "bidirectional": [True, False]},
    {"bidirectional": True, "recompute": True},
    {"axes": 1, "depth": "lstm", "bidirectional": True},
]


@pytest.mark.skipif(INTERPRETED or torch.cuda.is_available(), reason="the tests below run right here")
def test_in_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    run = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.skipif(not INTERPRETED and not torch.cuda.is_available(), reason="no CUDA device, nor the interpreter")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_engine_equals_the_definition(options: dict[str, Any]) -> None:
    device = torch.device("cpu" if INTERPRETED else "cuda")
    module = GridLSTM(3, 4, **options)
    axes = module.options.axes
    x = torch.randn(2, *(3, 2)[:axes], 3)
    lengths = torch.tensor([[3, 2], [2, 2]])[:, :axes]
    state = [torch.randn(module.num_layers, len(module.directions), 2, *(2,)[: axes - 1], 4) for _ in range(2)]
    results = []
    for engine, place in (("definition", torch.device("cpu")), ("triton", device)):
        module.engine = engine
        module.to(place).zero_grad()
        given = [tensor.detach().to(place).requires_grad_() for tensor in (x, *state)]
        output, left = module(given[0], lengths.to(place), (given[1], given[2]))
        values = [output, left.hidden, left.memory]
        sum(
            (value * torch.linspace(-1, 1, value.numel(), device=place).view_as(value)).sum() for value in values
        ).backward()
        results.append([*values, *(tensor.grad.clone() for tensor in (*given, *module.parameters()))])
    for found, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(found.cpu(), expected.cpu(), rtol=1e-4, atol=1e-5)


def test_the_engine_says_why_it_refuses() -> None:
    options = GridLSTM(3, 4, axes=3).options
    assert "2 axes" in str(TritonKernel.refusal(options, torch.device("cuda"), torch.float32))
    usual = GridLSTM(3, 4).options
    if not INTERPRETED:
        assert "not on cpu" in str(TritonKernel.refusal(usual, torch.device("cpu"), torch.float32))
    assert "float64" in str(TritonKernel.refusal(usual, torch.device("cuda"), torch.float64))
