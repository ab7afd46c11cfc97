"""The configuration of every run: the base, with each model's encoder at its solved size."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from asr.config import block_of, merge, read_yaml
from asr.errors import InputError
from asr.experiment import Experiment
from asr.files import write_text
from asr.report.models import ModelSummary, summary_of
from asr.sweep.description import Model, Sweep
from asr.sweep.match import Match
from asr.sweep.options import DEFAULT_EPOCHS, ENDLESS, check_options
from asr.sweep.sizes import sizes_at, solve, solve_measured

Measure = Callable[[Mapping[str, Any], str], float | None]
"""(configuration, name of the model) -> seconds an epoch; None if it has not been measured and is not to be now."""

ALIKE = (
    *("run", "data.num_workers", "data.storage_folder", "training.pictures", "training.checkpoint_every_n_steps"),
    *("trainer.accelerator", "trainer.enable_progress_bar", "trainer.log_every_n_steps"),
)
"""Options of a run that may change after it has begun: they change neither weights nor scores."""


@dataclass(frozen=True)
class Variant:
    """A model of the sweep with the options of a tuning trial, solved.

    Args:
        model: of the description.
        trial: number of the trial; None without tuning.
        content: the configuration, without run and seed.
        sizes: what was solved for.
        summary: what it costs; None while it cannot be known.
        seconds_per_epoch: as measured; None if time is not matched or not measured yet.
        epochs: of its training; None while they are not known, or where steps alone end it.
        overrides: whole name of an option -> value, in which it differs from the base.
        settled: whether nothing waits to be measured, so that it can be trained.
    """

    model: Model
    trial: int | None
    content: dict[str, Any]
    sizes: dict[str, int]
    summary: ModelSummary | None
    seconds_per_epoch: float | None
    epochs: int | None
    overrides: dict[str, Any]
    settled: bool

    @property
    def length(self) -> str:
        """Of its training, in words."""
        steps = block_of(self.content, "trainer").get("max_steps", ENDLESS)
        epochs = [] if self.epochs is None else [f"{self.epochs} epochs"]
        return " or ".join(epochs + ([] if steps == ENDLESS else [f"{steps} steps"]))


@dataclass(frozen=True)
class Planner:
    """Makes variants out of a description.

    Args:
        sweep: the description.
        measure: the time of an epoch.
    """

    sweep: Sweep
    measure: Measure

    @cached_property
    def tokens(self) -> int:
        """Outputs of the CTC head: the tokens of the prepared corpus."""
        from asr.data.corpus import PreparedCorpus  # lhotse is slow to import

        return len(PreparedCorpus(self.sweep.base["data"]["root"]).tokenizer.tokens)

    def variant(self, model: Model, trial: int | None) -> Variant:
        """Solve a model with the options of a trial.

        Raises:
            InputError: an option cannot be used, or what is to be matched cannot be met; the message names the model.
        """
        match = self.sweep.match
        overrides = {**(self.sweep.trials[trial] if trial is not None else {}), **model.overrides}
        content = copy.deepcopy(self.sweep.base)
        content["model"] = {**(content.get("model") or {}), "encoder": copy.deepcopy(model.encoder)}
        for option, value in overrides.items():
            content = merge(content, nested(option, value))
        check_options(content, self._place(model))
        sizes, seconds = self._solved(content, model)
        if sizes is None:
            return Variant(model, trial, content, {}, None, None, None, overrides, settled=False)
        content = self._sized(content, sizes)
        summary = self._summary(content, model)
        epochs: int | None = block_of(content, "trainer").get("max_epochs", DEFAULT_EPOCHS)
        if match.times_epochs:
            seconds = self.measure(content, model.name)
            epochs = None if seconds is None else self._epochs(seconds, model)
            content = merge(content, {"trainer": {"max_epochs": epochs}})
        settled = match.training_seconds is None or seconds is not None
        return Variant(model, trial, content, sizes, summary, seconds, epochs, overrides, settled)

    def _place(self, model: Model) -> str:
        return f"{self.sweep.path} (models.{model.name})"

    def _summary(self, content: dict[str, Any], model: Model) -> ModelSummary:
        return summary_of(Experiment(content, self._place(model)), self.tokens)

    @staticmethod
    def _sized(content: dict[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
        sized: dict[str, Any] = merge(content, {"model": {"encoder": {"init_args": dict(sizes)}}})
        return sized

    def _solved(self, content: dict[str, Any], model: Model) -> tuple[dict[str, int] | None, float | None]:
        """The solved sizes (None while they cannot be known), and the seconds an epoch if these were solved for."""
        match = self.sweep.match
        what = f"{self._place(model)}: {_size_named(match)}"

        def content_at(step: int) -> dict[str, Any]:
            return self._sized(content, sizes_at(step, model.size))

        if match.times_size:
            return self._solved_by_time(content_at, content, model, what)
        target = match.parameters or match.multiply_adds_per_second
        if target is None:
            return {}, None
        if not model.size:
            _check_met(self._cost(content, model), target, match.tolerance, what)
            return {}, None
        costs: dict[int, int] = {}

        def cost(step: int) -> int:
            if step not in costs:
                costs[step] = self._cost(content_at(step), model)
            return costs[step]

        return sizes_at(solve(cost, target, match.tolerance, what), model.size), None

    def _cost(self, content: dict[str, Any], model: Model) -> int:
        summary = self._summary(content, model)
        return summary.parameters if self.sweep.match.parameters else summary.multiply_adds_per_second

    def _solved_by_time(
        self, content_at: Callable[[int], dict[str, Any]], content: dict[str, Any], model: Model, what: str
    ) -> tuple[dict[str, int] | None, float | None]:
        match = self.sweep.match
        epochs = block_of(content, "trainer").get("max_epochs", DEFAULT_EPOCHS)
        assert match.training_seconds is not None
        target = match.training_seconds / epochs
        what = f"{what}: seconds an epoch"
        if not model.size:
            seconds = self.measure(content, model.name)
            if seconds is not None:
                _check_met(seconds, target, match.tolerance, what)
            return (None if seconds is None else {}), seconds
        largest = max(model.size, key=lambda option: model.size[option])
        given = block_of(content, "model.encoder.init_args").get(largest)
        first = given if isinstance(given, int) and given > 0 else 64
        try:
            step, seconds = solve_measured(
                lambda step: self._now(content_at(step), model), target, match.tolerance, what, first
            )
        except _NotMeasured:
            return None, None
        return sizes_at(step, model.size), seconds

    def _now(self, content: dict[str, Any], model: Model) -> float:
        seconds = self.measure(content, model.name)
        if seconds is None:
            raise _NotMeasured
        return seconds

    def _epochs(self, seconds: float, model: Model) -> int:
        match = self.sweep.match
        assert match.training_seconds is not None
        epochs = max(1, round(match.training_seconds / seconds))
        what = f"{self._place(model)}: training_seconds at {epochs} epochs of {seconds:.1f} seconds"
        _check_met(epochs * seconds, match.training_seconds, match.tolerance, what)
        return epochs


class _NotMeasured(Exception):
    """The time of an epoch is needed, and is not to be measured now."""


def _size_named(match: Match) -> str:
    return "parameters" if match.parameters else "multiply-adds/s" if match.multiply_adds_per_second else "time"


def _check_met(cost: float, target: float, tolerance: float, what: str) -> None:
    if abs(cost - target) > tolerance * target:
        raise InputError(f"{what}: {cost:,.0f} is not within {100 * tolerance:g} % of {target:,.0f}")


def nested(option: str, value: Any) -> dict[str, Any]:
    """A dotted option as blocks.

    >>> nested("model.optimization.learning_rate", 1e-3)
    {'model': {'optimization': {'learning_rate': 0.001}}}
    """
    for key in reversed(option.split(".")):
        value = {key: value}
    blocks: dict[str, Any] = value
    return blocks


def check_unchanged(kept: Path, content: Mapping[str, Any], sweep: Path) -> None:
    """Refuse another configuration for a run that has begun.

    Args:
        kept: the file that it was begun with.
        content: the configuration that it would have now.
        sweep: path of the description.

    Raises:
        InputError: naming each option, both values and the files.
    """
    from asr.training.resume import flatten  # Lightning is slow to import

    if not kept.is_file():
        raise InputError(f"{kept} is missing, though its run has begun: put it back, or move the run's folder away")
    before, now = flatten(read_yaml(kept)), flatten(dict(content))
    different = [
        f"{name} is {now.get(name)!r} by {sweep} and {before.get(name)!r} in {kept}"
        for name in dict.fromkeys((*before, *now))
        if before.get(name) != now.get(name) and name not in ALIKE
    ]
    if different:
        raise InputError(
            f"{'; '.join(different)}: that run has begun, and would be compared unequally. Take another folder, or "
            "move that run away"
        )


def write_config(path: Path, content: Mapping[str, Any], sweep: Path) -> None:
    """Write a configuration that `asr fit -c` takes."""
    text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    write_text(path, f"# Written by asr sweep from {sweep}.\n{text}")
