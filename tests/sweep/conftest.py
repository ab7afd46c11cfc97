"""A sweep so small that it can be run many times in a test: two models in the tone language."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import pytest
import yaml

from asr.cli import main
from asr.sweep.runs import Processes


@pytest.fixture
def content(tone_root: Path, tmp_path: Path) -> dict[str, Any]:
    """The content of a description, beside whose file lies its base."""
    base = {
        "data": {
            "root": str(tone_root),
            "features": {"num_mels": 20},
            "augmentation": {"speed_factors": [1.0]},
            "max_batch_seconds": 8,
            "num_workers": 0,
        },
        "model": {"optimization": {"learning_rate": 5e-3}},
        "training": {"pictures": 0},
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False, "logger": False},
    }
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    return {
        "base": "base.yaml",
        "folder": str(tmp_path / "runs"),
        "match": {"parameters": 5000, "tolerance": 0.1},
        "models": {
            "lstm": {"class_path": "StackedRNNEncoder", "init_args": {"num_layers": 1}, "size": "hidden_size"},
            "gru": {
                "class_path": "asr.encoders.StackedRNNEncoder",
                "init_args": {"num_layers": 1, "cell": "gru"},
                "size": "hidden_size",
            },
        },
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Writes a description and returns its path."""

    def written(content: dict[str, Any]) -> Path:
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return written


@pytest.fixture
def change_base(content: dict[str, Any], tmp_path: Path) -> Callable[[str, Any], None]:
    """Sets an option of the base of the description."""
    file = tmp_path / "base.yaml"

    def change(place: str, value: Any) -> None:
        base = block = yaml.safe_load(file.read_text())
        *blocks, name = place.split(".")
        for key in blocks:
            block = block.setdefault(key, {})
        block[name] = value
        file.write_text(yaml.safe_dump(base))

    return change


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Runs the commands of a sweep in this process, which takes a tenth of the time, and lists them."""
    ran: list[list[str]] = []

    def run(self: Processes, command: Sequence[str], log: Path, lock: IO[str] | None = None, look: Any = None) -> int:
        arguments = list(command)[list(command).index("asr.cli") + 1 :]
        ran.append(arguments)
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a") as output, contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            return main(arguments)

    monkeypatch.setattr(Processes, "run", run)
    return ran
