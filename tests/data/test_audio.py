import os
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data import audio
from asr.data.audio import AudioError, audio_format, file_samples, read_audio
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


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no folder")
    for path in (tmp_path / "nowhere.flac", tmp_path / "text" / "a.flac"):
        with pytest.raises(InputError, match=f"{path}: no such audio file"):
            read_audio(path)


def test_a_folder_and_a_pipe_are_said_to_be_no_files_and_not_to_be_missing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(AudioError, match=f"{path}: is no file") as caught:
            read_audio(path)
        assert caught.value.kind == "missing-audio"


def test_a_name_too_long_for_a_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"aaa.flac: cannot be opened \(File name too long\)"):
        read_audio(tmp_path / ("a" * 300 + ".flac"))


def test_a_file_whose_name_is_no_text_is_read(tmp_path: Path, ramp: np.ndarray) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.flac")
    soundfile.write(os.fsencode(path), ramp, 16000)
    np.testing.assert_array_equal(read_audio(path).samples[0], ramp)
    assert file_samples(path) == 8000


def promise(path: Path, num_samples: int) -> Path:
    """Change the number of samples in a FLAC file's header, 36 bits (RFC 9639, section 8.2); 0 is an unknown number."""
    content = bytearray(path.read_bytes())
    assert content[:4] == b"fLaC"
    content[21] = content[21] & 0xF0 | num_samples >> 32
    content[22:26] = (num_samples & 0xFFFFFFFF).to_bytes(4, "big")
    path.write_bytes(content)
    return path


@pytest.fixture
def streamed(tmp_path: Path, ramp: np.ndarray) -> Path:
    """A FLAC file as programs write it to a pipe."""
    soundfile.write(tmp_path / "pipe.flac", ramp, 16000)
    return promise(tmp_path / "pipe.flac", 0)


def test_a_flac_that_does_not_tell_its_length_is_read_to_its_end(streamed: Path, ramp: np.ndarray) -> None:
    np.testing.assert_array_equal(read_audio(streamed).samples, ramp[None])
    assert audio_format(streamed) == (16000, 1, 8000)


@pytest.mark.parametrize(("first", "last"), [(0, 8000), (1600, 5600), (7600, 8000), (7600, 9000)])
def test_parts_of_a_flac_that_does_not_tell_its_length_are_those_parts(
    streamed: Path, ramp: np.ndarray, first: int, last: int
) -> None:
    part = read_audio(streamed, first / 16000, (last - first) / 16000)
    np.testing.assert_array_equal(part.samples[0], ramp[first:last])


def test_a_part_beyond_the_end_of_a_flac_that_does_not_tell_its_length_is_an_error(streamed: Path) -> None:
    with pytest.raises(AudioError, match="holds no samples from 0.5 s on"):
        read_audio(streamed, start=0.5)


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_a_truncated_flac_that_does_not_tell_its_length_is_an_error(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "cut.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 16000), 16000)
    content = promise(path, 0).read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(AudioError, match=r"cut.flac: cannot be decoded \(.*lost sync"):
        read_audio(path)


def test_a_flac_that_promises_more_than_memory_holds_is_an_error(tmp_path: Path, ramp: np.ndarray) -> None:
    soundfile.write(tmp_path / "a.flac", ramp, 16000)
    path = promise(tmp_path / "a.flac", 2**35)
    with pytest.raises(AudioError, match=f"truncated, 8000 of {2**35} samples could be decoded"):
        read_audio(path)


def test_samples_that_do_not_fit_into_memory_are_an_error(
    tmp_path: Path, ramp: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*arguments: object, **options: object) -> np.ndarray:
        raise MemoryError

    soundfile.write(tmp_path / "a.flac", ramp, 16000)
    monkeypatch.setattr(soundfile.SoundFile, "read", read)
    with pytest.raises(AudioError, match=r"a.flac: cannot be decoded \(MemoryError\)"):
        read_audio(tmp_path / "a.flac")


@pytest.mark.parametrize("name", ["a.flac", "a.wav", "a.ogg", "a.mp3"])
def test_samples_do_not_depend_on_the_blocks_they_are_decoded_in(
    tmp_path: Path, ramp: np.ndarray, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / name, np.stack([ramp, ramp[::-1]], axis=1), 16000)
    whole = read_audio(tmp_path / name).samples
    monkeypatch.setattr(audio, "_BLOCK", 2 * 999)
    np.testing.assert_array_equal(read_audio(tmp_path / name).samples, whole)
    assert whole.flags.c_contiguous
    assert whole.shape == (2, 8000)


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


def chunk(name: bytes, content: bytes, pad: bytes = b"\0") -> bytes:
    """A chunk of a RIFF file, as long as it is even; `pad` follows odd content."""
    return name + struct.pack("<I", len(content)) + content + (pad if len(content) % 2 else b"")


def riff(*chunks: bytes, size: int | None = None, behind: bytes = b"") -> bytes:
    """A RIFF file of sound at 16 kHz; its size is right, or the given one."""
    format = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16))
    body = b"WAVE" + format + b"".join(chunks) + behind
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def loud(num_samples: int) -> bytes:
    return np.random.default_rng(1).integers(-300, 300, num_samples).astype("<i2").tobytes()


@pytest.mark.parametrize("size", [None, 0, 36 + 8000, 0xFFFFFFFF])
@pytest.mark.parametrize("kept", [0, 8000])
def test_samples_behind_the_size_of_a_wav_are_an_error_not_a_short_utterance(
    tmp_path: Path, kept: int, size: int | None
) -> None:
    sound = loud(8000)
    (tmp_path / "a.wav").write_bytes(riff(chunk(b"data", sound[:kept]), behind=sound[kept:], size=size))
    with pytest.raises(AudioError, match=rf"a.wav: {16000 - kept} bytes follow its last chunk"):
        read_audio(tmp_path / "a.wav")


def test_the_part_before_the_size_of_a_wav_is_still_read(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(riff(chunk(b"data", loud(4000)), behind=loud(4000)))
    assert read_audio(tmp_path / "a.wav", 0.0, 0.2).samples.shape == (1, 3200)


@pytest.mark.parametrize(
    "behind",
    [
        chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 4) + b"asr\0"),
        chunk(b"id3 ", b"ID3" + bytes(18)) + chunk(b"bext", b"\xff" * 602),
        chunk(b"LIST", b"odd", pad=b"") + chunk(b"_PMX", b"<x/>"),
        chunk(b"LIST", b"cut off")[:-3],
        bytes(4096),
        b"\n",
        b"TAG" + bytes(125),
        b"ID3\4\0\0\0\0\0\12" + bytes(10),
    ],
    ids=["LIST", "id3 and bext", "no pad byte", "cut off", "zeros", "newline", "ID3v1", "ID3v2"],
)
def test_chunks_and_padding_behind_the_samples_of_a_wav_are_no_error(tmp_path: Path, behind: bytes) -> None:
    sound = loud(8000)
    (tmp_path / "a.wav").write_bytes(riff(chunk(b"data", sound), behind=behind))
    samples = read_audio(tmp_path / "a.wav").samples[0]
    np.testing.assert_array_equal(np.round(samples * 2**15), np.frombuffer(sound, "<i2"))


@pytest.mark.parametrize("unknown", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_a_wav_made_through_a_pipe_is_read_to_its_end(tmp_path: Path, unknown: int) -> None:
    content = riff(b"data", struct.pack("<I", unknown), loud(8000), size=unknown)
    (tmp_path / "a.wav").write_bytes(content)
    assert read_audio(tmp_path / "a.wav").samples.shape == (1, 8000)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.ogg", {"subtype": "VORBIS"}),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}),
    ],
)
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (16000, 2), (48000, 1), (48000, 2)])
def test_recordings_joined_in_one_file_are_an_error_not_the_first_of_them(
    tmp_path: Path, name: str, options: dict[str, str], rate: int, channels: int
) -> None:
    path = tmp_path / name
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, (rate, channels)), rate, **options)
    assert read_audio(path).samples.shape == (channels, rate)
    path.write_bytes(2 * path.read_bytes())
    with pytest.raises(AudioError, match=f"{name}: another recording follows after {rate} samples"):
        read_audio(path)
    assert read_audio(path, 0.0, 0.5).samples.shape == (channels, rate // 2)


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
