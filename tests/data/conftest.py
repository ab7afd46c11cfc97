"""Fixtures of the data tests: audio files and manifests, made as they are needed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet
from tone_corpus import tone_cut
from white_noise import white_noise

from asr.data.cuts import read_cuts
from asr.files import write_jsonl


@pytest.fixture
def write_cuts(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes waveforms as FLAC files (id -> samples) and their manifest, and returns its path."""

    def write(waveforms: dict[str, np.ndarray], name: str = "cuts", text: str = "AB", rate: int = 16000) -> Path:
        folder = tmp_path / name
        (folder / "audio").mkdir(parents=True)
        rows = []
        for index, (utterance_id, samples) in enumerate(waveforms.items()):
            soundfile.write(folder / "audio" / f"{utterance_id}.flac", samples, rate, subtype="PCM_24")
            row = tone_cut(utterance_id, name, index, text, len(samples))
            for part in (row, row["recording"], row["supervisions"][0]):
                part["duration"] = len(samples) / rate
            row["recording"]["sampling_rate"] = rate
            rows.append(row)
        write_jsonl(folder / "cuts.jsonl.gz", rows)
        return folder / "cuts.jsonl.gz"

    return write


@pytest.fixture
def speech_cuts(write_cuts: Callable[..., Path]) -> CutSet:
    """Five cuts of 0.5 to 1.5 s."""
    lengths = [8000, 24000, 12000, 16000, 20000]
    return read_cuts(write_cuts({f"u{i}": white_noise(n, seed=i) for i, n in enumerate(lengths)}, name="speech"))
