"""MP3 files: what their frames hold is what is read, or else they are refused."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.audio import AudioError, read_audio
from asr.data.mp3 import _frame, count_samples

PADDING = 4 * 1152
every_mode = pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])


def write(path: Path, mode: str, rate: int = 16000, channels: int = 1, seconds: int = 4) -> bytes:
    """Noise that grows louder, so that a variable bit rate varies; returns the file's bytes."""
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (seconds * rate, channels))
    samples *= np.linspace(0, 1, len(samples))[:, None] ** 8
    soundfile.write(path, samples, rate, bitrate_mode=mode, compression_level=0.5)
    return path.read_bytes()


def without_length(content: bytes) -> bytes:
    """The file without its first frame, which tells how long it is."""
    frame = _frame(content[:4])
    assert frame is not None
    assert b"Xing" in content[: frame.size] or b"Info" in content[: frame.size]
    return content[frame.size :]


@every_mode
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])  # MPEG-2.5, 2 and 1
@pytest.mark.parametrize("channels", [1, 2])
def test_frames_hold_the_samples_that_were_written_and_what_encoders_add(
    tmp_path: Path, mode: str, rate: int, channels: int
) -> None:
    content = write(tmp_path / "a.mp3", mode, rate, channels)
    assert 4 * rate < count_samples(content) <= 4 * rate + PADDING
    assert read_audio(tmp_path / "a.mp3").samples.shape == (channels, 4 * rate)
    assert count_samples(2 * content) == 2 * count_samples(content)
    tag = b"ID3\4\0\0\0\0\2\1" + 257 * b"\xff\xfb\x90\x00"[:1]
    assert count_samples(tag + content) == count_samples(content)
    assert count_samples(content + b"TAG" + 125 * b"\0") == count_samples(content)


def test_what_is_no_mp3_has_no_frames() -> None:
    assert count_samples(b"") == count_samples(b"\xff") == count_samples(100 * b"\xff") == 0
    assert count_samples(np.random.default_rng(0).bytes(2000)) == 0


@every_mode
def test_joined_recordings_are_an_error_not_the_first_of_them(tmp_path: Path, mode: str) -> None:
    content = write(tmp_path / "a.mp3", mode)
    for second in (content, without_length(content)):
        (tmp_path / "a.mp3").write_bytes(content + second)
        with pytest.raises(AudioError, match=r"a.mp3: has 13\d{4} samples, of which its header tells 64000"):
            read_audio(tmp_path / "a.mp3")
    assert read_audio(tmp_path / "a.mp3", 0.0, 0.5).samples.shape == (1, 8000)


def test_a_length_that_is_guessed_too_short_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    quiet_first = without_length(write(path, "VARIABLE"))
    path.write_bytes(quiet_first)
    found = soundfile.info(path).frames
    if abs(found - 64000) < PADDING:
        pytest.skip(f"this libsndfile does not guess: {found} samples")
    with pytest.raises(AudioError, match=r"a.mp3: (has \d+ samples, of which|truncated)"):
        read_audio(path)


def test_a_constant_bit_rate_needs_no_header(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(without_length(write(path, "CONSTANT")))
    assert abs(read_audio(path).samples.shape[1] - 64000) <= PADDING


def test_an_error_reaches_the_process_that_asked(tmp_path: Path) -> None:
    error = AudioError(tmp_path / "a.mp3", "truncated", "is short")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.path, copy.kind, copy.detail) == (str(error), error.path, error.kind, error.detail)
