"""Wrong options are the user's errors: an InputError that names option, value and limit."""

from typing import Any

import pytest
import torch

from asr.encoders import (
    Encoder,
    GridLSTMEncoder,
    MultidimensionalLSTMEncoder,
    StackedRNNEncoder,
    TimeFrequencyLSTMEncoder,
)
from asr.encoders.options import option_errors
from asr.errors import InputError

GRIDS = (GridLSTMEncoder, MultidimensionalLSTMEncoder)
ALL = (*GRIDS, TimeFrequencyLSTMEncoder, StackedRNNEncoder)
WRONG: list[tuple[tuple[type[Encoder], ...], dict[str, Any], str]] = [
    (ALL, {"num_features": 0}, "num_features must be an integer of at least 1, got 0"),
    (ALL, {"num_features": 20.0}, "num_features must be an integer of at least 1, got 20.0"),
    (ALL, {"dropout": 1.5}, "dropout must be at least 0 and below 1, got 1.5"),
    ((*GRIDS, TimeFrequencyLSTMEncoder), {"patch_mels": 30}, "patch_mels must be at most num_features, 20, got 30"),
    ((*GRIDS, TimeFrequencyLSTMEncoder), {"frame_stride": 9}, "frame_stride must be at most patch_frames, 3, .*got 9"),
    (
        (*GRIDS, TimeFrequencyLSTMEncoder),
        {"gather": "max"},
        "gather must be one of 'concat', 'mean', 'last', got 'max'",
    ),
    ((*GRIDS, TimeFrequencyLSTMEncoder), {"projection_size": 0}, "projection_size must be .* at least 1, got 0"),
    (GRIDS, {"hidden_size": 0}, "hidden_size must be an integer of at least 1, got 0"),
    (GRIDS, {"num_layers": 0}, "num_layers must be an integer of at least 1, got 0"),
    (GRIDS, {"merge": "mean"}, "merge must be one of 'concat', 'sum', got 'mean'"),
    (GRIDS, {"gather": "last", "merge": "sum"}, "gather 'last' needs merge 'concat'"),
    (GRIDS, {"lstm_layers": -1}, "num_layers must be an integer of at least 0, got -1"),
    ((GridLSTMEncoder,), {"depth": "elu"}, "depth must be one of 'none', 'lstm', .*, got 'elu'"),
    ((GridLSTMEncoder,), {"depth": "gru"}, "depth 'gru' needs cell 'gru', got cell 'lstm'"),
    (
        (GridLSTMEncoder,),
        {"priority": ["depth"]},
        "names 'depth', but axes=2 and depth='none' have the dimensions 0, 1",
    ),
    ((GridLSTMEncoder,), {"priority": ["mel"]}, "priority must be one of 'time', 'frequency', 'depth', got 'mel'"),
    ((GridLSTMEncoder,), {"tied": True}, "tied layers must have inputs of equal size"),
    ((GridLSTMEncoder,), {"cell": "gru", "peepholes": True}, "peepholes=True needs LSTM cells, got cell 'gru'"),
    (GRIDS, {"bands": 4}, "bands must be at most the number of frequency blocks, 3, got 4"),
    ((GridLSTMEncoder,), {"recurrent_dropout": 1.0}, "recurrent_dropout must be at least 0 and below 1, got 1.0"),
    ((GridLSTMEncoder,), {"output_gate": "none"}, "output_gate must be one of 'outside', 'inside', got 'none'"),
    ((MultidimensionalLSTMEncoder,), {"cell": "leaky"}, "cell must be one of 'stable', 'sum', got 'leaky'"),
    ((TimeFrequencyLSTMEncoder,), {"frequency_layers": 0}, "frequency_layers must be .* at least 1, got 0"),
    ((TimeFrequencyLSTMEncoder,), {"frequency_hidden_size": 0}, "frequency_hidden_size must be .* at least 1, got 0"),
    ((TimeFrequencyLSTMEncoder,), {"lstm_layers": 0}, "lstm_layers must be an integer of at least 1, got 0"),
    ((StackedRNNEncoder,), {"num_layers": 0}, "num_layers must be an integer of at least 1, got 0"),
    ((StackedRNNEncoder,), {"cell": "transformer"}, "cell must be one of 'rnn', 'gru', 'lstm', got 'transformer'"),
    ((StackedRNNEncoder,), {"stacked_frames": 0}, "stacked_frames must be an integer of at least 1, got 0"),
    ((StackedRNNEncoder,), {"frame_stride": 0}, "frame_stride must be an integer of at least 1, got 0"),
    ((StackedRNNEncoder,), {"frame_stride": 4}, "frame_stride must be at most stacked_frames, 3, .* got 4"),
    ((StackedRNNEncoder,), {"convolution_channels": [8, 0]}, "convolution_channels must be .* at least 1, got 0"),
]


@pytest.mark.parametrize(("kinds", "options", "message"), WRONG, ids=[str(options) for _, options, _ in WRONG])
def test_a_wrong_value_is_refused_with_option_and_limit(
    kinds: tuple[type[Encoder], ...], options: dict[str, Any], message: str
) -> None:
    for kind in kinds:
        with pytest.raises(InputError, match=message):
            kind(**{"num_features": 20, **options})


def test_a_misspelt_option_is_a_type_error_that_names_it() -> None:
    for kind in ALL:
        with pytest.raises(TypeError, match="hiden_size"):
            kind(20, hiden_size=3)


def test_input_errors_pass_unchanged_and_others_keep_their_cause() -> None:
    error = InputError("already said")
    with pytest.raises(InputError, match="already said") as caught, option_errors():
        raise error
    assert caught.value is error
    with pytest.raises(InputError, match="too low") as caught, option_errors():
        raise ValueError("too low")
    assert isinstance(caught.value.__cause__, ValueError)


def test_defaults_make_a_model_for_any_number_of_mel_bins() -> None:
    for num_features in (8, 23, 40, 80):
        for kind in ALL:
            frames, lengths = kind(num_features).eval()(torch.randn(1, 10, num_features), torch.tensor([10]))
            assert frames.shape[1] == lengths == 4
