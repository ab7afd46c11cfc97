"""How long an epoch of a model takes on this machine: measured by training it shortly, and kept."""

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from asr.config import merge
from asr.errors import InputError
from asr.files import read_json, write_json, write_text
from asr.provenance import provenance

EPOCHS = 2
"""Of a measurement; the last one counts, when everything is warm."""


@dataclass(frozen=True)
class Calibration:
    """Measures the time of an epoch by `asr fit` itself, each encoder once.

    Args:
        folder: of the sweep: `calibration.json` keeps what was measured.
        share: of the batches of an epoch that are trained and validated on.
        train: runs `asr fit -c FILE` with the log file given; returns its exit code.
    """

    folder: Path
    share: float
    train: Callable[[Path, Path], int]

    @property
    def kept(self) -> Path:
        """Where measurements are kept."""
        return self.folder / "calibration.json"

    def known(self, content: Mapping[str, Any]) -> float | None:
        """Seconds an epoch that were measured before; None if they were not.

        Raises:
            InputError: they were measured on another processor, or with another number of threads.
        """
        if not self.kept.is_file():
            return None
        row = read_json(self.kept).get(self._key(content))
        if row is None:
            return None
        there, here = ((made["cpu"], made["threads"]) for made in (row, provenance()))
        if there != here:
            raise InputError(
                f"{self.kept} has the time of an epoch of {row['name']} on {_machine(*there)}, and this is "
                f"{_machine(*here)}, where trainings take another time: continue there (OMP_NUM_THREADS sets the "
                "threads), or remove the file to have it measured anew"
            )
        return float(row["seconds_per_epoch"])

    def measure(self, content: Mapping[str, Any], name: str) -> float:
        """Seconds of an epoch with its validation, measured unless it is known.

        Args:
            content: a configuration of `asr fit`.
            name: of the model, for messages.

        Raises:
            InputError: the training failed, and the message names its log; or it ended too early. Or see `known`.
        """
        known = self.known(content)
        if known is not None:
            return known
        key = self._key(content)
        run, log = self.folder / "calibration" / key, self.folder / "logs" / f"calibration-{name}-{key}.log"
        file = self.folder / "calibration" / f"{key}.yaml"
        write_text(file, yaml.safe_dump(self._shortened(content, run), sort_keys=False))
        print(f"{name}: measuring the time of an epoch", flush=True)
        if self.train(file, log) != 0:
            raise InputError(f"{name}: the time of an epoch could not be measured, since training failed: see {log}")
        seconds = _last_epoch(run / "metrics.csv") / self.share
        shutil.rmtree(run)
        self._keep(key, name, content, seconds)
        return seconds

    def _keep(self, key: str, name: str, content: Mapping[str, Any], seconds: float) -> None:
        made_with = provenance()
        row = {
            "seconds_per_epoch": round(seconds, 4),
            "name": name,
            "encoder": content["model"]["encoder"],
            **{what: made_with[what] for what in ("cpu", "cores", "threads", "commit")},
        }
        write_json(self.kept, {**(read_json(self.kept) if self.kept.is_file() else {}), key: row})

    def _key(self, content: Mapping[str, Any]) -> str:
        """A digest of all that the time of an epoch depends on, beside the machine."""
        trainer = {name: value for name, value in (content.get("trainer") or {}).items() if name != "max_epochs"}
        parts = [content.get("data"), content["model"]["encoder"], content.get("training"), trainer, self.share]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    def _shortened(self, content: Mapping[str, Any], run: Path) -> dict[str, Any]:
        short: dict[str, Any] = {"run": str(run), "trainer": {"max_epochs": EPOCHS}}
        if self.share < 1:
            short["trainer"] |= {"limit_train_batches": self.share, "limit_val_batches": self.share}
        shortened: dict[str, Any] = merge(dict(content), short)
        return shortened


def _machine(cpu: str, threads: int) -> str:
    return f"{cpu} with {threads} thread(s)"


def _last_epoch(metrics: Path) -> float:
    """Seconds of the last epoch of a run.

    Raises:
        InputError: it has not as many epochs as a measurement needs.
    """
    ends: list[float] = []
    if metrics.is_file():
        with open(metrics, encoding="utf-8", newline="") as file:
            ends = [float(row["seconds"]) for row in csv.DictReader(file)]
    if len(ends) < EPOCHS:
        raise InputError(
            f"{metrics} has {len(ends)} epoch(s), and the time of an epoch is that of the last of {EPOCHS}: an option "
            "of the base ends trainings before, such as trainer.fast_dev_run"
        )
    return ends[-1] - ends[-2]
