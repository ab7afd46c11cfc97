"""torch.export sees through a module on the C++ kernel: any batch, extent and lengths; the program can be saved."""

import io
from typing import Any

import pytest
import torch

from asr.grid import GridLSTM, MultidimensionalLSTM
from asr.grid.engines import ENGINES
from asr.grid.options import GridOptions

pytestmark = [
    pytest.mark.skipif(
        ENGINES["cpu"].refusal(GridOptions(2, 8), torch.device("cpu"), torch.float32) is not None,
        reason="the kernel is not there",
    ),
    pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning"),  # torch.export.load
]
B, T = torch.export.Dim("B", min=1, max=64), torch.export.Dim("T", min=2, max=640)


def saved_and_loaded(module: GridLSTM, *arguments: torch.Tensor, **dynamic: Any) -> torch.nn.Module:
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(module, arguments, dynamic_shapes=dynamic), buffer)
    buffer.seek(0)
    return torch.export.load(buffer).module()


every_stack = pytest.mark.parametrize(
    "options", [{}, {"depth": "lstm", "num_layers": 2, "bidirectional": True}], ids=str
)


@every_stack
def test_an_exported_module_computes_the_same_for_other_batches_and_extents(options: dict[str, Any]) -> None:
    module = GridLSTM(3, 2, engine="cpu", **options)
    exported = saved_and_loaded(module, torch.randn(2, 6, 3, 3), input={0: B, 1: T})
    for batch, time in ((2, 6), (1, 9), (5, 2)):
        x = torch.randn(batch, time, 3, 3)
        torch.testing.assert_close(exported(x), module(x), rtol=0, atol=0)


@every_stack
def test_a_module_exported_with_gradients_has_those_of_the_module(options: dict[str, Any]) -> None:
    module, x = GridLSTM(3, 2, engine="cpu", **options), torch.randn(2, 6, 3, 3, requires_grad=True)
    exported = saved_and_loaded(module, torch.randn(2, 6, 3, 3), input={0: B, 1: T})
    found = torch.autograd.grad(exported(x)[0].square().sum(), [x, *exported.parameters()])
    expected = torch.autograd.grad(module(x)[0].square().sum(), [x, *module.parameters()])
    torch.testing.assert_close(found, expected)


@every_stack
def test_a_module_exported_without_gradients_computes_the_same_and_says_that_it_has_none(
    options: dict[str, Any],
) -> None:
    module, x = GridLSTM(3, 2, engine="cpu", **options), torch.randn(3, 7, 3, 3)
    with torch.no_grad():
        exported = saved_and_loaded(module, torch.randn(2, 6, 3, 3), input={0: B, 1: T})
        torch.testing.assert_close(exported(x), module(x), rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="a scan that kept nothing was asked for its gradient"):
        exported(x.requires_grad_())[0].sum().backward()


@pytest.mark.parametrize(
    ("make", "options", "can"),
    [
        (GridLSTM, {"engine": "wavefront"}, "can$"),
        (GridLSTM, {"cell": "rnn"}, "can, but not run this: it has LSTM and GRU cells, not cell='rnn'"),
        (GridLSTM, {"axes": 0, "depth": "lstm"}, "can, but not run this: it has 1 to 8 axes, not 0"),
        (MultidimensionalLSTM, {}, "can, but not run this: it has no multidimensional LSTM"),
    ],
    ids=str,
)
def test_plain_pytorch_cannot_be_exported_and_says_whether_the_kernel_can(
    make: Any, options: dict[str, Any], can: str
) -> None:
    module = make(3, 2, **options)
    with pytest.raises(ValueError, match=f"engine 'wavefront' cannot be exported by torch.export; engine 'cpu' {can}"):
        torch.export.export(module, (torch.randn(2, *(6, 3)[: module.options.axes], 3),))


def test_an_exported_module_takes_lengths_and_refuses_those_beyond_the_extent() -> None:
    module = GridLSTM(3, 2, 2, engine="cpu", bidirectional=True)
    arguments = torch.randn(2, 6, 3, 3), torch.tensor([6, 4])
    exported = saved_and_loaded(module, *arguments, input={0: B, 1: T}, lengths={0: B})
    x = torch.randn(3, 9, 3, 3)
    for lengths in ([9, 1, 2], [3, 9, 8], [0, 9, 4]):
        expected = module(x, torch.tensor(lengths))
        torch.testing.assert_close(exported(x, torch.tensor(lengths)), expected, rtol=0, atol=0)
    for lengths in ([9, 1, 10], [-1, 1, 2]):
        with pytest.raises(RuntimeError, match="lengths must be between 0 along the first axis, or 1, and the extent"):
            exported(x, torch.tensor(lengths))
