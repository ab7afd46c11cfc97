"""`asr models`: counts from configurations, against models built and run."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from asr.cli import main as asr
from asr.config import read_config
from asr.encoders import GridLSTMEncoder, StackedRNNEncoder
from asr.errors import InputError
from asr.model import CTCModel, build_encoder
from asr.report.models import main, summarize

CONFIGS = Path(__file__).parents[2] / "configs"
REAL = sorted(path for path in CONFIGS.glob("*.yaml") if path.name != "base.yaml")
DEMO = sorted((CONFIGS / "demo").glob("*_lstm.yaml"))


def write(path: Path, content: object) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


def model_block(class_path: str = "asr.encoders.StackedRNNEncoder", **arguments: object) -> dict[str, object]:
    return {"encoder": {"class_path": class_path, "init_args": arguments}}


def test_the_summary_is_that_of_the_model_built_with_its_head(tmp_path: Path) -> None:
    features = {"num_mels": 40, "hop_length": 200, "sample_rate": 16000}
    model = model_block(hidden_size=12, num_layers=2, stacked_frames=4, bidirectional=False)
    path = write(tmp_path / "a.yaml", {"data": {"features": features}, "model": model})
    built = CTCModel(StackedRNNEncoder(40, 12, 2, stacked_frames=4, bidirectional=False), 11)
    summary = summarize(path, tokens=11)
    assert summary.encoder == "StackedRNNEncoder"
    assert summary.parameters == sum(parameter.numel() for parameter in built.parameters())
    assert summary.frame_rate == 80 / 4
    assert summary.multiply_adds_per_second == round(built.multiply_adds(800) / 10)
    assert summary.streamable
    assert summary.tokens == 11


def test_the_number_of_mel_bins_comes_from_the_features_and_has_a_default(tmp_path: Path) -> None:
    block = model_block("GridLSTMEncoder", hidden_size=8, patch_mels=20)
    summary = summarize(write(tmp_path / "a.yaml", {"model": block}))
    built = CTCModel(GridLSTMEncoder(80, hidden_size=8, patch_mels=20), 29)
    assert summary.parameters == sum(parameter.numel() for parameter in built.parameters())
    assert not summary.streamable


def test_a_base_is_followed(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", {"data": {"features": {"num_mels": 20}}, "model": model_block(hidden_size=8)})
    child = write(tmp_path / "child.yaml", {"base": "base.yaml", "model": {"encoder": {"init_args": {}}}})
    built = CTCModel(StackedRNNEncoder(20, 8), 29)
    assert summarize(child).parameters == sum(parameter.numel() for parameter in built.parameters())


def test_building_does_not_touch_the_random_numbers_of_the_caller(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", {"model": model_block(hidden_size=8)})
    before = torch.get_rng_state()
    summarize(path)
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("path", [*REAL, *DEMO], ids=lambda path: path.stem)
def test_every_configuration_here_builds_and_runs_as_it_is_summarised(path: Path) -> None:
    summary = summarize(path)
    config = read_config(path)
    num_mels = config["data"]["features"]["num_mels"]
    encoder = config["model"]["encoder"]
    built = build_encoder(encoder["class_path"], {**encoder["init_args"], "num_features": num_mels}).eval()
    with torch.no_grad():
        frames, lengths = built(torch.randn(1, 50, num_mels), torch.tensor([50]))
    assert frames.isfinite().all()
    assert int(lengths) == -(-50 * summary.frame_rate // 100)


def test_configurations_to_be_compared_have_equally_many_parameters() -> None:
    compared = [path for path in REAL if path.stem != "pretrained"]
    for paths, tolerance in ((compared, 0.015), (DEMO, 0.02)):
        parameters = [summarize(path).parameters for path in paths]
        assert len(parameters) >= 2
        assert max(parameters) <= (1 + tolerance) * min(parameters)


def test_the_table_has_a_line_a_model_and_json_has_the_same_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = write(tmp_path / "one.yaml", {"model": model_block(hidden_size=8)})
    two = write(tmp_path / "two.yaml", {"model": model_block(hidden_size=16, bidirectional=False)})
    assert asr(["models", str(one), str(two), "--tokens", "5"]) == 0
    heading, first, second, note = capsys.readouterr().out.splitlines()
    assert asr(["models", str(one), str(two), "--tokens", "5", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert heading.split()[:3] == ["configuration", "encoder", "parameters"]
    for line, row, streams in ((first, rows[0], "no"), (second, rows[1], "yes")):
        amount = f"{row['multiply_adds_per_second'] / 1e6:,.1f}"
        fields = [row["config"], row["encoder"], f"{row['parameters']:,}", amount, "M", "33.3", streams]
        assert line.split() == fields
    assert note == "With a CTC head of 5 tokens."


WRONG = [
    ({"model": None}, "describes no model: it has no model.encoder"),
    ({"model": {"encoder": "StackedRNNEncoder"}}, "model.encoder of .* not text: 'StackedRNNEncoder'"),
    ({"model": {"encoder": {"init_args": {}}}}, "model.encoder of .* has no class_path: {'init_args': {}}"),
    ({"model": model_block("asr.encoders.Nothing")}, "model.encoder of .*'asr.encoders.Nothing' is not an encoder"),
    ({"model": model_block(hiden_size=3)}, "model.encoder of .*hiden_size"),
    ({"model": model_block(hidden_size=0)}, "model.encoder of .*hidden_size must be an integer of at least 1, got 0"),
    ({"model": model_block(), "data": {"features": {"num_mel": 3}}}, "unknown option data.features.num_mel: 3"),
    ({"model": model_block(), "data": {"features": {"num_mels": "many"}}}, "num_mels of .* an integer, got 'many'"),
    ({"model": model_block(), "data": 3}, "data of .* must be a mapping of options, not a number: 3"),
    ({"model": {"encoder": {"class_path": 3}}}, "model.encoder of .* has no class_path: {'class_path': 3}"),
    ({"model": model_block(hidden_size="many")}, "model.encoder of .*hidden_size must be an integer.* got 'many'"),
    ({"model": model_block(bidirectional="x")}, "init_args.bidirectional of .* must be true or false, got 'x'"),
    ({"model": model_block(hidden_size=[8])}, "model.encoder of .*hidden_size"),
    ({"model": model_block(), "data": {"features": {"num_mels": 0}}}, "data.features of .*num_mels"),
]


@pytest.mark.parametrize(("content", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_configuration_that_cannot_be_used_is_named(tmp_path: Path, content: object, message: str) -> None:
    path = write(tmp_path / "wrong.yaml", content)
    with pytest.raises(InputError, match=message) as caught:
        summarize(path)
    assert str(path) in str(caught.value)


def test_the_others_are_still_printed_and_the_exit_code_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = write(tmp_path / "right.yaml", {"model": model_block(hidden_size=8)})
    assert main([str(tmp_path / "missing.yaml"), str(right)]) == 1
    output = capsys.readouterr()
    assert "right.yaml" in output.out
    assert "error: cannot read the configuration" in output.err
    assert "missing.yaml" in output.err


def test_a_base_among_models_is_left_out_and_alone_it_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = write(tmp_path / "base.yaml", {"seed": 0, "model": {"optimization": {"learning_rate": 1e-3}}})
    right = write(tmp_path / "right.yaml", {"model": model_block(hidden_size=8)})
    assert main([str(base), str(right)]) == 0
    output = capsys.readouterr()
    assert "right.yaml" in output.out
    assert f"left out: {base} describes no model" in output.err
    assert main([str(base)]) == 1


def test_too_few_tokens_and_no_configuration_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", {"model": model_block(hidden_size=8)})
    with pytest.raises(InputError, match="--tokens must be at least 2, the blank and one more, got 1"):
        main([str(path), "--tokens", "1"])
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
