"""A run that was interrupted, or ended, and goes on: it becomes the run that it would have been."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from short_training import EXACT, command, differences, fit, interrupt_at, last, read_metrics
from tone_corpus import write_tone_corpus

from asr.data.batch import Batch
from asr.data.tokens import CharacterTokenizer
from asr.files import write_json
from asr.recognizer import Recognizer


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Filled by the first test that needs it: the checkpoint of a training without interruption."""
    return {}


def train_uninterrupted(config: Path, run: Path, kept: dict[str, Any]) -> dict[str, Any]:
    if not kept:
        assert fit(config, "--run", str(run)) == 0
        kept.update(last(run))
    return kept


def steps_per_epoch(checkpoint: dict[str, Any]) -> int:
    return checkpoint["global_step"] // 3


@pytest.mark.parametrize("where", ["middle of the first epoch", "last step of an epoch", "middle of the second epoch"])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: dict[str, Any], where: str
) -> None:
    whole = train_uninterrupted(config, tmp_path / "whole", uninterrupted)
    steps = steps_per_epoch(whole)
    assert steps >= 4
    step = {"middle of the first epoch": 2, "last step of an epoch": steps, "middle of the second epoch": steps + 2}
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_at(patch, step[where])
        assert fit(config) == 130
    assert last(run)["global_step"] == step[where]
    assert fit(config, "--ckpt_path", "last") == 0
    resumed = last(run)
    for key in EXACT:
        assert differences(whole[key], resumed[key]) == []
    timed = {"seconds", "data_wait", "utterances_per_second"}
    rows = [checkpoint["callbacks"]["RunRecord"]["history"] for checkpoint in (whole, resumed)]
    rows = [[{name: row[name] for name in row.keys() - timed} for row in history] for history in rows]
    assert rows[0] == [pytest.approx(row, rel=1e-6) for row in rows[1]]
    assert [row["epoch"] for row in read_metrics(run)] == ["1", "2", "3"]


def test_a_run_interrupted_after_every_few_steps_is_still_the_same(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: dict[str, Any]
) -> None:
    whole = train_uninterrupted(config, tmp_path / "whole", uninterrupted)
    code, step, options = 130, 3, ()
    while code == 130:
        with monkeypatch.context() as patch:
            interrupt_at(patch, step)
            code = fit(config, *options)
        step, options = step + 3, ("--ckpt_path", "last")
    assert code == 0
    for key in EXACT:
        assert differences(whole[key], last(tmp_path / "run")[key]) == []


def test_early_stopping_counts_on_over_a_resume(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = (
        "--training.early_stopping",
        "2",
        "--trainer.max_epochs",
        "30",
        "--model.optimization.learning_rate",
        "1e-9",
    )
    assert fit(config, "--run", str(tmp_path / "whole"), *options) == 0
    whole = last(tmp_path / "whole")
    assert whole["global_step"] < 30 * 4  # nothing is learnt: it stopped early
    with monkeypatch.context() as patch:
        interrupt_at(patch, whole["global_step"] // 3 + 2)
        assert fit(config, *options) == 130
    assert fit(config, *options, "--ckpt_path", "last") == 0
    assert last(tmp_path / "run")["global_step"] == whole["global_step"]
    assert fit(config, *options, "--ckpt_path", "last") == 0  # it had stopped: nothing is left to do
    assert last(tmp_path / "run")["global_step"] == whole["global_step"]


def test_a_contradicting_option_stops_a_resume_and_a_later_end_does_not(
    config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fit(config, "--trainer.max_epochs", "1") == 0
    assert fit(config, "--ckpt_path", "last", "--model.encoder.init_args.hidden_size", "16") == 1
    error = capfd.readouterr().err
    assert "--model.encoder.init_args.hidden_size: 16 now, 12 in the checkpoint" in error
    reads: list[Any] = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **options: reads.append(args) or load(*args, **options))
    assert fit(config, "--ckpt_path", "last", "--trainer.max_epochs", "2", "--data.num_workers", "0") == 0
    assert len(reads) == 2  # ours, and Lightning's own
    assert json.loads((tmp_path / "run" / "run.json").read_text())["epochs"] == 2


def test_a_resume_on_data_with_other_tokens_is_refused_by_name(
    config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = write_tone_corpus(tmp_path / "own", {"train": 8, "dev": 2})
    assert fit(config, "--data.root", str(root), "--trainer.max_epochs", "1") == 0
    write_json(root / "tokens.json", CharacterTokenizer("CBA ").to_dict())
    assert fit(config, "--data.root", str(root), "--trainer.max_epochs", "2", "--ckpt_path", "last") == 1
    error = capfd.readouterr().err
    assert "cannot be continued on this data: tokens.tokens: ['<blank>', 'C', 'B', 'A', ' '] now" in error


def test_patience_may_be_raised_on_resume(config: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = ("--trainer.max_epochs", "4", "--model.optimization.learning_rate", "1e-9")
    assert fit(config, *options, "--training.early_stopping", "1") == 0
    stopped = last(tmp_path / "run")["global_step"]
    with caplog.at_level("INFO"):
        assert fit(config, *options, "--training.early_stopping", "1", "--ckpt_path", "last") == 0
    assert "nothing was left to do" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO"):
        assert fit(config, *options, "--training.early_stopping", "9", "--ckpt_path", "last") == 0
    assert "nothing was left to do" not in caplog.text
    assert last(tmp_path / "run")["global_step"] > stopped


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_checkpoint_that_continues(
    config: Path, tmp_path: Path, signum: signal.Signals, code: int
) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command(config, "--trainer.max_epochs", "1000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as process:
        output = ""
        assert process.stdout is not None
        for line in process.stdout:
            output += line
            if line.startswith("run: epoch 2/"):
                process.send_signal(signum)
                break
        output += process.stdout.read()
    assert process.returncode == code, output
    assert "continue with --ckpt_path last" in output
    before = last(tmp_path / "run")
    step = before["global_step"]
    assert step > 0
    epochs = before["epoch"] + 1
    assert fit(config, "--trainer.max_epochs", str(epochs + 1), "--ckpt_path", "last") == 0
    assert last(tmp_path / "run")["global_step"] > step


@pytest.mark.parametrize("end", [(), ("--trainer.max_steps", "12"), ("--trainer.max_steps", "1000")])
@pytest.mark.parametrize("within_an_epoch", [False, True])
def test_a_run_that_ended_by_steps_can_be_continued_exactly(
    config: Path, tmp_path: Path, end: tuple[str, ...], within_an_epoch: bool
) -> None:
    options = ("--model.optimization.schedule", "constant", "--model.optimization.warmup_fraction", "0")
    assert fit(config, *options, *end, "--run", str(tmp_path / "whole")) == 0
    first_end = int(read_metrics(tmp_path / "whole")[0]["step"]) + 2 * within_an_epoch
    assert fit(config, *options, "--trainer.max_steps", str(first_end)) == 0
    assert int(read_metrics(tmp_path / "run")[-1]["step"]) == last(tmp_path / "run")["global_step"] == first_end
    assert fit(config, *options, *end, "--ckpt_path", "last") == 0
    whole, resumed = read_metrics(tmp_path / "whole"), read_metrics(tmp_path / "run")
    assert [(row["epoch"], row["step"]) for row in resumed] == [(row["epoch"], row["step"]) for row in whole]
    for key in EXACT:
        assert differences(last(tmp_path / "whole")[key], last(tmp_path / "run")[key]) == []


@pytest.mark.parametrize("step", [4, 5])
def test_an_interruption_where_a_validation_is_due_or_was_changes_nothing(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    options = ("--trainer.val_check_interval", "4", "--trainer.max_epochs", "2", "--training.early_stopping", "9")
    validated: list[tuple[str, int]] = []
    end = Recognizer.on_validation_epoch_end

    def noting(self: Recognizer) -> None:
        validated.append((Path(self.trainer.default_root_dir).name, self.global_step))
        end(self)

    monkeypatch.setattr(Recognizer, "on_validation_epoch_end", noting)
    assert fit(config, *options, "--run", str(tmp_path / "whole")) == 0
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        assert fit(config, *options) == 130
    assert last(tmp_path / "run")["global_step"] == step
    assert fit(config, *options, "--ckpt_path", "last") == 0
    steps = {run: [step for name, step in validated if name == run] for run in ("whole", "run")}
    assert steps["run"] == steps["whole"]
    whole, resumed = last(tmp_path / "whole"), last(tmp_path / "run")
    for key in EXACT:
        assert differences(whole[key], resumed[key]) == []
    names = ("val_loss", "val_wer", "val_cer")
    rows = [[[row[name] for name in names] for row in read_metrics(tmp_path / run)] for run in ("whole", "run")]
    assert rows[0] == rows[1]
    assert len(whole["callbacks"]) >= 4
    for name in whole["callbacks"].keys() - {"RunRecord"}:  # which keeps times
        assert differences(whole["callbacks"][name], resumed["callbacks"][name]) == []


def test_the_loss_of_an_epoch_is_the_mean_over_its_utterances_also_over_a_resume(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    steps: list[tuple[int, float, int]] = []
    training_step = Recognizer.training_step

    def noting(self: Recognizer, batch: Batch, batch_idx: int) -> torch.Tensor:
        loss = training_step(self, batch, batch_idx)
        steps.append((self.current_epoch, float(loss.detach()), len(batch.utterance_ids)))
        return loss

    monkeypatch.setattr(Recognizer, "training_step", noting)
    with caplog.at_level("INFO"), monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        assert fit(config) == 130
    assert fit(config, "--ckpt_path", "last", "--trainer.max_epochs", "2") == 0
    for epoch, row in enumerate(read_metrics(tmp_path / "run")):
        losses, sizes = zip(*((loss, size) for e, loss, size in steps if e == epoch), strict=True)
        assert sum(sizes) == 24
        assert len(set(sizes)) > 1
        mean = sum(loss * size for loss, size in zip(losses, sizes, strict=True)) / 24
        assert float(row["train_loss"]) == pytest.approx(mean, rel=1e-5)
        assert f"epoch {epoch + 1}/2, loss {mean:.3f}," in caplog.text
