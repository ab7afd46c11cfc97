import json
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from lhotse import CutSet
from white_noise import white_noise

from asr.data import store as store_module
from asr.data.augmentation import change_speed
from asr.data.cuts import audio_file, load_waveform, read_cuts
from asr.data.features import FeatureConfig, LogMel
from asr.data.store import FeatureStore, statistics_of, stored_features
from asr.errors import InputError

FEATURES = FeatureConfig(num_mels=20, normalization="none")


def build(folder: Path, cuts: CutSet, speed: float = 1.0, features: FeatureConfig = FEATURES) -> FeatureStore:
    """Stores are below `folder / "stores"`; the fixtures' audio is beside that."""
    return stored_features(folder / "stores", "train", cuts, speed, features, num_workers=0)


def folders(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("stores/*/index.json"))


@pytest.mark.parametrize("speed", [1.0, 0.9])
def test_stored_features_are_the_computed_ones_to_half_precision(
    tmp_path: Path, speech_cuts: CutSet, speed: float
) -> None:
    store, log_mel = build(tmp_path, speech_cuts, speed), LogMel(FEATURES)
    for cut in speech_cuts:
        computed = log_mel(change_speed(torch.from_numpy(load_waveform(cut, 16000)), speed))
        stored = store[cut.id]
        assert stored.dtype == torch.float32
        assert stored.shape == computed.shape
        assert ((stored - computed).abs() <= 2.0**-11 * computed.abs()).all()
        assert (stored - computed).abs().max() < 0.008


def test_a_store_is_computed_once(tmp_path: Path, speech_cuts: CutSet, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, speech_cuts)
    monkeypatch.setattr(store_module, "_compute", None)
    assert build(tmp_path, speech_cuts)["u1"].shape == (FEATURES.num_frames(24000), 20)


def test_stores_are_the_same_with_any_number_of_workers(tmp_path: Path, speech_cuts: CutSet) -> None:
    contents = []
    for workers in (0, 2):
        stored_features(tmp_path / str(workers), "train", speech_cuts, 0.9, FEATURES, workers)
        [folder] = (tmp_path / str(workers)).iterdir()
        contents.append([(folder / name).read_bytes() for name in ("features.f16", "index.json")])
    assert contents[0] == contents[1]


def test_other_speeds_spectra_cuts_and_audio_get_stores_of_their_own(tmp_path: Path, speech_cuts: CutSet) -> None:
    build(tmp_path, speech_cuts)
    build(tmp_path, speech_cuts, speed=1.1)
    build(tmp_path, speech_cuts, features=FeatureConfig(num_mels=30))
    build(tmp_path, speech_cuts.subset(first=3))
    path = audio_file(speech_cuts[0])
    soundfile.write(path, white_noise(8000, seed=77), 16000, subtype="PCM_24")
    changed = build(tmp_path, speech_cuts)
    assert len(folders(tmp_path)) == 5
    torch.testing.assert_close(
        changed["u0"], LogMel(FEATURES)(torch.from_numpy(load_waveform(speech_cuts[0], 16000))), atol=0.008, rtol=0
    )


def test_normalisation_needs_no_store_of_its_own(tmp_path: Path, speech_cuts: CutSet) -> None:
    for normalization in ("none", "utterance"):
        build(tmp_path, speech_cuts, features=FeatureConfig(num_mels=20, normalization=normalization))
    assert len(folders(tmp_path)) == 1


def test_an_interrupted_store_is_done_again(tmp_path: Path, speech_cuts: CutSet) -> None:
    expected = build(tmp_path, speech_cuts)["u2"]
    [folder] = (tmp_path / "stores").iterdir()
    (folder / "index.json").unlink()
    (folder / "features.f16").write_bytes(b"half")
    (folder / ".features.f16.abc.part").write_bytes(b"left by a process that was killed")
    assert torch.equal(build(tmp_path, speech_cuts)["u2"], expected)
    assert {path.name for path in folder.iterdir()} == {"features.f16", "index.json", ".lock"}


def test_a_store_of_the_wrong_size_is_done_again(tmp_path: Path, speech_cuts: CutSet) -> None:
    expected = build(tmp_path, speech_cuts)["u2"]
    [folder] = (tmp_path / "stores").iterdir()
    (folder / "features.f16").write_bytes((folder / "features.f16").read_bytes()[:-2])
    with pytest.raises(InputError, match="features.f16: not the .* bytes"):
        FeatureStore(folder)
    assert torch.equal(build(tmp_path, speech_cuts)["u2"], expected)


@pytest.mark.parametrize(
    "index", [[1], {}, {"num_mels": 20, "ids": ["u2"], "frames": ["x"]}, {"num_mels": 20, "ids": 7, "frames": [3]}]
)
def test_a_store_with_another_kind_of_index_is_done_again(tmp_path: Path, speech_cuts: CutSet, index: object) -> None:
    expected = build(tmp_path, speech_cuts)["u2"]
    [folder] = (tmp_path / "stores").iterdir()
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="index.json is not the index of a store"):
        FeatureStore(folder)
    assert torch.equal(build(tmp_path, speech_cuts)["u2"], expected)


def test_kept_statistics_that_were_tampered_with_are_named(tmp_path: Path, speech_cuts: CutSet) -> None:
    statistics_of(tmp_path / "stores", "train", speech_cuts, FEATURES, 0)
    [path] = (tmp_path / "stores").glob("*/feature_stats.json")
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "mean": "low"}))
    with pytest.raises(InputError, match="feature_stats.json: 'mean' must be 20 numbers"):
        statistics_of(tmp_path / "stores", "train", speech_cuts, FEATURES, 0)
    path.write_text(json.dumps({**data, "features": {"num_mels": 3}}))
    with pytest.raises(InputError, match="feature_stats.json: of other features"):
        statistics_of(tmp_path / "stores", "train", speech_cuts, FEATURES, 0)


def test_a_failure_leaves_no_store_behind(tmp_path: Path, speech_cuts: CutSet) -> None:
    path = audio_file(speech_cuts[3])
    content = path.read_bytes()
    path.write_bytes(content[:2000])
    with pytest.raises(InputError, match="utterance 'u3': .*u3.flac"):
        build(tmp_path, speech_cuts)
    [folder] = (tmp_path / "stores").iterdir()
    assert [file.name for file in folder.iterdir()] == [".lock"]
    path.write_bytes(content)
    assert len(build(tmp_path, speech_cuts)["u3"]) == FEATURES.num_frames(16000)


def test_a_missing_file_is_named_with_its_utterance(tmp_path: Path, speech_cuts: CutSet) -> None:
    audio_file(speech_cuts[2]).unlink()
    with pytest.raises(InputError, match="utterance 'u2': .*u2.flac: No such file"):
        build(tmp_path, speech_cuts)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, speech_cuts: CutSet) -> None:
    (tmp_path / "stores").write_text("a file in the folder's place")
    with pytest.raises(InputError, match="cannot write .*stores"):
        build(tmp_path, speech_cuts)


def _build_slowly(folder: Path, manifest: Path, ready: Any, results: Any) -> None:
    compute = store_module._compute

    def slow(*arguments: Any) -> Any:
        results.put(("computed by", os.getpid()))
        for matrix in compute(*arguments):
            time.sleep(0.01)
            yield matrix

    store_module._compute = slow
    ready.wait()
    store = build(folder, read_cuts(manifest))
    results.put(("sum", round(float(store["u1"].double().sum()), 6)))


def test_of_processes_that_start_at_once_one_computes_and_all_read(
    tmp_path: Path, write_cuts: Callable[..., Path]
) -> None:
    manifest = write_cuts({f"u{i}": white_noise(8000, seed=i) for i in range(4)})
    context = multiprocessing.get_context("fork")
    ready, results = context.Barrier(3), context.Queue()
    processes = [context.Process(target=_build_slowly, args=(tmp_path, manifest, ready, results)) for _ in range(3)]
    for process in processes:
        process.start()
    messages = [results.get(timeout=60) for _ in range(4)]
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    assert [kind for kind, _ in messages].count("computed by") == 1
    assert len({value for kind, value in messages if kind == "sum"}) == 1
    assert len(folders(tmp_path)) == 1


def test_the_index_says_what_the_store_holds(tmp_path: Path, speech_cuts: CutSet) -> None:
    build(tmp_path, speech_cuts, speed=0.9)
    index = json.loads((tmp_path / "stores" / folders(tmp_path)[0] / "index.json").read_text())
    assert index["ids"] == ["u0", "u1", "u2", "u3", "u4"]
    assert index["speed"] == 0.9
    assert index["features"] == FEATURES.spectrum()
    assert index["frames"][0] == FEATURES.num_frames(8889)


def test_statistics_are_those_of_all_frames(tmp_path: Path, speech_cuts: CutSet) -> None:
    log_mel = LogMel(FEATURES)
    frames = np.concatenate([log_mel(torch.from_numpy(load_waveform(c, 16000))).numpy() for c in speech_cuts])
    statistics = statistics_of(tmp_path, "train", speech_cuts, FeatureConfig(num_mels=20), num_workers=0)
    assert statistics.frames == len(frames)
    np.testing.assert_allclose(statistics.mean, frames.astype(np.float64).mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(statistics.std, frames.astype(np.float64).std(axis=0), rtol=1e-9)


def test_statistics_are_computed_once(tmp_path: Path, speech_cuts: CutSet, monkeypatch: pytest.MonkeyPatch) -> None:
    first = statistics_of(tmp_path, "train", speech_cuts, FEATURES, num_workers=2)
    monkeypatch.setattr(store_module, "_compute", None)
    assert statistics_of(tmp_path, "train", speech_cuts, FEATURES, num_workers=0) == first
