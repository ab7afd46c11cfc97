from pathlib import Path
from typing import Any

import pytest
import yaml

from asr.cli import main
from asr.config import full_class_path
from asr.experiment import read_experiment

BASE = """
data: {root: corpus, features: {num_mels: 20}}
model: {encoder: {class_path: asr.encoders.StackedRNNEncoder, init_args: {hidden_size: 6, num_layers: 1}}}
"""


def trained_encoder(config: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Class and options of the encoder that `asr fit` would train."""
    with pytest.raises(SystemExit):
        main(["fit", "-c", str(config), "--print_config"])
    encoder: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)["model"]["encoder"]
    return encoder


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        ("{class_path: asr.encoders.GridLSTMEncoder}", {"hidden_size": 48, "num_layers": 2}),
        ("{class_path: GridLSTMEncoder, init_args: {hidden_size: 5}}", {"hidden_size": 5, "num_layers": 2}),
        ("{class_path: StackedRNNEncoder}", {"hidden_size": 6, "num_layers": 1}),
        ("{class_path: asr.encoders.stacked_rnn.StackedRNNEncoder}", {"hidden_size": 6, "num_layers": 1}),
        ("{init_args: {dropout: 1e-1}}", {"hidden_size": 6, "dropout": 0.1}),
    ],
)
def test_training_and_all_other_commands_make_the_same_encoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], encoder: str, expected: dict[str, Any]
) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    config = tmp_path / "a.yaml"
    config.write_text(f"base: base.yaml\nmodel: {{encoder: {encoder}}}\n")
    trained = trained_encoder(config, capsys)
    described = read_experiment(config).encoder(20).describe()
    assert full_class_path(described["class_path"]) == full_class_path(trained["class_path"])
    assert described["init_args"] == {**trained["init_args"], "num_features": 20}
    assert expected.items() <= described["init_args"].items()
