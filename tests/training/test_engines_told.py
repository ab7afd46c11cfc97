"""What a training says of the Grid LSTM's engines."""

import logging

import pytest

from asr.training.command import engines_told


def test_a_training_says_which_engine_runs(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("asr.grid.engines")
    with engines_told():
        logger.info("engine 'cpu' is used on cpu")
    logger.info("this is not of the training")
    assert capsys.readouterr().err == "grid LSTM: engine 'cpu' is used on cpu\n"
