"""Verification: every bad file is named with its kind and reason, and good speech passes."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.cuts import read_cuts
from asr.data.features import FeatureConfig
from asr.data.tokens import CharacterTokenizer, minimum_frames
from asr.errors import InputError
from asr.text import normalizer
from data_prep.cli import main as prepare_main
from data_prep.utterance import Utterance
from data_prep.verify import KINDS, VerificationSettings, Verified, find_duplicates, verify_utterance

RATE = 16000
SETTINGS = VerificationSettings(characters=normalizer("english").characters)


def sound(seconds: float = 2.0, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Noise with syllables four times a second, (N,), at a speaking level."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    return (0.1 * random.standard_normal(len(time)) * (1.2 + np.sin(8 * np.pi * time)) / 2.2).astype(np.float32)


def utterance(audio: Path, text: str | None = "GOOD MORNING", **changes: object) -> Utterance:
    return dataclasses.replace(Utterance(audio.stem, audio, text, "S1", "train"), **changes)  # type: ignore[arg-type]


def write(path: Path, samples: np.ndarray, rate: int = RATE, **options: str) -> Path:
    soundfile.write(path, samples, rate, **options)
    return path


def verify(audio: Path, text: str | None = "GOOD MORNING", settings: VerificationSettings = SETTINGS) -> Verified:
    return verify_utterance(utterance(audio, text), text or "", settings)


def kinds(found: Verified) -> list[str]:
    return [problem.kind for problem in found.problems]


def test_clean_speech_passes_and_is_measured(tmp_path: Path) -> None:
    found = verify(write(tmp_path / "good.flac", sound(2.0)))
    assert (found.problems, found.refused, found.file_samples) == ((), False, 32000)
    assert found.measurement is not None
    assert found.measurement.seconds == 2.0


def cut_short(path: Path, share: float = 0.6) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


TRUNCATED = {
    "flac": {},
    "wav": {},
    "rf64.wav": {"format": "RF64"},
    "w64": {},
    "aiff": {},
    "au": {},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "sph": {"format": "NIST", "subtype": "PCM_16"},
}


@pytest.mark.parametrize("suffix", TRUNCATED)
def test_a_file_that_breaks_off_is_refused_in_every_format_and_the_whole_one_is_not(
    tmp_path: Path, suffix: str
) -> None:
    path = write(tmp_path / f"short.{suffix}", sound(4.0), **TRUNCATED[suffix])
    assert not verify(path).refused
    found = verify(cut_short(path))
    assert kinds(found) in (["truncated"], ["undecodable"])
    assert found.refused
    assert found.measurement is None
    assert str(path) in found.problems[0].detail


def test_a_wav_written_to_a_pipe_has_no_size_and_is_not_truncated(tmp_path: Path) -> None:
    path = write(tmp_path / "piped.wav", sound())
    content = bytearray(path.read_bytes())
    data = content.index(b"data")
    content[4:8] = content[data + 4 : data + 8] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert not verify(path).refused


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("zero.flac", b"", "empty-file"),
        ("text.flac", b"this is not audio\n" * 50, "undecodable"),
        ("noise.wav", bytes(range(256)) * 20, "undecodable"),
        ("header.flac", b"fLaC", "undecodable"),
    ],
)
def test_a_file_that_is_not_audio_is_named(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    found = verify(path)
    assert kinds(found) == [kind]
    assert (found.id, found.problems[0].subject) == (path.stem, path.stem)
    assert str(path) in found.problems[0].detail


def test_a_missing_file_and_a_folder_in_its_place_are_named(tmp_path: Path) -> None:
    (tmp_path / "folder.flac").mkdir()
    assert kinds(verify(tmp_path / "gone.flac")) == ["missing-audio"]
    assert kinds(verify(tmp_path / "folder.flac")) == ["missing-audio"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_not_finite_is_refused_and_counted(tmp_path: Path, value: float) -> None:
    samples = sound()
    samples[[5, 7000]] = value
    found = verify(write(tmp_path / "bad.wav", samples, subtype="FLOAT"))
    assert kinds(found) == ["non-finite"]
    assert "2 of 32000 samples" in found.problems[0].detail


@pytest.mark.parametrize("function", ["read_audio", "file_samples", "measure"])
@pytest.mark.parametrize(
    "error", [OSError("device is gone"), ValueError("array is too big"), MemoryError("64 EiB"), RuntimeError("psf")]
)
def test_a_file_that_fails_in_an_unforeseen_way_is_refused_with_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    path = write(tmp_path / "odd.flac", sound(4.0))
    monkeypatch.setattr(f"data_prep.verify.{function}", fail)
    found = verify_utterance(utterance(path, start=1.0, duration=2.0), "GOOD", SETTINGS)
    assert (kinds(found), found.refused, found.measurement) == (["undecodable"], True, None)
    for part in (str(path), type(error).__name__, str(error)):
        assert part in found.problems[0].detail


def test_a_flac_whose_header_counts_no_samples_raises_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "piped.flac", sound())
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the lowest 36 bits of the stream's information are the number of samples, 0: unknown
    content[22:26] = bytes(4)
    path.write_bytes(content)
    for found in (verify(path), verify_utterance(utterance(path, start=0.5, duration=1.0), "GOOD", SETTINGS)):
        assert found.refused == (found.measurement is None)
        assert all(str(path) in problem.detail for problem in found.problems)


def test_another_sample_rate_is_refused_with_both_rates(tmp_path: Path) -> None:
    found = verify(write(tmp_path / "phone.wav", sound(2.0, 8000), 8000))
    assert kinds(found) == ["sample-rate"]
    assert found.refused
    assert "8000 Hz, expected 16000 Hz" in found.problems[0].detail
    settings = dataclasses.replace(SETTINGS, features=FeatureConfig(sample_rate=8000))
    assert kinds(verify(tmp_path / "phone.wav", settings=settings)) == []


def test_a_stereo_file_is_refused_with_both_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "stereo.wav", np.stack([sound(), sound(seed=1)], axis=1))
    assert kinds(verify(path)) == ["channels"]
    assert "2 channels, expected 1" in verify(path).problems[0].detail
    assert kinds(verify(path, settings=dataclasses.replace(SETTINGS, channels=2))) == []


def test_missing_and_empty_transcripts_are_told_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", sound())
    assert kinds(verify(path, None)) == ["missing-text"]
    found = verify_utterance(utterance(path, " ... "), "", SETTINGS)
    assert kinds(found) == ["empty-text"]
    assert "' ... '" in found.problems[0].detail


def test_unknown_characters_are_named_with_their_code_points(tmp_path: Path) -> None:
    found = verify(write(tmp_path / "a.flac", sound()), "TSCHÜSS 5")
    assert kinds(found) == ["unknown-characters"]
    assert "'5' (U+0035) 'Ü' (U+00DC)" in found.problems[0].detail
    assert kinds(verify(tmp_path / "a.flac", "TSCHÜSS 5", VerificationSettings())) == []


@pytest.mark.parametrize("subsampling", [1, 4, 8])
def test_ctc_feasibility_agrees_with_the_definition(tmp_path: Path, subsampling: int) -> None:
    path = write(tmp_path / "a.flac", sound(0.5))
    settings = dataclasses.replace(SETTINGS, subsampling=subsampling, max_speed=1e9)
    frames = math.ceil(FeatureConfig().num_frames(8000) / subsampling)
    tokenizer = CharacterTokenizer("ABE")
    for text in ["AB" * (frames // 2) + "A" * (frames % 2), "AB" * (frames // 2) + "AB", "A" * ((frames + 1) // 2)]:
        feasible = minimum_frames(tokenizer.encode(text)) <= frames
        assert ("infeasible" in kinds(verify(path, text, settings))) is not feasible
    assert "infeasible" in kinds(verify(path, "E" * (frames // 2 + 2), settings))


def test_feasibility_is_not_judged_at_another_sample_rate(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", sound(0.5, 8000), 8000)
    assert "infeasible" not in kinds(verify(path, "AB" * 50))


def test_silence_is_refused_and_short_noise_is_not_silence(tmp_path: Path) -> None:
    assert kinds(verify(write(tmp_path / "zeros.wav", np.zeros(RATE)))) == ["silent"]
    click = np.zeros(RATE)
    click[8000:8160] = sound()[:160]
    assert "silent" not in kinds(verify(write(tmp_path / "click.wav", click)))


def test_warnings_keep_the_utterance(tmp_path: Path) -> None:
    padded = np.concatenate([np.zeros(2 * RATE), sound(), np.zeros(3 * RATE)])
    loud = np.clip(sound() * 30, -1, 1)
    spectrum = np.fft.rfft(sound())
    spectrum[len(spectrum) // 2 :] = 0
    cases = {
        "padded": (padded, "GOOD MORNING", ["leading-silence", "trailing-silence"]),
        "quiet": (sound() * 0.02, "GOOD MORNING", ["quiet"]),
        "loud": (loud, "GOOD MORNING", ["clipped"]),
        "narrow": (np.fft.irfft(spectrum), "GOOD MORNING", ["narrow-band"]),
        "long": (sound(41), "GOOD MORNING EVERYONE HOW DO YOU DO WITH ALL THIS", ["long"]),
        "slow": (sound(4), "GO", ["slow-speech"]),
        "hasty": (sound(1.0), "ABC" * 9, ["fast-speech"]),
    }
    settings = dataclasses.replace(SETTINGS, subsampling=1)
    for name, (samples, text, expected) in cases.items():
        found = verify(write(tmp_path / f"{name}.wav", samples, subtype="FLOAT"), text, settings)
        assert (name, kinds(found)) == (name, expected)
        assert not found.refused


def test_an_utterance_too_short_for_a_word_is_refused(tmp_path: Path) -> None:
    assert "too-short" in kinds(verify(write(tmp_path / "a.wav", sound(0.05)), "A"))


def test_a_segment_is_read_by_itself_and_must_lie_within_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "long.wav", sound(10.0))
    inside = verify_utterance(utterance(path, start=4.0, duration=2.0), "GOOD", SETTINGS)
    assert (inside.refused, inside.file_samples) == (False, 160000)
    assert inside.measurement is not None
    assert inside.measurement.num_samples == 32000
    beyond = verify_utterance(utterance(path, start=9.0, duration=2.0), "GOOD", SETTINGS)
    assert kinds(beyond) == ["beyond-end"]
    assert "ends at 10.00 s, utterance at 11.00 s" in beyond.problems[0].detail
    after = verify_utterance(utterance(path, start=12.0, duration=2.0), "GOOD", SETTINGS)
    assert kinds(after) == ["no-samples"]


def test_all_that_is_wrong_with_an_utterance_is_named_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.stack([sound(2.0, 8000)] * 2, axis=1), 8000)
    assert kinds(verify(path, "GRÜN")) == ["unknown-characters", "sample-rate", "channels"]


def test_equal_audio_is_found_across_file_formats_and_equal_ids_are_refused(tmp_path: Path) -> None:
    samples = (sound() * 2**15).astype(np.int16)
    one = utterance(write(tmp_path / "one.wav", samples))
    same = utterance(write(tmp_path / "same.flac", samples), "OTHER WORDS")
    other = utterance(write(tmp_path / "other.flac", sound(seed=1)), id="one")
    listed = [one, same, other]
    found = find_duplicates(listed, [verify_utterance(u, u.text or "", SETTINGS) for u in listed])
    assert [(p.kind, p.subject, p.refused) for p in found] == [
        ("duplicate-id", "one", True),
        ("duplicate-id", "one", True),
        ("duplicate-audio", "same", False),
    ]
    for problem, one_of_them in zip(found, (one, other), strict=False):
        assert f"{one_of_them.audio}: one of 2 utterances" in problem.detail
        assert repr(one_of_them.text) in problem.detail
    assert "'OTHER WORDS'" in found[2].detail


def test_every_kind_says_what_it_means() -> None:
    assert all(kind.meaning and name == name.lower() for name, kind in KINDS.items())


@pytest.mark.parametrize("name", ["channels", "subsampling"])
def test_settings_below_one_are_refused_by_name(name: str) -> None:
    with pytest.raises(InputError, match=name):
        VerificationSettings(**{name: 0})


def bad_corpus(folder: Path) -> dict[str, str]:
    """A folder with two good utterances and one of each bad kind; returns id -> kind."""
    for index, name in enumerate(["good-1", "good-2", "untranscribed", "wordless", "foreign", "hurried"]):
        write(folder / f"{name}.flac", sound(seed=index))
    cut_short(write(folder / "cut.flac", sound()))
    cut_short(write(folder / "cut-wav.wav", sound()))
    (folder / "zero.flac").write_bytes(b"")
    (folder / "text.flac").write_text("this is text")
    write(folder / "nan.wav", np.where(np.arange(RATE) == 9, np.nan, 0.1), subtype="FLOAT")
    write(folder / "slow.wav", sound(2.0, 8000), 8000)
    write(folder / "stereo.wav", np.stack([sound(), sound()], axis=1))
    write(folder / "silence.wav", np.zeros(RATE))
    write(folder / "short.wav", sound(0.05))
    texts = {"wordless": "...", "foreign": "привет", "hurried": "what " * 60}
    for name in [*(path.stem for path in folder.iterdir()), "lost"]:
        (folder / f"{name}.txt").write_text(texts.get(name, "good morning"), encoding="utf-8")
    (folder / "untranscribed.txt").unlink()
    return {
        "cut": "undecodable",
        "cut-wav": "truncated",
        "zero": "empty-file",
        "text": "undecodable",
        "nan": "non-finite",
        "slow": "sample-rate",
        "stereo": "channels",
        "silence": "silent",
        "short": "too-short",
        "lost": "missing-audio",
        "untranscribed": "missing-text",
        "wordless": "empty-text",
        "foreign": "unknown-characters",
        "hurried": "infeasible",
    }


def test_one_command_names_every_bad_file_and_prepares_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "corpus").mkdir()
    expected = bad_corpus(tmp_path / "corpus")
    arguments = ["table", str(tmp_path / "corpus"), str(tmp_path / "out"), "--jobs", "1"]
    assert prepare_main(arguments) == 1
    assert {cut.id for cut in read_cuts(tmp_path / "out" / "train.jsonl.gz")} == {"good-1", "good-2"}
    report = json.loads((tmp_path / "out" / "verification.json").read_text())
    refused = [
        (p["subject"], group["kind"]) for group in report["problems"] if group["refused"] for p in group["found"]
    ]
    assert {name: kind for name, kind in refused if (name, kind) != ("short", "infeasible")} == expected
    text = (tmp_path / "out" / "verification.txt").read_text()
    assert all(f"  {name}: " in text for name in expected)
    assert "unknown-characters" in capsys.readouterr().out
    assert prepare_main([*arguments, "--allow-refused"]) == 0


def test_mp3_material_is_named_and_full_band_speech_is_not(corpora: Path) -> None:
    for part, narrow in (("dev-clean", True), ("train-clean-5", False)):
        files = sorted((corpora / "LibriSpeech" / part).glob("*/*/*.flac"))[::200]
        if not files:
            pytest.skip(f"{corpora} has no LibriSpeech {part}")
        for path in files:
            assert ("narrow-band" in kinds(verify(path))) is narrow, path
