"""The report's numbers, and that its augmented batch is what training sees."""

import re
from collections import Counter
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

from asr.data.augmentation import Augmentation, AugmentationConfig
from asr.data.cuts import read_cuts
from asr.data.dataset import SpeechDataset
from asr.data.features import FeatureConfig, LogMel
from asr.errors import InputError
from data_prep.cli import main as prepare_main
from data_prep.cuts import read_manifest
from data_prep.report import augmented_batch, choose_batch, main, markdown, summarise
from data_prep.utterance import Problem, Utterance


def make_cut(
    folder: Path, name: str, seconds: float, text: str | None, speaker: str | None, rate: int = 16000
) -> MonoCut:
    path = folder / f"{name}.wav"
    random = np.random.default_rng(len(name))
    soundfile.write(path, 0.1 * random.standard_normal(round(seconds * rate)), rate)
    supervision = SupervisionSegment(name, name, 0, seconds, text=text, speaker=speaker)
    return MonoCut(name, 0, seconds, 0, supervisions=[supervision], recording=Recording.from_file(path))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    train = [
        make_cut(folder, "a", 1.0, "YES NO", "ann"),
        make_cut(folder, "bb", 1.5, "NO NO NO", "bob"),
        make_cut(folder, "ccc", 4.5, "YES", "bob"),
    ]
    CutSet.from_cuts(train).to_file(folder / "train.jsonl.gz")
    CutSet.from_cuts([make_cut(folder, "dddd", 2.0, "MAYBE NO", None)]).to_file(folder / "dev.jsonl.gz")
    return folder


def test_a_part_is_summarised_by_hand_counts(root: Path) -> None:
    summary = summarise("train", read_manifest(root / "train.jsonl.gz")[0])
    assert summary.seconds == (1.0, 1.5, 4.5)
    assert summary.hours == pytest.approx(7 / 3600)
    assert summary.seconds_of_speaker == {"ann": 1.0, "bob": 6.0}
    assert summary.words == Counter({"NO": 4, "YES": 2})
    assert summary.characters == Counter("YES NO" + "NO NO NO" + "YES")
    assert summary.speeds == (6 / 1.0, 8 / 1.5, 3 / 4.5)


def test_the_command_writes_numbers_and_two_pictures(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert prepare_main(["report", str(root), "-o", str(tmp_path / "out"), "--batch-size", "2"]) == 0
    text = (tmp_path / "out" / "report.md").read_text()
    assert text in capsys.readouterr().out
    rows = [
        re.split(r" *\| *", line.strip("| ")) for line in text.splitlines() if line.startswith(("| train", "| dev"))
    ]
    assert rows == [
        ["train", "3", "0.00", "2", "1.00", "1.50", "4.50", "6", "2", "0.0%"],
        ["dev", "1", "0.00", "0", "2.00", "2.00", "2.00", "2", "2", "50.0%"],
    ]
    assert "9 characters: ` ABEMNOSY`" in text
    for name in ("corpus.png", "augmentation.png"):
        height, width, _ = matplotlib.image.imread(tmp_path / "out" / name).shape
        assert min(height, width) > 300


def test_the_batch_is_what_the_training_dataset_makes_of_the_same_seed_and_epoch(root: Path) -> None:
    config = FeatureConfig(normalization="utterance")
    augmentation = AugmentationConfig(speed_factors=(0.9, 1.1), volume_decibels=3.0)
    utterances = read_manifest(root / "train.jsonl.gz")[0]
    dataset = SpeechDataset(
        read_cuts(root / "train.jsonl.gz"), LogMel(config), None, Augmentation(augmentation, 5, config)
    )
    for example in augmented_batch(utterances, config, augmentation, seed=5, epoch=3):
        np.testing.assert_array_equal(example.before, dataset.example(example.id, None).features)
        np.testing.assert_array_equal(example.after, dataset.example(example.id, 3).features)
        assert len(example.after) != len(example.before)


def test_any_sample_rate_can_be_shown_unless_a_configuration_says_which(tmp_path: Path) -> None:
    CutSet.from_cuts([make_cut(tmp_path, "a", 2.0, "YES", "ann", rate=8000)]).to_file(tmp_path / "all.jsonl")
    assert main([str(tmp_path / "all.jsonl"), "-o", str(tmp_path / "out")]) == 0
    config = tmp_path / "config.yaml"
    config.write_text("data:\n  features:\n    sample_rate: 16000\n")
    with pytest.raises(InputError, match=r"a\.wav is at 8000 Hz, and the features need 16000 Hz"):
        main([str(tmp_path / "all.jsonl"), "-o", str(tmp_path / "out"), "--config", str(config)])


def test_augmentation_is_taken_from_a_configuration(root: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("data:\n  augmentation:\n    speed_factors: [0.8]\n    time_masks: 0\n")
    assert main([str(root), "-o", str(tmp_path / "out"), "--config", str(config)]) == 0
    text = (tmp_path / "out" / "report.md").read_text()
    assert "speed 0.8, 2 masks of up to 27 mel bins, 0 of up to 100 frames" in text


@pytest.mark.parametrize("block", ["augmentation", "features"])
def test_a_misspelt_option_of_a_configuration_is_named(root: Path, tmp_path: Path, block: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"data:\n  {block}:\n    spede: 1\n")
    with pytest.raises(InputError, match=rf"config\.yaml has an unknown option data\.{block}\.spede: 1"):
        main([str(root), "-o", str(tmp_path / "out"), "--config", str(config)])


def test_cuts_that_cannot_be_used_are_listed_and_change_the_exit_code(root: Path, tmp_path: Path) -> None:
    manifest = root / "dev.jsonl.gz"
    good = CutSet.from_file(manifest)[0]
    bare = MonoCut("bare", 0, 1, 0, recording=good.recording)
    CutSet.from_cuts([good, bare]).to_file(manifest)
    assert main([str(root), "-o", str(tmp_path / "out")]) == 1
    assert f"- {manifest}, entry 2: bad-row, cut 'bare': " in (tmp_path / "out" / "report.md").read_text()
    CutSet.from_cuts([bare]).to_file(tmp_path / "only.jsonl")
    with pytest.raises(InputError, match="no cut can be used; the first: .*no supervision"):
        main([str(tmp_path / "only.jsonl"), "-o", str(tmp_path / "out")])


def utterance(name: str, seconds: float) -> Utterance:
    return Utterance(name, Path(name), "YES", None, "train", duration=seconds)


def test_a_batch_has_neighbouring_durations_and_is_a_function_of_the_seed() -> None:
    utterances = [utterance(f"u{n}", float((7 * n) % 50)) for n in range(50)]
    batches = [choose_batch(utterances, 4, seed) for seed in range(10)]
    for batch in batches:
        seconds = [u.duration for u in batch]
        assert seconds == [seconds[0] + step for step in range(4)]
    assert len({batch[0].id for batch in batches}) > 3
    assert choose_batch(utterances[::-1], 4, seed=3) == batches[3]
    assert len(choose_batch(utterances[:2], 4, seed=0)) == 2
    with pytest.raises(InputError, match="--batch-size must be at least 1, got 0"):
        choose_batch(utterances, 0, seed=0)


def test_parts_without_words_have_no_share_of_unknown_ones() -> None:
    silent = summarise("noise", [Utterance("n", Path("n"), None, None, "noise", duration=2.0)])
    text = markdown(
        [silent], [Problem("x", "overlap", "why", refused=False)], "noise", AugmentationConfig(noise=("n",))
    )
    assert "| noise | 1 | 0.00 | 0 | 2.00 | 2.00 | 2.00 | 0 | 0 | - |" in text
    assert "- x: overlap, why" in text
    assert "noise at 5, 20 dB" in text


def test_an_output_that_is_a_file_is_an_error_that_names_it(root: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*out/corpus\.png"):
        main([str(root), "-o", str(tmp_path / "out")])
