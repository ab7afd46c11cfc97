"""Reading manifests of lhotse, made by lhotse itself."""

import argparse
import copy
import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

from asr.errors import InputError
from data_prep import cuts
from data_prep.cuts import read_manifest
from data_prep.listed import ListedIds
from data_prep.utterance import Utterance

RATE = 16000


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    """Ten seconds in one channel, at an absolute path."""
    path = tmp_path / "audio" / "talk.wav"
    path.parent.mkdir()
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(10 * RATE), RATE)
    return Recording.from_file(path)


def supervision(identifier: str, start: float, duration: float, text: str | None = "HELLO") -> SupervisionSegment:
    return SupervisionSegment(identifier, "talk", start, duration, text=text, speaker=f"spk-{identifier}")


def cut(
    recording: Recording | None, *supervisions: SupervisionSegment, start: float = 0.0, duration: float = 10.0
) -> Any:
    return MonoCut("cut-1", start, duration, 0, supervisions=list(supervisions), recording=recording)


def save(path: Path, *some: Any) -> Path:
    CutSet.from_cuts(some).to_file(path)
    return path


def test_a_cut_with_one_supervision_is_an_utterance_as_it_stands(tmp_path: Path, recording: Recording) -> None:
    manifest = save(tmp_path / "dev.jsonl.gz", cut(recording, supervision("s", 0.5, 2.0), start=3.0, duration=4.0))
    utterances, problems = read_manifest(manifest)
    assert problems == []
    audio = Path(recording.sources[0].source)
    assert utterances == [Utterance("cut-1", audio, "HELLO", "spk-s", "dev", start=3.0, duration=4.0)]


def test_several_supervisions_are_cut_as_lhotse_trims_them(tmp_path: Path, recording: Recording) -> None:
    parts = [supervision("a", 0.5, 1.25, "ONE"), supervision("b", 2.0, 1.5, "TWO"), supervision("c", 3.5, 0.5, "THREE")]
    whole = cut(recording, *parts, start=4.0, duration=5.0)
    utterances, problems = read_manifest(save(tmp_path / "train.jsonl", whole))
    trimmed = CutSet.from_cuts([whole]).trim_to_supervisions()
    assert problems == []
    assert [(u.id, u.start, u.duration, u.text) for u in utterances] == [
        (t.id, t.start, t.duration, t.supervisions[0].text) for t in trimmed
    ]


def test_overlapping_supervisions_are_named_and_kept(tmp_path: Path, recording: Recording) -> None:
    long, inside, after = supervision("a", 0, 5), supervision("b", 1, 1), supervision("c", 4.25, 2)
    utterances, problems = read_manifest(save(tmp_path / "train.jsonl", cut(recording, long, inside, after)))
    assert len(utterances) == 3
    assert [(p.subject, p.kind, p.refused) for p in problems] == [("b", "overlap", False), ("c", "overlap", False)]
    assert "begins 0.75 s before 'a' ends" in problems[1].detail


def test_a_supervision_beyond_its_cut_is_a_problem(tmp_path: Path, recording: Recording) -> None:
    for start, duration in ((-0.5, 2.0), (9.0, 1.5)):
        with_text = cut(recording, supervision("s", start, duration))
        utterances, problems = read_manifest(save(tmp_path / "train.jsonl", with_text))
        assert utterances == []
        assert "lacks audio of its text" in problems[0].detail
        assert problems[0].detail.startswith("cut 'cut-1': ")


def test_relative_paths_start_at_the_manifest_or_at_the_audio_root(tmp_path: Path, recording: Recording) -> None:
    recording.sources[0].source = "audio/talk.wav"
    manifest = save(tmp_path / "train.jsonl", cut(recording, supervision("s", 0, 10)))
    assert read_manifest(manifest)[0][0].audio == tmp_path / "audio" / "talk.wav"
    assert read_manifest(manifest, Path("/data"))[0][0].audio == Path("/data/audio/talk.wav")


def online(recording: Recording) -> Any:
    recording.sources[0].type = "url"
    return cut(recording, supervision("s", 0, 1))


def multi_channel(recording: Recording) -> Any:
    path = Path(recording.sources[0].source).with_name("stereo.wav")
    soundfile.write(path, np.zeros((RATE, 2)), RATE)
    return cut(Recording.from_file(path), supervision("s", 0, 1), duration=1.0)


def with_sources(recording: Recording, sources: list[Any]) -> Recording:
    recording.sources = sources
    return recording


BAD_CUTS: dict[str, tuple[Callable[[Recording], Any], str]] = {
    "mixed": (lambda r: cut(r, supervision("s", 0, 1)).append(cut(r, supervision("t", 0, 1))), "found 'MixedCut'"),
    "padded": (lambda r: cut(r, supervision("s", 0, 1)).pad(12.0), "found 'MixedCut'"),
    "padding": (lambda r: cut(r).pad(12.0).tracks[1].cut, "found 'PaddingCut'"),
    "url": (online, "a source of type 'url'"),
    "transformed": (lambda r: cut(r, supervision("s", 0, 1)).perturb_speed(0.9), "lazy transforms"),
    "two channels": (multi_channel, "2 channels: save channel 0"),
    "no recording": (lambda r: cut(None, supervision("s", 0, 1)), "no recording"),
    "no supervision": (lambda r: cut(r), "no supervision"),
    "no source": (lambda r: cut(with_sources(r, []), supervision("s", 0, 1)), "no source"),
    "text no text": (lambda r: cut(r, supervision("s", 0, 1, text=5)), "text must be text, got 5"),  # type: ignore[arg-type]
    "no duration": (lambda r: cut(r, supervision("s", 0, 0), duration=0.0), "do not make an utterance"),
}


@pytest.mark.parametrize("name", BAD_CUTS)
def test_a_cut_that_cannot_be_used_is_refused_by_name_and_the_others_are_kept(
    tmp_path: Path, recording: Recording, name: str
) -> None:
    make, reason = BAD_CUTS[name]
    bad = make(copy.deepcopy(recording))
    good = MonoCut("good", 0, 1, 0, supervisions=[supervision("g", 0, 1)], recording=recording)
    manifest = save(tmp_path / "train.jsonl.gz", bad, good)
    utterances, problems = read_manifest(manifest)
    assert [u.id for u in utterances] == ["good"]
    assert [(p.subject, p.kind, p.refused) for p in problems] == [(f"{manifest}, entry 1", "bad-row", True)]
    assert problems[0].detail.startswith(f"cut {bad.id!r}: ")
    assert reason in problems[0].detail
    listed = ListedIds("ids.txt", "", frozenset({"good", str(bad.id)}))
    assert listed.keep(utterances, problems) == (utterances, problems)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([1], "expected a lhotse MonoCut, found 'list'"),
        ({"id": "x"}, "found None"),
        ({"type": "MonoCut", "id": "x"}, "not a valid MonoCut"),
        ({"type": "MonoCut", "id": "x", "start": "0", "duration": 1, "channel": 0}, "must be finite numbers"),
        ({"type": "MonoCut", "id": "x", "start": math.nan, "duration": 1, "channel": 0}, "must be finite numbers"),
        ({"type": "MonoCut", "id": None, "start": 0, "duration": 1, "channel": 0}, "id must be text, got None"),
        ({"type": "MonoCut", "id": "x", "start": 0, "duration": 1, "channel": 0, "sped": 1}, "sped"),
    ],
)
def test_a_line_that_is_no_cut_is_named(tmp_path: Path, row: Any, reason: str) -> None:
    manifest = tmp_path / "train.jsonl"
    manifest.write_text(json.dumps(row) + "\n")
    utterances, problems = read_manifest(manifest)
    assert utterances == []
    assert problems[0].subject == f"{manifest}, entry 1"
    assert reason in problems[0].detail


def test_ids_and_speakers_that_are_integers_are_taken_as_their_text(tmp_path: Path, recording: Recording) -> None:
    manifest = save(tmp_path / "train.jsonl", cut(recording, supervision("s", 0, 1)))
    row = json.loads(manifest.read_text())
    row["id"], row["supervisions"][0]["speaker"] = 7, 19
    manifest.write_text(json.dumps(row))
    ((utterance,), problems) = read_manifest(manifest)
    assert (utterance.id, utterance.speaker, problems) == ("7", "19", [])


def test_broken_manifests_are_errors_that_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*gone\.jsonl"):
        read_manifest(tmp_path / "gone.jsonl")
    with pytest.raises(InputError, match=r"cuts\.json is not a manifest known here"):
        read_manifest(tmp_path / "cuts.json")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match=r"empty\.jsonl holds no cuts"):
        read_manifest(tmp_path / "empty.jsonl")
    (tmp_path / "short.jsonl.gz").write_bytes(gzip.compress(b'{"id": 1}\n' * 1000)[:-20])
    with pytest.raises(InputError, match=r"short\.jsonl\.gz"):
        read_manifest(tmp_path / "short.jsonl.gz")


def options(*arguments: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cuts.add_arguments(parser)
    return parser.parse_args([str(argument) for argument in arguments])


def test_each_manifest_of_a_folder_is_a_part(tmp_path: Path, recording: Recording) -> None:
    for name in ("test.jsonl", "train.jsonl.gz"):
        one = cut(recording, supervision("s", 0, 1))
        one.id = f"{name}-1"
        save(tmp_path / name, one)
    utterances, problems = cuts.read(options(tmp_path))
    assert problems == []
    assert [(u.id, u.part) for u in utterances] == [("test.jsonl-1", "test"), ("train.jsonl.gz-1", "train")]
    again, _ = cuts.read(options(tmp_path / "train.jsonl.gz", "--audio-root", tmp_path))
    assert [u.part for u in again] == ["train"]


def test_hidden_files_of_a_folder_are_no_manifests(tmp_path: Path, recording: Recording) -> None:
    save(tmp_path / "train.jsonl.gz", cut(recording, supervision("s", 0, 1)))
    (tmp_path / ".verified.jsonl").write_text('{"key": "of an interrupted preparation"}\n')
    (tmp_path / "._train.jsonl.gz").write_bytes(b"of macOS")
    utterances, problems = cuts.read(options(tmp_path))
    assert ([u.id for u in utterances], problems) == (["cut-1"], [])


def test_two_manifests_of_one_name_and_a_folder_without_any_are_errors(tmp_path: Path, recording: Recording) -> None:
    one = cut(recording, supervision("s", 0, 1))
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="holds no manifest"):
        cuts.read(options(tmp_path / "other"))
    save(tmp_path / "train.jsonl", one)
    save(tmp_path / "other" / "train.jsonl", one)
    with pytest.raises(InputError, match="would both be the part 'train'"):
        cuts.read(options(tmp_path / "train.jsonl", tmp_path / "other"))
