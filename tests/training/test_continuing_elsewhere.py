"""A run that is continued in another folder than its own."""

from pathlib import Path

import pytest
from short_training import fit, last

from asr.model import load_model, read_checkpoint
from asr.training.checkpoints import RunCheckpoints

ONE_EPOCH = ("--trainer.max_epochs", "1", "--data.num_workers", "0")
TWO_EPOCHS = ("--trainer.max_epochs", "2", "--data.num_workers", "0")


@pytest.fixture
def trained(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of one epoch, after which no epoch of any run is better than one before."""
    monkeypatch.setattr(RunCheckpoints, "_improves", lambda self, value: self.best is None)
    assert fit(config, *ONE_EPOCH, "--run", str(tmp_path / "first")) == 0
    return tmp_path / "first"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def best_of(run: Path, checkpoint: str) -> object:
    return read_checkpoint(run / "checkpoints" / checkpoint)["callbacks"]["RunCheckpoints"]


def test_the_run_of_that_folder_is_kept_and_its_weights_are_not_taken_for_the_others(
    config: Path, tmp_path: Path, trained: Path
) -> None:
    other = tmp_path / "other"
    assert fit(config, *ONE_EPOCH, "--run", str(other), "--model.optimization.learning_rate", "1e-2") == 0
    before = files(other)
    checkpoint = str(trained / "checkpoints" / "last.ckpt")
    assert fit(config, *TWO_EPOCHS, "--run", str(other), "--ckpt_path", checkpoint) == 0
    assert {**files(other / "earlier" / "1"), ".lock": b""} == before
    assert last(other)["epoch"] == 1
    best = (other / "checkpoints" / "best.ckpt").read_bytes()
    assert best == (trained / "checkpoints" / "best.ckpt").read_bytes()
    assert load_model(other).metadata["sha256"] == load_model(trained).metadata["sha256"]
    assert best_of(other, "best.ckpt") == best_of(other, "last.ckpt")


def test_the_next_epoch_is_the_best_where_the_best_one_is_missing(config: Path, tmp_path: Path, trained: Path) -> None:
    moved, run = tmp_path / "moved.ckpt", tmp_path / "other"
    moved.write_bytes((trained / "checkpoints" / "last.ckpt").read_bytes())
    assert fit(config, *TWO_EPOCHS, "--run", str(run), "--ckpt_path", str(moved)) == 0
    assert best_of(run, "last.ckpt") == best_of(run, "best.ckpt")
    assert best_of(run, "last.ckpt")["best_epoch"] == 1


def test_a_finished_training_does_not_take_another_runs_place(
    config: Path, tmp_path: Path, trained: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    (other / "checkpoints").mkdir(parents=True)
    (other / "checkpoints" / "last.ckpt").write_bytes(b"of another run")
    checkpoint = str(trained / "checkpoints" / "last.ckpt")
    assert fit(config, *ONE_EPOCH, "--run", str(other), "--ckpt_path", checkpoint) == 1
    assert "first/checkpoints/last.ckpt is of a finished training: nothing was left to do" in capfd.readouterr().err
    assert files(other) == {"checkpoints/last.ckpt": b"of another run", ".lock": b""}


def test_an_earlier_run_is_continued_beside_the_one_that_took_its_place(
    config: Path, tmp_path: Path, trained: Path
) -> None:
    assert fit(config, *ONE_EPOCH, "--run", str(trained), "--seed", "8") == 0
    earlier = trained / "earlier" / "1"
    before = files(earlier)
    checkpoint = str(earlier / "checkpoints" / "last.ckpt")
    assert fit(config, *TWO_EPOCHS, "--run", str(trained), "--ckpt_path", checkpoint) == 0
    assert files(earlier) == before
    assert last(trained)["epoch"] == 1
    assert last(trained / "earlier" / "2")["options"]["seed"] == 8
