"""What is written: cuts that lhotse understands, statistics of all frames, all files or none."""

import dataclasses
import errno
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lhotse import CutSet

from asr.data.audio import read_audio
from asr.data.features import FeatureConfig, LogMel
from asr.errors import InputError
from data_prep import manifest
from data_prep.librispeech import read_folder
from data_prep.manifest import Entry, cut, feature_statistics, relative_path, write
from data_prep.measure import measure
from data_prep.utterance import Utterance


def _entry(utterance: Utterance) -> Entry:
    waveform = read_audio(utterance.audio, utterance.start, utterance.duration)
    total = read_audio(utterance.audio).samples.shape[1]
    return Entry(utterance, utterance.text or "", measure(*waveform), total)


@pytest.fixture
def entries(corpus) -> list[Entry]:
    """The twelve of train-a."""
    return [_entry(utterance) for utterance in read_folder(corpus.root, ["train-a"])[0]]


def _all_frames(entries: list[Entry], config: FeatureConfig) -> np.ndarray:
    features = LogMel(config)
    return np.concatenate(
        [
            features(torch.from_numpy(read_audio(u.audio, u.start, u.duration).samples[0])).numpy().astype(np.float64)
            for u, *_ in entries
        ]
    )


def test_cuts_are_valid_to_lhotse_and_hold_the_samples_of_their_files(entries, tmp_path):
    folder = tmp_path / "out"
    write(folder, {"train": entries}, {})
    cuts = CutSet.from_jsonl(folder / "train.jsonl.gz").to_eager()
    assert [c.id for c in cuts] == sorted(entry.id for entry in entries)
    for loaded, entry in zip(cuts, sorted(entries, key=lambda entry: entry.id), strict=True):
        assert not Path(loaded.recording.sources[0].source).is_absolute()
        placed = loaded.with_recording_path_prefix(folder)
        assert np.array_equal(placed.load_audio(), read_audio(entry.utterance.audio).samples)
        assert placed.num_samples == entry.measurement.num_samples
        (supervision,) = loaded.supervisions
        assert (supervision.text, supervision.speaker) == (entry.text, entry.utterance.speaker)
        assert (supervision.start, supervision.duration) == (0.0, loaded.duration)
        assert loaded.to_dict() == cut(entry, folder)


def test_a_stretch_of_a_file_becomes_a_cut_of_the_whole_recording(entries, tmp_path):
    utterance = dataclasses.replace(entries[0].utterance, id="piece", start=0.5, duration=0.75)
    write(tmp_path / "out", {"train": [_entry(utterance)]}, {})
    (loaded,) = CutSet.from_jsonl(tmp_path / "out" / "train.jsonl.gz").with_recording_path_prefix(tmp_path / "out")
    assert (loaded.start, loaded.duration) == (0.5, 0.75)
    assert loaded.recording.num_samples == entries[0].file_samples
    assert np.array_equal(loaded.load_audio(), read_audio(utterance.audio).samples[:, 8000:20000])


def test_audio_paths_lead_from_the_manifest_also_through_links(tmp_path):
    (tmp_path / "real" / "deep" / "out").mkdir(parents=True)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.flac").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "deep" / "out")
    path = relative_path(tmp_path / "corpus" / "a.flac", tmp_path / "link")
    assert path == "../../../corpus/a.flac"
    assert (tmp_path / "link" / path).read_text() == "x"


@pytest.mark.parametrize("jobs", [1, 2])
def test_statistics_are_those_of_all_frames_together(entries, jobs):
    found = feature_statistics(entries[::-1], FeatureConfig(num_mels=40), jobs)
    frames = _all_frames(entries, FeatureConfig(num_mels=40, normalization="none"))
    assert found["features"] == FeatureConfig(num_mels=40).spectrum()
    assert found["frames"] == len(frames)
    np.testing.assert_allclose(found["mean"], frames.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found["std"], frames.std(axis=0), rtol=1e-12)


def test_statistics_are_equal_to_the_last_bit_in_any_order_and_with_any_number_of_processes(entries):
    alone = feature_statistics(entries, FeatureConfig(), 1)
    assert feature_statistics(entries[::-1], FeatureConfig(), 3) == alone


def test_files_of_another_preparation_of_the_folder_are_replaced_or_removed(entries, tmp_path):
    records = {split: {"splits": dict.fromkeys(split)} for split in (("train", "dev"), ("train",))}
    for splits, record in records.items():
        files = {"selection.json": record, **({"tokens.json": 1} if "dev" in splits else {})}
        removed = write(tmp_path, dict.fromkeys(splits, entries[: len(splits)]), files)
    assert removed == ["dev.jsonl.gz"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["selection.json", "train.jsonl.gz"]
    assert len(gzip.decompress((tmp_path / "train.jsonl.gz").read_bytes()).splitlines()) == 1


def test_manifests_that_no_preparation_wrote_are_left_alone(entries, tmp_path):
    (tmp_path / "mine.jsonl.gz").write_bytes(b"mine")
    (tmp_path / "selection.json").write_text("[]")
    assert write(tmp_path, {"train": entries[:1]}, {"selection.json": {"splits": {"train": {}}}}) == []
    assert (tmp_path / "mine.jsonl.gz").read_bytes() == b"mine"


def test_a_full_disk_leaves_the_former_files_untouched(entries, tmp_path, monkeypatch):
    write(tmp_path, {"train": entries[:3], "dev": entries[3:6]}, {"selection.json": {"old": True}})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    written = []

    def full(path, rows):
        if written:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(original(path, rows))

    original = manifest.write_jsonl
    monkeypatch.setattr(manifest, "write_jsonl", full)
    with pytest.raises(InputError, match=r"cannot write .*dev\.jsonl\.gz: No space left on device"):
        write(tmp_path, {"train": entries[6:9], "dev": entries[9:]}, {"selection.json": {"old": False}})
    assert written
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before
    assert not (tmp_path / ".preparing").exists()


def test_equal_entries_give_equal_bytes(entries, tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, {"train": entries if name == "a" else entries[::-1]}, {"x.json": {"a": 1}})
    for name in ("train.jsonl.gz", "x.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    first = json.loads(gzip.decompress((tmp_path / "a" / "train.jsonl.gz").read_bytes()).splitlines()[0])
    assert first["recording"]["sources"][0]["source"].startswith("../")
