"""The report of verification: counts first, every refusal by itself, many notes of a kind in one line and a list."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import soundfile

from data_prep.utterance import Problem, Utterance
from data_prep.verification_report import report_text, verification_report
from data_prep.verify import VerificationSettings, find_duplicates, verify_utterance

RATE = 16000
SETTINGS = VerificationSettings()


def sound(seconds: float = 2.0, seed: int = 0) -> np.ndarray:
    """Noise at a speaking level."""
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE)).astype(np.float32)


def write(path: Path, samples: np.ndarray) -> Path:
    soundfile.write(path, samples, RATE)
    return path


def utterance(audio: Path) -> Utterance:
    return Utterance(audio.stem, audio, "GOOD MORNING", "S1", "train")


def make_report(folder: Path) -> tuple[dict[str, object], str]:
    listed = [
        utterance(write(folder / "b.flac", sound(3.0))),
        utterance(write(folder / "a.flac", sound(1.0, seed=1))),
        utterance(write(folder / "stereo.flac", np.stack([sound()] * 2, axis=1))),
        utterance(folder / "gone.flac"),
        utterance(write(folder / "quiet.flac", sound(2.0, seed=2) * 0.02)),
    ]
    verified = [verify_utterance(u, u.text or "", SETTINGS) for u in listed]
    problems = [Problem("lost-7", "missing-audio", "lost-7 has a transcript and no audio", refused=True)]
    texts = [u.text or "" for u in listed]
    report = verification_report(listed, verified, [*problems, *find_duplicates(listed, verified)], texts, SETTINGS)
    return report, report_text(report)


def test_the_report_counts_and_names_everything(tmp_path: Path) -> None:
    report, text = make_report(tmp_path)
    assert json.loads(json.dumps(report, allow_nan=False))["accepted"] == 3
    counts = {name: report[name] for name in ("utterances", "accepted", "refused", "without_audio", "accepted_hours")}
    assert counts == {
        "utterances": 5,
        "accepted": 3,
        "refused": 2,
        "without_audio": 1,
        "accepted_hours": round(6 / 3600, 4),
    }
    assert report["accepted_seconds"] == {"shortest": 1.0, "median": 2.0, "longest": 3.0}
    assert report["formats"] == [
        {"sample_rate": RATE, "channels": 1, "files": 3},
        {"sample_rate": RATE, "channels": 2, "files": 1},
    ]
    assert report["texts"] == {
        "distinct": 1,
        "repeated": 1,
        "most_repeated": [{"text": "GOOD MORNING", "times": 5}],
    }
    assert f"3 files at {RATE} Hz with one channel\n1 files at {RATE} Hz with 2 channels\n" in text
    for part in ("stereo.flac", "gone.flac", "quiet.flac", "lost-7", "2 channels, expected 1"):
        assert part in text
    assert text.index("REFUSED: missing-audio (2)") < text.index("KEPT, BUT LOOK AT: quiet (1)")


def test_the_report_does_not_depend_on_the_order_of_the_utterances(tmp_path: Path) -> None:
    _, text = make_report(tmp_path)
    listed = [utterance(tmp_path / f"{name}.flac") for name in ("quiet", "gone", "a", "stereo", "b")]
    verified = [verify_utterance(u, u.text or "", SETTINGS) for u in listed]
    problems = [Problem("lost-7", "missing-audio", "lost-7 has a transcript and no audio", refused=True)]
    again = verification_report(listed, verified, problems, [u.text or "" for u in listed], SETTINGS)
    assert report_text(again) == text


def test_a_report_of_nothing_says_so() -> None:
    report = verification_report([], [], [], [], SETTINGS)
    assert report["accepted_seconds"] is None
    assert report_text(report).startswith("0 utterances listed, 0 accepted (0.00 h), 0 refused")


def narrow(identifier: str, frequency: float) -> Problem:
    return Problem(identifier, "narrow-band", f"{identifier}.flac: stops at {frequency} Hz", False, frequency)


def report_of(problems: list[Problem]) -> str:
    return report_text(verification_report([], [], problems, [], SETTINGS))


def test_many_notes_of_a_kind_are_one_line_with_their_range_and_a_list_at_the_end() -> None:
    frequencies = {"a": 3000.0, "b": 5000.0, "c": 4000.0, "d": 3500.0, "e": 6000.0}
    problems = [narrow(identifier, frequency) for identifier, frequency in frequencies.items()]
    problems += [Problem("z", "silent", "z.flac: nothing", True), Problem("y", "clipped", "y.flac: much", False, 0.5)]
    lines = report_of(problems).splitlines()
    assert lines.index("refused: silent 1") < lines.index("kept, but worth a look: clipped 1, narrow-band 5")
    gist = "  from 3000 Hz to 6000 Hz, half of them below 4000 Hz; a, b, c and 2 more, listed at the end"
    heading = next(i for i, line in enumerate(lines) if line.startswith("KEPT, BUT LOOK AT: narrow-band (5): "))
    assert lines[heading + 1] == gist
    assert lines[heading + 2 :] == ["", "ALL 5 OF narrow-band", *(f"  {p.subject}: {p.detail}" for p in problems[:5])]
    assert lines.index("  z: z.flac: nothing") < lines.index("  y: y.flac: much") < heading


def test_every_refusal_has_its_line_however_many_there_are() -> None:
    lines = report_of([Problem(f"u{i}", "truncated", f"u{i}.flac: half", True) for i in range(9)]).splitlines()
    assert [line for line in lines if line.startswith("  ")] == [f"  u{i}: u{i}.flac: half" for i in range(9)]


def test_few_notes_are_written_out_once() -> None:
    text = report_of([narrow("a", 3000.0), narrow("b", 5000.0), narrow("c", 4000.0)])
    assert text.count("stops at") == 3
    assert "ALL" not in text


def test_notes_without_a_value_or_of_a_kind_of_the_corpus_are_grouped_too() -> None:
    strange = [Problem(f"p{i}", "overlap", "late", False) for i in range(4)]
    strange += [Problem(f"q{i}", "odd", "late", False, 3.0) for i in range(4)]
    text = report_of(strange)
    assert "\n  p0, p1, p2 and 1 more, listed at the end\n" in text
    assert "\n  q0, q1, q2 and 1 more, listed at the end\n" in text


def test_every_note_of_sound_and_speed_has_its_value(tmp_path: Path) -> None:
    spectrum = np.fft.rfft(sound(3.0))
    spectrum[len(spectrum) // 2 :] = 0
    samples = np.concatenate([np.zeros(2 * RATE), np.fft.irfft(spectrum), np.zeros(3 * RATE)])
    spoken = dataclasses.replace(utterance(write(tmp_path / "a.wav", samples)), text="A")
    verified = verify_utterance(spoken, "A", SETTINGS)
    found = {problem.kind: problem.value for problem in verified.problems}
    assert set(found) == {"leading-silence", "trailing-silence", "narrow-band", "slow-speech"}
    assert abs(found["leading-silence"] - 2) < 0.02
    assert abs(found["trailing-silence"] - 3) < 0.02
    assert verified.measurement is not None
    assert found["narrow-band"] == verified.measurement.upper_frequency
    assert found["slow-speech"] == 1 / 8
