import contextlib
import itertools
import logging
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch import Callback, LightningModule, Trainer
from tone_corpus import write_tone_corpus
from torch import Tensor
from white_noise import white_noise

from asr.data.augmentation import NO_AUGMENTATION, AugmentationConfig
from asr.data.batch import Batch
from asr.data.cuts import load_waveform
from asr.data.datamodule import SpeechDataModule
from asr.data.features import FeatureConfig, LogMel
from asr.errors import InputError
from asr.files import read_json, read_jsonl, write_json, write_jsonl

FEATURES = FeatureConfig(num_mels=20)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_tone_corpus(tmp_path / "root", {"train": 24, "dev": 6, "test": 5})


def make(root: Path, **options: Any) -> SpeechDataModule:
    """Small batches, no workers; about eight batches an epoch."""
    return SpeechDataModule(
        str(root), **{"features": FEATURES, "max_batch_seconds": 4.0, "num_workers": 0, "num_buckets": 3, **options}
    )


def ready(root: Path, **options: Any) -> SpeechDataModule:
    data = make(root, **options)
    data.setup()
    return data


def set_text(manifest: Path, index: int, text: str) -> str:
    rows = list(read_jsonl(manifest))
    rows[index]["supervisions"][0]["text"] = text
    write_jsonl(manifest, rows)
    return str(rows[index]["id"])


# What models take from the data.


def test_token_set_normaliser_and_statistics_are_there_at_once(root: Path) -> None:
    data = make(root)
    assert data.tokenizer.encode("A B") == [2, 1, 3]
    assert data.token_data["kind"] == "characters"
    assert data.normalizer == "verbatim/1"
    frames = np.concatenate(
        [
            LogMel(FeatureConfig(num_mels=20, normalization="none"))(torch.from_numpy(load_waveform(cut, 16000)))
            for cut in data.corpus.read(["train"])
        ]
    )
    assert data.statistics is not None
    assert data.statistics.frames == len(frames)
    np.testing.assert_allclose(data.statistics.mean, frames.astype(np.float64).mean(axis=0), rtol=1e-9)


def test_statistics_of_the_preparation_are_used_if_they_are_of_these_features(root: Path) -> None:
    prepared = {"features": FEATURES.spectrum(), "mean": [1.0] * 20, "std": [2.0] * 20, "frames": 7}
    write_json(root / "feature_stats.json", prepared)
    assert make(root).statistics.frames == 7
    assert make(root, features=FeatureConfig(num_mels=21)).statistics.frames > 100
    assert make(root, features=FeatureConfig(num_mels=20, normalization="utterance")).statistics is None


def test_statistics_of_the_preparation_are_used_only_if_trained_on_exactly_its_train(
    root: Path, tmp_path: Path
) -> None:
    """Of other splits they are computed: the number of frames is theirs, and so is the mean."""
    write_json(
        root / "feature_stats.json",
        {"features": FEATURES.spectrum(), "mean": [1.0] * 20, "std": [2.0] * 20, "frames": 7},
    )
    other = str(write_tone_corpus(tmp_path / "other", {"more": 4}) / "more.jsonl.gz")
    assert make(root, train=["train"]).statistics.frames == 7
    assert make(root, train=str(root / "train.jsonl.gz")).statistics.frames == 7
    for splits in ("dev", ["train", other], other):
        data = make(root, train=splits)
        cuts = data.corpus.read([splits] if isinstance(splits, str) else splits)
        log_mel = LogMel(FeatureConfig(num_mels=20, normalization="none"))
        frames = torch.cat([log_mel(torch.from_numpy(load_waveform(cut, 16000))) for cut in cuts]).double()
        assert data.statistics.frames == len(frames)
        np.testing.assert_allclose(data.statistics.mean, frames.mean(dim=0), rtol=1e-9)
        assert make(root, train=splits).statistics == data.statistics  # as a resumed run, or another process, has them


def test_computed_statistics_are_kept_where_they_are_told_to(root: Path, tmp_path: Path) -> None:
    data = make(root, storage_folder=str(tmp_path / "elsewhere"))
    data.prepare_data()
    [path] = (tmp_path / "elsewhere").glob("*/feature_stats.json")
    assert read_json(path)["frames"] == data.statistics.frames
    assert not (root / "features").exists()


# Batches.


def test_an_epoch_holds_every_training_utterance_once(root: Path) -> None:
    data = ready(root)
    loader = data.train_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader) == data.batches_per_epoch() > 4
    assert Counter(i for batch in batches for i in batch.utterance_ids) == Counter(f"train-{i:03d}" for i in range(24))


def test_batches_keep_within_the_cap_after_speed_perturbation(root: Path) -> None:
    for batch in ready(root, augmentation=AugmentationConfig(speed_factors=(0.8, 1.2))).train_dataloader():
        assert max(batch.seconds) * len(batch.seconds) <= 4.0
        assert batch.features.shape[1] * 0.01 <= max(batch.seconds)


def test_development_and_test_batches_are_never_augmented(root: Path) -> None:
    data = ready(root, augmentation=AugmentationConfig(speed_factors=(0.9,), volume_decibels=10.0))
    log_mel = LogMel(FEATURES, data.statistics)
    for split, loader in (
        ("dev", data.val_dataloader()),
        ("test", data.test_dataloader()),
        ("test", data.predict_dataloader()),
    ):
        cuts = {cut.id: cut for cut in data.corpus.read([split])}
        for batch in loader:
            for row, utterance_id in enumerate(batch.utterance_ids):
                expected = log_mel(torch.from_numpy(load_waveform(cuts.pop(utterance_id), 16000)))
                assert torch.equal(batch.features[row, : batch.feature_lengths[row]], expected)
        assert not cuts


def test_targets_are_the_encoded_texts(root: Path) -> None:
    data = ready(root)
    for batch in data.val_dataloader():
        for row, text in enumerate(batch.texts):
            assert batch.tokens[row, : batch.token_lengths[row]].tolist() == data.tokenizer.encode(text)


def test_several_training_splits_are_one(root: Path, tmp_path: Path) -> None:
    other = write_tone_corpus(tmp_path / "other", {"more": 4})
    data = ready(root, train=["train", str(other / "more.jsonl.gz")])
    ids = [i for batch in data.train_dataloader() for i in batch.utterance_ids]
    assert len(ids) == len(set(ids)) == 28


def test_batches_are_the_same_with_workers(root: Path) -> None:
    alone, helped = ready(root), ready(root, num_workers=2)
    for one, other in zip(alone.train_dataloader(), helped.train_dataloader(), strict=True):
        assert one.utterance_ids == other.utterance_ids
        assert torch.equal(one.features, other.features)
    helped.teardown()


def test_the_largest_and_the_longest_batch_come_from_the_plan(root: Path) -> None:
    data = ready(root)
    batches = list(data.train_dataloader())
    sizes = [max(batch.seconds) * len(batch.seconds) for batch in batches]
    by_size, by_length = np.argmax(sizes), np.argmax([max(batch.seconds) for batch in batches])
    found = [batch.utterance_ids for batch in data.largest_batches()]
    assert found == list(dict.fromkeys(batches[i].utterance_ids for i in (by_size, by_length)))
    assert len(data.largest_batches(n=100)) == len(batches)


def test_asking_for_the_largest_batch_changes_no_batch(root: Path) -> None:
    one, other = ready(root), ready(root)
    one.largest_batches()
    for a, b in zip(one.train_dataloader(), other.train_dataloader(), strict=True):
        assert torch.equal(a.features, b.features)


def test_the_description_counts_utterances_hours_and_batches(root: Path) -> None:
    data = ready(root)
    seconds = sum(cut.duration for cut in data.corpus.read(["train"]))
    line = data.describe().splitlines()[0]
    assert line == (
        f"train: 24 utterances, {seconds / 3600:.2f} h, {data.batches_per_epoch()} batches of up to 4 s (train)"
    )


# Stored features.


def test_stored_features_give_the_batches_of_those_on_the_fly_to_half_precision(root: Path) -> None:
    flying, stored = make(root), make(root, storage="stored")
    stored.prepare_data()
    for data in (flying, stored):
        data.setup("fit")
    for a, b in itertools.chain(
        zip(flying.train_dataloader(), stored.train_dataloader(), strict=True),
        zip(flying.val_dataloader(), stored.val_dataloader(), strict=True),
    ):
        assert a.utterance_ids == b.utterance_ids
        assert torch.equal(a.feature_lengths, b.feature_lengths)
        # A log-mel errs by less than 0.008; normalisation divides that by the deviation of its bin.
        assert ((a.features - b.features).abs() * torch.tensor(stored.statistics.std)).max() < 0.008
    assert len(list((root / "features").glob("train-speed*/index.json"))) == 3
    assert len(list((root / "features").glob("dev-speed1-*/index.json"))) == 1


def test_stored_features_read_no_audio(root: Path) -> None:
    data = make(root, storage="stored", augmentation=NO_AUGMENTATION)
    data.prepare_data()
    data.setup("fit")
    pools = data.train_dataloader(), data.val_dataloader()
    for path in (root / "audio").iterdir():
        path.unlink()
    assert sum(len(batch.utterance_ids) for loader in pools for batch in loader) == 30


def test_stored_features_contradict_noise_and_volume(root: Path) -> None:
    for config in (
        AugmentationConfig(volume_decibels=3.0),
        AugmentationConfig(telephone_probability=0.1),
        AugmentationConfig(noise=("musan.jsonl.gz",)),
    ):
        with pytest.raises(InputError, match="data.storage 'stored' cannot vary"):
            make(root, storage="stored", augmentation=config)
    make(root, storage="stored", augmentation=AugmentationConfig(noise=("musan.jsonl.gz",), noise_probability=0.0))


# What is refused.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_batch_seconds": 0.0}, "data.max_batch_seconds must be at least 0.1, got 0.0"),
        ({"num_buckets": 0}, "data.num_buckets"),
        ({"num_workers": -1}, "data.num_workers"),
        ({"train": []}, "data.train names no split"),
    ],
)
def test_options_out_of_range_are_named(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(root, **options)


def test_a_split_that_does_not_exist_is_named_with_those_that_do(root: Path) -> None:
    with pytest.raises(InputError, match="validation.jsonl.gz: no such manifest; splits of .*dev, test, train"):
        make(root, dev="validation").setup("fit")


def test_each_stage_needs_only_its_split(root: Path) -> None:
    (root / "test.jsonl.gz").unlink()
    make(root).setup("fit")
    (root / "train.jsonl.gz").unlink()
    make(root).setup("validate")
    with pytest.raises(InputError, match="test.jsonl.gz"):
        make(root).setup("test")


def test_an_utterance_in_training_and_evaluation_is_refused_by_name(root: Path) -> None:
    for split in ("dev", "test"):
        with pytest.raises(InputError, match=rf"6 utterance.* in both train and {split}|5 .* both train and {split}"):
            make(root, train=["train", split]).setup("fit")


def test_texts_that_the_token_set_cannot_write_are_refused_by_name(root: Path) -> None:
    name = set_text(root / "dev.jsonl.gz", 2, "Ä")
    with pytest.raises(InputError, match=rf"1 utterance\(s\) of dev .*{name}"):
        make(root).setup("fit")


def test_an_utterance_beyond_the_cap_at_its_slowest_speed_is_refused_by_name(root: Path) -> None:
    longest = max(make(root).corpus.read(["train"]), key=lambda cut: cut.duration)
    cap = longest.duration + 0.01
    make(root, max_batch_seconds=cap, augmentation=NO_AUGMENTATION).setup("fit")
    with pytest.raises(InputError, match=rf"max_batch_seconds .*{longest.id} \({longest.duration / 0.9:.2f} s\)"):
        make(root, max_batch_seconds=cap).setup("fit")


def test_a_corpus_at_another_rate_is_refused_before_anything_is_loaded(root: Path) -> None:
    with pytest.raises(InputError, match="24 of 24 cuts of train are not at features.sample_rate 8000 Hz"):
        make(root, features=FeatureConfig(8000, 20, 200, 80, normalization="none")).setup("fit")


def halve(lengths: Tensor) -> Tensor:
    return lengths // 2


def test_feasible_corpora_pass(root: Path) -> None:
    assert ready(root).check_feasible(halve) == []


def test_utterances_too_short_for_ctc_are_refused_by_name(root: Path) -> None:
    names = [set_text(root / f"{split}.jsonl.gz", 1, "ABC" * 100) for split in ("train", "dev")]
    data = ready(root)
    with pytest.raises(InputError, match=rf"1 of 24 utterances of train .*speed 1.1: {names[0]} \(\d+ frames for 300"):
        data.check_feasible(halve)


def test_or_are_left_out_and_named_in_the_log(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [set_text(root / f"{split}.jsonl.gz", 1, "ABC" * 100) for split in ("train", "dev")]
    data = ready(root, infeasible="drop", storage="stored")
    data.prepare_data()
    data.train_dataloader()
    stores = sorted((root / "features").iterdir())
    with caplog.at_level(logging.WARNING):
        assert data.check_feasible(halve) == names
    assert all(name in caplog.text for name in names)
    trained = [i for batch in data.train_dataloader() for i in batch.utterance_ids]
    assert len(trained) == 23
    assert names[0] not in trained
    assert names[1] not in [i for batch in data.val_dataloader() for i in batch.utterance_ids]
    assert sorted((root / "features").iterdir()) == stores  # the stores are those of the whole splits
    assert data.check_feasible(halve) == []


def test_a_split_that_would_be_empty_is_refused_all_the_same(root: Path) -> None:
    with pytest.raises(InputError, match="24 of 24 utterances of train"):
        ready(root, infeasible="drop").check_feasible(lambda lengths: lengths * 0)


def test_feasibility_is_asked_at_the_fastest_speed(root: Path) -> None:
    def frames_of(data: SpeechDataModule, **options: float) -> Tensor:
        asked: list[Tensor] = []
        data.check_feasible(lambda lengths: asked.append(lengths) or lengths, **options)
        return asked[0]

    cuts = make(root).corpus.read(["train"])
    for options, speed in (({}, 1.1), ({"maximum_speed": 1.5}, 1.5)):
        frames = frames_of(ready(root), **options)
        expected = [FEATURES.num_frames(round(cut.duration * 16000 / speed)) for cut in cuts]
        assert (frames - torch.tensor(expected)).abs().max() <= 1


# Training with Lightning.


class Listener(LightningModule):
    """Writes down what it is trained on: (epoch, ids, a number that any change of the features would change)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.heard: list[tuple[int, tuple[str, ...], float]] = []
        self.evaluated: list[str] = []

    def training_step(self, batch: Batch) -> Tensor:
        self.heard.append((self.current_epoch, batch.utterance_ids, float(batch.features.double().sum())))
        return self.weight.square()

    def validation_step(self, batch: Batch) -> None:
        self.evaluated.extend(batch.utterance_ids)

    def test_step(self, batch: Batch) -> None:
        self.evaluated.extend(batch.utterance_ids)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Stop(Exception):
    pass


class SaveAndStop(Callback):
    """Writes a checkpoint after a number of steps, or at the end of an epoch, and ends the run there."""

    def __init__(self, path: Path, step: int | None = None, hook: str = "on_train_batch_end") -> None:
        self.path, self.step, self.hook = path, step, hook

    def _maybe(self, trainer: Trainer, hook: str) -> None:
        if hook == self.hook and (self.step is None or trainer.global_step == self.step):
            trainer.save_checkpoint(self.path)
            raise Stop

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._maybe(trainer, "on_train_batch_end")

    def on_validation_end(self, trainer: Trainer, _: Any) -> None:
        self._maybe(trainer, "on_validation_end")

    def on_train_epoch_end(self, trainer: Trainer, _: Any) -> None:
        self._maybe(trainer, "on_train_epoch_end")

    def on_train_epoch_start(self, trainer: Trainer, _: Any) -> None:
        self._maybe(trainer, "on_train_epoch_start")


def trainer(**options: Any) -> Trainer:
    return Trainer(
        **{
            "accelerator": "cpu",
            "max_epochs": 3,
            "reload_dataloaders_every_n_epochs": 1,
            "num_sanity_val_steps": 0,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **options,
        }
    )


def fit(root: Path, checkpoint: Path | None = None, callback: Callback | None = None, **options: Any) -> Listener:
    """Train on the corpus; data options begin with `data_`."""
    listener = Listener()
    data = make(root, **{name[5:]: value for name, value in options.items() if name.startswith("data_")})
    rest = {name: value for name, value in options.items() if not name.startswith("data_")}
    with contextlib.suppress(Stop):
        trainer(callbacks=[callback] if callback else [], **rest).fit(
            listener, data, ckpt_path=checkpoint, weights_only=True
        )
    return listener


def test_every_epoch_is_planned_anew(root: Path) -> None:
    heard = fit(root).heard
    epochs = [[ids for epoch, ids, _ in heard if epoch == e] for e in range(3)]
    for batches in epochs:
        assert Counter(i for ids in batches for i in ids) == Counter(f"train-{i:03d}" for i in range(24))
    assert epochs[0] != epochs[1] != epochs[2]


def test_validation_sees_every_utterance_in_every_epoch(root: Path) -> None:
    listener = Listener()
    trainer().fit(listener, make(root))
    assert Counter(listener.evaluated) == {f"dev-{i:03d}": 3 for i in range(6)}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("step", [1, 4, 11, 15])
def test_resuming_within_an_epoch_goes_on_where_it_stopped(root: Path, tmp_path: Path, step: int, workers: int) -> None:
    whole = fit(root).heard
    saved = tmp_path / "saved.ckpt"
    options = {"data_num_workers": workers}
    first = fit(root, callback=SaveAndStop(saved, step), **options).heard
    rest = fit(root, checkpoint=saved, **options).heard
    assert first == whole[:step]
    assert rest == whole[step:]


@pytest.mark.parametrize("limit", [{"max_epochs": 3}, {"max_epochs": -1, "max_steps": 20}])
@pytest.mark.parametrize("hook", ["on_validation_end", "on_train_epoch_end"])
def test_resuming_at_the_end_of_an_epoch_begins_the_next(
    root: Path, tmp_path: Path, hook: str, limit: dict[str, int]
) -> None:
    whole = fit(root, **limit).heard
    last = max(i for i, (epoch, _, _) in enumerate(whole, start=1) if epoch == 0)
    saved = tmp_path / "saved.ckpt"
    first = fit(root, callback=SaveAndStop(saved, last, hook), **limit).heard
    rest = fit(root, checkpoint=saved, **limit).heard
    assert first == whole[:last]
    assert rest == whole[last:]


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_train_epoch_start"])
def test_a_checkpoint_from_where_lightning_goes_astray_is_refused(root: Path, tmp_path: Path, hook: str) -> None:
    saved = tmp_path / "saved.ckpt"
    last = sum(epoch == 0 for epoch, _, _ in fit(root).heard)
    fit(root, callback=SaveAndStop(saved, last, hook))
    with pytest.raises(InputError, match="between the last step of an epoch and the first of the next"):
        fit(root, checkpoint=saved)


def test_resuming_twice_in_one_epoch_goes_on_where_it_stopped(root: Path, tmp_path: Path) -> None:
    whole = fit(root).heard
    saved = tmp_path / "saved.ckpt"
    heard = []
    for step in (2, 3, 5):
        checkpoint = saved if saved.exists() else None
        heard += fit(root, checkpoint=checkpoint, callback=SaveAndStop(saved, step)).heard
    assert heard + fit(root, checkpoint=saved).heard == whole


def test_a_checkpoint_that_another_follows_before_any_step_keeps_its_place(root: Path, tmp_path: Path) -> None:
    saved, again = tmp_path / "saved.ckpt", tmp_path / "again.ckpt"
    fit(root, callback=SaveAndStop(saved, step=2))

    class SaveAtOnce(Callback):
        def on_fit_start(self, trainer: Trainer, _: Any) -> None:
            trainer.save_checkpoint(again)
            raise Stop

    fit(root, checkpoint=saved, callback=SaveAtOnce())
    places = [torch.load(path, weights_only=True)["SpeechDataModule"] for path in (saved, again)]
    assert places[0] == places[1]
    assert places[0]["batches"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data_seed": 1}, "seed: 0 then, 1 now"),
        ({"data_max_batch_seconds": 5.0}, "max_batch_seconds: 4.0 then, 5.0 now"),
        ({"data_num_buckets": 2}, "num_buckets: 3 then, 2 now"),
        ({"data_storage": "stored"}, "storage: on_the_fly then, stored now"),
        ({"data_augmentation": NO_AUGMENTATION}, "augmentation: .*speed_factors"),
        ({"data_train": ["train", "test"], "data_test": "none"}, r"utterances: 24 \(.*\) then, 29 \("),
    ],
)
def test_other_data_or_options_than_the_checkpoint_s_are_named(
    root: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    saved = tmp_path / "saved.ckpt"
    fit(root, callback=SaveAndStop(saved, step=2))
    with pytest.raises(InputError, match=f"cannot be continued exactly.*{message}"):
        fit(root, checkpoint=saved, **options)


def test_options_that_change_no_batch_may_change(root: Path, tmp_path: Path) -> None:
    whole = fit(root).heard
    saved = tmp_path / "saved.ckpt"
    fit(root, callback=SaveAndStop(saved, step=2))
    assert fit(root, checkpoint=saved, data_num_workers=1, max_epochs=4).heard[: len(whole) - 2] == whole[2:]


def test_a_planner_of_another_version_is_noticed(root: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved.ckpt"
    fit(root, callback=SaveAndStop(saved, step=2))
    checkpoint = torch.load(saved, weights_only=True)
    checkpoint["SpeechDataModule"]["order"] = "of another version"
    torch.save(checkpoint, saved)
    with pytest.raises(InputError, match="other batches than then"):
        fit(root, checkpoint=saved)


def test_a_checkpoint_within_an_epoch_needs_as_many_processes(root: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved.ckpt"
    fit(root, callback=SaveAndStop(saved, step=2))
    checkpoint = torch.load(saved, weights_only=True)
    checkpoint["SpeechDataModule"]["world_size"] = 4
    torch.save(checkpoint, saved)
    with pytest.raises(InputError, match=r"by 4 process\(es\); it cannot be continued by 1"):
        fit(root, checkpoint=saved)


def test_a_checkpoint_between_epochs_does_not(root: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved.ckpt"
    fit(root, callback=SaveAndStop(saved, hook="on_train_epoch_end"))
    checkpoint = torch.load(saved, weights_only=True)
    checkpoint["SpeechDataModule"]["world_size"] = 4
    torch.save(checkpoint, saved)
    assert all(epoch > 0 for epoch, _, _ in fit(root, checkpoint=saved).heard)


def test_a_trainer_that_asks_only_once_is_refused(root: Path) -> None:
    with pytest.raises(InputError, match="reload_dataloaders_every_n_epochs must be 1 with this data, got 0"):
        fit(root, reload_dataloaders_every_n_epochs=0)


def test_testing_with_a_checkpoint_needs_no_training_data(root: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved.ckpt"
    fit(root, callback=SaveAndStop(saved, step=2))
    write_json(
        root / "feature_stats.json",
        {"features": FEATURES.spectrum(), "mean": [0.0] * 20, "std": [1.0] * 20, "frames": 9},
    )
    (root / "train.jsonl.gz").unlink()
    listener = Listener()
    trainer().test(listener, make(root), ckpt_path=saved, verbose=False)
    assert Counter(listener.evaluated) == Counter(f"test-{i:03d}" for i in range(5))


def test_a_file_that_vanishes_during_training_stops_it_by_name(root: Path) -> None:
    class Vanish(Callback):
        def on_train_epoch_end(self, trainer: Trainer, _: Any) -> None:
            (root / "audio" / "train-007.flac").unlink()

    with pytest.raises(InputError) as caught:
        fit(root, callback=Vanish(), data_num_workers=2)
    path = root / "audio" / "train-007.flac"
    assert str(caught.value) == f"utterance 'train-007': {path}: no such audio file"


def _fit_rank(rank: int, root: Path, port: int, results: Path) -> None:
    import os

    torch.set_num_threads(1)
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2", NODE_RANK="0", LOCAL_RANK=str(rank)
    )
    listener = Listener()
    trainer(devices=2, strategy="ddp", max_epochs=2, use_distributed_sampler=False).fit(listener, make(root))
    write_json(results / f"{rank}.json", {"heard": listener.heard, "evaluated": listener.evaluated})


def test_two_processes_share_every_epoch(root: Path, tmp_path: Path) -> None:
    import multiprocessing
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_fit_rank, args=(rank, root, port, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
        assert process.exitcode == 0
    ranks = [read_json(tmp_path / f"{rank}.json") for rank in range(2)]
    plan = [ids for _, ids, _ in fit(root, max_epochs=1).heard]
    for rank in range(2):
        first = [tuple(ids) for epoch, ids, _ in ranks[rank]["heard"] if epoch == 0]
        assert first == [plan[i % len(plan)] for i in range(rank, len(plan) + len(plan) % 2, 2)]
    assert set(ranks[0]["evaluated"]) | set(ranks[1]["evaluated"]) == {f"dev-{i:03d}" for i in range(6)}


# The command line.


def from_arguments(root: Path, *arguments: str) -> SpeechDataModule:
    """As LightningCLI makes it."""
    parser = ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(SpeechDataModule, "data", fail_untyped=True)
    return parser.instantiate_classes(parser.parse_args(["--data.root", str(root), *arguments])).data


def test_the_command_line_sets_every_option(root: Path, tmp_path: Path) -> None:
    config = {
        "data": {
            "train": ["train", "test"],
            "features": {"num_mels": 12, "normalization": "none"},
            "augmentation": {"speed_factors": [0.9, 1.1], "noise_snr": [0, 10], "noise": ["noise.jsonl"]},
            "max_batch_seconds": 7,
        }
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    data = from_arguments(root, "--config", str(tmp_path / "config.yaml"), "--data.augmentation.time_masks=5")
    assert data.features == FeatureConfig(num_mels=12, normalization="none")
    assert data.augmentation == AugmentationConfig(
        speed_factors=(0.9, 1.1), noise_snr=(0.0, 10.0), noise=("noise.jsonl",), time_masks=5
    )
    assert data.max_batch_seconds == 7.0
    assert from_arguments(root).augmentation == AugmentationConfig()


@pytest.mark.parametrize(
    "argument",
    ["--data.max_batch_secnds=7", "--data.num_workers=two", "--data.storage=disk", "--data.augmentation.time_mask=1"],
)
def test_the_command_line_refuses_misspelt_options_and_wrong_types(
    root: Path, argument: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        from_arguments(root, argument)
    assert caught.value.code == 2
    assert argument.removeprefix("--data.").split("=")[0] in capsys.readouterr().err


def test_every_option_is_documented_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    parser = ArgumentParser(prog="asr")
    parser.add_class_arguments(SpeechDataModule, "data", fail_untyped=True)
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    text = capsys.readouterr().out
    blocks = re.split(r"\n  (?=--data\.)", text)[1:]
    undocumented = [block.split()[0] for block in blocks if len(block.split("(type")[0].split()) < 4]
    assert len(blocks) > 25
    assert undocumented == []


def test_noise_reaches_the_training_batches_alone(root: Path, tmp_path: Path) -> None:
    import soundfile
    from tone_corpus import tone_cut

    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio" / "hiss.flac", white_noise(32000), 16000)
    write_jsonl(tmp_path / "noise.jsonl", [tone_cut("hiss", "noise", 0, "A", 32000)])
    noisy = AugmentationConfig(
        (1.0,), frequency_masks=0, time_masks=0, noise=(str(tmp_path / "noise.jsonl"),), noise_probability=1.0
    )
    loud, plain = ready(root, augmentation=noisy), ready(root, augmentation=NO_AUGMENTATION)
    for a, b in zip(loud.train_dataloader(), plain.train_dataloader(), strict=True):
        assert a.utterance_ids == b.utterance_ids
        assert (a.features - b.features).abs().max() > 0.1
    for a, b in zip(loud.val_dataloader(), plain.val_dataloader(), strict=True):
        assert torch.equal(a.features, b.features)
