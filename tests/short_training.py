"""Trainings of a few steps, for tests: how they are started, interrupted and compared."""

import csv
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from asr.cli import main
from asr.model import read_checkpoint
from asr.training.checkpoints import RunCheckpoints


def fit(config: Path, *options: str) -> int:
    return main(["fit", "-c", str(config), *options])


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let training believe that Ctrl-C was pressed during an optimiser step."""
    monkeypatch.setattr(
        RunCheckpoints, "_interrupted", lambda self, trainer: signal.SIGINT if trainer.global_step >= step else 0
    )


def last(run: Path) -> dict[str, Any]:
    return read_checkpoint(run / "checkpoints" / "last.ckpt")


def differences(first: Any, second: Any, path: str = "") -> list[str]:
    """Where two checkpoints differ, to the bit."""
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [path]
    if isinstance(first, dict):
        keys = first.keys() | second.keys()
        return [d for k in sorted(keys, key=str) for d in differences(first.get(k), second.get(k), f"{path}.{k}")]
    if isinstance(first, list | tuple):
        if len(first) != len(second):
            return [path]
        return [
            d for i, (a, b) in enumerate(zip(first, second, strict=True)) for d in differences(a, b, f"{path}[{i}]")
        ]
    return [] if first == second else [f"{path}: {first!r} != {second!r}"]


def read_metrics(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))


EXACT = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers", "global_step")


def command(config: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "asr.cli", "fit", "-c", str(config), *options]
