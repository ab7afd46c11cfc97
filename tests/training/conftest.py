"""A training small enough to be repeated many times in a test."""

from pathlib import Path

import pytest
import yaml


@pytest.fixture
def config(tone_root: Path, tmp_path: Path) -> Path:
    """A configuration with everything on that could break exactness: dropout, SpecAugment, speed, EMA, two workers."""
    content = {
        "run": str(tmp_path / "run"),
        "seed": 3,
        "model": {
            "encoder": {
                "class_path": "asr.encoders.StackedRNNEncoder",
                "init_args": {"hidden_size": 12, "num_layers": 1, "dropout": 0.2},
            },
            "optimization": {"learning_rate": 5e-3},
        },
        "data": {
            "root": str(tone_root),
            "features": {"num_mels": 20},
            "augmentation": {"speed_factors": [0.9, 1.0, 1.1]},
            "max_batch_seconds": 5,
            "num_workers": 2,
        },
        "training": {"pictures": 0},
        "trainer": {"max_epochs": 3, "accelerator": "cpu", "enable_progress_bar": False},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
