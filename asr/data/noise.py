"""Noise that is mixed into speech: made here, or recorded."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from lhotse import MonoCut
from torch import Tensor

from asr.data.cuts import check_sample_rates, load_waveform, read_cuts
from asr.errors import InputError

COLOURS = {"white": 0.0, "pink": 1.0}
"""Noises that are made: their power density is proportional to 1 / frequency to the power of this."""
SILENT_NOISE_TRIES = 10
"""Stretches of noise that are tried before digital silence is an error."""


def mix_noise(speech: Tensor, noise: Tensor, snr: float) -> Tensor:
    """Speech (N,) + gain * noise (N,), the gain such that 10 log10(power of speech / power of scaled noise) = `snr` dB.

    Powers are means of squares over all N samples. Silent speech stays silent; the noise must not be silent.
    """
    speech_power, noise_power = (float(x.double().square().mean()) for x in (speech, noise))
    return speech + noise * math.sqrt(speech_power / noise_power * 10 ** (-snr / 10))


def coloured_noise(length: int, rng: np.random.Generator, exponent: float) -> Tensor:
    """Gaussian noise (N,) of unit power with a power density proportional to 1 / frequency^exponent."""
    samples = rng.standard_normal(length)
    if exponent:
        spectrum = np.fft.rfft(samples)
        frequency = np.arange(len(spectrum), dtype=float)
        frequency[0] = 1.0
        samples = np.fft.irfft(spectrum * frequency ** (-exponent / 2), length)
    return torch.from_numpy((samples / np.sqrt(np.mean(samples**2))).astype(np.float32))


class Noises:
    """Where stretches of noise are drawn from: each source as often as the others, then each of its recordings.

    Args:
        sources: of `COLOURS`, or manifests of lhotse cuts, whose text, if any, is ignored.
        sample_rate: in Hz, that recordings must have.

    Raises:
        InputError: a manifest cannot be read, or is of another sample rate.
    """

    def __init__(self, sources: Sequence[str], sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._sources: list[float | list[MonoCut]] = []
        for source in sources:
            if source in COLOURS:
                self._sources.append(COLOURS[source])
            else:
                cuts = read_cuts(source, transcribed=False)
                check_sample_rates(source, cuts, sample_rate)
                self._sources.append(list(cuts))

    def __bool__(self) -> bool:
        return bool(self._sources)

    def draw(self, num_samples: int, rng: np.random.Generator) -> Tensor:
        """A stretch of noise (N,); a recording that is shorter is repeated.

        Raises:
            InputError: digital silence, again and again; the recording is named.
        """
        source = self._sources[int(rng.integers(len(self._sources)))]
        if isinstance(source, float):
            return coloured_noise(num_samples, rng, source)
        for _ in range(SILENT_NOISE_TRIES):
            cut = source[int(rng.integers(len(source)))]
            offset = rng.uniform(0, max(0.0, cut.duration - num_samples / self.sample_rate))
            duration = min(num_samples / self.sample_rate, cut.duration - offset)
            noise = load_waveform(cut.truncate(offset=offset, duration=duration, preserve_id=True), self.sample_rate)
            if noise.any():
                return torch.from_numpy(np.resize(noise, num_samples))
        raise InputError(
            f"noise {cut.id!r} from {offset:.3f} s on is silence, like {SILENT_NOISE_TRIES - 1} stretches drawn "
            "before it; remove silent cuts from augmentation.noise"
        )
