"""What the modules' constructors refuse: wrong values, odd types, and options that exclude each other."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from asr.grid import GridLSTM, MultidimensionalLSTM


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": 0}, "input_size must be an integer of at least 1, got 0"),
        ({"hidden_size": -2}, "hidden_size must be an integer of at least 1, got -2"),
        ({"hidden_size": 2.5}, "hidden_size must be an integer of at least 1, got 2.5"),
        ({"num_layers": 0}, "num_layers must be an integer of at least 1, got 0"),
        ({"axes": -1}, "axes must be an integer of at least ., got -1"),
        ({"bidirectional": [True]}, r"bidirectional must be a bool or a list of 2 bools, one an axis, got \[True\]"),
        ({"bidirectional": [1, 0]}, r"bidirectional must be a bool or a list of 2 bools, one an axis, got \[1, 0\]"),
        ({"merge": "mean"}, "merge must be one of 'concat', 'sum', got 'mean'"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"engine": "magic"}, "engine must be 'auto' or one of .*, got 'magic'"),
    ],
)
def test_wrong_options_are_refused_with_value_and_limit(options: dict[str, Any], message: str) -> None:
    for kind in (GridLSTM, MultidimensionalLSTM):
        with pytest.raises(ValueError, match=message):
            kind(**{"input_size": 4, "hidden_size": 3, **options})


SIZE = "must be an integer of at least"
DROPOUT = "must be at least 0 and below 1"
NUMBER = "must be a finite number or None"
FLAG = "must be True or False"
ODD_VALUES: dict[str, tuple[str, list[Any]]] = {
    "input_size": (SIZE, [True, "4", None, 4.0, math.nan, [4]]),
    "hidden_size": (SIZE, [True, "3", None, 3.0, torch.tensor(3)]),
    "num_layers": (SIZE, [True, "2", None, 1.0]),
    "axes": (SIZE, [True, "2", None, 2.0, [1, 2]]),
    "bands": (SIZE, [True, "2", None, 1.5]),
    "cell": ("cell must be one of", [0, None, True, ["lstm"], {}]),
    "merge": ("merge must be one of", [0, None, True, ["sum"]]),
    "engine": ("engine must be 'auto' or one of", [0, None, True, ["cpu"], {}]),
    "bidirectional": ("must be a bool or a list of 2 bools", [3, 0, None, "no", "ab", 1.0, [True] * 3, ["a", "b"], {}]),
    "dropout": (DROPOUT, ["a", "0.1", None, True, False, [0.1], math.nan, math.inf, -math.inf, -0.1, 1]),
    "forget_bias": (NUMBER, ["a", "1.0", True, False, [1.0], math.nan, math.inf, -math.inf]),
    "tied": (FLAG, ["no", 0, 1, None, []]),
    "bias": (FLAG, ["no", 0, 1, None]),
    "layer_norm": (FLAG, ["no", 0, 1, None, "batch"]),
}
ODD_VALUES_OF_THE_GRID: dict[str, tuple[str, list[Any]]] = {
    "depth": ("depth must be one of", [1, None, True, ["lstm"]]),
    "priority": ("must be a list of axis numbers and 'depth'", [0, None, True, "depth", "time", 1.0, {0}, {0: 1}]),
    "shared": (FLAG, ["no", 0, 1, None]),
}
ODD_VALUES_OF_CELLS: dict[str, tuple[str, list[Any]]] = {
    "output_gate": ("output_gate must be one of", [1, None, True, ["inside"]]),
    "peepholes": (FLAG, ["no", 0, 1, None]),
    "coupled": (FLAG, ["no", 0, 1, None]),
    "recompute": (FLAG, ["no", 0, 1, None]),
    "cell_clip": ("must be a positive number or None", ["x", "1", True, False, [1.0], math.nan, math.inf, 0, -1.0]),
    "proj_size": (SIZE, [True, "1", None, 1.0]),
    "recurrent_dropout": (DROPOUT, ["a", None, True, math.nan, math.inf, 1]),
}


@pytest.mark.parametrize(
    ("kind", "name", "value", "limit"),
    [
        (kind, name, value, limit)
        for kind, table in (
            (GridLSTM, ODD_VALUES | ODD_VALUES_OF_CELLS | ODD_VALUES_OF_THE_GRID),
            (MultidimensionalLSTM, ODD_VALUES | ODD_VALUES_OF_CELLS),
        )
        for name, (limit, values) in table.items()
        for value in values
    ],
    ids=str,
)
def test_values_of_odd_types_are_refused_with_name_value_and_limit(
    kind: Callable[..., nn.Module], name: str, value: Any, limit: str
) -> None:
    with pytest.raises(ValueError, match="must be") as refused:
        kind(**{"input_size": 4, "hidden_size": 3, name: value})
    message = str(refused.value)
    assert message.startswith(name)
    assert limit in message
    assert f"got {value!r}" in message


GRID_REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"cell": "elman"}, "cell must be one of 'lstm', 'gru', 'rnn', got 'elman'"),
    ({"depth": "elu"}, "depth must be one of 'none', 'lstm', 'gru', 'relu', 'tanh', 'identity', got 'elu'"),
    ({"depth": "gru"}, "depth 'gru' needs cell 'gru', got cell 'lstm'"),
    ({"depth": "lstm", "cell": "rnn"}, "depth 'lstm' needs cell 'lstm', got cell 'rnn'"),
    ({"axes": 0}, "axes=0 needs a depth: with depth 'none' there is no dimension at all"),
    ({"axes": 0, "depth": "lstm", "bands": 2}, "bands divide the last of two axes .*, got bands=2 with axes=0"),
    ({"axes": 1, "bands": 2}, "bands divide the last of two axes or more, .*, got bands=2 with axes=1"),
    ({"axes": 0, "depth": "lstm", "recurrent_dropout": 0.5}, "recurrent_dropout needs an axis, .* with axes=0"),
    ({"axes": 0, "depth": "lstm", "bidirectional": True}, "bidirectional needs an axis, .* with axes=0"),
    ({"axes": 0, "depth": "relu", "peepholes": True}, "needs LSTM cells, got cell 'lstm', axes=0 and depth 'relu'"),
    ({"output_gate": "off"}, "output_gate must be one of 'outside', 'inside', got 'off'"),
    ({"output_gate": "inside", "cell": "gru"}, "output_gate='inside' needs LSTM cells, got cell 'gru'"),
    ({"peepholes": True, "cell": "rnn"}, "peepholes=True needs LSTM cells, got cell 'rnn'"),
    ({"coupled": True, "cell": "gru"}, "coupled=True needs LSTM cells, got cell 'gru'"),
    ({"cell_clip": 2.0, "cell": "gru"}, "cell_clip=2.0 needs LSTM cells, got cell 'gru'"),
    ({"cell_clip": 0.0}, "cell_clip must be a positive number or None, got 0.0"),
    ({"cell_clip": math.nan}, "cell_clip must be a positive number or None, got nan"),
    ({"proj_size": 2, "cell": "gru"}, "proj_size=2 needs LSTM cells, got cell 'gru'"),
    ({"proj_size": 3}, "proj_size must be smaller than hidden_size 3, or 0 for none, got 3"),
    ({"proj_size": -1}, "proj_size must be an integer of at least 0, got -1"),
    ({"forget_bias": 1.0, "cell": "gru"}, "forget_bias=1.0 needs LSTM cells, got cell 'gru'"),
    (
        {"priority": ["depth"]},
        r"priority \('depth',\) names 'depth', but axes=2 and depth='none' have the dimensions 0, 1",
    ),
    ({"priority": [2]}, r"priority \(2,\) names 2, but .* have the dimensions 0, 1"),
    ({"priority": [True]}, r"priority \(True,\) names True, but .* have the dimensions 0, 1"),
    ({"priority": [1, 1]}, r"priority \(1, 1\) names a dimension twice"),
    (
        {"priority": [0], "depth": "lstm", "bidirectional": True},
        "axis 0 after the depth, whose hidden vector then takes the place of .* 3 features and the input 12",
    ),
    ({"tied": True, "num_layers": 2}, "tied layers must have inputs of equal size, but the first .* 4 .* second's 6"),
    ({"bands": 0}, "bands must be an integer of at least 1, got 0"),
    ({"recurrent_dropout": -0.1}, "recurrent_dropout must be at least 0 and below 1, got -0.1"),
]


@pytest.mark.parametrize(("options", "message"), GRID_REFUSALS, ids=[str(options) for options, _ in GRID_REFUSALS])
def test_options_that_exclude_each_other_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GridLSTM(4, 3, **options)


def test_options_of_the_multidimensional_lstm_are_refused_with_value_and_limit() -> None:
    with pytest.raises(ValueError, match="cell must be one of 'stable', 'sum', got 'gru'"):
        MultidimensionalLSTM(4, 3, cell="gru")
    with pytest.raises(ValueError, match="axes must be an integer of at least 1, got 0"):
        MultidimensionalLSTM(4, 3, axes=0)
    with pytest.raises(ValueError, match="bands divide the last of two axes or more, .*, got bands=2 with axes=1"):
        MultidimensionalLSTM(4, 3, axes=1, bands=2)
    with pytest.raises(ValueError, match="proj_size must be smaller than hidden_size 3, or 0 for none, got 3"):
        MultidimensionalLSTM(4, 3, proj_size=3)
    with pytest.raises(ValueError, match="coupled=True needs one forget gate, .* cell 'sum' with axes=2 has 2"):
        MultidimensionalLSTM(4, 3, cell="sum", coupled=True)


@pytest.mark.parametrize("kind", [GridLSTM, MultidimensionalLSTM])
@pytest.mark.parametrize("engine", ["definition", "auto"])
def test_real_numbers_of_any_type_are_floats(kind: Callable[..., nn.Module], engine: str) -> None:
    names = "cell_clip", "recurrent_dropout", "forget_bias", "dropout"
    values = [Fraction(1, 2), np.float32(0.5), np.float64(0.5)]
    x = torch.randn(1, 2, 3, 4)
    outputs = []
    for value in (0.5, *values):
        torch.manual_seed(0)
        module = kind(4, 3, 2, engine=engine, **dict.fromkeys(names, value))
        outputs.append(module(x)[0])
        assert outputs[-1].equal(outputs[0])
        kind(4, 3, engine=engine, cell_clip=value).eval()(x)  # the kernel has no dropout
    for huge in (10**400, Fraction(10**400)):
        with pytest.raises(ValueError, match="cell_clip must be a positive number or None, got"):
            kind(4, 3, cell_clip=huge)


@pytest.mark.parametrize("kind", [GridLSTM, MultidimensionalLSTM])
def test_an_initial_bias_of_gates_without_bias_is_refused(kind: Callable[..., nn.Module]) -> None:
    with pytest.raises(ValueError, match="forget_bias=1.0 needs bias, got bias=False"):
        kind(4, 3, forget_bias=1.0, bias=False)
