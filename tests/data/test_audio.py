import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.audio import AudioError, file_samples, read_audio
from asr.errors import InputError


@pytest.fixture
def ramp() -> np.ndarray:
    """Half a second at 16 kHz whose samples are multiples of 2 ** -15, so that 16 bits hold them exactly."""
    return (np.arange(8000) - 4000).astype(np.float32) / 2**15


def test_flac_samples_are_those_written(tmp_path: Path, ramp: np.ndarray) -> None:
    soundfile.write(tmp_path / "a.flac", ramp, 16000, subtype="PCM_16")
    waveform = read_audio(tmp_path / "a.flac")
    assert waveform.sample_rate == 16000
    assert waveform.samples.dtype == np.float32
    np.testing.assert_array_equal(waveform.samples, ramp[None])


def test_full_scale_is_one_as_the_wave_module_of_python_writes_it(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(np.array([[-32768, 16384], [0, 1]], dtype="<i2").tobytes())
    waveform = read_audio(tmp_path / "a.wav")
    assert waveform.sample_rate == 8000
    np.testing.assert_array_equal(waveform.samples, [[-1.0, 0.0], [0.5, 1 / 32768]])


def test_a_part_of_a_file_is_that_part(tmp_path: Path, ramp: np.ndarray) -> None:
    soundfile.write(tmp_path / "a.flac", ramp, 16000, subtype="PCM_16")
    part = read_audio(tmp_path / "a.flac", start=0.1, duration=0.25).samples
    np.testing.assert_array_equal(part[0], ramp[1600:5600])
    np.testing.assert_array_equal(read_audio(tmp_path / "a.flac", start=0.4).samples[0], ramp[6400:])


def test_the_number_of_samples_is_read_without_decoding(tmp_path: Path, ramp: np.ndarray) -> None:
    soundfile.write(tmp_path / "a.flac", ramp, 16000)
    assert file_samples(tmp_path / "a.flac") == 8000


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [("zero.flac", b"", "empty-file"), ("text.flac", b"not audio at all\n" * 100, "undecodable")],
)
def test_what_is_not_audio_is_named(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError, match=name) as caught:
        read_audio(tmp_path / name)
    assert caught.value.kind == kind


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.flac", tmp_path):
        with pytest.raises(InputError, match=f"{path}: no such audio file"):
            read_audio(path)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_truncated_flac_is_an_error_not_a_short_utterance(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "cut.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 16000), 16000, subtype="PCM_16")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(AudioError, match="cut.flac: "):
        read_audio(path)


def test_a_truncated_wav_is_an_error_not_a_short_utterance(tmp_path: Path, ramp: np.ndarray) -> None:
    path = tmp_path / "cut.wav"
    soundfile.write(path, ramp, 16000, subtype="PCM_16")
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(AudioError, match="truncated") as caught:
        read_audio(path)
    assert caught.value.kind == "truncated"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_counted(tmp_path: Path, ramp: np.ndarray, bad: float) -> None:
    ramp[[3, 700]] = bad
    soundfile.write(tmp_path / "bad.wav", ramp, 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"bad.wav: 2 of 8000 samples are not finite"):
        read_audio(tmp_path / "bad.wav")


def test_a_part_beyond_the_end_is_an_error(tmp_path: Path, ramp: np.ndarray) -> None:
    soundfile.write(tmp_path / "a.flac", ramp, 16000)
    with pytest.raises(AudioError, match="holds no samples from 0.5 s on"):
        read_audio(tmp_path / "a.flac", start=0.5)


def test_every_utterance_of_an4_that_is_read_has_the_header_s_number_of_samples(corpora: Path) -> None:
    files = sorted((corpora / "an4").rglob("*.flac"))[:20]
    if not files:
        pytest.skip("no FLAC files of AN4 in ASR_CORPORA")
    for path in files:
        assert read_audio(path).samples.shape == (1, file_samples(path))
