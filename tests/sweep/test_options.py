"""Options of trainings: what a base may say, and that `--plan` refuses what `asr fit` would."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asr.cli import main
from asr.errors import InputError
from asr.sweep.description import read_sweep
from asr.sweep.options import DEFAULT_EPOCHS, check_options
from asr.training.command import TRAINER_DEFAULTS

Write = Callable[[dict[str, Any]], Path]
Change = Callable[[str, Any], None]
SWEEPS = Path(__file__).parents[2] / "configs" / "sweeps"
TIMED = {"parameters": 5000, "training_seconds": 10}
TIMED_SIZE = {"training_seconds": 10, "vary": "size"}


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("init_from", "runs/a", "init_from of .*base.yaml is 'runs/a', and all models of a sweep are trained from scr"),
        ("ckpt_path", "last", "ckpt_path of .*base.yaml is 'last', and all models of a sweep are trained from scratch"),
        ("data.root", None, "base.yaml, the base of .*sweep.yaml, names no data.root"),
        ("trainer.max_epochs", -1, "trainer.max_epochs of .*base.yaml must be an integer of at least 1, got -1"),
        ("trainer.max_epochs", 0, "trainer.max_epochs of .*base.yaml must be an integer of at least 1, got 0"),
        ("trainer.max_epochs", "2", "trainer.max_epochs of .*base.yaml must be an integer of at least 1, got '2'"),
        ("trainer.max_epochs", None, "trainer.max_epochs of .*base.yaml must be an integer of at least 1, got None"),
        ("trainer.max_steps", 0, "trainer.max_steps of .*base.yaml must be an integer of at least 1, or -1, got 0"),
        ("trainer.max_steps", None, "trainer.max_steps of .*base.yaml must be .* of at least 1, or -1, got None"),
    ],
)
def test_a_base_that_does_not_train_from_scratch_to_an_end_is_refused(
    content: dict[str, Any], write: Write, change_base: Change, place: str, value: Any, words: str
) -> None:
    read_sweep(write(content))
    change_base(place, value)
    with pytest.raises(InputError, match=words):
        read_sweep(write(content))


@pytest.mark.parametrize("match", [TIMED, TIMED_SIZE])
@pytest.mark.parametrize(("option", "value"), [("max_steps", 5), ("max_time", "00:01:00:00")])
def test_trainings_that_are_matched_in_time_are_ended_by_epochs_alone(
    content: dict[str, Any], write: Write, change_base: Change, match: dict[str, Any], option: str, value: Any
) -> None:
    path = write(content | {"match": match})
    read_sweep(path)
    change_base(f"trainer.{option}", value)
    words = f"trainer.{option} of .*base.yaml is {value!r}, which may end a training before the match.training_seconds"
    with pytest.raises(InputError, match=words):
        read_sweep(path)


def test_a_size_that_is_solved_for_by_time_needs_a_number_of_epochs(
    content: dict[str, Any], write: Write, change_base: Change
) -> None:
    change_base("trainer.max_epochs", None)
    read_sweep(write(content | {"match": TIMED}))  # which solves for the epochs
    with pytest.raises(InputError, match="trainer.max_epochs of .*base.yaml must be an integer .*, got None"):
        read_sweep(write(content | {"match": TIMED_SIZE}))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("trainer.max_epoch", 3, "base.yaml has an unknown option trainer.max_epoch: 3 (did you mean 'max_epochs'?)"),
        ("trainer.gradient_clip_val", "abc", "trainer.gradient_clip_val of {base} must be Union[float, int, "),
        ("trainer.precision", "bf-16", "trainer.precision of {base} must be "),
        ("training.ema_decay", 1.5, "{base}: training.ema_decay must lie between 0 and 1, got 1.5"),
        ("training.early_stopping", 0, "training of {base}: training.early_stopping must be at least 1 or null, got 0"),
        ("data.max_batch_seconds", "long", "data.max_batch_seconds of {base} must be float, got 'long'"),
        ("data.num_buckets", None, "data.num_buckets of {base} must be int, got None"),
        ("data.num_workers", -1, "{base}: data.num_workers must be at least 0, got -1"),
        ("data.augmentation.volume_decibels", "loud", "data.augmentation.volume_decibels of {base} must be "),
        ("model.optimization.learning_rate", -1, "model.optimization.learning_rate must be positive, got -1"),
    ],
)
def test_the_plan_refuses_a_base_that_fit_would_refuse(
    content: dict[str, Any],
    write: Write,
    change_base: Change,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    place: str,
    value: Any,
    words: str,
) -> None:
    change_base(place, value)
    assert main(["sweep", str(write(content)), "--plan"]) == 1
    assert words.format(base=tmp_path / "base.yaml") in capfd.readouterr().err


@pytest.mark.parametrize("name", sorted(p.name for p in SWEEPS.glob("*.yaml") if not p.stem.endswith("_base")))
def test_the_bases_of_this_repository_can_be_used(name: str) -> None:
    sweep = read_sweep(SWEEPS / name)
    check_options(sweep.base, sweep.base_file)


def test_a_check_leaves_the_options_as_they_are() -> None:
    timer = {"class_path": "lightning.pytorch.callbacks.Timer", "init_args": {"duration": "00:01:00:00"}}
    content = {"data": {"root": "r", "train": ["train", "more"]}, "trainer": {"callbacks": [timer], "devices": [0, 1]}}
    content["data"]["max_batch_seconds"] = "40"  # which `asr fit` takes for a number
    before = copy.deepcopy(content)
    check_options(content, "base.yaml")
    assert content == before


def test_epochs_that_no_base_names_are_those_of_fit() -> None:
    assert TRAINER_DEFAULTS["max_epochs"] == DEFAULT_EPOCHS
