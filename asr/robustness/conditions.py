"""Changes of the test audio. Each is a function of the utterance's id and the seed alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr.data.augmentation import change_speed, narrow_band
from asr.data.noise import COLOURS, SILENT_NOISE_TRIES, coloured_noise, mix_noise
from asr.errors import InputError
from asr.randomness import generator

NOISES = (*COLOURS, "babble")
"""Kinds of noise that are made; any other name is a manifest of cuts."""
VOICES = 6
"""Utterances that are added up to babble, of which each is as loud as the others."""

Voices = Mapping[str, Tensor]
"""Waveforms by utterance id, from which babble is made."""


@dataclass(frozen=True)
class Condition:
    """One change of the audio.

    Args:
        name: for the table, such as "babble 10 dB".
        change: (waveform (N,), utterance id) -> waveform (N',).
    """

    name: str
    change: Callable[[Tensor, str], Tensor]


def unchanged() -> Condition:
    """The audio as it is."""
    return Condition("unchanged", lambda waveform, name: waveform)


def at_speed(factor: float) -> Condition:
    """Played `factor` times as fast, and higher by as much.

    Raises:
        InputError: the factor is not in hundredths from 0.5 to 2.
    """
    if not 0.5 <= factor <= 2 or abs(100 * factor - round(100 * factor)) > 1e-6:
        raise InputError(f"--speed must be hundredths from 0.5 to 2, got {factor}")
    return Condition(f"speed {factor:g}", lambda waveform, name: change_speed(waveform, factor))


def through_rate(rate: int, sample_rate: int) -> Condition:
    """Resampled to `rate` and back: nothing above half of it is left, as over a telephone at 8000 Hz.

    Raises:
        InputError: the rate is not between 1000 Hz and the sample rate.
    """
    if not 1000 <= rate < sample_rate:
        raise InputError(f"--rate must be at least 1000 and below the model's {sample_rate} Hz, got {rate}")

    return Condition(f"{rate} Hz", lambda waveform, name: narrow_band(waveform, sample_rate, rate))


def with_noise(kind: str, snr: float, seed: int, voices: Voices, speakers: Mapping[str, str | None]) -> Condition:
    """With a made noise at a signal-to-noise ratio in dB (means of squares over the whole utterance).

    White noise has equal power at all frequencies, pink noise in all octaves; babble is the sum of `VOICES` other
    utterances, of other speakers where speakers are known, each started anew until it is long enough.

    Args:
        kind: of `NOISES`.
        snr: in dB.
        seed: of the noise.
        voices: of all utterances, at least one, of which babble is made.
        speakers: of the utterances.

    Raises:
        InputError: there is no utterance of another speaker to make babble of.
    """
    if kind == "babble":
        _check_voices(voices, speakers)

    def change(waveform: Tensor, name: str) -> Tensor:
        rng = generator(seed, "robustness", kind, name)
        if kind == "babble":
            others = [other for other in voices if other != name and _different(speakers, other, name)]
            noise = babble([voices[other] for other in _some(others, rng)], len(waveform))
        else:
            noise = coloured_noise(len(waveform), rng, COLOURS[kind])
        return mix_noise(waveform, noise, snr)

    return Condition(f"{kind} {snr:g} dB", change)


def with_recorded_noise(name: str, noises: Mapping[str, Tensor], snr: float, seed: int) -> Condition:
    """With a stretch of one of some recordings (N_k,), by id, repeated where it is too short.

    A stretch of digital silence is drawn again. `Condition.change` raises InputError if all that are tried are silent.
    """

    def change(waveform: Tensor, utterance: str) -> Tensor:
        rng = generator(seed, "robustness", name, utterance)
        return mix_noise(waveform, _stretch(name, noises, len(waveform), rng), snr)

    return Condition(f"{name} {snr:g} dB", change)


def _stretch(name: str, noises: Mapping[str, Tensor], length: int, rng: np.random.Generator) -> Tensor:
    """A stretch (N,) of noise that is not silent.

    Raises:
        InputError: digital silence, again and again; the recording is named.
    """
    ids = list(noises)
    for _ in range(SILENT_NOISE_TRIES):
        drawn = ids[int(rng.integers(len(ids)))]
        noise = noises[drawn]
        start = int(rng.integers(max(1, len(noise) - length + 1)))
        stretch = _repeated(noise[start:], length)
        if stretch.any():
            return stretch
    raise InputError(
        f"the noise {drawn!r} of {name} is silence from sample {start} to {start + length}, like "
        f"{SILENT_NOISE_TRIES - 1} stretches drawn before it: cut the silence off"
    )


def babble(voices: Sequence[Tensor], length: int) -> Tensor:
    """The sum (N,) of voices (N_k,) brought to equal power."""
    total = torch.zeros(length)
    for voice in voices:
        total += _repeated(voice / voice.square().mean().sqrt().clamp(min=1e-8), length)
    return total


def _check_voices(voices: Voices, speakers: Mapping[str, str | None]) -> None:
    """Whether every utterance has another speaker's: if the first has one, each has the first or that one.

    Raises:
        InputError: there is a single utterance, or all are of one speaker.
    """
    first = next(iter(voices))
    if not any(_different(speakers, other, first) for other in voices if other != first):
        raise InputError(
            f"no babble can be made for {first}: there is no utterance of another speaker; give --noise without babble"
        )


def _some(others: list[str], rng: np.random.Generator) -> list[str]:
    return [others[int(index)] for index in rng.permutation(len(others))[:VOICES]]


def _different(speakers: Mapping[str, str | None], one: str, other: str) -> bool:
    return speakers.get(one) is None or speakers.get(one) != speakers.get(other)


def _repeated(noise: Tensor, length: int) -> Tensor:
    return noise.repeat(-(-length // len(noise)))[:length]
