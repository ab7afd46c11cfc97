"""Waveform -> log-mel features, one utterance at a time, before any padding."""

import math
import warnings
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
import torchaudio

from asr.errors import InputError

LOG_FLOOR = 1e-7
"""Added to the mel power (full scale 1.0) before the logarithm: about -70 dB below one unit of power."""


@dataclass(frozen=True)
class FeatureConfig:
    """How a waveform becomes log-mel features.

    Args:
        sample_rate: in Hz; audio at another rate is refused where batches are made, and resampled by `transcribe`.
        num_mels: mel bins M.
        window_length: in samples (400 are 25 ms at 16 kHz).
        hop_length: in samples (160 are 10 ms at 16 kHz).
        min_frequency: lower edge of the mel filters, in Hz.
        max_frequency: upper edge in Hz; None is half the sample rate.
        normalization: "global" (mean and variance of the training set, per mel bin), "utterance" (of the
            utterance itself), or "none".
    """

    sample_rate: int = 16000
    num_mels: int = 80
    window_length: int = 400
    hop_length: int = 160
    min_frequency: float = 20.0
    max_frequency: float | None = None
    normalization: Literal["global", "utterance", "none"] = "global"

    def __post_init__(self) -> None:
        for name in ("sample_rate", "num_mels", "window_length", "hop_length"):
            if getattr(self, name) < 1:
                raise InputError(f"features.{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.min_frequency < self.upper_frequency <= self.sample_rate / 2:
            raise InputError(
                f"features.min_frequency {self.min_frequency} and max_frequency {self.upper_frequency} must satisfy "
                f"0 <= min < max <= {self.sample_rate / 2} Hz, half the sample rate"
            )

    @property
    def upper_frequency(self) -> float:
        """Upper edge of the mel filters in Hz."""
        return self.sample_rate / 2 if self.max_frequency is None else self.max_frequency

    def num_frames(self, num_samples: int) -> int:
        """Frames T of N samples: as many whole windows as fit, at least one (a short input is padded with zeros).

        >>> FeatureConfig().num_frames(16000), FeatureConfig().num_frames(1)
        (98, 1)
        """
        return 1 + max(0, num_samples - self.window_length) // self.hop_length

    def mel_centres(self) -> np.ndarray:
        """Centres of the mel filters (M,) in Hz, of HTK's scale: 2595 log10(1 + f / 700)."""
        low, high = (2595 * math.log10(1 + edge / 700) for edge in (self.min_frequency, self.upper_frequency))
        mels = np.linspace(low, high, self.num_mels + 2)[1:-1]
        return 700 * (10 ** (mels / 2595) - 1)

    def spectrum(self) -> dict[str, Any]:
        """The fields that determine the features before normalisation, as plain data."""
        fields = asdict(self)
        del fields["normalization"]
        return fields


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and standard deviation of each mel bin over `frames` training frames."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    frames: int


class LogMel(torch.nn.Module):
    """Waveform (N,) -> natural logarithm of the mel power (T, M), float32.

    Frames are whole windows (no padding at the edges, so that streaming sees the same frames); the window is Hann, the
    mel scale HTK's. Normalisation as the configuration says; standard deviations below `STD_FLOOR` count as that.

    Raises:
        InputError: the statistics are missing or of another number of mel bins, or mel bins would be empty.
    """

    STD_FLOOR = 1e-2

    def __init__(self, config: FeatureConfig, statistics: FeatureStatistics | None = None) -> None:
        super().__init__()
        self.config = config
        if config.normalization == "global":
            if statistics is None:
                raise InputError("features.normalization 'global' needs feature statistics, and none were given")
            if len(statistics.mean) != config.num_mels:
                raise InputError(
                    f"the feature statistics have {len(statistics.mean)} mel bins, "
                    f"features.num_mels is {config.num_mels}"
                )
        self.statistics = statistics
        mean, std = _mean_and_std(config, statistics)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std.clamp(min=self.STD_FLOOR), persistent=False)
        self.mel_power = _mel_spectrogram(config)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """Samples (N,) -> normalised features (T, M)."""
        return self.normalize(self.unnormalized(waveform))

    def unnormalized(self, waveform: torch.Tensor) -> torch.Tensor:
        """Samples (N,) -> log-mel features (T, M) before normalisation."""
        config = self.config
        short = max(0, config.window_length - waveform.shape[-1])
        # torch.stft centres the window in its n_fft samples: pad so that whole windows, not whole n_fft, are counted.
        spare = self.mel_power.n_fft - config.window_length
        padded = torch.nn.functional.pad(waveform, (spare // 2, spare - spare // 2 + short))
        return (self.mel_power(padded) + LOG_FLOOR).log().T

    def normalize(self, features: torch.Tensor) -> torch.Tensor:
        """Features (T, M) -> the same, normalised as the configuration says."""
        if self.config.normalization == "utterance":
            mean = features.mean(dim=0)
            return (features - mean) / (features - mean).square().mean(dim=0).sqrt().clamp(min=self.STD_FLOOR)
        return (features - self.mean).div_(self.std)


def _mel_spectrogram(config: FeatureConfig) -> torchaudio.transforms.MelSpectrogram:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="At least one mel filterbank has all zero values")
        module = torchaudio.transforms.MelSpectrogram(
            sample_rate=config.sample_rate,
            n_fft=2 ** math.ceil(math.log2(config.window_length)),
            win_length=config.window_length,
            hop_length=config.hop_length,
            f_min=config.min_frequency,
            f_max=config.upper_frequency,
            n_mels=config.num_mels,
            center=False,
        )
    empty = int((module.mel_scale.fb.amax(dim=0) == 0).sum())
    if empty:
        raise InputError(
            f"features.num_mels {config.num_mels} are more than features.window_length {config.window_length} samples "
            f"resolve: {empty} mel bins would be empty"
        )
    return module


def _mean_and_std(config: FeatureConfig, statistics: FeatureStatistics | None) -> tuple[torch.Tensor, torch.Tensor]:
    if config.normalization != "global" or statistics is None:
        return torch.zeros(config.num_mels), torch.ones(config.num_mels)
    return torch.tensor(statistics.mean), torch.tensor(statistics.std)


class StatisticsAccumulator:
    """Mean and variance of feature frames, in float64, independent of the order of utterances up to rounding.

    Utterances are reduced by themselves (two passes) and combined by Chan, Golub and LeVeque's update (1979).
    """

    def __init__(self, num_mels: int) -> None:
        self.frames = 0
        self.mean = np.zeros(num_mels)
        self.squares = np.zeros(num_mels)

    def add(self, features: np.ndarray) -> None:
        """Add the unnormalised features (T, M) of one utterance."""
        one = StatisticsAccumulator(features.shape[1])
        features = features.astype(np.float64)
        one.frames, one.mean = len(features), features.mean(axis=0)
        one.squares = np.square(features - one.mean).sum(axis=0)
        self.merge(one)

    def merge(self, other: "StatisticsAccumulator") -> None:
        """Add all frames of another accumulator. Merging one utterance at a time equals adding them in that order."""
        total, difference = self.frames + other.frames, other.mean - self.mean
        self.squares += other.squares + np.square(difference) * self.frames * other.frames / max(1, total)
        self.mean += difference * other.frames / max(1, total)
        self.frames = total

    def result(self) -> FeatureStatistics:
        """The statistics of all frames added.

        Raises:
            InputError: no frame was added.
        """
        if self.frames == 0:
            raise InputError("feature statistics need at least one frame, and no utterance was added")
        std = np.sqrt(self.squares / self.frames)
        return FeatureStatistics(tuple(map(float, self.mean)), tuple(map(float, std)), self.frames)
