"""`asr sweep` as a whole: trained alike, resumed, tested, compared."""

import csv
import fcntl
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from sent_signals import signal_when_there
from short_training import EXACT, differences, fit, interrupt_at, last

from asr.cli import main
from asr.model import load_model
from asr.sweep.runs import RunPlace

Write = Callable[[dict[str, Any]], Path]


def sweep(path: Path, *options: str) -> int:
    return main(["sweep", str(path), *options])


def kinds(commands: list[list[str]]) -> list[str]:
    """The verb and the run of each command, and whether it continued one."""
    named = []
    for verb, *rest in commands:
        run = Path(rest[1] if verb == "fit" else rest[0]).stem
        named.append(f"{verb} {run}{' on' if '--ckpt_path' in rest else ''}")
    return named


def test_a_sweep_trains_tests_and_compares_each_model_with_each_seed(
    content: dict[str, Any], write: Write, commands: list[list[str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(content | {"seeds": [0, 7], "splits": ["dev", "test"]})
    assert sweep(path) == 0
    names = [f"{model}-seed{seed}" for seed in (0, 7) for model in ("lstm", "gru")]
    folder = tmp_path / "runs"
    said = capfd.readouterr().out
    for name in names:
        record = json.loads((folder / name / "run.json").read_text())
        assert (record["finished"], record["seed"], record["epochs"]) == (True, int(name[-1]), 2)
        assert abs(record["parameters"] / 5000 - 1) <= 0.1
        assert record["parameters"] == load_model(folder / name).model.parameter_count()
        assert said.count(f"{name}: trained") == 1
    for split in ("dev", "test"):
        assert [name for name in names if name in (folder / f"comparison-{split}.txt").read_text()] == names
    commands.clear()
    assert sweep(path) == 0
    assert commands == []


def test_all_runs_of_a_sweep_differ_in_encoder_seed_and_folder_alone(
    content: dict[str, Any], write: Write, commands: list[list[str]], tmp_path: Path
) -> None:
    assert sweep(write(content)) == 0
    kept = [
        yaml.safe_load((tmp_path / "runs" / name / "config.yaml").read_text()) for name in ("lstm-seed0", "gru-seed0")
    ]
    for one in kept:
        del one["run"], one["model"]["encoder"]
    assert kept[0] == kept[1]
    orders = [last(tmp_path / "runs" / name)["SpeechDataModule"] for name in ("lstm-seed0", "gru-seed0")]
    assert orders[0] == orders[1]


def test_a_written_configuration_trains_alone_to_the_same_weights(
    content: dict[str, Any], write: Write, commands: list[list[str]], tmp_path: Path
) -> None:
    assert sweep(write(content), "--only", "lstm") == 0
    assert fit(tmp_path / "runs" / "configs" / "lstm-seed0.yaml", "--run", str(tmp_path / "alone")) == 0
    weights = [last(run)["state_dict"] for run in (tmp_path / "runs" / "lstm-seed0", tmp_path / "alone")]
    assert differences(*weights) == []


def test_an_interrupted_run_is_continued_to_the_weights_of_an_uninterrupted_one(
    content: dict[str, Any],
    write: Write,
    commands: list[list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write(content)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        assert sweep(path, "--only", "lstm") == 1
    assert RunPlace(tmp_path / "runs", "lstm-seed0").state == "interrupted"
    commands.clear()
    assert sweep(path, "--only", "lstm") == 0
    assert kinds(commands) == ["fit lstm-seed0 on", "test lstm-seed0"]
    assert fit(tmp_path / "runs" / "configs" / "lstm-seed0.yaml", "--run", str(tmp_path / "whole")) == 0
    whole, resumed = last(tmp_path / "whole"), last(tmp_path / "runs" / "lstm-seed0")
    assert [differences(whole[key], resumed[key]) for key in EXACT if key in whole] == [[]] * len(EXACT)


def test_a_signal_is_passed_on_and_the_run_keeps_a_checkpoint(
    content: dict[str, Any], write: Write, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    base = yaml.safe_load((tmp_path / "base.yaml").read_text())
    base["trainer"]["max_epochs"] = 100_000
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    run = tmp_path / "runs" / "lstm-seed0"
    signal_when_there(run / "checkpoints" / "last.ckpt", signal.SIGTERM)
    assert sweep(write(content)) == 143
    assert "the same command continues" in capfd.readouterr().err
    record = json.loads((run / "run.json").read_text())
    assert record["finished"] is False
    assert last(run)["global_step"] > 0
    assert "received: writing" in (tmp_path / "runs" / "logs" / "lstm-seed0.log").read_text()
    with open(run / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the training has ended


def test_a_failed_run_is_named_and_the_others_go_on(
    content: dict[str, Any], write: Write, commands: list[list[str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content["match"]["parameters"] = 20_000
    content["models"]["lstm"]["init_args"]["stacked_frames"] = 15  # too few frames for CTC
    assert sweep(write(content)) == 1
    said = capfd.readouterr()
    assert "lstm-seed0: training failed with exit code 1: error: " in said.err
    assert "too short for CTC" in said.err
    assert "failed: lstm-seed0;" in said.err
    assert RunPlace(tmp_path / "runs", "gru-seed0").tested("test")
    kept = (tmp_path / "runs" / "comparison-test.txt").read_text()
    assert "gru-seed0" in kept
    assert kept.endswith("\n\nmissing from the comparison: lstm-seed0\n")
    assert kept in said.out


def test_a_run_that_another_sweep_works_on_is_left_to_it(
    content: dict[str, Any], write: Write, commands: list[list[str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(content)
    (tmp_path / "runs" / "locks").mkdir(parents=True)
    with open(tmp_path / "runs" / "locks" / "lstm-seed0.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert sweep(path) == 0
    assert kinds(commands) == ["fit gru-seed0", "test gru-seed0"]
    said = capfd.readouterr().out
    assert "lstm-seed0: another sweep works on it" in said
    assert "left to others, or to this command again: lstm-seed0" in said


def test_index_and_only_take_some_runs_and_the_last_one_compares_all(
    content: dict[str, Any], write: Write, commands: list[list[str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(content)
    assert sweep(path, "--index", "1") == 0
    assert kinds(commands) == ["fit gru-seed0", "test gru-seed0"]
    assert not (tmp_path / "runs" / "comparison-test.txt").exists()
    assert not (tmp_path / "runs" / "plan.json").exists(), "the plan of one model is not that of the sweep"
    assert sweep(path, "--list") == 0
    assert capfd.readouterr().out.splitlines()[-2:] == ["0\tlstm-seed0\tto do", "1\tgru-seed0\tfinished"]
    assert sweep(path, "--only", "lstm-seed0") == 0
    assert "gru-seed0" in (tmp_path / "runs" / "comparison-test.txt").read_text()
    assert sweep(path, "--index", "2") == sweep(path, "--only", "grid") == sweep(path, "--launcher", "'srun") == 1
    said = capfd.readouterr().err
    assert "--index must lie between 0 and 1" in said
    assert "--only grid: " in said
    assert """--launcher "'srun" cannot be read: No closing quotation""" in said


def test_seeds_are_compared_by_their_mean_in_folders_of_any_name(
    content: dict[str, Any], write: Write, commands: list[list[str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    del content["models"]["gru"]
    path = write(content | {"seeds": [0, 1], "splits": ["dev", "test"], "folder": str(tmp_path / "runs, =1")})
    assert sweep(path, "--only", "lstm-seed0") == 0
    said = capfd.readouterr().out
    assert "\ndev, test: missing from the comparison: lstm-seed1\n" in said
    assert said.count("missing") == 1
    assert sweep(path) == 0
    kept = (tmp_path / "runs, =1" / "comparison-test.txt").read_text()
    assert "lstm, mean of 2" in kept
    assert "missing" not in kept


def test_the_plan_is_printed_and_nothing_is_written(
    content: dict[str, Any], write: Write, commands: list[list[str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content["models"]["gru"]["overrides"] = {"model.optimization.learning_rate": 1e-4}
    assert sweep(write(content), "--plan") == 0
    said = capfd.readouterr().out
    assert "matched in 5,000 parameters within 10 %" in said
    assert "model.optimization.learning_rate=0.0001" in said
    assert (commands, (tmp_path / "runs").exists()) == ([], False)


def test_another_description_for_a_run_that_has_begun_is_refused_and_further_models_and_seeds_are_not(
    content: dict[str, Any], write: Write, commands: list[list[str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    grid = content["models"].pop("gru")
    assert sweep(write(content)) == 0
    assert sweep(write(content | {"models": {**content["models"], "gru": grid}, "seeds": [0, 1]})) == 0
    commands.clear()
    base = yaml.safe_load((tmp_path / "base.yaml").read_text())
    base["trainer"]["accelerator"] = "auto"
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    assert sweep(write(content)) == 0
    base["trainer"]["max_epochs"] = 3
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    capfd.readouterr()
    assert sweep(write(content)) == 1
    kept = tmp_path / "runs" / "configs" / "lstm-seed0.yaml"
    assert f"trainer.max_epochs is 3 by {tmp_path / 'sweep.yaml'} and 2 in {kept}" in capfd.readouterr().err
    assert commands == []


def test_another_description_is_refused_for_runs_that_steps_ended_too(
    content: dict[str, Any],
    write: Write,
    change_base: Callable[[str, Any], None],
    commands: list[list[str]],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    del content["models"]["gru"]
    change_base("trainer.max_epochs", None)
    change_base("trainer.max_steps", 2)
    path = write(content)
    assert sweep(path) == 0
    assert "[1/1] lstm-seed0: begins, 2 steps\n" in capfd.readouterr().out
    commands.clear()
    change_base("model.optimization.learning_rate", 1e-4)
    assert sweep(path) == 1
    assert f"model.optimization.learning_rate is 0.0001 by {path} and 0.005 in " in capfd.readouterr().err
    assert commands == []


def test_every_model_gets_the_same_trials_and_the_best_on_dev_gets_the_seeds(
    content: dict[str, Any], write: Write, commands: list[list[str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    del content["models"]["gru"]
    content["trials"] = [{"model.optimization.learning_rate": 1e-9}, {"model.optimization.learning_rate": 5e-2}]
    base = yaml.safe_load((tmp_path / "base.yaml").read_text())
    base["trainer"]["max_epochs"] = 4
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    assert sweep(write(content | {"seeds": [3, 4]})) == 0
    folder = tmp_path / "runs"
    rates = []
    for trial in (0, 1):
        rows = list(csv.DictReader((folder / f"lstm-seed3-trial{trial}" / "metrics.csv").read_text().splitlines()))
        rates.append(min((float(row["val_wer"]), float(row["val_cer"])) for row in rows))
    assert rates[1] < rates[0]
    assert sorted(kinds(commands)) == [
        *("fit lstm-seed3-trial0", "fit lstm-seed3-trial1", "fit lstm-seed4-trial1"),
        *("test lstm-seed3-trial1", "test lstm-seed4-trial1"),
    ]
    assert f"{100 * rates[1][0]:.2f} %*" in capfd.readouterr().out
    table = (folder / "comparison-test.txt").read_text()
    assert "lstm-seed3-trial1" in table
    assert "lstm-seed4-trial1" in table
    assert "trial0" not in table


def test_seeds_wait_for_trials_that_are_not_finished(
    content: dict[str, Any], write: Write, commands: list[list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    del content["models"]["gru"]
    path = write(content | {"seeds": [3, 4], "trials": [{}, {"model.optimization.learning_rate": 1e-4}]})
    assert sweep(path, "--index", "2") == 0
    assert "lstm-seed4: waits for the trials of lstm" in capfd.readouterr().out
    assert commands == []
