import hashlib
import inspect
import itertools
import json
import os
import re
import resource
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jiwer import wer
from lightning.pytorch import Trainer
from short_training import command, differences, fit, last, read_metrics
from tone_corpus import write_tone_corpus

from asr.cli import main
from asr.data.audio import read_audio
from asr.encoders import GridLSTMEncoder
from asr.files import read_jsonl
from asr.model import LoadedModel, load_model, read_checkpoint
from asr.recognizer import OptimizationConfig, learning_rate_factor
from asr.training.callbacks import LargestBatchFirst


def test_the_tone_language_is_learnt_and_a_run_folder_says_how(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert (
        fit(
            config,
            "--trainer.max_epochs",
            "30",
            "--model.optimization.learning_rate",
            "2e-2",
            "--data.num_workers",
            "0",
            "--model.encoder.init_args.hidden_size",
            "24",
        )
        == 0
    )
    record = json.loads((run / "run.json").read_text())
    assert record["metrics"]["val_wer"] < 0.5
    assert record["finished"] is True
    assert record["epochs"] == 30
    assert record["parameters"] == load_model(run).model.parameter_count()
    assert record["training_seconds"] > 0
    kept = yaml.safe_load((run / "config.yaml").read_text())
    assert kept["trainer"]["max_epochs"] == 30
    assert kept["base"] is None
    assert list(run.glob("events.out.tfevents.*"))
    best = min(float(row["val_wer"]) for row in read_metrics(run))
    assert read_checkpoint(run / "checkpoints" / "best.ckpt")["callbacks"]["RunCheckpoints"]["best"] == pytest.approx(
        best
    )


def test_the_kept_configuration_repeats_the_run(config: Path, tmp_path: Path) -> None:
    assert fit(config, "--trainer.max_epochs", "1") == 0
    assert main(["fit", "-c", str(tmp_path / "run" / "config.yaml"), "--run", str(tmp_path / "again")]) == 0
    assert differences(last(tmp_path / "run")["state_dict"], last(tmp_path / "again")["state_dict"]) == []


def test_a_checkpoint_alone_knows_its_training_and_scores_know_the_checkpoint(
    config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run, path = tmp_path / "run", tmp_path / "moved.ckpt"
    assert fit(config, "--trainer.max_epochs", "1") == 0
    path.write_bytes((run / "checkpoints" / "best.ckpt").read_bytes())
    assert main(["test", str(path), "-o", str(tmp_path / "out"), "--workers", "0"]) == 0
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert (scores["seed"], scores["model"]["name"]) == (3, "run")
    assert 0 < scores["training_seconds"] <= json.loads((run / "run.json").read_text())["training_seconds"]
    assert scores["model"]["step"] == last(run)["global_step"]
    assert scores["model"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_scores_from_before_a_run_was_trained_further_are_not_compared(
    config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    assert fit(config, "--trainer.max_epochs", "1") == 0
    (tmp_path / "run" / "checkpoints" / "best.ckpt").unlink()
    assert main(["test", run, "--workers", "0"]) == main(["compare", run]) == 0
    assert fit(config, "--trainer.max_epochs", "2", "--ckpt_path", "last") == 0
    (tmp_path / "run" / "checkpoints" / "best.ckpt").unlink(missing_ok=True)
    assert main(["compare", run]) == 1
    assert "is of an earlier state of the run, that of step" in capfd.readouterr().err
    assert main(["test", run, "--workers", "0"]) == main(["compare", run]) == 0


def test_a_second_run_in_a_used_folder_keeps_the_first(config: Path, tmp_path: Path) -> None:
    assert fit(config, "--trainer.max_epochs", "1") == 0
    first = last(tmp_path / "run")
    assert fit(config, "--trainer.max_epochs", "1", "--seed", "8") == 0
    kept = read_checkpoint(tmp_path / "run" / "earlier" / "1" / "checkpoints" / "last.ckpt")
    assert differences(first["state_dict"], kept["state_dict"]) == []


@pytest.mark.parametrize("failing", ["set-up", "the first batch"])
def test_a_start_that_fails_leaves_the_run_before_it_in_its_place(config: Path, tmp_path: Path, failing: str) -> None:
    root = write_tone_corpus(tmp_path / "own", {"train": 8, "dev": 2})
    options = ("--data.root", str(root), "--trainer.max_epochs", "1", "--data.features.normalization", "none")
    assert fit(config, *options) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    if failing == "set-up":
        options = (*options, "--model.encoder.init_args.stacked_frames", "40")
    else:
        for path in (root / "audio").glob("train-*.flac"):
            path.write_bytes(path.read_bytes()[:200])
    assert fit(config, *options) == 1
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--ckpt_path", "last"), 1, "there is nothing to resume in"),
        (("--ckpt_path", "nowhere.ckpt"), 1, "there is no checkpoint nowhere.ckpt"),
        (("--ckpt_path", __file__), 1, "test_command.py is not a whole checkpoint"),
        (("--init_from", __file__), 1, "test_command.py is not a whole checkpoint"),
        (("--init_from", "nowhere"), 1, "no model at nowhere"),
        (("--ckpt_path", "last", "--init_from", "x"), 1, "give one of them"),
        (("--data.root", "nowhere"), 1, "nowhere"),
        (("--model.optimization.learning_rte", "1"), 2, "learning_rte"),
        (("--trainer.max_epochs", "many"), 2, "max_epochs"),
        (("--model.encoder", "LSTM"), 2, "encoders are GridLSTMEncoder, "),
        (("grid.yaml",), 2, "a configuration is given with -c FILE"),
        (("--model.encoder.init_args.hidden_sise", "3"), 2, "hidden_sise"),
        (("--training.ema_decay", "1.5"), 1, "ema_decay must lie between 0 and 1, got 1.5"),
        (("-c", "missing.yaml"), 1, "missing.yaml: No such file"),
        (("-c",), 1, "-c needs a file"),
        (("--base", "x.yaml"), 1, "--base belongs into a configuration file"),
        (("--training.early_stopping", "0"), 1, "training.early_stopping must be at least 1 or null, got 0"),
        (("--trainer.strategy", "foo"), 1, "these --trainer options cannot be used"),
        (("--seed", "-1"), 1, "seed must lie between 0 and 4294967295, got -1"),
        (("--seed", str(2**40)), 1, "seed must lie between 0 and 4294967295, got 1099511627776"),
        (("--trainer.precision", "64-true"), 1, "one of 32-true, 16-mixed, bf16-mixed, got 64-true"),
        (("--trainer.precision", "bf16-true"), 1, "one of 32-true, 16-mixed, bf16-mixed, got bf16-true"),
        (("--trainer.limit_train_batches", "0.01"), 1, "these --trainer options cannot be used: You requested to"),
    ],
)
def test_bad_options_stop_with_their_name(
    config: Path, capfd: pytest.CaptureFixture[str], options: tuple[str, ...], code: int, words: str
) -> None:
    try:
        result = fit(config, *options)
    except SystemExit as stop:
        result = stop.code
    assert result == code
    assert words in capfd.readouterr().err


def printed_help(option: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["fit", option])
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_help_begins_with_the_projects_own_options_and_help_all_has_every_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    short, long = printed_help("--help", capsys), printed_help("--help_all", capsys)
    assert short == printed_help("-h", capsys)
    named: list[str] = re.findall(r"^  (--\S+)", short, re.MULTILINE)
    blocks = [name.split(".")[0] for name in named]
    assert [block for block, _ in itertools.groupby(blocks)][-4:] == ["--data", "--model", "--training", "--trainer"]
    assert set(named) > {"--run", "--ckpt_path", "--init_from", "--data.root", "--training.ema_decay"}
    own = set(re.findall(r"^  (--(?:data|training|model)\.\S+) [A-Z{\[]", long, re.MULTILINE))
    no_options = set(re.findall(r"^  (--\S+) CONFIG|^  (--\S+\.help)", long, re.MULTILINE))
    assert own - {name for names in no_options for name in names} - set(named) == set()
    assert "--trainer.profiler" in long
    assert len(short.splitlines()) < 100 < len(long.splitlines())


def test_the_options_of_an_encoder_have_a_help_of_their_own_and_help_says_which(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "--model.encoder.help" in printed_help("--help", capsys)
    text = printed_help("--model.encoder.help=GridLSTMEncoder", capsys)
    assert set(inspect.signature(GridLSTMEncoder).parameters) == set(re.findall(r"--model\.encoder\.(\w+)", text)) - {
        "help"
    }


def test_a_misspelt_option_in_a_file_stops_with_its_name(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = yaml.safe_load(config.read_text())
    content["data"]["max_batch_second"] = 3
    config.write_text(yaml.safe_dump(content))
    assert fit(config) == 1
    assert f"{config} has an unknown option data.max_batch_second: 3" in capfd.readouterr().err


def test_a_run_can_start_from_its_own_former_weights(config: Path, tmp_path: Path) -> None:
    assert fit(config, "--trainer.max_epochs", "1") == 0
    assert fit(config, "--trainer.max_epochs", "1", "--init_from", str(tmp_path / "run")) == 0
    assert (tmp_path / "run" / "earlier" / "1" / "checkpoints" / "last.ckpt").is_file()


def test_metrics_of_an_epoch_without_validation_leave_dev_rates_out(config: Path, tmp_path: Path) -> None:
    assert fit(config, "--trainer.check_val_every_n_epoch", "2", "--training.early_stopping", "5") == 0
    assert [bool(row["val_wer"]) for row in read_metrics(tmp_path / "run")] == [False, True, False]


def test_a_warm_start_lists_what_was_loaded(config: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert fit(config, "--trainer.max_epochs", "1") == 0
    options = ("--run", str(tmp_path / "second"), "--trainer.max_epochs", "1", "--init_from", str(tmp_path / "run"))
    with caplog.at_level("INFO"):
        assert fit(config, *options) == 0
    assert "head.weight" in caplog.text
    assert "not loaded (0)" in caplog.text
    options = (*options, "--model.optimization.learning_rate", "1e-12", "--model.optimization.weight_decay", "0")
    assert fit(config, *options) == 0
    first, second = (load_model(tmp_path / run / "checkpoints" / "best.ckpt").model for run in ("run", "second"))
    torch.testing.assert_close(second.state_dict(), first.state_dict(), rtol=0, atol=1e-6)


def test_bfloat16_trains(config: Path, tmp_path: Path) -> None:
    assert fit(config, "--trainer.max_epochs", "1", "--trainer.precision", "bf16-mixed") == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["precision"] == "bf16-mixed"


def test_a_full_disk_names_the_checkpoint_and_keeps_the_former_one(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    save = Trainer.save_checkpoint

    def onto_a_full_disk(self: Trainer, filepath: Path, *arguments: Any, **options: Any) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        if self.current_epoch == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        try:
            save(self, filepath, *arguments, **options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    monkeypatch.setattr(Trainer, "save_checkpoint", onto_a_full_disk)
    assert fit(config) == 1
    error = capfd.readouterr().err
    assert re.search(r"cannot write .*\.ckpt: File too large \(the former one is kept\)", error)
    assert last(tmp_path / "run")["epoch"] == 0
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save_checkpoint", save)
        assert fit(config, "--ckpt_path", "last") == 0


def test_checkpoints_are_written_beside_their_place(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Renaming is whole or not at all within a file system only, and the folder for temporary files may be on another.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert fit(config, "--trainer.max_epochs", "1", "--data.num_workers", "0") == 0
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


@pytest.mark.parametrize("processes", [1, 2])
def test_an_audio_file_that_vanishes_during_training_is_named(tmp_path: Path, config: Path, processes: int) -> None:
    root = write_tone_corpus(tmp_path / "own", {"train": 8, "dev": 2})
    options = ("--data.root", str(root), "--trainer.max_epochs", "1000", "--trainer.devices", str(processes))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command(config, *options), env=environment, **pipes) as process:
        lines = []
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if line.startswith("run: epoch 2/"):
                (root / "audio" / "train-003.flac").unlink()
    assert process.returncode == 1, lines
    errors = [line for line in lines if line.startswith("error:")]  # libtorch may add frames of a store that is gone
    assert re.match(r"error: utterance 'train-003': .*train-003.flac", errors[-1]), lines
    assert not any("Traceback" in line for line in lines)


def test_utterances_that_ctc_cannot_align_are_named_before_training(
    config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stride = ("--model.encoder.init_args.stacked_frames", "40")
    assert fit(config, *stride) == 1
    error = capfd.readouterr().err
    assert "train-0" in error
    assert "data.infeasible" in error


@pytest.mark.parametrize("option", ["max_steps", "max_epochs", "limit_train_batches"])
def test_a_training_without_a_step_is_refused_and_the_run_before_stays(
    config: Path, tmp_path: Path, option: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    assert fit(config, f"--trainer.{option}", "0") == 1
    assert f"trainer.{option} is 0, with which nothing is trained" in capfd.readouterr().err
    assert (tmp_path / "run" / "run.json").read_text() == "{}"


def test_a_training_that_ends_before_its_first_step_has_failed_and_the_run_before_stays(
    config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    assert fit(config, "--trainer.max_time", "00:00:00:00") == 1
    assert "nothing was trained: the training ended before its first step" in capfd.readouterr().err
    assert (tmp_path / "run" / "run.json").read_text() == "{}"


def test_ctrl_c_before_the_first_step_has_its_exit_code_and_the_run_before_stays(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    monkeypatch.setattr(LargestBatchFirst, "on_train_start", press)
    assert fit(config, "--data.num_workers", "0") == 130
    assert (tmp_path / "run" / "run.json").read_text() == "{}"


def test_a_run_that_its_file_began_with_other_weights_is_continued_and_begun_anew_by_the_command_line(
    config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source, run = str(tmp_path / "source"), tmp_path / "run"
    assert fit(config, "--trainer.max_epochs", "1", "--run", source) == 0
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "init_from": source}))
    assert fit(config, "--trainer.max_epochs", "1") == 0
    assert fit(config, "--trainer.max_epochs", "2", "--ckpt_path", "last") == 0
    kept = run / "config.yaml"
    assert yaml.safe_load(kept.read_text())["init_from"] == source
    assert fit(kept, "--trainer.max_epochs", "3", "--ckpt_path", "last") == 0
    assert last(run)["epoch"] == 2
    assert fit(kept, "--trainer.max_epochs", "1", "--init_from", source) == 0
    assert last(run / "earlier" / "1")["epoch"] == 2
    assert last(run)["epoch"] == 0


def test_two_processes_train_alike_and_evaluate_each_utterance_once(config: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    options = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.max_epochs", "2")
    done = subprocess.run(command(config, *options), capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["devices"] == 2
    model = load_model(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert record["metrics"]["val_wer"] == pytest.approx(dev_word_error_rate(model, config), abs=1e-6)


def dev_word_error_rate(model: LoadedModel, config: Path) -> float:
    """Of every dev utterance once, alone, collapsed by hand and counted by jiwer."""
    root = Path(yaml.safe_load(config.read_text())["data"]["root"])
    references, hypotheses = [], []
    for cut in read_jsonl(root / "dev.jsonl.gz"):
        samples = read_audio(root / cut["recording"]["sources"][0]["source"]).samples[0]
        features = model.features(torch.from_numpy(samples))
        with torch.no_grad():
            log_probs, _ = model.model(features[None], torch.tensor([len(features)]))
        path = [index for index, _ in itertools.groupby(log_probs[0].argmax(-1).tolist())]
        hypotheses.append("".join(model.tokenizer.tokens[index] for index in path if index))
        references.append(cut["supervisions"][0]["text"])
    return float(wer(references, hypotheses))


def test_metrics_have_the_learning_rate_of_the_last_step(config: Path, tmp_path: Path) -> None:
    assert fit(config, "--model.optimization.schedule", "linear", "--data.augmentation.speed_factors", "[1.0]") == 0
    rows = read_metrics(tmp_path / "run")
    factor = learning_rate_factor(OptimizationConfig(schedule="linear"), total_steps=int(rows[-1]["step"]))
    for row in rows:
        assert float(row["learning_rate"]) == pytest.approx(5e-3 * factor(int(row["step"]) - 1), rel=1e-5)
