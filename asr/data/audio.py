"""The one place where audio files are read, with soundfile."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from asr.errors import InputError


class Waveform(NamedTuple):
    """Samples (channels, N) as float32, full scale 1.0, and their rate in Hz."""

    samples: np.ndarray
    sample_rate: int


def read_audio(path: Path | str, start: float = 0.0, duration: float | None = None) -> Waveform:
    """Decode a file, or `duration` seconds of it from `start` (s).

    The decoded samples are counted against the header, so that a truncated file is an error and not a short one.

    Raises:
        InputError: the file is missing, empty, not audio, truncated, or holds non-finite samples; named by `path`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such audio file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file has zero bytes")
    try:
        with soundfile.SoundFile(path) as file:
            rate, total = file.samplerate, file.frames
            first = min(round(start * rate), total)
            wanted = total - first if duration is None else min(round(duration * rate), total - first)
            file.seek(first)
            samples = file.read(wanted, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise InputError(f"{path}: cannot be decoded ({str(error).rstrip('.')})") from error
    if len(samples) != wanted:
        raise InputError(f"{path}: truncated, {len(samples)} of {wanted} samples could be decoded")
    if wanted == 0:
        raise InputError(f"{path}: holds no samples from {start} s on")
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).sum())
        raise InputError(f"{path}: {bad} of {samples.size} samples are not finite")
    return Waveform(np.ascontiguousarray(samples.T), rate)
