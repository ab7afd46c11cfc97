"""AN4's layout in every edition, and what is wrong in a broken one."""

import argparse
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.audio import read_audio
from asr.errors import InputError
from data_prep import an4
from data_prep.an4 import read_folder
from data_prep.utterance import Utterance
from data_prep.verify import VerificationSettings, verify_utterance

SAMPLES = (3000 * np.sin(np.arange(16000) / 3)).astype(np.int16)

FILEIDS = {
    "train": ["an4_clstk/fash/an251-fash-b", "an4_clstk/mblb/cen1-mblb-b"],
    "test": ["an4test_clstk/fcaw/an406-fcaw-b"],
}
TRANSCRIPTS = {
    "train": ["<s> YES </s> (an251-fash-b)", "<s> P I T T </s> (cen1-mblb-b)"],
    "test": ["RUBOUT G M E F (an406-fcaw-b)"],
}


def write_audio(path: Path, samples: np.ndarray = SAMPLES) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".raw":
        path.write_bytes(samples.astype(">i2").tobytes())
    else:
        soundfile.write(path, samples, 16000, format="NIST" if path.suffix == ".sph" else None)


def write_lists(root: Path) -> None:
    (root / "etc").mkdir(parents=True)
    for part in ("train", "test"):
        (root / "etc" / f"an4_{part}.fileids").write_text("\n".join(FILEIDS[part]) + "\n")
        (root / "etc" / f"an4_{part}.transcription").write_text("\n".join(TRANSCRIPTS[part]) + "\n")


def write_an4(root: Path, suffix: str = ".flac") -> Path:
    write_lists(root)
    for fileid in [*FILEIDS["train"], *FILEIDS["test"]]:
        write_audio(root / "wav" / f"{fileid}{suffix}")
    return root


@pytest.mark.parametrize("suffix", [".flac", ".wav", ".sph", ".raw"])
def test_every_edition_gives_the_same_utterances_and_samples(tmp_path: Path, suffix: str) -> None:
    root = write_an4(tmp_path / "an4", suffix)
    utterances, problems = read_folder(root, tmp_path / "unpacked")
    assert problems == []
    assert [(u.id, u.text, u.speaker, u.part) for u in utterances] == [
        ("an406-fcaw-b", "RUBOUT G M E F", "fcaw", "test"),
        ("an251-fash-b", "YES", "fash", "train"),
        ("cen1-mblb-b", "P I T T", "mblb", "train"),
    ]
    for utterance in utterances:
        waveform = read_audio(utterance.audio)
        assert waveform.sample_rate == 16000
        np.testing.assert_array_equal(waveform.samples[0], SAMPLES / np.float32(2**15))


def test_the_folder_above_is_understood_and_command_line_options_reach_the_reader(tmp_path: Path) -> None:
    write_an4(tmp_path / "an4", ".raw")
    parser = argparse.ArgumentParser()
    an4.add_arguments(parser)
    options = parser.parse_args([str(tmp_path), "--unpack-raw", str(tmp_path / "flac")])
    utterances, _ = an4.read(options)
    assert utterances[0].audio == tmp_path / "flac" / "an4test_clstk" / "fcaw" / "an406-fcaw-b.flac"


def test_flac_is_preferred_where_a_file_has_several_formats(tmp_path: Path) -> None:
    root = write_an4(tmp_path)
    write_audio(root / "wav" / f"{FILEIDS['train'][0]}.raw")
    assert {u.audio.suffix for u in read_folder(root)[0]} == {".flac"}


def test_raw_audio_needs_a_place_for_its_copies(tmp_path: Path) -> None:
    root = write_an4(tmp_path, ".raw")
    with pytest.raises(InputError, match=r"3 \.raw files.*--unpack-raw"):
        read_folder(root)


def test_raw_audio_that_breaks_off_is_named_and_the_rest_is_converted(tmp_path: Path) -> None:
    root = write_an4(tmp_path / "an4", ".raw")
    broken = root / "wav" / f"{FILEIDS['train'][0]}.raw"
    broken.write_bytes(broken.read_bytes()[:-1])
    empty = root / "wav" / f"{FILEIDS['train'][1]}.raw"
    empty.write_bytes(b"")
    utterances, problems = read_folder(root, tmp_path / "flac")
    assert [(p.subject, p.kind, p.refused) for p in problems] == [
        ("an251-fash-b", "truncated", True),
        ("cen1-mblb-b", "empty-file", True),
    ]
    assert str(broken) in problems[0].detail
    assert {u.id: u.audio.suffix for u in utterances} == {
        "an406-fcaw-b": ".flac",
        "an251-fash-b": ".raw",
        "cen1-mblb-b": ".raw",
    }
    assert [p.kind for p in verified(utterances[1])] == ["undecodable"]


def verified(utterance: Utterance) -> list:
    return [p for p in verify_utterance(utterance, utterance.text or "", VerificationSettings()).problems if p.refused]


def test_a_copy_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    root = write_an4(tmp_path / "an4", ".raw")
    copy = read_folder(root, tmp_path / "flac")[0][0].audio
    before = copy.stat().st_mtime_ns
    assert read_folder(root, tmp_path / "flac")[0][0].audio == copy
    assert copy.stat().st_mtime_ns == before


def test_a_copy_of_a_file_that_was_half_there_is_made_anew(tmp_path: Path) -> None:
    root = write_an4(tmp_path / "an4", ".raw")
    raw = root / "wav" / f"{FILEIDS['train'][0]}.raw"
    whole = raw.read_bytes()
    raw.write_bytes(whole[: len(whole) // 2])
    copy = read_folder(root, tmp_path / "flac")[0][1].audio
    assert len(read_audio(copy).samples[0]) == len(SAMPLES) // 2
    raw.write_bytes(whole)
    os.utime(raw, (0, 0))  # as rsync and tar leave it
    assert read_folder(root, tmp_path / "flac")[0][1].audio == copy
    np.testing.assert_array_equal(read_audio(copy).samples[0], SAMPLES / np.float32(2**15))


def test_raw_audio_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    root = write_an4(tmp_path / "an4", ".raw")
    raw = root / "wav" / f"{FILEIDS['train'][0]}.raw"
    raw.unlink()
    raw.symlink_to(tmp_path / "nowhere")
    (problem,) = read_folder(root, tmp_path / "flac")[1]
    assert (problem.subject, problem.kind, problem.refused) == ("an251-fash-b", "undecodable", True)
    assert problem.detail == f"{raw}: cannot be read (No such file or directory)"


def test_linked_speakers_are_read_and_hidden_files_are_not(tmp_path: Path) -> None:
    root = write_an4(tmp_path / "an4", ".wav")
    plain = read_folder(root)
    speaker = root / "wav" / "an4_clstk" / "fash"
    (speaker.with_name("mblb") / "._cen1-mblb-b.wav").write_bytes(b"of macOS")
    speaker.rename(tmp_path / "elsewhere")
    speaker.symlink_to(tmp_path / "elsewhere")
    assert read_folder(root) == plain
    assert all(u.audio.is_file() for u in plain[0])


def test_a_transcript_without_a_file_id_is_named(tmp_path: Path) -> None:
    root = write_an4(tmp_path)
    with (root / "etc" / "an4_train.transcription").open("a") as file:
        file.write("<s> GO </s> (an999-none-b)\n")
    problems = read_folder(root)[1]
    assert [(p.subject, p.kind, p.refused) for p in problems] == [("an999-none-b", "missing-audio", True)]


def test_a_file_id_without_audio_is_refused_by_verification_with_its_path(tmp_path: Path) -> None:
    root = write_an4(tmp_path)
    (root / "wav" / f"{FILEIDS['train'][0]}.flac").unlink()
    utterances, problems = read_folder(root)
    assert problems == []
    missing = next(u for u in utterances if u.id == "an251-fash-b")
    found = verified(missing)
    assert [p.kind for p in found] == ["missing-audio"]
    assert "wav/an4_clstk/fash/an251-fash-b" in found[0].detail


def test_audio_and_file_ids_without_transcript_have_no_text(tmp_path: Path) -> None:
    root = write_an4(tmp_path)
    write_audio(root / "wav" / "an4_clstk" / "fash" / "an252-fash-b.flac")
    write_audio(root / "wav" / "other" / "stray.flac")
    path = root / "etc" / "an4_test.transcription"
    path.write_text("\n")
    utterances, problems = read_folder(root)
    assert problems == []
    without = {(u.id, u.part) for u in utterances if u.text is None}
    assert without == {("an252-fash-b", "train"), ("an406-fcaw-b", "test"), ("stray", "unlisted")}


def test_lines_that_are_no_transcript_are_named_by_number(tmp_path: Path) -> None:
    root = write_an4(tmp_path)
    path = root / "etc" / "an4_train.transcription"
    path.write_text("<s> YES </s> (an251-fash-b)\nno id here\n\nP I T T (cen1-mblb-b)\nAGAIN (an251-fash-b)\n")
    utterances, problems = read_folder(root)
    assert [(p.subject, p.kind) for p in problems] == [
        ("an4_train.transcription, line 2", "unreadable-text"),
        ("an4_train.transcription, line 5", "unreadable-text"),
    ]
    assert "a second transcript of an251-fash-b" in problems[1].detail
    assert next(u.text for u in utterances if u.id == "an251-fash-b") == "YES"


def test_a_folder_that_is_not_an4_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not AN4: it has no folder wav/"):
        read_folder(tmp_path)
    with pytest.raises(InputError, match="there is no folder .*nowhere"):
        read_folder(tmp_path / "nowhere")
    root = write_an4(tmp_path / "an4")
    (root / "etc" / "an4_test.fileids").unlink()
    with pytest.raises(InputError, match=r"cannot read .*an4_test\.fileids"):
        read_folder(root)
    (root / "etc" / "an4_test.fileids").write_bytes(b"an4test_clstk/\xff")
    with pytest.raises(InputError, match=r"an4_test\.fileids is not UTF-8 text \(byte 14\)"):
        read_folder(root)


def test_the_real_corpus_has_its_published_size(corpora: Path) -> None:
    utterances, problems = read_folder(corpora / "an4")
    assert problems == []
    for part, number, speakers in (("train", 948, 74), ("test", 130, 10)):
        of_part = [u for u in utterances if u.part == part]
        assert (len(of_part), len({u.speaker for u in of_part})) == (number, speakers)
        assert all(u.audio.is_file() and u.text for u in of_part)
