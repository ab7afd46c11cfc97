"""Training-time changes of speech: speed, noise, volume, and masks on the features (SpecAugment).

Each is a pure function of the signal and its parameters; `Augmentation` draws the parameters from (seed, epoch,
utterance id, purpose) alone, so that they do not depend on workers, on order, or on where a run was interrupted.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
import torchaudio
from torch import Tensor

from asr.data.features import FeatureConfig
from asr.data.noise import Noises, mix_noise
from asr.errors import InputError
from asr.randomness import generator

WARPED_SHARE = 0.8
"""Of the upper edge of the mel filters: frequencies above it are squeezed when those below are multiplied."""
TELEPHONE_RATE = 8000
"""In Hz, of telephones before wide-band speech."""


@dataclass(frozen=True)
class AugmentationConfig:
    """How training utterances are varied; development and test utterances never are.

    Args:
        speed_factors: each utterance is played at one of these speeds (0.9 is slower and deeper), drawn anew in each
            epoch; hundredths. [1.0] switches it off.
        frequency_warp: every frequency of an utterance is multiplied by a factor drawn uniformly from 1 minus this to 1
            plus this, as by vocal tracts of other lengths; 0 switches it off.
        frequency_masks: number of masks over mel bins; 0 switches them off.
        frequency_mask_bins: widest frequency mask, in mel bins.
        time_masks: number of masks over time; 0 switches them off.
        time_mask_frames: widest time mask, in frames.
        time_mask_fraction: widest time mask as a fraction of the utterance, so that short ones keep most of theirs.
        noise: what is mixed into the speech, one source at a time: "white", "pink" (made), or manifests of lhotse
            cuts, whose text, if any, is ignored.
        noise_probability: of mixing noise into an utterance.
        noise_snr: lowest and highest signal-to-noise ratio in dB, drawn uniformly.
        telephone_probability: of leaving nothing above 4 kHz in an utterance, as a sample rate of 8 kHz does.
        volume_decibels: gains are drawn uniformly from minus to plus this many dB; 0 switches it off.
    """

    speed_factors: tuple[float, ...] = (0.9, 1.0, 1.1)
    frequency_warp: float = 0.0
    frequency_masks: int = 2
    frequency_mask_bins: int = 27
    time_masks: int = 2
    time_mask_frames: int = 100
    time_mask_fraction: float = 0.15
    noise: tuple[str, ...] = ()
    noise_probability: float = 0.5
    noise_snr: tuple[float, float] = (5.0, 20.0)
    telephone_probability: float = 0.0
    volume_decibels: float = 0.0

    def __post_init__(self) -> None:
        for factor in self.speed_factors:
            if not 0.5 <= factor <= 2 or abs(100 * factor - round(100 * factor)) > 1e-6:
                raise InputError(f"augmentation.speed_factors must be hundredths from 0.5 to 2, got {factor}")
        if not self.speed_factors or len(set(self.speed_factors)) != len(self.speed_factors):
            raise InputError(f"augmentation.speed_factors must be distinct, at least one, got {self.speed_factors}")
        for name in ("frequency_masks", "frequency_mask_bins", "time_masks", "time_mask_frames", "volume_decibels"):
            if getattr(self, name) < 0:
                raise InputError(f"augmentation.{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.frequency_warp <= 0.5:
            raise InputError(f"augmentation.frequency_warp must be from 0 to 0.5, got {self.frequency_warp}")
        for name in ("time_mask_fraction", "noise_probability", "telephone_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"augmentation.{name} must be from 0 to 1, got {getattr(self, name)}")
        if self.noise_snr[0] > self.noise_snr[1]:
            raise InputError(f"augmentation.noise_snr must be [lowest, highest], got {list(self.noise_snr)}")

    @property
    def changes_audio(self) -> bool:
        """Whether noise, bandwidth or volume is varied, which features stored beforehand cannot follow."""
        noisy = bool(self.noise and self.noise_probability)
        return noisy or self.telephone_probability > 0 or self.volume_decibels > 0


NO_AUGMENTATION = AugmentationConfig(speed_factors=(1.0,), frequency_masks=0, time_masks=0)


@functools.lru_cache(maxsize=16)
def _resampler(percent: int) -> torchaudio.transforms.Resample:
    return torchaudio.transforms.Resample(orig_freq=percent, new_freq=100)


def samples_at_speed(num_samples: int, factor: float) -> int:
    """Samples that N samples become at a speed.

    >>> samples_at_speed(16000, 1.1), samples_at_speed(16000, 0.9), samples_at_speed(16000, 1.0)
    (14546, 17778, 16000)
    """
    return math.ceil(100 * num_samples / round(100 * factor))


def change_speed(waveform: Tensor, factor: float) -> Tensor:
    """Play samples (N,) `factor` times as fast (Ko et al. 2015): duration / factor, every frequency * factor."""
    if factor == 1:
        return waveform
    resampled: Tensor = _resampler(round(100 * factor))(waveform)
    return resampled


def narrow_band(waveform: Tensor, sample_rate: int, rate: int = TELEPHONE_RATE) -> Tensor:
    """Samples (N,) at `sample_rate` Hz, resampled to `rate` and back: nothing above rate / 2 is left."""
    low = torchaudio.functional.resample(waveform, sample_rate, rate)
    return torchaudio.functional.resample(low, rate, sample_rate)[: len(waveform)]


def warp_frequencies(features: Tensor, factor: float, config: FeatureConfig) -> Tensor:
    """Multiply every frequency of log-mel features (T, M) by a factor (vocal tract length perturbation).

    Jaitly and Hinton (ICML 2013 workshop on deep learning for audio, speech and language): up to a frequency F at which
    F * factor is `WARPED_SHARE` of the upper edge or less, frequencies are multiplied; above it they go linearly to the
    upper edge, which stays. Bins between two of the original ones are interpolated, and those below the first or above
    the last take its value.
    """
    centres = config.mel_centres()
    upper = config.upper_frequency
    knee = WARPED_SHARE * upper * min(factor, 1.0)  # in frequencies after the change
    above = upper - (upper - knee / factor) * (upper - centres) / (upper - knee)
    source = np.where(centres <= knee, centres / factor, above)  # the frequency before it
    position = np.interp(source, centres, np.arange(len(centres)))
    lower = np.minimum(position.astype(int), len(centres) - 2)
    weight = torch.from_numpy((position - lower).astype(np.float32))
    below, beyond = features[:, lower], features[:, lower + 1]
    return below + weight * (beyond - below)


def mask_features(features: Tensor, config: AugmentationConfig, rng: np.random.Generator, fill: Tensor) -> Tensor:
    """SpecAugment's frequency and time masks (Park et al. 2019, arXiv 1904.08779, section 2) on features (T, M).

    A mask's width is uniform from 0 to its maximum, then its position uniform among those that fit. `fill` (M,) is what
    masked features become. Time warping, which the authors found to matter least, is left out.
    """
    frames, bins = features.shape
    masked, fill = features.numpy().copy(), fill.numpy()  # slices of arrays cost a tenth of those of tensors
    for _ in range(config.frequency_masks):
        first, end = _stretch(bins, min(config.frequency_mask_bins, bins), rng)
        masked[:, first:end] = fill[first:end]
    for _ in range(config.time_masks):
        widest = min(config.time_mask_frames, int(config.time_mask_fraction * frames))
        first, end = _stretch(frames, widest, rng)
        masked[first:end] = fill
    return torch.from_numpy(masked)


def _stretch(length: int, widest: int, rng: np.random.Generator) -> tuple[int, int]:
    width = int(rng.integers(widest + 1))
    first = int(rng.integers(length - width + 1))
    return first, first + width


class Augmentation:
    """Augmentation of training utterances as a function of (seed, epoch, utterance id).

    Args:
        config: what is varied, and how much.
        seed: of the run.
        features: how features are made; noise has the sample rate that it names.

    Raises:
        InputError: a noise manifest cannot be read, or is of another sample rate.
    """

    def __init__(self, config: AugmentationConfig, seed: int, features: FeatureConfig) -> None:
        self.config = config
        self.seed = seed
        self.spectrum = features
        self.sample_rate = features.sample_rate
        self._speeds: tuple[int, dict[str, float]] = (-1, {})  # an epoch, and what was drawn in it
        self._noises = Noises(config.noise if config.noise_probability > 0 else (), self.sample_rate)

    def _generator(self, epoch: int, utterance_id: str, purpose: str) -> np.random.Generator:
        return generator(self.seed, "augmentation", purpose, epoch, utterance_id)

    def speed(self, epoch: int, utterance_id: str) -> float:
        """The utterance's speed in an epoch."""
        factors = self.config.speed_factors
        if len(factors) == 1:
            return factors[0]
        if self._speeds[0] != epoch:
            self._speeds = (epoch, {})
        known = self._speeds[1]
        if utterance_id not in known:  # the plan of batches asks as well as the batch
            index = int(self._generator(epoch, utterance_id, "speed").integers(len(factors)))
            known[utterance_id] = factors[index]
        return known[utterance_id]

    def waveform(self, waveform: Tensor, epoch: int, utterance_id: str) -> Tensor:
        """Samples (N,) -> the same at another speed, with noise, over a telephone, at another volume.

        Raises:
            InputError: a noise file cannot be used.
        """
        config = self.config
        waveform = change_speed(waveform, self.speed(epoch, utterance_id))
        if self._noises:
            rng = self._generator(epoch, utterance_id, "noise")
            if rng.random() < config.noise_probability:
                noise = self._noises.draw(len(waveform), rng)
                waveform = mix_noise(waveform, noise, rng.uniform(*config.noise_snr))
        if config.telephone_probability > 0:
            rng = self._generator(epoch, utterance_id, "telephone")
            if rng.random() < config.telephone_probability:
                waveform = narrow_band(waveform, self.sample_rate)
        if config.volume_decibels > 0:
            gain = self._generator(epoch, utterance_id, "volume").uniform(-1, 1) * config.volume_decibels
            waveform = waveform * 10 ** (gain / 20)
        return waveform

    def warped(self, features: Tensor, epoch: int, utterance_id: str) -> Tensor:
        """Features (T, M) before normalisation -> the same with their frequencies multiplied."""
        warp = self.config.frequency_warp
        if not warp:
            return features
        factor = self._generator(epoch, utterance_id, "warp").uniform(1 - warp, 1 + warp)
        return warp_frequencies(features, factor, self.spectrum)

    def features(self, features: Tensor, epoch: int, utterance_id: str, fill: Tensor) -> Tensor:
        """Features (T, M), normalised -> the same with masks filled with `fill` (M,)."""
        if not (self.config.frequency_masks or self.config.time_masks):
            return features
        return mask_features(features, self.config, self._generator(epoch, utterance_id, "masks"), fill)
