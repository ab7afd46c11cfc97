"""The one place where audio files are read, with soundfile."""

import os
import re
import stat
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from asr.data.mp3 import count_samples
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

    def __reduce__(self) -> tuple[type["AudioError"], tuple[Path, str, str]]:
        return AudioError, (self.path, self.kind, self.detail)  # workers send it to the process that asked


def read_audio(path: Path | str, start: float = 0.0, duration: float | None = None) -> Waveform:
    """Decode a file, or `duration` seconds of it from `start` (s).

    The decoded samples are counted against the header, and the header's sizes against the file's, so that a truncated
    file is an error and not a short one (but for an MP3 file that does not tell its length). Where the end is read, so
    is what lies behind it: in a WAV file's chunks, further recordings of an Ogg file, further frames of an MP3 file.

    Raises:
        AudioError: the file is missing, empty, not audio, truncated, goes on behind the end that its header tells, or
            holds non-finite samples or more than fit into memory; named by `path`.
    """
    path = Path(path)
    _check_file(path)
    try:
        with _Sequential(os.fsencode(path)) as file:
            rate, total, lost = file.samplerate, file.frames, _what_is_lost(path, file)
            first = min(round(start * rate), total)
            wanted = total - first if duration is None else min(round(duration * rate), total - first)
            _go_to(file, first)
            samples = _decode(file, wanted)
            behind = _what_follows(path, file) if first + wanted == total else None
    except (soundfile.SoundFileError, OSError, MemoryError) as error:
        raise AudioError(path, "undecodable", f"cannot be decoded ({_reason(error)})") from error
    if samples.shape[1] != wanted and total != _UNTOLD:
        lost = f"{samples.shape[1]} of {wanted} samples could be decoded"
    if lost:
        raise AudioError(path, "truncated", f"truncated, {lost}")
    if behind:
        raise AudioError(path, "undecodable", behind)
    if samples.size == 0:
        raise AudioError(path, "no-samples", f"holds no samples from {start} s on")
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).sum())
        raise AudioError(path, "non-finite", f"{bad} of {samples.size} samples are not finite")
    return Waveform(samples, rate)


def _check_file(path: Path) -> None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: no file can have this name
        raise AudioError(path, "missing-audio", "no such audio file") from error
    except OSError as error:
        raise AudioError(path, "missing-audio", f"cannot be opened ({error.strerror})") from error
    if not stat.S_ISREG(found.st_mode):
        raise AudioError(path, "missing-audio", "is no file, but a folder, a pipe or a device")
    if found.st_size == 0:
        raise AudioError(path, "empty-file", "the file has zero bytes")
    if path.suffix.lower() == ".raw":
        raise AudioError(path, "undecodable", "has no header that tells its rate and format; convert it to WAV or FLAC")


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A file that is read onwards: soundfile would seek to where it is after each read.

    A FLAC file whose header does not tell its length, or a wrong one, could then not be read to its end: libsndfile
    finds no position in its last frame.
    """

    def seekable(self) -> bool:
        return False


def _go_to(file: soundfile.SoundFile, first: int) -> None:
    """Go to a sample: by decoding what comes before it where the length, which seeking needs, is not told."""
    if file.frames == _UNTOLD:
        _decode(file, first)
    else:
        file.seek(first)


def _decode(file: soundfile.SoundFile, count: int) -> np.ndarray:
    """The next `count` samples (channels, count), or fewer where they end.

    They are decoded in blocks, so that memory is taken for the samples that are there, not for those a header promises.
    """
    blocks = [np.empty((file.channels, 0), dtype=np.float32)]
    left = count
    while left:
        block = file.read(min(left, _BLOCK // file.channels), dtype="float32", always_2d=True)
        if len(block) == 0:
            break
        blocks.append(block.T)
        left -= len(block)
    return np.concatenate(blocks, axis=1)


def _reason(error: Exception) -> str:
    """What went wrong, without the path, which soundfile may put before it as bytes."""
    text: str = error.error_string if isinstance(error, soundfile.LibsndfileError) else str(error)
    return text.rstrip(".") or type(error).__name__


class AudioFormat(NamedTuple):
    """What a file's header says: its rate in Hz, its channels, and samples per channel.

    Samples are counted by decoding where the header does not tell them: that of a FLAC file made through a pipe.
    """

    sample_rate: int
    channels: int
    num_samples: int


def audio_format(path: Path | str) -> AudioFormat:
    """Read a file's header.

    Raises:
        AudioError: the file cannot be opened as audio, or its samples cannot be counted; named by `path`.
    """
    try:
        with _Sequential(os.fsencode(path)) as file:
            rate, channels, total = file.samplerate, file.channels, file.frames
    except (soundfile.SoundFileError, OSError, TypeError) as error:  # TypeError: a .raw file without header
        raise AudioError(Path(path), "undecodable", f"cannot be opened ({_reason(error)})") from error
    if total == _UNTOLD:
        total = read_audio(path).samples.shape[1]
    return AudioFormat(rate, channels, total)


def file_samples(path: Path | str) -> int:
    """Samples per channel that a file's header promises; counted, and errors, as for `audio_format`."""
    return audio_format(path).num_samples


_BLOCK = 2**22
"""Values that are decoded at a time; libsndfile has at most 1024 channels."""
_UNTOLD = 2**63 - 1
"""libsndfile's number of samples where a header tells none; such a file, cut off between two frames, looks whole."""
_CHUNK_SIZE = re.compile(r"^ *(?:data|SSND|Data Size|Riff size|riff) *: ([0-9]+) \(should be ([0-9]+)\)", re.MULTILINE)
_UNKNOWN_SIZE = 0x7FFFF000
"""Programs that write to a pipe put this, or more, for a size they do not know."""
_TAGS = (b"ID3", b"TAG")
"""How tags begin that some programs put behind the last chunk of a WAV file."""
_MP3_SLACK = 4 * 1152
"""Samples in MP3 frames that are no audio: a header's, and what encoders put before and behind it."""
_CHUNK_NAME = re.compile(rb"[0-9A-Za-z_ .-]{4}")


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


def _what_follows(path: Path, file: soundfile.SoundFile) -> str | None:
    """Look for audio behind the end that a header tells, where libsndfile stops without a word."""
    behind = _bytes_behind_chunks(path) if file.format in ("WAV", "WAVEX") else 0
    if behind:
        return f"{behind} bytes follow its last chunk, so that a size in it is wrong; sox --ignore-length reads them"
    if file.format == "OGG" and _ogg_begins_again(path.read_bytes()):
        return f"another recording follows after {file.frames} samples, which would not be read; split or convert it"
    there = count_samples(path.read_bytes()) if file.format == "MP3" else 0
    if there > file.frames + _MP3_SLACK:
        return f"has {there} samples, of which its header tells {file.frames}, or has to be guessed from; convert it"
    return None


def _bytes_behind_chunks(path: Path) -> int:
    """Bytes of a WAV file from where a chunk should begin and none does; 0 if there is nothing but zeros.

    Samples are there if a program did not update the size of the data; a tag is none. A last chunk that is cut off is
    one all the same, as is data of unknown size.
    """
    with open(path, "rb") as raw:
        if raw.read(4) != b"RIFF":  # its numbers are written in another way
            return 0
        at = raw.seek(12)  # behind the size, and WAVE
        while len(header := raw.read(8)) == 8:
            name, size = struct.unpack("<4sI", header)
            if not _CHUNK_NAME.fullmatch(name):
                raw.seek(at)
                rest = raw.read()
                return len(rest) if rest.strip(b"\0") and not rest.startswith(_TAGS) else 0
            at = raw.seek(at + 8 + size)
            if size % 2 and raw.read(1) == b"\0":  # which some programs forget
                at += 1
            raw.seek(at)
    return 0


def _ogg_begins_again(content: bytes) -> bool:
    """Whether a page that begins a stream (flag 2) follows one that begins none (RFC 3533, section 6)."""
    flags = b"".join(re.findall(rb"OggS\0(.)", content, re.DOTALL))
    return re.search(rb"[\0\1\4\5][\2\3\6\7]", flags) is not None
