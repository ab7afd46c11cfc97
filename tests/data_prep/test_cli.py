"""`asr-prepare`: what is typed, what is printed, and the exit code."""

import argparse
import dataclasses
import hashlib
import importlib.metadata
import json
import math
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from asr.data.corpus import PreparedCorpus, find_infeasible
from asr.data.cuts import read_cuts
from asr.data.features import FeatureConfig
from asr.encoders.contract import Encoder
from asr.experiment import read_experiment
from asr.report.models import summarize
from data_prep import cli
from data_prep.librispeech import read_folder
from data_prep.utterance import Problem
from data_prep.verify import SUBSAMPLING

PARTS = ["--train", "train-a", "--dev", "dev-a", "--jobs", "1"]


@pytest.fixture
def run(corpus, tmp_path, capsys):
    """Run `asr-prepare librispeech CORPUS OUT options`; returns exit code, stdout and stderr."""

    def run(*options: str, name: str = "librispeech") -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main([name, str(corpus.root), str(tmp_path / "out"), *options])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def other_corpus(corpus, monkeypatch):
    """A corpus module of its own, with three parts, that takes no --train; its attributes can be set."""
    module = types.ModuleType("data_prep.table")

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("source", type=Path)

    def read(options):
        utterances, _ = read_folder(options.source, ["train-a", "dev-a"])
        names = {"11": "train", "12": "train", "13": "train", "14": "test", "21": "extra", "22": "extra"}
        renamed = [types.SimpleNamespace(**{**vars(u), "part": names[u.speaker]}) for u in utterances]
        return [type(utterances[0])(**vars(u)) for u in renamed], []

    module.SUMMARY, module.add_arguments, module.read = "three parts", add_arguments, read
    monkeypatch.setitem(sys.modules, "data_prep.table", module)
    return module


def _splits(folder: Path) -> dict[str, set[str]]:
    return {
        path.name.removesuffix(".jsonl.gz"): {cut.supervisions[0].speaker for cut in read_cuts(path)}
        for path in sorted(folder.glob("*.jsonl.gz"))
    }


def test_a_corpus_is_prepared_and_summed_up(run, tmp_path):
    code, out, err = run(*PARTS)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["train", "12", "utterances", "0.01", "h", "4", "speakers"]
    assert lines[1].split() == ["dev", "4", "utterances", "0.00", "h", "2", "speakers"]
    assert "texts: english/1 changed 0 of 16" in lines
    assert "refused: nothing" in lines
    assert lines[-1] == f"every file with its reason: {tmp_path / 'out' / 'verification.txt'}"


def test_the_exit_code_says_whether_something_was_refused_and_the_rest_is_prepared(run, corpus, tmp_path):
    corpus.add("train-a", "15", 0).write_bytes(b"")
    corpus.add("train-a", "15", 1, "")
    corpus.add("train-a", "15", 2, "")
    code, out, _ = run(*PARTS)
    assert code == 1
    assert "refused: empty-text 2, empty-file 1" in out
    assert len(read_cuts(tmp_path / "out" / "train.jsonl.gz")) == 12
    code, again, _ = run(*PARTS, "--allow-refused")
    assert code == 0
    assert again == out


def test_a_transcript_without_audio_counts_as_refused(run, corpus):
    corpus.add("train-a", "15", 0).unlink()
    assert run(*PARTS)[:1] == (1,)


def test_what_is_kept_but_remarkable_does_not_change_the_exit_code(run, corpus):
    corpus.add("train-a", "11", 5, "YES")
    corpus.add("dev-a", "21", 5, "YES")
    code, out, _ = run(*PARTS)
    assert code == 0
    assert "kept, but worth a look: texts-in-train 1" in out


def test_texts_before_and_after_normalisation_are_shown(run, corpus):
    corpus.add("train-a", "11", 5, "room  21")
    _, out, _ = run(*PARTS)
    assert "  11-1-0005  before  room  21\n             after   ROOM TWENTY ONE\n" in out


def test_subsets_of_any_split_are_given_by_options(run, tmp_path):
    code, out, _ = run(*PARTS, "--utterances", "8", "--utterances", "dev=2", "--max-duration", "1.9", "--seed", "5")
    assert code == 0
    assert "8 utterances" in out.splitlines()[0]
    assert "(left out: 4 by max_duration)" in out.splitlines()[0]
    assert "(left out: 2 by utterances)" in out.splitlines()[1]
    record = json.loads((tmp_path / "out" / "selection.json").read_text())
    assert record["seed"] == 5
    assert record["splits"]["train"]["criteria"]["max_duration"] == 1.9
    assert record["splits"]["dev"]["criteria"] | {"utterances": None} == dict.fromkeys(
        ("hours", "utterances", "speakers", "utterances_per_speaker", "min_duration", "max_duration")
    )


def test_splits_of_other_names_and_several_parts_are_made(run, tmp_path):
    code, _, _ = run("--train", "train-a", "--split", "test-other=dev-a", "--jobs", "1", "--dev-speakers", "11,")
    assert code == 0
    assert _splits(tmp_path / "out") == {"train": {"12", "13", "14"}, "dev": {"11"}, "test-other": {"21", "22"}}
    code, _, _ = run(*PARTS, "--jobs", "1", "--dev-speakers", "22,")
    assert code == 0
    assert _splits(tmp_path / "out") == {"train": {"11", "12", "13", "14"}, "dev": {"22"}}
    code, _, _ = run("--train", "train-a", "dev-a", "--jobs", "1", "--dev-speakers", "1", "--test-speakers", "2")
    assert code == 0
    assert {split: len(speakers) for split, speakers in _splits(tmp_path / "out").items()} == {
        "train": 3,
        "dev": 1,
        "test": 2,
    }


def test_without_options_the_parts_called_train_and_test_are_the_splits(run, other_corpus, tmp_path):
    code, out, _ = run("--jobs", "1", name="table")
    assert code == 0
    assert _splits(tmp_path / "out") == {"train": {"11", "12", "13"}, "test": {"14"}}
    assert "in no split: extra 4" in out


def test_a_corpus_may_have_its_own_splits_and_hold_out_speakers(run, other_corpus, tmp_path):
    other_corpus.DEFAULT_SPLITS = {"train": ("train", "extra"), "test": ("test",)}
    other_corpus.DEFAULT_HELD_OUT = {"dev": 2}
    assert run("--jobs", "1", name="table")[0] == 0
    splits = _splits(tmp_path / "out")
    assert (splits["test"], len(splits["dev"]), len(splits["train"])) == ({"14"}, 2, 3)
    assert run("--jobs", "1", "--dev-speakers", "12,13", name="table")[0] == 0
    assert _splits(tmp_path / "out")["dev"] == {"12", "13"}
    assert run("--jobs", "1", "--train", "train", name="table")[0] == 0
    assert _splits(tmp_path / "out") == {"train": {"11", "12", "13"}}


def test_a_single_part_is_train(run, other_corpus, tmp_path, corpus):
    other_corpus.read = lambda options: read_folder(options.source, ["train-a"])
    assert run("--jobs", "1", "--test-speakers", "1", name="table")[0] == 0
    assert {split: len(some) for split, some in _splits(tmp_path / "out").items()} == {"train": 3, "test": 1}


@pytest.mark.parametrize("name", ["dev", "test"])
def test_a_single_part_called_dev_or_test_keeps_its_name(run, corpus, tmp_path, name):
    # 1.0 s are 33 output frames, and 30 at speed 1.1, which is for train alone; 31 are needed.
    path = corpus.add("train-a", "11", 0, "", seconds=1.0)
    (tmp_path / "c.csv").write_text(f"audio,text,split\n{path},A VOICE READS THE SPECTRUM LONG,{name}\n")
    corpus.root = tmp_path / "c.csv"
    code, out, _ = run("--jobs", "1", name="table")
    assert (code, out.splitlines()[0].split()[:3]) == (0, [name, "1", "utterances"])
    records = {"normalization.json", "selection.json", "tokens.json", "verification.json"}
    assert {path.name for path in (tmp_path / "out").glob("*.json*")} == {*records, f"{name}.jsonl.gz"}


def test_parts_called_dev_and_test_need_no_train_and_no_options(run, other_corpus, tmp_path):
    read = other_corpus.read
    other_corpus.read = lambda options: ([u for u in read(options)[0] if u.part != "train"], [])
    assert run("--jobs", "1", name="table")[0] == 1
    names = {"test": "test", "extra": "dev"}
    other_corpus.read = lambda options: (
        [dataclasses.replace(u, part=names[u.part]) for u in read(options)[0] if u.part in names],
        [],
    )
    assert run("--jobs", "1", name="table")[0] == 0
    assert _splits(tmp_path / "out") == {"dev": {"21", "22"}, "test": {"14"}}


def test_parts_of_other_names_need_options(run, other_corpus):
    other_corpus.read = lambda options: read_folder(options.source, ["train-a", "dev-a"])
    code, _, err = run(name="table")
    assert code == 1
    assert err == "error: name the splits, with --train, --dev, --test or --split; parts: dev-a, train-a\n"


def test_a_list_of_ids_is_prepared_again_and_nothing_else(run, corpus, tmp_path):
    listed = tmp_path / "ids.txt"
    listed.write_text("\ufeff# a comment\r\n11-1-0000\r\n\r\n13-1-0002\r\n21-1-0001\r\n", encoding="utf-8")
    (corpus.root / "train-a" / "12" / "1" / "12-1-0000.flac").unlink()  # refused for another than those asked for
    code, out, _ = run(*PARTS, "--ids", str(listed))
    assert (code, "refused: nothing" in out) == (0, True)
    ids = {
        cut.supervisions[0].id
        for split in ("train", "dev")
        for cut in read_cuts(tmp_path / "out" / f"{split}.jsonl.gz")
    }
    assert ids == {"11-1-0000", "13-1-0002", "21-1-0001"}
    record = json.loads((tmp_path / "out" / "selection.json").read_text())["ids"]
    assert record == {"file": "ids.txt", "sha256": hashlib.sha256(listed.read_bytes()).hexdigest(), "utterances": 3}


def test_a_listed_utterance_without_audio_is_refused_by_name(run, corpus, tmp_path):
    listed = tmp_path / "ids.txt"
    listed.write_text("11-1-0000\n12-1-0000\n21-1-0000\n", encoding="utf-8")
    (corpus.root / "train-a" / "12" / "1" / "12-1-0000.flac").unlink()
    code, out, _ = run(*PARTS, "--ids", str(listed))
    assert code == 1
    assert "missing-audio 1" in out
    assert "12-1-0000" in (tmp_path / "out" / "verification.txt").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read {path}: No such file or directory"),
        (b"\xff\xfe", "{path}, line 1, is UTF-16, and must be UTF-8"),
        (b"# nothing\n", "--ids: {path} names no utterance"),
        (
            b"11-1-0000\n21-1-0000\n11-1-9\nx\n",
            "2 of the 4 ids in ids.txt are not in the parts to prepare, such as '11-1-9'",
        ),
        (b"11-1-0000\n", "no utterance of part 'dev-a' is in ids.txt; leave the part out"),
    ],
    ids=["missing", "not text", "empty", "unknown ids", "a part with none"],
)
def test_a_list_of_ids_that_cannot_be_used_is_refused(run, tmp_path, text, message):
    listed = tmp_path / "ids.txt"
    if text is not None:
        listed.write_bytes(text)
    code, out, err = run(*PARTS, "--ids", str(listed))
    assert (code, out) == (1, "")
    assert message.format(path=listed) in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hours", "one"], "--hours one: 'one' is not a number"),
        (["--utterances", "dev=2.5"], "--utterances dev=2.5: '2.5' is not an integer"),
        (["--hours", "1", "--hours", "train=2"], "--hours is given twice for train"),
        (["--hours", "-1"], "hours of a subset must be greater than 0, got -1.0"),
        (["--hours", "9"], "train: a subset of 9 hours was asked for, and 0.01 are left"),
        (["--speakers", "test=1"], "a subset of 'test' was asked for, and there is no such split"),
        (["--split", "x"], "--split 'x' must be NAME=PART"),
        (["--split", "a/b=dev-a"], "--split 'a/b=dev-a' must be NAME=PART"),
        (["--split", "dev=dev-a"], "--split 'dev=dev-a' must be NAME=PART"),
        (["--dev-speakers", "31,"], "--dev-speakers: train and dev: no speaker '31'"),
        (["--test-speakers", "4"], "4 test speakers cannot be held out of 4"),
        (["--normalizer", "klingon"], "no text normaliser 'klingon'"),
        (["--tokens", "words"], "cannot read words"),
        (["--jobs", "0"], "jobs must be at least 1, got 0"),
        (["--num-mels", "0"], "features.num_mels must be at least 1, got 0"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_cannot_be_used_are_named_with_exit_code_1(run, options, message, tmp_path):
    code, out, err = run(*PARTS, *options)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert message in err
    assert not list((tmp_path / "out").glob("*.gz"))


@pytest.mark.parametrize("options", [["--houres", "1"], ["--jobs", "two"], ["--seed", "x"]])
def test_misspelt_options_and_wrong_types_are_usage_errors(run, options):
    with pytest.raises(SystemExit) as caught:
        run(*PARTS, *options)
    assert caught.value.code == 2


class HalfRate(Encoder):
    """Yields a frame for each `stride` input frames."""

    def __init__(self, num_features: int, stride: int = 2) -> None:
        super().__init__()
        self.num_features, self.output_size, self.subsampling, self.streamable = num_features, 1, stride, True

    def forward(self, features, lengths):
        raise NotImplementedError

    def output_lengths(self, lengths):
        return -(-lengths // self.subsampling)

    def multiply_adds(self, num_frames):
        return 0


def test_features_and_subsampling_come_from_a_configuration_unless_given(run, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(
        "data: {features: {num_mels: 40, normalization: utterance}}\n"
        f"model: {{encoder: {{class_path: {HalfRate.__module__}.HalfRate, init_args: {{stride: 3}}}}}}\n"
    )
    assert run(*PARTS, "--config", str(config))[0] == 0
    statistics = json.loads((tmp_path / "out" / "feature_stats.json").read_text())
    settings = json.loads((tmp_path / "out" / "verification.json").read_text())["settings"]
    assert (statistics["features"]["num_mels"], len(statistics["mean"]), settings["subsampling"]) == (40, 40, 3)
    assert run(*PARTS, "--config", str(config), "--num-mels", "20", "--subsampling", "2")[0] == 0
    statistics = json.loads((tmp_path / "out" / "feature_stats.json").read_text())
    settings = json.loads((tmp_path / "out" / "verification.json").read_text())["settings"]
    assert (len(statistics["std"]), settings["subsampling"]) == (20, 2)


def test_a_configuration_of_features_alone_leaves_the_subsampling(run, tmp_path):
    (tmp_path / "config.yaml").write_text("data: {features: {hop_length: 200}}\n")
    assert run(*PARTS, "--config", str(tmp_path / "config.yaml"))[0] == 0
    settings = json.loads((tmp_path / "out" / "verification.json").read_text())["settings"]
    assert (settings["features"]["hop_length"], settings["subsampling"]) == (200, SUBSAMPLING)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {features: {mels: 40}}", "has an unknown option data.features.mels: 40"),
        ("data: {features: {num_mels: many}}", "num_mels of {} must be an integer, got 'many'"),
        ("data: {augmentation: {speed_factors: fast}}", "speed_factors of {} must be a list, got 'fast'"),
        ("data: {augmentation: {speed_factors: [0.1]}}", "must be hundredths from 0.5 to 2, got 0.1"),
        ("data: 3", "data of {} must be a mapping of options, not a number: 3"),
        ("- data", "must be a mapping of options, not a list"),
        ("model: {encoder: {init_args: {stride: 3}}}", "model.encoder of {} has no class_path"),
        ("model: {encoder: {class_path: StackedRNNEncoder, init_args: {layers: 3}}}", "'layers'"),
        ("data: [1", "is not valid YAML"),
    ],
)
def test_what_is_wrong_in_a_configuration_is_one_line_with_its_file(run, tmp_path, text, message):
    config = tmp_path / "config.yaml"
    config.write_text(f"{text}\n")
    code, _, err = run(*PARTS, "--config", str(config))
    assert code == 1
    assert err.startswith("error: ")
    assert message.format(config) in err
    assert str(config) in err
    assert len(err.splitlines()) == 1


def test_a_bad_token_file_is_said_before_the_corpus_is_read(run, corpus, tmp_path):
    (tmp_path / "tokens.json").write_text('["A"]')
    corpus.root.rename(tmp_path / "moved")
    code, _, err = run(*PARTS, "--tokens", str(tmp_path / "tokens.json"))
    assert code == 1
    assert err == (
        f"error: {tmp_path / 'tokens.json'}: not a token set: expected an object with 'kind' and 'tokens', found list\n"
    )


def test_the_ctc_check_follows_the_subsampling(run, corpus):
    corpus.add("train-a", "15", 0, "FORTY LETTERS ARE TOO MANY FOR A FRAME EACH", seconds=2.0)
    assert run(*PARTS, "--subsampling", "4")[0] == 0
    code, out, _ = run(*PARTS, "--subsampling", "5")
    assert code == 1
    assert "refused: infeasible 1" in out


def test_train_must_be_feasible_at_the_fastest_speed_of_training_and_the_report_says_which(run, corpus, tmp_path):
    # 1.0 s are 98 feature frames, 33 output frames; at speed 1.1 they are 89 and 30; 31 are needed.
    text = "A VOICE READS THE SPECTRUM LONG"
    corpus.add("train-a", "15", 0, text, seconds=1.0)
    corpus.add("dev-a", "25", 0, text, seconds=1.0)
    report = tmp_path / "out" / "verification.txt"
    code, out, _ = run(*PARTS)
    assert code == 1
    assert "refused: infeasible 1" in out
    assert "30 frames (subsampling 3, speed 1.1) for 31 needed" in report.read_text()
    assert "training at up to 1.1 times the natural speed" in report.read_text()
    assert [cut.id for cut in read_cuts(tmp_path / "out" / "dev.jsonl.gz")][-1] == "25-1-0000"
    assert run(*PARTS, "--fastest-speed", "1")[0] == 0
    (tmp_path / "slow.yaml").write_text("data: {augmentation: {speed_factors: [0.9, 1.0]}}\n")
    assert run(*PARTS, "--config", str(tmp_path / "slow.yaml"))[0] == 0
    assert "training at up to 1 times the natural speed" in report.read_text()
    (tmp_path / "fast.yaml").write_text("data: {augmentation: {speed_factors: [1.0, 1.2]}}\n")
    assert run(*PARTS, "--config", str(tmp_path / "fast.yaml"))[0] == 1
    assert "27 frames (subsampling 3, speed 1.2) for 31 needed" in report.read_text()


@pytest.mark.parametrize("speed", [1.0, 1.1, 1.3])
def test_what_preparation_accepts_at_a_speed_is_what_training_accepts(run, corpus, tmp_path, speed):
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for number in range(10):
        corpus.add("train-a", "15", number, letters[: 15 + number], seconds=0.66)
    run(*PARTS, "--fastest-speed", str(speed), "--allow-refused")
    accepted = {cut.id for cut in read_cuts(tmp_path / "out" / "train.jsonl.gz")}
    run(*PARTS, "--fastest-speed", "1", "--subsampling", "1")
    everything = PreparedCorpus(tmp_path / "out")
    cuts = everything.read(["train"])
    encoder = read_experiment(Path(__file__).parents[2] / "configs" / "stacked_blstm.yaml").encoder(80)
    infeasible = find_infeasible(cuts, everything.tokenizer, FeatureConfig(), encoder.output_lengths, speed)
    assert accepted == {cut.id for cut in cuts} - set(infeasible)
    assert 0 < len(infeasible) < 10


def test_the_default_subsampling_is_that_of_the_configurations_without_convolutions():
    configs = Path(__file__).parents[2] / "configs"
    paths = [*configs.glob("*_*.yaml"), *configs.glob("demo/*_*.yaml")]  # those of sweeps hold no model
    rates = {path.stem: summarize(path).frame_rate for path in paths}
    assert rates.pop("convolutional_blstm") < 100 / SUBSAMPLING
    assert rates == pytest.approx(dict.fromkeys(rates, 100 / SUBSAMPLING))


def test_an_unknown_corpus_is_a_usage_error(capsys, monkeypatch):
    monkeypatch.setattr(cli, "usage", lambda: "USAGE\n")
    assert cli.main(["timit", "x", "y"]) == 2
    assert capsys.readouterr().err == "asr-prepare: no corpus 'timit'\n\nUSAGE\n"
    assert cli.main([]) == 2
    assert capsys.readouterr().err == "USAGE\n"
    assert cli.main(["-h", "librispeech"]) == 0
    assert capsys.readouterr().out == "USAGE\n"


def test_folders_that_an_option_has_swallowed_are_asked_for_first(capsys):
    for words in (["--train", "train-a", "SRC", "OUT"], ["SRC", "--train", "train-a", "--dev", "dev-a", "OUT"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(["librispeech", *words])
        assert caught.value.code == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines[0].startswith("error: the following arguments are required: ")
        assert lines[1] == "usage: asr-prepare librispeech SRC OUT [options]"
        assert "folders come first: --train, --dev and --test take every word" in lines[2]
    for name, folders in (("embedded", "OUT"), ("cuts", "SRC [SRC ...] OUT")):
        with pytest.raises(SystemExit):
            cli.main([name])
        assert f"usage: asr-prepare {name} {folders} [options]\n" in capsys.readouterr().err


def test_the_version_is_that_of_the_package(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.split() == ["asr-prepare", importlib.metadata.version("asr-grid-lstm")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--subsampling", "0"], "subsampling must be at least 1, got 0"),
        (["--fastest-speed", "0.9"], "the fastest speed must be from 1 to 2, got 0.9"),
        (["--fastest-speed", "inf"], "the fastest speed must be from 1 to 2, got inf"),
        (["--jobs", "0"], "--jobs must be at least 1, got 0"),
        (["--vocabulary-size", "0"], "--vocabulary-size must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range_are_said_before_the_corpus_is_read(run, corpus, tmp_path, options, message):
    corpus.root.rename(tmp_path / "moved")
    assert run(*PARTS, *options) == (1, "", f"error: {message}\n")


def test_mel_bins_that_would_be_empty_are_said_before_the_corpus_is_read(run, corpus, tmp_path):
    corpus.root.rename(tmp_path / "moved")
    code, out, err = run(*PARTS, "--num-mels", "1000")
    assert (code, out) == (1, "")
    assert err.startswith("error: features.num_mels")


def test_the_embedded_corpus_is_not_unpacked_for_no_jobs(tmp_path, capsys):
    assert cli.main(["embedded", str(tmp_path / "out"), "--jobs", "0"]) == 1
    assert capsys.readouterr().err == "error: --jobs must be at least 1, got 0\n"
    assert not (tmp_path / "out").exists()


def test_rows_that_no_file_can_hold_are_refused_and_the_rest_is_prepared(run, corpus, tmp_path):
    good = corpus.root / "train-a" / "11" / "1" / "11-1-0000.flac"
    rows = [
        {"audio": str(good), "text": "THE GRID"},
        {"audio": "nul\0.wav", "text": "A"},
        {"audio": "half.wav", "text": "A", "id": "\ud800"},
        {"audio": f"{'x' * 300}.wav", "text": "A"},
    ]
    (tmp_path / "c.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    corpus.root = tmp_path / "c.jsonl"
    code, out, _ = run("--jobs", "1", name="table")
    assert (code, out.splitlines()[0].split()[1]) == (1, "1")
    report = (tmp_path / "out" / "verification.txt").read_text()
    assert r"nul\x00.wav: its audio, " in report
    assert r"half.wav: its id, '\ud800', is not UTF-8 or has a NUL" in report
    assert "x" * 300 in report


def test_files_whose_name_is_not_utf8_are_refused_by_name(run, corpus, tmp_path):
    place = corpus.root / "dev-a" / "21" / "1"
    (place / "21-1-0000.flac").rename(os.fsdecode(os.fsencode(place) + b"/caf\xe9.flac"))
    with (place / "21-1.trans.txt").open("ab") as file:
        file.write(b"lost-\0 A\n")
    code, out, _ = run(*PARTS)
    assert (code, "refused: missing-audio 2, unwritable 1" in out) == (1, True)
    report = (tmp_path / "out" / "verification.txt").read_text()
    assert r"caf\udce9.flac: its audio, " in report
    assert r"lost-\x00" in report


def test_a_path_that_the_system_refuses_is_one_line(tmp_path, capsys):
    source = str(tmp_path / ("x" * 300))
    assert cli.main(["librispeech", source, str(tmp_path / "out"), "--train", "a"]) == 1
    assert capsys.readouterr().err == f"error: cannot read {source}/a: File name too long\n"


def test_help_lists_every_corpus_with_its_summary(capsys):
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    for name in (*cli.CORPORA, "report"):
        assert f"  {name}" in out
    assert read_folder.__module__.rpartition(".")[2] in out


@pytest.mark.parametrize("name", [*cli.CORPORA, "report"])
def test_every_corpus_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([name, "--help"])
    assert caught.value.code == 0
    assert f"usage: asr-prepare {name}" in capsys.readouterr().out


def test_an_interruption_is_exit_code_130(run, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "prepare", interrupt)
    code, _, err = run(*PARTS)
    assert code == 130
    assert err.startswith("interrupted")


def test_the_command_runs_as_a_module_and_tells_the_shell(corpus, tmp_path):
    command = [sys.executable, "-m", "data_prep.cli", "librispeech", str(corpus.root), str(tmp_path / "out")]
    done = subprocess.run([*command, "--train", "nothing"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "no part 'nothing' (parts there: dev-a, train-a)" in done.stderr


def test_problems_of_listing_reach_the_report(run, other_corpus, tmp_path):
    read = other_corpus.read
    other_corpus.read = lambda options: (read(options)[0], [Problem("row 7", "bad-row", "table.csv, row 7: ...", True)])
    assert run("--jobs", "1", name="table")[0] == 1
    assert "row 7: table.csv, row 7" in (tmp_path / "out" / "verification.txt").read_text()


def test_an4_is_prepared_from_its_original_layout(corpora, tmp_path, capsys):
    code = cli.main(["an4", str(corpora), str(tmp_path / "out"), "--jobs", "2", "--utterances", "train=100"])
    assert code == 0, capsys.readouterr()
    splits = {split: read_cuts(tmp_path / "out" / f"{split}.jsonl.gz") for split in ("train", "dev", "test")}
    speakers = {split: {cut.supervisions[0].speaker for cut in cuts} for split, cuts in splits.items()}
    assert len(splits["train"]) == 100
    assert len(splits["test"]) == 130
    assert not speakers["train"] & speakers["dev"]
    assert math.isclose(sum(cut.duration for cut in splits["test"]) / 3600, 0.10, abs_tol=0.005)
