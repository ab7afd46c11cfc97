"""Sizes that are solved for, against closed forms and against trying every one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from asr.errors import InputError
from asr.experiment import Experiment
from asr.report.models import summary_of
from asr.sweep.sizes import sizes_at, solve, solve_measured

MELS, TOKENS = 20, 5


def recurrent_parameters(gates: int, hidden: int, layers: int, directions: int) -> int:
    """Of stacked layers as torch has them (two biases a gate), each under a layer norm, and of the head."""
    total, width = 0, MELS
    for _ in range(layers):
        total += directions * gates * hidden * (width + hidden + 2)
        width = directions * hidden
        total += 2 * width
    return total + width * TOKENS + TOKENS


def cost_of(cell: str, layers: int, bidirectional: bool) -> Callable[[int], float]:
    def cost(hidden: int) -> int:
        arguments = {
            **{"cell": cell, "num_layers": layers, "bidirectional": bidirectional, "hidden_size": hidden},
            "stacked_frames": 1,
        }
        encoder = {"class_path": "asr.encoders.StackedRNNEncoder", "init_args": arguments}
        content = {"data": {"features": {"num_mels": MELS}}, "model": {"encoder": encoder}}
        return summary_of(Experiment(content, Path("x")), TOKENS).parameters

    return cost


@pytest.mark.parametrize(("cell", "gates"), [("lstm", 4), ("gru", 3), ("rnn", 1)])
@pytest.mark.parametrize(("layers", "bidirectional", "hidden"), [(1, False, 37), (3, True, 58)])
def test_a_recurrent_model_of_a_closed_forms_parameters_gets_the_size_of_the_closed_form(
    cell: str, gates: int, layers: int, bidirectional: bool, hidden: int
) -> None:
    target = recurrent_parameters(gates, hidden, layers, 1 + bidirectional)
    assert solve(cost_of(cell, layers, bidirectional), target, 1e-9, "x") == hidden


@pytest.mark.parametrize("target", [1, 2, 7, 99, 100, 101, 12345, 99999])
@pytest.mark.parametrize("cost", [lambda n: n, lambda n: 3 * n * n + n, lambda n: 7 * (n // 5) + 1])
def test_the_size_is_the_nearest_of_all(cost: Callable[[int], float], target: int) -> None:
    best = min(range(1, 120_000 if cost(2) == 2 else 80_000), key=lambda step: abs(cost(step) - target))
    found = solve(cost, target, 1e9, "x")
    assert abs(cost(found) - target) == abs(cost(best) - target)


def test_a_size_that_is_too_coarse_is_refused_with_the_nearest_on_both_sides() -> None:
    with pytest.raises(InputError, match=r"x: 110 cannot be met within 2 %; the nearest are 100 at size 10 and 121 at"):
        solve(lambda n: n * n, 110, 0.02, "x")


def test_a_target_below_the_smallest_model_is_refused_with_its_cost() -> None:
    with pytest.raises(InputError, match=r"x: 10 cannot be met within 2 %; the nearest are 1,000 at size 1$"):
        solve(lambda n: 1000 * n, 10, 0.02, "x")


def test_a_size_without_influence_is_refused() -> None:
    with pytest.raises(InputError, match=r"x: the size has no influence that reaches 100; it is 7"):
        solve(lambda n: 7, 100, 0.02, "x")


def test_options_grow_together_in_their_ratio_and_never_fall() -> None:
    ratios = {"hidden_size": 2.0, "lstm_hidden_size": 5.0, "small": 0.01}
    former = sizes_at(1, ratios)
    assert former == {"hidden_size": 1, "lstm_hidden_size": 1, "small": 1}
    for step in range(2, 500):
        sizes = sizes_at(step, ratios)
        assert sizes["lstm_hidden_size"] == step
        assert abs(sizes["hidden_size"] - 0.4 * step) <= 0.5
        assert all(sizes[name] >= former[name] for name in ratios)
        former = sizes


@pytest.mark.parametrize("power", [0.7, 1.0, 2.0])
@pytest.mark.parametrize("first", [8, 64, 1000])
def test_a_size_is_found_by_few_measurements_of_time(power: float, first: int) -> None:
    asked: list[int] = []

    def seconds(step: int) -> float:
        asked.append(step)
        return 0.5 + 0.02 * step**power

    step, measured = solve_measured(seconds, seconds(300), 0.02, "x", first)
    assert measured == seconds(step)
    assert abs(measured / seconds(300) - 1) <= 0.02
    assert len(set(asked[1:])) <= 8


def test_a_time_that_cannot_be_met_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"x: 10 cannot be met within 2 % .*; the nearest is 20.0 at size 1$"):
        solve_measured(lambda step: 19.0 + step, 10, 0.02, "x", 64)
