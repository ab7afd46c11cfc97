"""Training the character language model: what it reads, what it learns, and when it measures."""

import itertools
import math
import time

import pytest
import torch

from asr.errors import InputError
from asr.lm.neural import CharacterLanguageModel, bits_per_character
from asr.lm.neural_training import Training, TrainingOptions, train

TEXT = "ABC\n" * 300
OPTIONS = TrainingOptions(learning_rate=3e-2, streams=4, length=8, warmup=1, decay=0.9)


def make(architecture="lstm", tied=False):
    torch.manual_seed(0)
    return CharacterLanguageModel("\nABC", architecture, 1, 8, tied, 4, "wavefront")


def started(options=OPTIONS, **net):
    model = make(**net)
    return Training(model, model.encode(TEXT), options)


@pytest.mark.parametrize("net", [{"architecture": "lstm"}, {"architecture": "grid"}])
def test_a_text_that_repeats_itself_is_learnt(net):
    training = started(**net)
    first = training.until(characters=32)
    training.until(characters=6000)
    assert first == pytest.approx(2, abs=0.3)  # two bits: one of four characters
    assert float(bits_per_character(training.averaged, training.codes, 4).mean()) < 0.1


def test_the_reported_bits_are_the_mean_loss_before_each_update():
    training = started()
    model, codes = make(), training.codes
    streams = codes[: (len(codes) - 1) // 4 * 4].view(4, -1)
    log_probs = model(streams[:, :8])[0].log_softmax(-1).detach()
    expected = -log_probs.gather(-1, streams[:, 1:9].unsqueeze(-1)).mean()
    assert training.until(characters=1) == pytest.approx(float(expected) / math.log(2), rel=1e-5)
    assert (training.steps, training.characters) == (1, 32)


def test_the_bits_of_no_step_are_no_number():
    training = started()
    training.until(characters=1)
    assert math.isnan(training.until(characters=32))
    assert training.steps == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"learning_rate": -1.0}, "learning_rate must be more than 0 and finite, got -1.0"),
        ({"learning_rate": math.nan}, "learning_rate must be more than 0 and finite, got nan"),
        ({"learning_rate": math.inf}, "learning_rate must be more than 0 and finite, got inf"),
        ({"streams": 0}, "streams must be at least 1, got 0"),
        ({"streams": -1}, "streams must be at least 1, got -1"),
        ({"length": 0}, "length must be at least 1, got 0"),
        ({"warmup": -1}, "warmup must be at least 0, got -1"),
        ({"clip": 0.0}, "clip must be more than 0, got 0.0"),
        ({"decay": 1.5}, "decay must be from 0 to 1, got 1.5"),
    ],
)
def test_options_out_of_range_are_refused_with_value_and_limit(wrong, message):
    with pytest.raises(InputError, match=message):
        TrainingOptions(**wrong)


def test_the_state_is_carried_from_piece_to_piece_and_begins_anew_with_the_text():
    training = started()
    states = []
    forward = training.model.forward
    training.model.forward = lambda characters, state=None: (states.append(state), forward(characters, state))[1]
    each = (len(TEXT) - 1) // 4
    training.until(characters=4 * each + 1)
    pieces = math.ceil(each / 8)
    assert [state is None for state in states] == [True] + [False] * (pieces - 1) + [True]


def test_the_average_without_memory_is_the_model_and_with_memory_is_between():
    plain = started(TrainingOptions(3e-2, 4, 8, warmup=1, decay=0.0))
    plain.until(characters=200)
    torch.testing.assert_close(plain.averaged.output.weight, plain.model.output.weight.detach())
    slow = started(TrainingOptions(3e-2, 4, 8, warmup=1, decay=0.5))
    begin = slow.model.output.weight.detach().clone()
    slow.until(characters=32)
    expected = begin + (1 - 1 / 10) * (slow.model.output.weight.detach() - begin)  # (1 + 0) / (10 + 0) of step 0
    torch.testing.assert_close(slow.averaged.output.weight, expected)


def test_a_warm_up_rises_to_the_rate():
    training = started(TrainingOptions(1e-2, 4, 8, warmup=4))
    rates = []
    for count in range(6):
        training.until(characters=32 * (count + 1))
        rates.append(training.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01])


@pytest.fixture
def clock(monkeypatch):
    """A CPU clock on which every step takes a second."""
    now = itertools.count()
    monkeypatch.setattr(time, "process_time", lambda: float(next(now)))
    return now


@pytest.mark.usefixtures("clock")
def test_marks_in_seconds_and_in_characters_are_measured_once_each_and_in_order():
    seen = []
    measured = train(started(), [20, 15], lambda model: seen.append(model) or 1.5, [64, 320])
    assert [(point.seconds, point.steps) for point in measured] == [(2, 2), (10, 10), (15, 15), (20, 20)]
    assert [point.characters for point in measured] == [64, 320, 480, 640]
    assert [point.unseen_bits for point in measured] == [1.5] * len(seen) == [1.5] * 4


def test_time_spent_on_measuring_is_not_counted(clock):
    def slow(model):
        for _ in range(1000):
            next(clock)
        return 0.0

    assert [point.seconds for point in train(started(), [3], slow, [32, 64])] == [1, 2, 3]


def test_a_loss_that_is_not_finite_and_a_text_that_is_too_short_are_refused():
    training = started()
    torch.nn.init.constant_(training.model.output.weight, math.nan)
    with pytest.raises(InputError, match="nan at step 1: train at a smaller learning rate"):
        training.until(characters=1)
    with pytest.raises(InputError, match="7 characters are too few to train on in 4 streams"):
        Training(make(), torch.zeros(7, dtype=torch.int64), OPTIONS)
