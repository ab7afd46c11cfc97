"""`asr bench step` on tiny configurations, end to end, and that what it times is a training step."""

import json
from pathlib import Path

import pytest
import torch

from asr import cli
from asr.bench import step
from asr.bench.step import PRECISIONS, StepBatch, StepRow, table, training_step
from asr.encoders import StackedRNNEncoder
from asr.model import CTCModel

CONFIGURATION = """
data: {{features: {{num_mels: 20}}}}
model: {{encoder: {{class_path: StackedRNNEncoder, init_args: {{hidden_size: {size}, num_layers: 1}}}}}}
"""


@pytest.fixture
def configurations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr("asr.bench.timing.SHORTEST", 0.0)
    for size in (3, 4):
        (tmp_path / f"{size}.yaml").write_text(CONFIGURATION.format(size=size))
    return [str(tmp_path / f"{size}.yaml") for size in (3, 4)]


def bench(*arguments: str) -> int:
    return cli.main(["bench", "step", *arguments, "--utterances", "2", "--frames", "30", "--rounds", "1"])


def test_every_configuration_is_measured_in_both_precisions(
    configurations: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    assert bench(*configurations, "--json", str(tmp_path / "rows.json")) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["configuration"], row["precision"]) for row in rows] == [
        (path, precision) for path in configurations for precision in PRECISIONS
    ]
    assert rows[0]["parameters"] == CTCModel(StackedRNNEncoder(20, 3, 1), step.TOKENS).parameter_count()
    assert all(row["milliseconds"] > 0 and row["commit"] for row in rows)
    assert all(path in capsys.readouterr().out for path in configurations[:1])
    assert torch.get_num_threads() == threads


def test_shares_are_of_the_same_configurations_time_in_float32() -> None:
    made = [
        StepRow(name, 10, precision, 2, 30, 1, milliseconds, 1.0, 9.0, 3)
        for name, precision, milliseconds in (
            ("a", "32-true", 8.0), ("a", "bf16-mixed", 2.0), ("b", "bf16-mixed", 3.0),
        )
    ]  # fmt: skip
    assert [line.split()[-1] for line in table(made).splitlines()[1:]] == ["1.00", "0.25", "–"]


@pytest.mark.parametrize(("precision", "bfloat16"), [("32-true", False), ("bf16-mixed", True)])
def test_a_step_moves_every_parameter_by_a_clipped_gradient_in_its_precision(precision: str, bfloat16: bool) -> None:
    model = CTCModel(StackedRNNEncoder(20, 8, 1), step.TOKENS)
    seen: list[bool] = []
    model.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    training_step(model, 20, StepBatch(2, 60), precision)()
    assert seen == [bfloat16]
    assert not any(old.equal(new) for old, new in zip(before, model.parameters(), strict=True))
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert 0 < torch.nn.utils.get_total_norm(gradients) <= step.CLIP * 1.001


def test_a_configuration_that_cannot_be_read_and_counts_below_one_are_refused(
    configurations: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("none.yaml") == 1
    assert "none.yaml" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", "step", configurations[0], "--frames", "0"])
    assert stop.value.code == 2
    assert "at least 1, got '0'" in capsys.readouterr().err
