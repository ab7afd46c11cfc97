import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from lhotse import CutSet
from white_noise import white_noise

from asr.data.cuts import audio_file, check_sample_rates, load_waveform, read_cuts, speaker_of, text_of
from asr.errors import InputError
from asr.files import read_jsonl, write_jsonl

WriteCuts = Callable[..., Path]


def edit(manifest: Path, change: Callable[[dict[str, Any]], Any], entry: int = 1) -> None:
    rows = list(read_jsonl(manifest))
    change(rows[entry])
    write_jsonl(manifest, rows)


@pytest.fixture
def manifest(write_cuts: WriteCuts) -> Path:
    return write_cuts({f"u{i}": white_noise(4000 + 100 * i, seed=i) for i in range(3)})


def test_audio_is_found_from_any_working_directory(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for i, cut in enumerate(read_cuts(manifest)):
        assert load_waveform(cut, 16000).shape == (4000 + 100 * i,)


def test_lhotse_reads_the_same_cuts_and_the_same_samples(manifest: Path) -> None:
    ours = read_cuts(manifest)
    theirs = CutSet.from_file(manifest)
    assert [cut.id for cut in ours] == [cut.id for cut in theirs]
    for cut in ours:
        np.testing.assert_array_equal(load_waveform(cut, 16000), cut.load_audio()[0])


def test_what_lhotse_writes_is_read(manifest: Path, tmp_path: Path) -> None:
    for name in ("again.jsonl", "again.jsonl.gz"):
        read_cuts(manifest).to_file(tmp_path / name)
        again = read_cuts(tmp_path / name)
        assert [cut.id for cut in again] == ["u0", "u1", "u2"]
        np.testing.assert_array_equal(load_waveform(again[0], 16000), load_waveform(read_cuts(manifest)[0], 16000))


def test_absolute_paths_stay(manifest: Path, tmp_path: Path) -> None:
    other = tmp_path / "absolute.flac"
    soundfile.write(other, white_noise(4100, seed=9), 16000)
    edit(manifest, lambda row: row["recording"]["sources"][0].update(source=str(other)))
    assert audio_file(read_cuts(manifest)[1]) == other


def test_a_cut_of_a_longer_recording_is_its_stretch(write_cuts: WriteCuts) -> None:
    manifest = write_cuts({"long": white_noise(16000)})
    edit(manifest, lambda row: row.update(start=0.25, duration=0.5), entry=0)
    cut = read_cuts(manifest)[0]
    whole = soundfile.read(audio_file(cut), dtype="float32")[0]
    np.testing.assert_array_equal(load_waveform(cut, 16000), whole[4000:12000])


def test_text_and_speaker_come_from_the_supervision(manifest: Path) -> None:
    edit(manifest, lambda row: row.update(supervisions=[]), entry=0)
    edit(manifest, lambda row: row["supervisions"][0].pop("speaker"), entry=1)
    cuts = read_cuts(manifest, transcribed=False)
    assert [text_of(cut) for cut in cuts] == ["", "AB", "AB"]
    assert [speaker_of(cut) for cut in cuts] == [None, None, "cuts-speaker-0"]


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere.jsonl.gz"):
        read_cuts(tmp_path / "nowhere.jsonl.gz")


def test_an_empty_manifest_is_named(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "empty.jsonl.gz", [])
    with pytest.raises(InputError, match="empty.jsonl.gz holds no cuts"):
        read_cuts(tmp_path / "empty.jsonl.gz")


def test_a_line_that_is_not_json_is_named_by_file_and_number(manifest: Path) -> None:
    lines = gzip.decompress(manifest.read_bytes()).splitlines()
    manifest.write_bytes(gzip.compress(b"\n".join([lines[0], b"{broken", lines[2]])))
    with pytest.raises(InputError, match=r"cuts.jsonl.gz, line 2"):
        read_cuts(manifest)


def test_a_truncated_manifest_is_named(manifest: Path) -> None:
    manifest.write_bytes(manifest.read_bytes()[:-30])
    with pytest.raises(InputError, match="cuts.jsonl.gz"):
        read_cuts(manifest)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.update(type="MultiCut"), "expected a lhotse MonoCut, found 'MultiCut'"),
        (lambda row: row.pop("type"), "found None"),
        (lambda row: row.pop("channel"), "not a valid MonoCut .*channel"),
        (lambda row: row.update(surprise=1), "not a valid MonoCut .*surprise"),
        (lambda row: row.pop("recording"), "'u1'.: has no recording"),
        (lambda row: row.update(duration=0.0), "'u1'.: start 0.0 s and duration 0.0 s"),
        (lambda row: row.update(start=-1.0), "'u1'.: start -1.0 s"),
        (lambda row: row.update(channel=1), "'u1'.: no audio file has its channel 1"),
        (lambda row: row["recording"]["sources"][0].update(type="command"), r"must be files, found \['command'\]"),
        (lambda row: row.update(id="u0"), "the id 'u0' occurs twice"),
        (lambda row: row.update(supervisions=[]), "'u1'.: expected one supervision with a text, found 0"),
        (lambda row: row["supervisions"].append(row["supervisions"][0]), "found 2 supervisions"),
        (lambda row: row["supervisions"][0].pop("text"), "found a supervision without text"),
        (
            lambda row: row["recording"].update(
                transforms=[{"name": "Speed", "kwargs": {"factor": 1.1}}], num_samples=3727, duration=3727 / 16000
            ),
            r"'u1'.: lhotse's lazy transforms \(Speed\)",
        ),
    ],
)
def test_a_bad_entry_is_named_by_file_number_and_reason(
    manifest: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    edit(manifest, change)
    with pytest.raises(InputError, match=rf"cuts.jsonl.gz, entry 2.*{message}"):
        read_cuts(manifest)


def test_a_row_that_is_no_object_is_named(manifest: Path) -> None:
    write_jsonl(manifest, [["u0"]])
    with pytest.raises(InputError, match="entry 1: expected a lhotse MonoCut, found 'list'"):
        read_cuts(manifest)


def test_a_file_that_vanished_is_named_with_its_utterance(manifest: Path) -> None:
    cut = read_cuts(manifest)[1]
    audio_file(cut).unlink()
    with pytest.raises(InputError, match=r"utterance 'u1': .*u1.flac: no such audio file"):
        load_waveform(cut, 16000)


def test_another_sample_rate_is_refused_by_name(write_cuts: WriteCuts) -> None:
    cuts = read_cuts(write_cuts({"slow": white_noise(8000)}, rate=8000))
    with pytest.raises(InputError, match=r"utterance 'slow': .*slow.flac is at 8000 Hz and the features need 16000 Hz"):
        load_waveform(cuts[0], 16000)
    with pytest.raises(InputError, match="1 of 1 cuts of train are not at .* 16000 Hz, the first: 'slow' at 8000 Hz"):
        check_sample_rates("train", cuts, 16000)
    check_sample_rates("train", cuts, 8000)


def test_stereo_that_the_manifest_calls_mono_is_refused_by_name(manifest: Path) -> None:
    cut = read_cuts(manifest)[0]
    soundfile.write(audio_file(cut), np.stack([white_noise(4000)] * 2, axis=1), 16000)
    with pytest.raises(InputError, match=r"utterance 'u0': .*u0.flac has 2 channels, and its manifest names 1"):
        load_waveform(cut, 16000)


def test_a_channel_that_the_manifest_chooses_is_used(manifest: Path) -> None:
    samples = np.stack([white_noise(4000, seed=1), white_noise(4000, seed=2)], axis=1)
    soundfile.write(audio_file(read_cuts(manifest)[0]), samples, 16000, subtype="PCM_24")

    def choose(row: dict[str, Any]) -> None:
        row["recording"].update(channel_ids=[0, 1])
        row["recording"]["sources"][0].update(channels=[0, 1])
        row.update(channel=1)

    edit(manifest, choose, entry=0)
    cut = read_cuts(manifest)[0]
    np.testing.assert_allclose(load_waveform(cut, 16000), samples[:, 1], atol=1e-6)
    np.testing.assert_array_equal(load_waveform(cut, 16000), cut.load_audio()[0])


def test_a_file_shorter_than_its_manifest_says_is_refused_by_name(manifest: Path) -> None:
    cut = read_cuts(manifest)[2]
    soundfile.write(audio_file(cut), white_noise(4000), 16000)
    with pytest.raises(InputError, match=r"utterance 'u2': .*holds 0.250 s .*its manifest says 0.2625 s"):
        load_waveform(cut, 16000)


def test_manifests_stay_plain_json(manifest: Path) -> None:
    for line in gzip.decompress(manifest.read_bytes()).splitlines():
        assert json.loads(line)["type"] == "MonoCut"
