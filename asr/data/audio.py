"""The one place where audio files are read, with soundfile."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from asr.errors import InputError


class Waveform(NamedTuple):
    """Samples (channels, N) as float32, full scale 1.0, and their rate in Hz."""

    samples: np.ndarray
    sample_rate: int


class AudioError(InputError):
    """An audio file that cannot be used.

    Args:
        path: the file.
        kind: a short fixed word: "missing-audio", "empty-file", "undecodable", "truncated", "no-samples" or
            "non-finite".
        detail: what is wrong with it.
    """

    def __init__(self, path: Path, kind: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.path, self.kind, self.detail = path, kind, detail


def read_audio(path: Path | str, start: float = 0.0, duration: float | None = None) -> Waveform:
    """Decode a file, or `duration` seconds of it from `start` (s).

    The decoded samples are counted against the header, and the header's sizes against the file's, so that a truncated
    file is an error and not a short one.

    Raises:
        AudioError: the file is missing, empty, not audio, truncated, or holds non-finite samples; named by `path`.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError(path, "missing-audio", "no such audio file")
    if path.stat().st_size == 0:
        raise AudioError(path, "empty-file", "the file has zero bytes")
    if path.suffix.lower() == ".raw":
        raise AudioError(path, "undecodable", "has no header that tells its rate and format; convert it to WAV or FLAC")
    try:
        with soundfile.SoundFile(path) as file:
            rate, total = file.samplerate, file.frames
            lost = _what_is_lost(path, file)
            first = min(round(start * rate), total)
            wanted = total - first if duration is None else min(round(duration * rate), total - first)
            file.seek(first)
            samples = file.read(wanted, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(path, "undecodable", f"cannot be decoded ({str(error).rstrip('.')})") from error
    if len(samples) != wanted:
        lost = f"{len(samples)} of {wanted} samples could be decoded"
    if lost:
        raise AudioError(path, "truncated", f"truncated, {lost}")
    if wanted == 0:
        raise AudioError(path, "no-samples", f"holds no samples from {start} s on")
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).sum())
        raise AudioError(path, "non-finite", f"{bad} of {samples.size} samples are not finite")
    return Waveform(np.ascontiguousarray(samples.T), rate)


class AudioFormat(NamedTuple):
    """What a file's header says: its rate in Hz, its channels, and samples per channel."""

    sample_rate: int
    channels: int
    num_samples: int


def audio_format(path: Path | str) -> AudioFormat:
    """Read a file's header.

    Raises:
        AudioError: the file cannot be opened as audio; named by `path`.
    """
    try:
        found = soundfile.info(str(path))
    except (soundfile.SoundFileError, OSError, TypeError) as error:  # TypeError: a .raw file without header
        raise AudioError(Path(path), "undecodable", f"cannot be opened ({str(error).rstrip('.')})") from error
    return AudioFormat(int(found.samplerate), int(found.channels), int(found.frames))


def file_samples(path: Path | str) -> int:
    """Samples per channel that a file's header promises; errors as for `audio_format`."""
    return audio_format(path).num_samples


_CHUNK_SIZE = re.compile(r"^ *(?:data|SSND|Data Size|Riff size|riff) *: ([0-9]+) \(should be ([0-9]+)\)", re.MULTILINE)
_UNKNOWN_SIZE = 0x7FFFF000
"""Programs that write to a pipe put this, or more, for a size they do not know."""


def _what_is_lost(path: Path, file: soundfile.SoundFile) -> str | None:
    """Compare the sizes that a header promises with what the file holds; libsndfile tells in its log, but goes on."""
    log = file.extra_info
    for promised, held in _CHUNK_SIZE.findall(log):
        if int(held) < int(promised) < _UNKNOWN_SIZE:
            return f"{held} of {promised} bytes are there"
    if "Junk after the last page" in log or "lacks an end-of-stream bit" in log:
        return f"its Ogg stream breaks off after {file.frames} samples"
    if file.format == "NIST":
        with open(path, "rb") as raw:
            count = re.search(rb"^sample_count -i ([0-9]+)", raw.read(1024), re.MULTILINE)
        if count and file.frames < int(count[1]):
            return f"{file.frames} of {int(count[1])} samples are there"
    return None
