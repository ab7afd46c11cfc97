"""The changes of the audio are what their names say."""

import itertools
import math

import pytest
import torch

from asr.errors import InputError
from asr.robustness.conditions import (
    at_speed,
    through_rate,
    unchanged,
    with_noise,
    with_recorded_noise,
)

RATE = 16000


def tone(hertz: float, seconds: float = 1.0) -> torch.Tensor:
    return 0.3 * torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * RATE)) / RATE)


def power(waveform: torch.Tensor) -> float:
    return float(waveform.double().square().mean())


VOICES = {name: tone(hertz, seconds) for name, hertz, seconds in [("a", 200, 1), ("b", 300, 0.4), ("c", 500, 2)]}
SPEAKERS = {"a": "ann", "b": "bob", "c": "ann"}


@pytest.mark.parametrize("kind", ["white", "pink", "babble"])
@pytest.mark.parametrize("snr", [20.0, 0.0, -5.0])
def test_noise_has_the_power_that_the_ratio_asks_for(kind, snr):
    noisy = with_noise(kind, snr, 0, VOICES, SPEAKERS).change(VOICES["a"], "a")
    assert 10 * math.log10(power(VOICES["a"]) / power(noisy - VOICES["a"])) == pytest.approx(snr, abs=1e-3)


def test_noise_is_a_function_of_seed_and_utterance():
    def noise(seed: int, name: str) -> torch.Tensor:
        return with_noise("white", 10, seed, VOICES, SPEAKERS).change(VOICES["a"], name)

    assert torch.equal(noise(0, "a"), noise(0, "a"))
    assert not torch.equal(noise(0, "a"), noise(1, "a"))
    assert not torch.equal(noise(0, "a"), noise(0, "c"))


def test_babble_is_made_of_other_speakers():
    babble = with_noise("babble", 0.0, 0, VOICES, SPEAKERS).change(VOICES["a"], "a") - VOICES["a"]
    spectrum = torch.fft.rfft(babble).abs()
    assert int(spectrum.argmax()) == 300  # bob's tone; ann's other utterance, 500 Hz, is not in it
    assert spectrum[500] < spectrum[300] / 100


@pytest.mark.parametrize(
    ("voices", "speakers"),
    [(VOICES, dict.fromkeys("abc", "ann")), ({"a": VOICES["a"]}, {"a": "ann"}), ({"a": VOICES["a"]}, {"a": None})],
)
def test_without_another_speaker_there_is_no_condition_with_babble(voices, speakers):
    message = "no babble can be made for a: there is no utterance of another speaker; give --noise without babble"
    with pytest.raises(InputError, match=message):
        with_noise("babble", 0.0, 0, voices, speakers)
    assert with_noise("white", 0.0, 0, voices, speakers).name == "white 0 dB"


@pytest.mark.parametrize(
    "speakers", [who for who in itertools.product(["ann", "bob", None], repeat=3) if len(set(who)) > 1 or None in who]
)
def test_where_babble_is_not_refused_every_utterance_has_some(speakers):
    known = dict(zip("abc", speakers, strict=True))
    condition = with_noise("babble", 0.0, 0, VOICES, known)
    for name, voice in VOICES.items():
        assert power(condition.change(voice, name) - voice) == pytest.approx(power(voice), rel=1e-3)


def test_speed_changes_duration_and_pitch():
    fast = at_speed(1.25).change(tone(400), "x")
    assert len(fast) == RATE / 1.25
    assert int(torch.fft.rfft(fast).abs().argmax()) / (len(fast) / RATE) == pytest.approx(500)


def test_a_rate_of_8000_removes_what_lies_above_4000_hertz_and_keeps_the_rest():
    change = through_rate(8000, RATE).change
    low, high = tone(1000), tone(5000)
    assert len(change(low, "x")) == RATE
    assert power(change(low, "x")) == pytest.approx(power(low), rel=0.02)
    assert power(change(high, "x")) < power(high) / 1e4


def test_recorded_noise_is_repeated_to_the_length_of_the_speech():
    noise = tone(50, 0.1)
    mixed = with_recorded_noise("hum", {"n": noise}, 0.0, 0).change(tone(1000), "x") - tone(1000)
    spectrum = torch.fft.rfft(mixed).abs()
    assert int(spectrum.argmax()) == 50


@pytest.mark.parametrize("utterance", list("abcdefgh"))
def test_silence_within_recorded_noise_is_not_drawn(utterance):
    """Half of all stretches hold the tone, so that ten in a row that do not are rare."""
    noise = torch.cat([torch.zeros(2 * RATE), tone(50, 2.0)])
    speech = tone(1000, 0.1)
    noisy = with_recorded_noise("hum", {"n": noise}, 5.0, 0).change(speech, utterance)
    assert 10 * math.log10(power(speech) / power(noisy - speech)) == pytest.approx(5.0, abs=1e-3)


def test_recorded_noise_that_is_silent_wherever_it_is_drawn_is_named():
    noise = torch.zeros(100 * RATE)
    noise[0] = 1.0
    message = r"the noise 'click' of hum is silence from sample \d+ to \d+, like 9 stretches drawn before it"
    with pytest.raises(InputError, match=message):
        with_recorded_noise("hum", {"click": noise}, 5.0, 0).change(tone(1000, 0.1), "a")


def test_the_unchanged_audio_is_unchanged():
    assert torch.equal(unchanged().change(VOICES["a"], "a"), VOICES["a"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: at_speed(0.1), "--speed must be hundredths from 0.5 to 2, got 0.1"),
        (lambda: at_speed(1.005), "got 1.005"),
        (lambda: through_rate(16000, 16000), "below the model's 16000 Hz, got 16000"),
        (lambda: through_rate(10, 16000), "at least 1000"),
    ],
)
def test_impossible_conditions_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
