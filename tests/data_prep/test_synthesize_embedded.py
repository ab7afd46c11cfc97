"""The parts of the script that need no synthesiser."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.errors import InputError
from data_prep.librispeech import read_folder
from data_prep.synthesize_embedded import (
    FOLDER,
    SAMPLE_RATE,
    Voice,
    compose_part,
    espeak_command,
    festival_script,
    finish,
    flite_command,
    main,
    part_of,
    read_grammar,
    read_voices,
    speakers_table,
    trim,
    unknown_variants,
)

GRAMMAR = "size: big | small\nthing: <size> box | cup  # a comment\n\ntake the <thing>\nleave the <thing>\n"


def write_grammar(folder: Path, text: str = GRAMMAR) -> Path:
    path = folder / "grammar.txt"
    path.write_text(text)
    return path


def voice(**changes: object) -> Voice:
    values = {
        "speaker": "1", "part": "train-embedded", "utterances": 2, "sex": "F", "family": "x", "synthesizer": "flite",
        "voice": "slt", "rate": 1.0, "pitch": 0, "scale": 1.0, "level": -20.0,
    }  # fmt: skip
    return Voice(**{**values, **changes})  # type: ignore[arg-type]


def test_sentences_fill_every_slot_with_one_of_its_alternatives(tmp_path: Path) -> None:
    grammar = read_grammar(write_grammar(tmp_path))
    possible = {f"{verb} the {thing}" for verb in ("take", "leave") for thing in ("big box", "small box", "cup")}
    parts = {part: compose_part(grammar, part, 1) for part in {part_of(text) for text in possible}}
    assert {text for texts in parts.values() for text in texts} <= possible


def test_a_sentence_belongs_to_one_part_and_parts_have_their_shares() -> None:
    texts = [f"sentence {number}" for number in range(2000)]
    counts = Counter(map(part_of, texts))
    assert counts["train-embedded"] / 2000 == pytest.approx(0.75, abs=0.03)
    assert counts["dev-embedded"] / 2000 == pytest.approx(0.10, abs=0.03)


def test_sentences_of_a_part_are_drawn_the_same_every_time() -> None:
    grammar = read_grammar(FOLDER / "grammar.txt")
    first = compose_part(grammar, "dev-embedded", 40)
    assert first == compose_part(grammar, "dev-embedded", 40)
    assert set(map(part_of, first)) == {"dev-embedded"}
    assert max(Counter(first).values()) <= 6


def test_a_grammar_with_too_few_sentences_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the grammar gives .* sentences for test-embedded, 500 are wanted"):
        compose_part(read_grammar(write_grammar(tmp_path)), "test-embedded", 500)


def test_a_class_that_is_not_there_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 2: there is no class <shape>"):
        read_grammar(write_grammar(tmp_path, "size: big\ntake the <shape>\n"))


def test_the_tables_voices_are_read_as_they_stand() -> None:
    voices = read_voices(FOLDER / "voices.tsv")
    assert len({one.speaker for one in voices}) == len(voices)
    assert {one.synthesizer for one in voices} == {"espeak-ng", "flite", "festival"}
    table = speakers_table(voices, [60.0] * len(voices))
    assert table.count("| 1.00    |") == len(voices)


def test_silence_is_trimmed_to_the_edge_that_is_asked_for() -> None:
    tone = np.sin(np.arange(SAMPLE_RATE) / 5).astype(np.float32)
    quiet = np.zeros(SAMPLE_RATE, dtype=np.float32)
    trimmed = trim(np.concatenate([quiet, tone, quiet]), edge=0.1)
    assert len(trimmed) / SAMPLE_RATE == pytest.approx(1.2, abs=0.03)


def test_finished_speech_has_the_level_asked_for_unless_it_would_clip() -> None:
    tone = np.sin(np.arange(SAMPLE_RATE) / 5).astype(np.float32)
    level = 20 * np.log10(np.sqrt(np.square(finish(tone, SAMPLE_RATE, 1.0, -26.0)).mean()))
    assert level == pytest.approx(-26, abs=0.05)
    assert np.abs(finish(tone, SAMPLE_RATE, 1.0, 0.0)).max() == pytest.approx(10 ** (-1 / 20), rel=1e-3)


def test_played_faster_is_shorter_by_the_scale() -> None:
    tone = np.sin(np.arange(2 * SAMPLE_RATE) / 5).astype(np.float32)
    assert len(finish(tone, SAMPLE_RATE, 1.25, -20.0)) == pytest.approx((2 / 1.25 + 2 * 0.1) * SAMPLE_RATE, rel=0.01)


def test_commands_name_voice_text_and_file(tmp_path: Path) -> None:
    wav = tmp_path / "a.wav"
    assert {"go", str(wav), "en-us+m1"} <= set(espeak_command(voice(voice="en-us+m1"), "go", wav))
    assert {"go", str(wav), "slt"} <= set(flite_command(voice(), "go", wav))
    script = festival_script(voice(voice="kal_diphone", pitch=100), ["go", "stop"], [wav, tmp_path / "b.wav"])
    assert "voice_kal_diphone" in script
    assert '"stop"' in script


def test_a_variant_that_espeak_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "espeak-ng"
    fake.write_text("#!/bin/sh\necho ' 5  variant  --/M  Michael  !v/Michael'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    voices = [voice(synthesizer="espeak-ng", voice=name) for name in ("en-us+michael", "en-gb+Michael", "en-us")]
    assert unknown_variants(voices) == ["michael"]


def test_missing_synthesisers_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([str(tmp_path)]) == 1
    assert "not installed: espeak-ng, flite, festival, opusenc" in capsys.readouterr().err


FOLLOWING = 'f=; for word; do [ "$last" = {} ] && f=$word; last=$word; done'
"""Shell: the word after an option."""

PROGRAMS = {
    "espeak-ng": f'[ "$1" = --voices=variant ] && echo "5 variant M Alex !v/Alex" && exit\n'
    f'{FOLLOWING.format("-w")}; cp "$TONE" "$f"',
    "flite": f'{FOLLOWING.format("-o")}; cp "$TONE" "$f"',
    "festival": """grep -o '"[^"]*wav"' "$2" | tr -d '"' | while read -r f; do cp "$TONE" "$f"; done""",
    "opusenc": 'while [ $# -gt 2 ]; do shift; done; cat "$1"',
}


@pytest.fixture
def synthesisers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs of the synthesisers' names that say everything as 1.5 s of a tone; opusenc leaves its input as it is."""
    for name, script in PROGRAMS.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    time = np.arange(round(1.5 * 22050)) / 22050
    soundfile.write(tmp_path / "tone.wav", 0.3 * np.sin(2 * np.pi * 300 * time), 22050)
    monkeypatch.setenv("TONE", str(tmp_path / "tone.wav"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")


VOICES = [
    ("31", "train-embedded", "espeak-ng", "en-us+Alex", "1", "-20"),
    ("32", "train-embedded", "festival", "kal_diphone", "1", "-25"),
    ("33", "test-embedded", "flite", "slt", "1", "-30"),
    ("34", "dev-embedded", "flite", "rms", "3", "-30"),
]


def write_source(folder: Path, voices: list[tuple[str, ...]]) -> Path:
    folder.mkdir()
    write_grammar(
        folder, "one: a | b | c | d | e | f | g\ntwo: u | v | w | x | y | z\n\nsay <one> and then <two> twice\n"
    )
    header = ["speaker", "part", "utterances", "sex", "family", "synthesizer"]
    rows = [[*header, "voice", "rate", "pitch", "scale", "level"]]
    for speaker, part, tool, name, scale, level in voices:
        rows.append([speaker, part, "3", "F", "x", tool, name, "1", "0", scale, level])
    (folder / "voices.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    return folder


@pytest.mark.usefixtures("synthesisers")
def test_the_script_writes_a_corpus_that_can_be_read_as_librispeech(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", VOICES)
    assert main([str(tmp_path / "out"), "--source", str(source), "--jobs", "1"]) == 0
    corpus = tmp_path / "out" / "LibriSpeech"
    utterances, problems = read_folder(corpus, ["train-embedded", "test-embedded"])
    assert not problems
    assert [u.id for u in utterances if u.speaker == "33"] == ["33-1-0000", "33-1-0001", "33-1-0002"]
    assert {u.speaker for u in utterances} == {"31", "32", "33"}
    assert not list((corpus / "dev-embedded").rglob("*.opus"))  # played so fast that 22 characters are too many
    for utterance in utterances:
        assert utterance.text is not None
        assert part_of(utterance.text.lower()) == utterance.part
        samples, rate = soundfile.read(utterance.audio, dtype="float32")
        assert (rate, samples.ndim) == (SAMPLE_RATE, 1)
        level = {"31": -20, "32": -25, "33": -30}[utterance.speaker or ""]
        assert 20 * np.log10(np.sqrt(np.square(samples).mean())) == pytest.approx(level, abs=4)
    assert len((corpus / "SPEAKERS.TXT").read_text().splitlines()) == 1 + len(VOICES)


@pytest.mark.usefixtures("synthesisers")
def test_a_corpus_that_is_there_and_a_variant_that_is_not_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there" / "LibriSpeech").mkdir(parents=True)
    assert main([str(tmp_path / "there")]) == 1
    assert "LibriSpeech exists already" in capsys.readouterr().err
    source = write_source(tmp_path / "source", [("31", "train-embedded", "espeak-ng", "en-us+Zoe", "1", "-20")])
    assert main([str(tmp_path / "out"), "--source", str(source)]) == 1
    assert "espeak-ng has no variants Zoe" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_row_of_voices_that_cannot_be_used_is_named_with_its_line(tmp_path: Path) -> None:
    path = write_source(tmp_path / "source", VOICES) / "voices.tsv"
    path.write_text(path.read_text().replace("\t3\t", "\tthree\t", 1))
    with pytest.raises(InputError, match="voices.tsv, line 2: invalid literal .*'three'"):
        read_voices(path)
