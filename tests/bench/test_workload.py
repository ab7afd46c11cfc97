"""FLOPs and sizes against the definitions: counted by torch while the modules run, or solved by search."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from asr.bench.loops import cell_by_cell
from asr.bench.workload import Workload

WORKLOADS = [Workload(2, 5, 3, 4, 6), Workload(1, 3, 4, 7, 2), Workload(3, 2, 2, 1, 1)]


def counted(function, *shapes) -> int:
    """FLOPs that torch counts, without any arithmetic."""
    with FlopCounterMode(display=False) as counter:
        function(*(torch.randn(*shape, device="meta") for shape in shapes))
    return counter.get_total_flops()


@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_flops_are_those_of_a_loop_over_cells(workload):
    b, t, f, i, h = vars(workload).values()
    assert workload.flops("forward") == counted(cell_by_cell, (b, t, f, i), (i + 2 * h, 8 * h), (8 * h,))


@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_flops_of_the_references_are_those_of_nn_lstm(workload):
    b, t, f, i, h = vars(workload).values()
    size = workload.equal_lstm_size
    assert workload.equal_lstm_flops("forward") == counted(nn.LSTM(size, size, device="meta"), (t, b, size))
    assert workload.folded_lstm_flops("forward") == counted(nn.LSTM(i, h, device="meta"), (t, b * f, i))


@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_forward_and_backward_count_three_times_the_forward_pass(workload):
    for flops in (workload.flops, workload.equal_lstm_flops, workload.folded_lstm_flops):
        assert flops("training") == 3 * flops("forward")


@pytest.mark.parametrize(
    "workload",
    [Workload(16, 250, 10, 64, 64), Workload(16, 125, 16, 128, 128), Workload(32, 125, 8, 128, 96), *WORKLOADS],
    ids=str,
)
def test_the_nn_lstm_of_equal_cost_is_the_nearest_of_all_sizes(workload):
    # its products: 4h rows over 2h numbers; the grid's, over all frequencies: 8H rows over I + 2H numbers
    wanted = 8 * workload.hidden_size * (workload.input_size + 2 * workload.hidden_size) * workload.frequency
    solution = (wanted / 8) ** 0.5
    assert workload.equal_lstm_size == min(range(1, 4000), key=lambda h: abs(h - solution))


def test_a_step_has_the_cells_of_the_longest_anti_diagonal():
    workload = Workload(2, 5, 3, 1, 1)
    diagonals = [sum(t + f == s for t in range(5) for f in range(3)) for s in range(7)]
    assert workload.step_rows == 2 * max(diagonals)
    assert workload.cells == 2 * sum(diagonals)


@pytest.mark.parametrize("text", ["1,2,3,4", "1,2,3,4,5,6", "1,2,3,4,x", "1,2,3,4,0", "1,2,3,4,-1", "", "1,2,3,4,5.0"])
def test_a_size_that_is_none_is_named(text):
    with pytest.raises(ValueError, match=f"got {text!r}"):
        Workload.parse(text)


def test_a_size_reads_what_it_writes():
    workload = Workload(1, 22, 3, 4, 5)
    assert Workload.parse(str(workload)) == workload
