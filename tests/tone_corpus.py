"""A corpus of tones: real audio and manifests, made in milliseconds, that a small model learns in seconds."""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from asr.data.tokens import CharacterTokenizer
from asr.files import write_json, write_jsonl

TONES = {"A": 440.0, "B": 880.0, "C": 1760.0, " ": 0.0}
"""A language whose characters are tones of 120 ms: learnt in seconds, and no two characters sound alike."""


def tone_waveform(text: str, sample_rate: int = 16000) -> np.ndarray:
    """Samples (N,) of a text in the tone language."""
    n = round(0.12 * sample_rate)
    time = np.arange(n) / sample_rate
    parts = [0.3 * np.sin(2 * np.pi * TONES[c] * time) * np.hanning(n) for c in text]
    return np.concatenate([np.zeros(n // 4), *parts, np.zeros(n // 4)]).astype(np.float32)


def write_tone_corpus(root: Path, sizes: dict[str, int]) -> Path:
    """Write a prepared corpus in the tone language: `sizes` utterances a split, two speakers a split."""
    rng = np.random.default_rng(0)
    (root / "audio").mkdir(parents=True)
    for split, size in sizes.items():
        cuts = []
        for index in range(size):
            words = ["".join(rng.choice(list("ABC"), rng.integers(1, 4))) for _ in range(rng.integers(1, 4))]
            text, name = " ".join(words), f"{split}-{index:03d}"
            soundfile.write(root / "audio" / f"{name}.flac", tone_waveform(text), 16000, subtype="PCM_16")
            cuts.append(tone_cut(name, split, index, text, len(tone_waveform(text))))
        write_jsonl(root / f"{split}.jsonl.gz", cuts)
    write_json(root / "tokens.json", CharacterTokenizer(" ABC").to_dict())
    write_json(root / "normalization.json", {"name": "verbatim", "version": 1})
    return root


def tone_cut(name: str, split: str, index: int, text: str, num_samples: int) -> dict[str, Any]:
    """A lhotse cut of one FLAC file, as plain data."""
    duration = num_samples / 16000
    recording = {
        "id": name,
        "sources": [{"type": "file", "channels": [0], "source": f"audio/{name}.flac"}],
        "sampling_rate": 16000,
        "num_samples": num_samples,
        "duration": duration,
        "channel_ids": [0],
    }
    supervision = {
        "id": name,
        "recording_id": name,
        "start": 0.0,
        "duration": duration,
        "channel": 0,
        "text": text,
        "speaker": f"{split}-speaker-{index % 2}",
    }
    return {
        "id": name,
        "start": 0.0,
        "duration": duration,
        "channel": 0,
        "supervisions": [supervision],
        "recording": recording,
        "type": "MonoCut",
    }
