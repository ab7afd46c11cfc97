"""What a training says of the Grid LSTM's engines."""

import logging

import pytest

from asr.training.command import tell_engines


def test_a_training_says_once_which_engine_runs(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        tell_engines()
    logging.getLogger("asr.grid.engines").info("engine 'cpu' is used on cpu")
    assert capsys.readouterr().err == "grid LSTM: engine 'cpu' is used on cpu\n"
