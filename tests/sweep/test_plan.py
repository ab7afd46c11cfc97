"""Plans: what is solved for, from sizes to epochs, and what stays equal."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from asr.encoders import StackedRNNEncoder
from asr.errors import InputError
from asr.files import write_text
from asr.model import CTCModel
from asr.sweep.calibration import Calibration
from asr.sweep.description import read_sweep
from asr.sweep.plan import Planner, Variant, check_unchanged, write_config
from asr.sweep.table import plan_text

Write = Callable[[dict[str, Any]], Path]
SWEEPS = Path(__file__).parents[2] / "configs" / "sweeps"


def width(content: Mapping[str, Any]) -> int:
    return content["model"]["encoder"]["init_args"]["hidden_size"]


def variants(path: Path, seconds: Callable[[Mapping[str, Any]], float | None] = lambda _: None) -> list[Variant]:
    """All models of a description, with the time of an epoch as a function of the configuration."""
    sweep = read_sweep(path)
    planner = Planner(sweep, lambda content, name: seconds(content))
    return [planner.variant(model, None) for model in sweep.models]


def test_multiply_adds_are_matched_as_the_built_model_counts_them(content: dict[str, Any], write: Write) -> None:
    content["match"] = {"multiply_adds_per_second": 2e6}
    for variant in variants(write(content)):
        model = CTCModel(StackedRNNEncoder(20, **variant.content["model"]["encoder"]["init_args"]), 5)
        assert model.multiply_adds(1000) / 10 == pytest.approx(2e6, rel=0.02)
        assert width(variant.content) == variant.sizes["hidden_size"]


def test_epochs_fill_the_time_at_matched_parameters(content: dict[str, Any], write: Write) -> None:
    content["match"] = {"parameters": 50_000, "training_seconds": 1000}
    found = variants(write(content), lambda content: width(content) / 20)
    for variant in found:
        assert variant.summary.parameters == pytest.approx(50_000, rel=0.02)
        assert variant.epochs * width(variant.content) / 20 == pytest.approx(1000, rel=0.02)
        assert variant.content["trainer"]["max_epochs"] == variant.epochs
    assert found[0].epochs != found[1].epochs


def test_a_size_is_solved_for_by_time(content: dict[str, Any], write: Write) -> None:
    content["match"] = {"training_seconds": 20, "vary": "size"}  # of two epochs
    for variant in variants(write(content), lambda content: 0.1 * width(content)):
        assert variant.sizes["hidden_size"] == pytest.approx(100, rel=0.02)
        assert variant.epochs == 2


@pytest.mark.parametrize("vary", ["epochs", "size"])
def test_times_that_are_not_to_be_measured_now_leave_the_plan_open(
    content: dict[str, Any], write: Write, vary: str
) -> None:
    content["match"] = {"training_seconds": 20, "vary": vary}
    if vary == "epochs":
        content["match"]["parameters"] = 50_000
    assert [variant.settled for variant in variants(write(content))] == [False, False]


def test_a_training_that_steps_end_waits_for_no_measurement(
    content: dict[str, Any], write: Write, change_base: Callable[[str, Any], None]
) -> None:
    change_base("trainer.max_steps", 40)
    found = variants(write(content))
    assert {(variant.settled, variant.length) for variant in found} == {(True, "2 epochs or 40 steps")}
    change_base("trainer.max_epochs", None)
    path = write(content)
    found = variants(path)
    assert {(variant.settled, variant.length) for variant in found} == {(True, "40 steps")}
    text = plan_text(read_sweep(path), found)
    assert "A training ends after 40 steps (trainer.max_steps)" in text
    assert "measured" not in text


def test_a_time_too_short_for_whole_epochs_is_refused(content: dict[str, Any], write: Write) -> None:
    content["match"] = {"parameters": 50_000, "training_seconds": 100}
    with pytest.raises(
        InputError, match=r"models.lstm.: training_seconds at 2 epochs of 60.0 seconds: 120 is not with"
    ):
        variants(write(content), lambda _: 60.0)


def test_models_have_the_encoder_of_the_description_and_not_that_of_the_base(
    content: dict[str, Any], write: Write, tmp_path: Path
) -> None:
    base = tmp_path / "base.yaml"
    base.write_text(base.read_text() + "run: elsewhere\nseed: 9\n")
    base.write_text(base.read_text().replace("model:", "model:\n  encoder:\n    class_path: x\n    init_args: {y: 3}"))
    for variant in variants(write(content)):
        assert set(variant.content["model"]["encoder"]["init_args"]) <= {"hidden_size", "num_layers", "cell"}


def test_a_configuration_is_checked_against_the_one_a_run_began_with(tmp_path: Path) -> None:
    kept, content = tmp_path / "a.yaml", {"run": "a", "data": {"num_workers": 0}, "trainer": {"max_epochs": 3}}
    with pytest.raises(InputError, match="a.yaml is missing, though its run has begun"):
        check_unchanged(kept, content, Path("s.yaml"))
    write_config(kept, content, Path("s.yaml"))
    check_unchanged(kept, {**content, "run": "b", "data": {"num_workers": 4}}, Path("s.yaml"))
    with pytest.raises(InputError, match=r"^seed is 1 by s.yaml and None in .*a.yaml: that run has begun"):
        check_unchanged(kept, {**content, "seed": 1}, Path("s.yaml"))


def calibration(tmp_path: Path, code: int = 0, epochs: int = 2) -> tuple[Calibration, list[Path]]:
    """One whose training writes two epochs of 7 and 4 seconds, or fewer; and its configurations."""
    trained: list[Path] = []

    def train(config: Path, log: Path) -> int:
        trained.append(config)
        run = tmp_path / "calibration" / config.stem
        write_text(run / "metrics.csv", "\n".join(["epoch,seconds", "1,7.0", "2,11.0"][: 1 + epochs]))
        return code

    return Calibration(tmp_path, 0.5, train), trained


def test_the_second_epoch_counts_and_each_encoder_is_measured_once(tmp_path: Path) -> None:
    timed, trained = calibration(tmp_path)
    content = {"model": {"encoder": {"class_path": "x"}}, "trainer": {"max_epochs": 50}, "data": {"root": "r"}}
    assert timed.known(content) is None
    assert timed.measure(content, "x") == 4.0 / 0.5
    other_rate = {**content, "model": {**content["model"], "optimization": {"learning_rate": 1}}, "seed": 3}
    longer = {**content, "trainer": {"max_epochs": 60}}
    assert [timed.known(again) for again in (content, other_rate, longer)] == [8.0] * 3
    assert calibration(tmp_path)[0].measure(content, "x") == 8.0
    assert len(trained) == 1
    assert timed.known({**content, "data": {"root": "s"}}) is None
    (row,) = json.loads((tmp_path / "calibration.json").read_text()).values()
    assert row["name"] == "x"
    assert {"cpu", "threads", "commit"} <= row.keys()


@pytest.mark.parametrize(("what", "other"), [("cpu", "another chip"), ("threads", 64)])
def test_times_of_another_machine_are_not_taken_for_those_of_this_one(tmp_path: Path, what: str, other: Any) -> None:
    timed, trained = calibration(tmp_path)
    content = {"model": {"encoder": {"class_path": "x"}}}
    timed.measure(content, "x")
    [(key, row)] = json.loads(timed.kept.read_text()).items()
    write_text(timed.kept, json.dumps({key: {**row, what: other}}))
    there, here = (f"{made['cpu']} with {made['threads']} thread" for made in ({**row, what: other}, row))
    for ask in (timed.known, lambda content: timed.measure(content, "x")):
        with pytest.raises(InputError, match=rf"epoch of x on {re.escape(there)}.* this is {re.escape(here)}"):
            ask(content)
    assert len(trained) == 1
    timed.kept.unlink()
    assert timed.measure(content, "x") == 8.0


def test_a_measurement_that_fails_names_its_log_and_is_not_kept(tmp_path: Path) -> None:
    timed, _ = calibration(tmp_path, code=1)
    with pytest.raises(InputError, match=r"x: the time of an epoch could not be measured, .* see .*calibration-x-"):
        timed.measure({"model": {"encoder": {}}}, "x")
    assert timed.known({"model": {"encoder": {}}}) is None


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_measurement_that_ends_too_early_is_refused(tmp_path: Path, epochs: int) -> None:
    timed, _ = calibration(tmp_path, epochs=epochs)
    with pytest.raises(InputError, match=rf"metrics.csv has {epochs} epoch.s., and .* of the last of 2"):
        timed.measure({"model": {"encoder": {}}}, "x")
    assert timed.known({"model": {"encoder": {}}}) is None


@pytest.mark.parametrize("name", sorted(p.name for p in SWEEPS.glob("*.yaml") if not p.stem.endswith("_base")))
def test_the_sweeps_of_this_repository_meet_what_they_match(name: str, tone_root: Path) -> None:
    sweep = read_sweep(SWEEPS / name)
    sweep.base["data"]["root"] = str(tone_root)
    planner = Planner(sweep, lambda content, name: None)
    for model in sweep.models:
        summary = planner.variant(model, None).summary
        assert summary.parameters == pytest.approx(sweep.match.parameters, rel=sweep.match.tolerance)
