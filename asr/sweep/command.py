"""`asr sweep`: the plan, the trainings one after the other, the comparison."""

import argparse
import math
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from asr.errors import InputError
from asr.files import write_json, write_text
from asr.report.compare import Comparison, as_text, compared
from asr.report.runs import ScoredRun, read_runs
from asr.sweep.calibration import Calibration
from asr.sweep.description import Model, Sweep, read_sweep
from asr.sweep.options import check_options
from asr.sweep.plan import Planner, Variant, check_unchanged, write_config
from asr.sweep.runs import Interruption, Processes, RunPlace, asr_command, locked
from asr.sweep.table import plan_data, plan_text, times_text, trials_text
from asr.sweep.testing import beam_tests, check_decoding, check_splits, greedy_tests, scored


@dataclass(frozen=True)
class Slot:
    """A run to be made: of a model, with a seed, with the options of a trial.

    Args:
        model: of the description.
        seed: of weights, dropout, batches and augmentation.
        trial: its number; None without tuning, or where the best one is taken.
    """

    model: Model
    seed: int
    trial: int | None

    @property
    def name(self) -> str:
        """Of the run folder."""
        return f"{self.model.name}-seed{self.seed}" + ("" if self.trial is None else f"-trial{self.trial}")


def slots(sweep: Sweep) -> list[Slot]:
    """All runs in their order: the first seed of all models (every trial of it), then the others with the best one."""
    first, *others = sweep.seeds
    trials: list[int | None] = [*range(len(sweep.trials))] or [None]
    begin = [Slot(model, first, trial) for trial in trials for model in sweep.models]
    return begin + [Slot(model, seed, None) for seed in others for model in sweep.models]


@dataclass
class Session:
    """A sweep under way.

    Args:
        sweep: its description.
        processes: by which trainings run.
        launcher: words put before the command of a training, as `srun`.
        measuring: whether times may be measured now.
    """

    sweep: Sweep
    processes: Processes
    launcher: Sequence[str] = ()
    measuring: bool = True
    failed: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    _variants: dict[tuple[str, int | None], Variant] = field(default_factory=dict)

    def variant(self, model: Model, trial: int | None) -> Variant:
        """A model with a trial's options, solved once."""
        key = model.name, trial
        if key not in self._variants or not self._variants[key].settled:
            self._variants[key] = Planner(self.sweep, self._measure).variant(model, trial)
        return self._variants[key]

    def _measure(self, content: Mapping[str, Any], name: str) -> float | None:
        folder = self.sweep.folder
        calibration = Calibration(folder, self.sweep.match.calibration_share, self._fit)
        known = calibration.known(content)
        if known is not None or not self.measuring:
            return known
        with locked(folder / "locks" / "calibration.lock", wait=True):
            return calibration.measure(content, name)

    def _fit(self, config: Path, log: Path) -> int:
        return self.processes.run(asr_command(self.launcher, "fit", "-c", str(config)), log)

    def place(self, slot: Slot) -> RunPlace:
        """Where a run lies."""
        return RunPlace(self.sweep.folder, slot.name)

    def dev_rates(self, model: Model) -> list[tuple[float, float] | None]:
        """WER and CER on dev of each trial of a model; None for those that are not finished."""
        trials = [Slot(model, self.sweep.seeds[0], trial) for trial in range(len(self.sweep.trials))]
        places = [self.place(slot) for slot in trials]
        return [(place.best() or (math.inf, math.inf)) if place.finished else None for place in places]

    def best_trial(self, model: Model) -> int | None:
        """The trial with the lowest WER on dev (then CER); None while one of them is not finished."""
        rates = [rate for rate in self.dev_rates(model) if rate is not None]
        return rates.index(min(rates)) if len(rates) == len(self.sweep.trials) else None

    def resolved(self, slot: Slot) -> Slot | None:
        """A slot with the best trial in the place of none; None while that is not known."""
        if not self.sweep.trials or slot.trial is not None:
            return slot
        best = self.best_trial(slot.model)
        return None if best is None else Slot(slot.model, slot.seed, best)

    def content(self, slot: Slot) -> dict[str, Any]:
        """The configuration of a run."""
        place = self.place(slot)
        return {"seed": slot.seed, "run": str(place.run), **_without(self.variant(slot.model, slot.trial).content)}

    def check(self) -> None:
        """Refuse a description that contradicts runs that have begun."""
        for slot in self.all_resolved():
            place = self.place(slot)
            if place.begun and self.variant(slot.model, slot.trial).settled:
                check_unchanged(place.config, self.content(slot), self.sweep.path)

    def all_resolved(self) -> Iterator[Slot]:
        """The runs whose trial is known."""
        for slot in slots(self.sweep):
            known = self.resolved(slot)
            if known is not None:
                yield known

    def finals(self) -> list[Slot]:
        """The runs that are compared, those whose trial is not known yet left out."""
        wanted = [Slot(model, seed, None) for model in self.sweep.models for seed in self.sweep.seeds]
        return [known for slot in wanted if (known := self.resolved(slot)) is not None]

    def complete(self, slot: Slot, counted: str) -> None:
        """Train a run to its end and test it, unless another sweep does."""
        known = self.resolved(slot)
        if known is None:
            print(f"{counted} {slot.name}: waits for the trials of {slot.model.name}", flush=True)
            self.waiting.append(slot.name)
            return
        place = self.place(known)
        with place.taken() as lock:
            if lock is None:
                print(f"{counted} {place.name}: another sweep works on it", flush=True)
                self.waiting.append(place.name)
            elif not (self._trained(known, place, lock, counted) and self._tested(known, place, lock)):
                self.failed.append(place.name)
                return
        self.search(slot.model)

    def _trained(self, slot: Slot, place: RunPlace, lock: IO[str], counted: str) -> bool:
        if place.finished:
            print(f"{counted} {place.name}: finished before", flush=True)
            return True
        variant = self.variant(slot.model, slot.trial)
        write_config(place.config, self.content(slot), self.sweep.path)
        going_on = ["--ckpt_path", "last"] if place.resumable else []
        print(f"{counted} {place.name}: {'continues' if going_on else 'begins'}, {variant.length}", flush=True)
        command = asr_command(self.launcher, "fit", "-c", str(place.config), *going_on)
        code = self.processes.run(command, place.log, lock, lambda: _show(place, variant.epochs))
        print("\033[K" if sys.stdout.isatty() else "", end="")
        if code == 0 and place.finished:
            best = place.best()
            rate = "" if best is None else f", best dev WER {100 * best[0]:.2f} %"
            print(f"{counted} {place.name}: trained{rate}", flush=True)
            return True
        _say_failure(place, "training", code)
        return False

    def _tested(self, slot: Slot, place: RunPlace, lock: IO[str]) -> bool:
        """Test a run that is to be compared, greedily: what other trials do on test is not looked at."""
        if self.sweep.trials and self.best_trial(slot.model) != slot.trial:
            return True
        for what, arguments in greedy_tests(self.sweep, place):
            code = self.processes.run(asr_command((), *arguments), place.log, lock)
            if code != 0:
                _say_failure(place, what, code)
                return False
        return True

    def search(self, model: Model) -> None:
        """Tune the beam search of a model for all its seeds together, and test them, once all of them are trained.

        What has failed is not tried again by this command.
        """
        decoding, folder = self.sweep.decoding, self.sweep.folder
        places = [self.place(slot) for slot in self.finals() if slot.model == model]
        all_trained = len(places) == len(self.sweep.seeds) and all(place.finished for place in places)
        if decoding is None or not all_trained or any(place.name in self.failed for place in places):
            return
        with locked(folder / "locks" / f"{model.name}.lock", wait=False) as lock:
            if lock is None:
                print(f"{model.name}: another sweep works on its beam search", flush=True)
                return
            for place, what, arguments in beam_tests(self.sweep, decoding, places):
                code = self.processes.run(asr_command((), *arguments), place.log, lock)
                if code != 0:
                    _say_failure(place, what, code)
                    self.failed.append(place.name)
                    return

    def test_best_trials(self, models: Sequence[Model]) -> None:
        """Test those runs that only the end of all trials of their model showed to be compared."""
        for slot in self.finals():
            place = self.place(slot)
            if slot.model in models and place.finished and place.name not in self.failed:
                with place.taken() as lock:
                    if lock is not None and not self._tested(slot, place, lock):
                        self.failed.append(place.name)
        for model in models:
            self.search(model)

    def compare(self, partly: bool) -> None:
        """Print and keep the table of each split, by each decoder.

        Args:
            partly: whether it may be without some of the runs, which are named below it.
        """
        waiting: dict[str, list[str]] = {}
        for name, split in scored(self.sweep):
            ready = [slot for slot in self.finals() if self.place(slot).finished and self.place(slot).tested(split)]
            missing = self._missing(ready)
            said = f"missing from the comparison: {', '.join(missing)}" if missing else ""
            if ready and (partly or not missing):
                text = "\n\n".join(filter(None, [as_text(self._compared(ready, split)), said]))
                write_text(self.sweep.folder / f"comparison-{name}.txt", f"{text}\n")
                print(f"\n{name}:\n{text}")
            elif said:
                waiting.setdefault(said, []).append(name)
        for said, names in waiting.items():
            print(f"\n{', '.join(names)}: {said}")

    def _missing(self, ready: Sequence[Slot]) -> list[str]:
        """Names of the runs that are to be compared and cannot be yet."""
        there = {(slot.model.name, slot.seed) for slot in ready}
        wanted = [Slot(model, seed, None) for model in self.sweep.models for seed in self.sweep.seeds]
        return [(self.resolved(slot) or slot).name for slot in wanted if (slot.model.name, slot.seed) not in there]

    def _compared(self, ready: Sequence[Slot], split: str) -> Comparison:
        """The runs, those of one model told to be seeds of it."""
        runs = read_runs([self.place(slot).run for slot in ready], split)
        groups: dict[str, list[ScoredRun]] = {}
        for slot, run in zip(ready, runs, strict=True):
            groups.setdefault(slot.model.name, []).append(run)
        return compared(runs, {name: of_model for name, of_model in groups.items() if len(of_model) > 1})

    def times(self) -> str:
        """How long trainings took that were to take equally long; empty if none is finished, or time is not matched."""
        places = [self.place(slot) for slot in self.finals()]
        seconds = {place.name: place.training_seconds for place in places if place.finished}
        match = self.sweep.match
        if match.training_seconds is None or not seconds:
            return ""
        return times_text(match.training_seconds, match.tolerance, seconds)


def _without(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in ("seed", "run")}


def _show(place: RunPlace, epochs: int | None) -> None:
    """A line that is written anew, where somebody looks at a terminal."""
    rows = place.history()
    if not (sys.stdout.isatty() and rows):
        return
    rate = f", dev WER {100 * float(rows[-1]['val_wer']):.1f} %" if rows[-1].get("val_wer") else ""
    of_all = "" if epochs is None else f"/{epochs}"
    print(f"{place.name}: epoch {rows[-1]['epoch']}{of_all}{rate}\033[K\r", end="", flush=True)


def _say_failure(place: RunPlace, what: str, code: int) -> None:
    print(f"{place.name}: {what} failed with exit code {code}: {place.reason()} (log: {place.log})", file=sys.stderr)


def main(arguments: Sequence[str]) -> int:
    """`asr sweep`: 0 when nothing failed, 1 when a run failed or the description cannot be used."""
    options = _parser().parse_args(arguments)
    sweep = read_sweep(options.sweep)
    chosen = _chosen(sweep, options)
    if options.list:
        for index, slot in enumerate(slots(sweep)):
            print(f"{index}\t{slot.name}\t{RunPlace(sweep.folder, slot.name).state}")
        return 0
    try:
        launcher = shlex.split(options.launcher)
    except ValueError as error:
        raise InputError(f"--launcher {options.launcher!r} cannot be read: {error}") from error
    try:
        with Processes() as processes:
            session = Session(sweep, processes, launcher, measuring=not options.plan)
            return _run(session, chosen, options.plan)
    except Interruption as interruption:
        print(interruption, file=sys.stderr)
        return interruption.exit_code


def _run(session: Session, chosen: Sequence[Slot], only_plan: bool) -> int:
    """Print the plan; train, test and compare what was chosen."""
    sweep = session.sweep
    models = [model for model in sweep.models if any(slot.model == model for slot in chosen)]
    trials: list[int | None] = [*range(len(sweep.trials))] or [None]
    check_options(sweep.base, sweep.base_file)
    check_splits(sweep)
    variants = [session.variant(model, trial) for model in models for trial in trials]
    session.check()
    plan = plan_text(sweep, variants)
    print(plan, flush=True)
    if only_plan:
        return 0
    check_decoding(sweep)
    if len(models) == len(sweep.models):  # the plan of some is not that of the sweep
        write_text(sweep.folder / "plan.txt", plan + "\n")
        write_json(sweep.folder / "plan.json", plan_data(sweep, variants))
    for number, slot in enumerate(chosen, start=1):
        session.complete(slot, f"[{number}/{len(chosen)}]")
    session.test_best_trials(models)
    if sweep.trials:
        print("\n" + trials_text({model.name: session.dev_rates(model) for model in sweep.models}))
    whole = len(chosen) == len(slots(sweep))
    session.compare(partly=whole)
    if whole:
        print("\n" + "\n".join(filter(None, [plan, session.times()])))
    waiting = [name for name in session.waiting if not RunPlace(sweep.folder, name).finished]
    if waiting:
        print(f"left to others, or to this command again: {', '.join(waiting)}")
    if session.failed:
        print(f"failed: {', '.join(session.failed)}; the same command tries again", file=sys.stderr)
    return int(bool(session.failed))


def _chosen(sweep: Sweep, options: argparse.Namespace) -> list[Slot]:
    """The runs that were asked for.

    Raises:
        InputError: there are none of that name or number.
    """
    known = slots(sweep)
    if options.index is not None:
        if not 0 <= options.index < len(known):
            raise InputError(f"--index must lie between 0 and {len(known) - 1} for {sweep.path}, got {options.index}")
        return [known[options.index]]
    if options.only is None:
        return known
    names = options.only.split(",")
    for name in names:
        if not any(name in (slot.name, slot.model.name) for slot in known):
            among = ", ".join(dict.fromkeys(model.name for model in sweep.models))
            raise InputError(f"--only {name}: {sweep.path} has no model or run of that name; models: {among}")
    return [slot for slot in known if slot.name in names or slot.model.name in names]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asr sweep",
        description="Build models matched in parameters, multiply-adds or training time from one description, train "
        "them alike, each in a process of its own, test and compare them. The same command continues where a sweep "
        "was stopped; several at a time share the runs.",
    )
    parser.add_argument("sweep", metavar="SWEEP.yaml", help="the description, such as configs/sweeps/demo.yaml")
    parser.add_argument("--plan", action="store_true", help="print the plan and stop")
    parser.add_argument("--list", action="store_true", help="print number, name and state of all runs and stop")
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--only", metavar="NAME[,NAME]", help="only these models or runs")
    some.add_argument("--index", type=int, metavar="I", help="only this one of --list (for arrays of jobs)")
    parser.add_argument(
        "--launcher",
        default="",
        metavar="WORDS",
        help="words before the command of a training, for several processes: 'srun', or 'torchrun --standalone "
        "--nproc-per-node 2 --no-python'",
    )
    return parser
