"""Fixtures shared by all tests. One thread each: results and run times do not depend on the machine's cores."""

import os
import signal
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from tone_corpus import write_tone_corpus

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests send it; what runs in the background ignores it


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of unpacked real corpora, named by the environment variable ASR_CORPORA; skips without it."""
    folder = os.environ.get("ASR_CORPORA")
    if not folder:
        pytest.skip("ASR_CORPORA does not name a folder of unpacked real corpora")
    return Path(folder)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tone_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared corpus in the tone language; tests that change it make their own with `write_tone_corpus`."""
    return write_tone_corpus(tmp_path_factory.mktemp("tones") / "root", {"train": 24, "dev": 6, "test": 6})
