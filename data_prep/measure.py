"""What a waveform is like: level, silence, clipping, bandwidth. NumPy alone, a few milliseconds a minute of speech."""

import hashlib
from dataclasses import dataclass

import numpy as np

FULL_SCALE = 0.999
"""Samples of at least this magnitude count as clipped (full scale is 1.0)."""

SILENCE_LEVEL = -60.0
"""Frames below this are silent, in dB relative to full scale."""

SILENCE_DROP = 40.0
"""So are, for the pauses at both ends, frames this many dB below the loudest."""

BANDWIDTH_DROP = 60.0
"""Nothing is heard above the frequency from which on the mean spectrum stays this many dB below its maximum."""

LEVEL_FRAME = 0.01
"""Length of the frames of which levels are measured, in seconds."""


@dataclass(frozen=True)
class Measurement:
    """Properties of one decoded utterance.

    Args:
        sample_rate: in Hz.
        channels: of the file.
        num_samples: per channel, of the utterance.
        peak: largest magnitude, full scale 1.0.
        level: of the loudest 10 ms, root mean square in dB relative to full scale; -inf for digital silence.
        leading_silence: seconds before the first frame that is not silent.
        trailing_silence: seconds after the last one.
        clipped: share of samples at full scale.
        upper_frequency: Hz, above which nothing is heard; None if the utterance is too short or too silent to tell.
        digest: of samples and rate; equal for equal audio, whatever its file format.
    """

    sample_rate: int
    channels: int
    num_samples: int
    peak: float
    level: float
    leading_silence: float
    trailing_silence: float
    clipped: float
    upper_frequency: float | None
    digest: str

    @property
    def seconds(self) -> float:
        """Duration of the utterance."""
        return self.num_samples / self.sample_rate


def measure(samples: np.ndarray, sample_rate: int) -> Measurement:
    """Measure samples (channels, N), finite, full scale 1.0. Channels are averaged for all but peak and clipping."""
    mono = samples[0] if len(samples) == 1 else samples.mean(axis=0, dtype=np.float32)
    levels = frame_levels(mono, sample_rate)
    sounding = np.flatnonzero(levels > max(levels.max() - SILENCE_DROP, SILENCE_LEVEL))
    first, last = (sounding[0], sounding[-1]) if len(sounding) else (len(levels), len(levels) - 1)
    peak = float(np.abs(samples).max())
    digest = hashlib.blake2b(f"{sample_rate} {samples.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(samples).data)
    return Measurement(
        sample_rate=sample_rate,
        channels=len(samples),
        num_samples=samples.shape[1],
        peak=peak,
        level=float(levels.max()),
        leading_silence=float(first * LEVEL_FRAME),
        trailing_silence=float((len(levels) - 1 - last) * LEVEL_FRAME),
        clipped=float((np.abs(samples) >= FULL_SCALE).mean()) if peak >= FULL_SCALE else 0.0,
        upper_frequency=upper_frequency(mono, sample_rate) if len(sounding) else None,
        digest=digest.hexdigest(),
    )


def frame_levels(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Root mean square in dB relative to full scale of each 10 ms of samples (N,); the last frame may be shorter.

    >>> frame_levels(np.full(320, 0.1, np.float32), 16000).round(3).tolist()
    [-20.0, -20.0]
    """
    size = max(1, round(LEVEL_FRAME * sample_rate))
    starts = np.arange(0, len(samples), size)
    sizes = np.minimum(size, len(samples) - starts)
    power = np.add.reduceat(np.square(samples, dtype=np.float64), starts) / sizes
    with np.errstate(divide="ignore"):
        return 10 * np.log10(power)


def upper_frequency(samples: np.ndarray, sample_rate: int) -> float | None:
    """Frequency in Hz above which the mean power spectrum stays `BANDWIDTH_DROP` dB below its maximum.

    Files that went through MP3, a telephone line or a lower sample rate end far below half their rate, and a model
    meets different features in them. Speech reaches half the rate even at 60 dB below its vowels, through its
    fricatives and the noise of any room. Offset and hum, below 100 Hz, do not count.

    Returns:
        The frequency, to four bins (90 to 180 Hz), or None for samples (N,) shorter than one analysis frame or silent.
    """
    size = 2 ** round(np.log2(max(4, sample_rate / 31.25)))  # 512 at 16 kHz
    count = len(samples) // size
    if count == 0:
        return None
    frames = samples[: count * size].reshape(count, size) * np.kaiser(size, 8.6).astype(np.float32)
    spectrum = np.fft.rfft(frames, axis=1)
    power = (np.square(spectrum.real) + np.square(spectrum.imag)).mean(axis=0, dtype=np.float64)
    above_hum = int(np.ceil(100 * size / sample_rate))
    loudest = power[above_hum:].max()
    if loudest == 0:
        return None
    highest = above_hum + np.flatnonzero(power[above_hum:] >= loudest * 10 ** (-BANDWIDTH_DROP / 10))[-1]
    return float(min(highest + 1, size // 2) * sample_rate / size)
