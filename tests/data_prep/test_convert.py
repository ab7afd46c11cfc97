"""Converted copies: the same signal at another rate, made only when asked for, and named."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.errors import InputError
from data_prep.cli import main
from data_prep.convert import convert, resample
from data_prep.utterance import Utterance


def tone(frequency: float, rate: int, seconds: float = 1.0, amplitude: float = 0.5) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def middle(samples: np.ndarray) -> np.ndarray:
    return samples[len(samples) // 10 : -len(samples) // 10]


@pytest.mark.parametrize(("rate", "new_rate"), [(8000, 16000), (44100, 16000), (48000, 16000), (16000, 8000)])
def test_a_tone_stays_the_same_tone_at_another_rate(rate: int, new_rate: int) -> None:
    np.testing.assert_allclose(
        middle(resample(tone(1000, rate), rate, new_rate)), middle(tone(1000, new_rate)), atol=2e-3
    )


def test_what_is_above_half_the_new_rate_is_removed_and_not_folded() -> None:
    assert np.abs(middle(resample(tone(11000, 44100), 44100, 16000))).max() < 1e-3


def write(path: Path, samples: np.ndarray, rate: int) -> Utterance:
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return Utterance(path.stem, path, "YES", "ann", "train")


def converted(utterances: list[Utterance], folder: Path):
    return convert(utterances, {"train"}, folder, 16000, jobs=1)


def test_the_copy_has_the_average_of_the_channels_in_one_channel(tmp_path: Path) -> None:
    stereo = np.stack([tone(500, 8000), tone(700, 8000)], axis=1)
    (utterance,), (problem,) = converted([write(tmp_path / "two.wav", stereo, 8000)], tmp_path / "audio")
    samples, rate = soundfile.read(utterance.audio)
    assert (rate, samples.ndim, utterance.audio.parent) == (16000, 1, tmp_path / "audio")
    expected = (tone(500, 16000) + tone(700, 16000)) / 2
    np.testing.assert_allclose(middle(samples), middle(expected), atol=2e-3)
    assert (problem.subject, problem.kind, problem.refused) == ("two", "converted", False)
    assert "two.wav: 8000 Hz, 2 channels" in problem.detail
    assert str(utterance.audio) in problem.detail


def test_what_fits_is_left_alone_and_other_parts_are_not_touched(tmp_path: Path) -> None:
    fits = write(tmp_path / "fits.wav", tone(500, 16000), 16000)
    other = Utterance("o", write(tmp_path / "other.wav", tone(500, 8000), 8000).audio, "NO", None, "extra")
    assert converted([fits, other], tmp_path / "audio") == ([fits, other], [])
    assert not (tmp_path / "audio").exists()


def test_a_segment_becomes_a_file_of_its_own(tmp_path: Path) -> None:
    long = np.concatenate([tone(300, 8000), tone(900, 8000), tone(300, 8000)])
    path = write(tmp_path / "long.wav", long, 8000).audio
    (utterance,), _ = converted([Utterance("s", path, "YES", None, "train", 1.0, 1.0)], tmp_path / "audio")
    assert (utterance.start, utterance.duration) == (0.0, None)
    samples, _ = soundfile.read(utterance.audio)
    np.testing.assert_allclose(middle(samples), middle(tone(900, 16000)), atol=2e-3)


def test_samples_beyond_full_scale_are_made_softer_and_not_clipped(tmp_path: Path) -> None:
    (utterance,), _ = converted([write(tmp_path / "loud.wav", tone(500, 8000, amplitude=2.0), 8000)], tmp_path)
    samples, _ = soundfile.read(utterance.audio)
    shape = tone(500, 16000, amplitude=1.0)
    scale = np.dot(middle(samples), middle(shape)) / np.dot(middle(shape), middle(shape))
    np.testing.assert_allclose(middle(samples), scale * middle(shape), atol=2e-3)
    assert 0.9 < np.abs(samples).max() < 1


def test_what_cannot_be_read_stays_for_verification_to_name(tmp_path: Path) -> None:
    text = tmp_path / "text.flac"
    text.write_text("not audio")
    short = write(tmp_path / "short.wav", tone(500, 8000), 8000).audio
    utterances = [
        Utterance("gone", tmp_path / "gone.wav", "YES", None, "train"),
        Utterance("text", text, "YES", None, "train"),
        Utterance("beyond", short, "YES", None, "train", 0.5, 2.0),
        write(tmp_path / "nan.wav", np.full(800, np.nan), 8000),
    ]
    (tmp_path / "headerless.raw").write_bytes(b"\0" * 100)
    utterances.append(Utterance("raw", tmp_path / "headerless.raw", "YES", None, "train"))
    assert converted(utterances, tmp_path / "audio") == (utterances, [])


def test_a_copy_is_used_again_until_its_source_changes(tmp_path: Path) -> None:
    utterance = write(tmp_path / "a.wav", tone(500, 8000), 8000)
    (first,), _ = converted([utterance], tmp_path / "audio")
    written = first.audio.stat().st_mtime_ns
    (again,), problems = converted([utterance], tmp_path / "audio")
    assert (again, again.audio.stat().st_mtime_ns, len(problems)) == (first, written, 1)
    write(tmp_path / "a.wav", tone(600, 8000, 1.5), 8000)
    (changed,), _ = converted([utterance], tmp_path / "audio")
    assert changed.audio != first.audio


def test_ids_that_are_no_file_names_get_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(500, 8000), 8000).audio
    odd = [Utterance(name, path, "YES", None, "train") for name in ("../../up", "ä b/c", "x" * 300)]
    utterances, _ = converted(odd, tmp_path / "audio")
    assert all(u.audio.is_file() and u.audio.parent == tmp_path / "audio" for u in utterances)


def test_a_folder_that_cannot_be_written_is_an_error_that_names_the_copy(tmp_path: Path) -> None:
    utterance = write(tmp_path / "a.wav", tone(500, 8000), 8000)
    (tmp_path / "audio").write_text("a file")
    with pytest.raises(InputError, match=r"cannot write .*audio/a-.*\.flac"):
        converted([utterance], tmp_path / "audio")


def test_the_command_refuses_other_rates_unless_told_to_convert(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("one", "two", "three"):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * random.standard_normal(24000), 8000)
        (tmp_path / f"{name}.txt").write_text("YES AND NO")
    arguments = ["table", str(tmp_path), str(tmp_path / "out"), "--jobs", "1"]
    assert main(arguments) == 1
    assert main([*arguments, "--convert"]) == 0
    rows = [
        json.loads(line) for line in gzip.decompress((tmp_path / "out" / "train.jsonl.gz").read_bytes()).splitlines()
    ]
    assert [row["recording"]["sampling_rate"] for row in rows] == [16000] * 3
    assert all(row["recording"]["sources"][0]["source"].startswith("audio/") for row in rows)
    report = json.loads((tmp_path / "out" / "verification.json").read_text())
    assert {p["kind"]: p["count"] for p in report["problems"]} == {"converted": 3, "narrow-band": 3}


def test_overlaps_of_a_recording_are_found_among_its_copies(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "talk.wav", 0.1 * np.random.default_rng(0).standard_normal(10 * 8000), 8000)
    rows = ["audio,text,id,start,duration,split", "talk.wav,YES,a,0,4,train", "talk.wav,NO,b,3,3,test"]
    (tmp_path / "talk.csv").write_text("\n".join([*rows, "talk.wav,AND,c,7,2,train"]))
    assert main(["table", str(tmp_path / "talk.csv"), str(tmp_path / "out"), "--jobs", "1", "--convert"]) == 1
    report = (tmp_path / "out" / "verification.txt").read_text()
    assert "its 0.00 s to 4.00 s overlap 'b' of test (3.00 s to 6.00 s)" in report
    kept = gzip.decompress((tmp_path / "out" / "train.jsonl.gz").read_bytes()).splitlines()
    assert [json.loads(line)["supervisions"][0]["text"] for line in kept] == ["AND"]
