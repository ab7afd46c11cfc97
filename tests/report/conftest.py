"""Two scored runs of the tone language: one without errors, one that hears A as B."""

from pathlib import Path

import pytest
import torch
from tone_corpus import write_tone_corpus
from tone_reader import tone_reader

from asr.decode.commands import test as asr_test
from asr.model import export_model


def write_run(folder: Path, root: Path, confusion: float) -> Path:
    """A run folder with a model and its scores; from a confusion of 1 on, A is heard as B."""
    loaded = tone_reader(sharpness=4.0)
    with torch.no_grad():
        loaded.model.head.weight[3, 2] += confusion
    export_model(loaded, folder)
    asr_test([str(folder), "--root", str(root), "-o", str(folder), "--accelerator", "cpu", "--workers", "0"])
    return folder


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Run folders `right` and `wrong`, scored on the same four utterances."""
    folder = tmp_path_factory.mktemp("runs")
    root = write_tone_corpus(folder / "root", {"test": 4})
    return write_run(folder / "right", root, 0.0), write_run(folder / "wrong", root, 1.5)
