"""Descriptions: what they may say, and what is refused with its name."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from asr.cli import main
from asr.errors import InputError
from asr.sweep.description import read_sweep

Write = Callable[[dict[str, Any]], Path]


def changed(content: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """The content with one option set."""
    *blocks, name = place.split(".")
    block = content
    for key in blocks:
        block = block.setdefault(key, {})
    block[name] = value
    return content


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("base", None, "needs the option base"),
        ("base", "nowhere.yaml", "nowhere.yaml: No such file"),
        ("models", {}, "needs the option models"),
        ("models", ["lstm"], "models of .* must be a mapping of names"),
        ("modles", {}, "unknown option modles: {} .did you mean 'models'?"),
        ("seeds", [], "seeds of .* must be a list of different ones, got .."),
        ("seeds", [1, 1], "seeds of .* must be a list of different ones, got .1, 1."),
        ("seeds", [0, -1], "seeds of .* must lie between 0 and 4294967295, got -1"),
        ("seeds", [2**32], "seeds of .* must lie between 0 and 4294967295, got 4294967296"),
        ("seeds", ["x"], "seeds of .* must be an integer, got .'x'."),
        ("splits", ["test", "test"], "splits of .* must be a list of different ones"),
        ("match.parameters", -3, "match.parameters must be positive, got -3"),
        ("match.parameter", 3, "unknown option match.parameter: 3"),
        ("match.tolerance", 0, "match.tolerance must lie between 0 and 1, got 0"),
        ("match.vary", "size", "match.vary 'size' is about training_seconds"),
        ("match.vary", "width", "match.vary of .* must be one of 'epochs', 'size', got 'width'"),
        ("match.multiply_adds_per_second", 1e6, "cannot meet parameters and multiply_adds_per_second by it"),
        ("match.parameters", None, "models.lstm.size of .* is to be solved for, and match names neither"),
        ("models.a/b", {}, "models.a/b of .*: a model's name becomes that of a folder"),
        ("models.lstm.class_path", None, "models.lstm of .* needs a class_path, or a config"),
        ("models.lstm.hidden", 3, "unknown option models.lstm.hidden: 3"),
        ("models.lstm.size", 64, "models.lstm.size of .* must name options, .* got 64"),
        ("models.lstm.size", [{"hidden_size": 0}], "positive ratios, got {'hidden_size': 0}"),
        ("models.lstm.overrides", {"data.max_batch_seconds": 3}, "data.max_batch_seconds is the same for all models"),
        ("models.lstm.overrides", {"trainer.max_epochs": 3}, "overrides of .*: trainer.max_epochs may not be set here"),
        ("trials", [{"seed": 3}], r"trials\[0\] of .*: seed is the same for all models"),
        (
            "trials",
            [{"model.encoder.init_args.hidden_size": 3}],
            r"trials\[0\] of .*yaml sets model.encoder.init_args.hidden_size to 3, which models.lstm solves",
        ),
        (
            "trials",
            [{}, {"model.encoder.init_args": {"hidden_size": 3}}],
            r"trials\[1\] of .*yaml sets model.encoder.init_args.hidden_size to 3, which models.lstm solves",
        ),
        (
            "trials",
            [{}, {"training.ema_decay": 0.9}, {"training": {"ema_decay": 0.9}}],
            r"trials\[2\] of .*yaml is the same as trials\[1\]: {'training.ema_decay': 0.9}",
        ),
    ],
)
def test_a_description_that_cannot_be_used_is_refused_with_its_option(
    content: dict[str, Any], write: Write, place: str, value: Any, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        read_sweep(write(changed(content, place, value)))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("models.lstm.init_args.num_layer", 3, r"sweep.yaml \(models.lstm\).*num_layer"),
        ("models.lstm.init_args.num_layers", "three", "num_layers"),
        ("models.lstm.size", "hidden_sise", "hidden_sise"),
        ("models.lstm.class_path", "StackedLSTM", "'asr.encoders.StackedLSTM' is not an encoder"),
        (
            "models.lstm.overrides",
            {"model.optimization.learning_rte": 3},
            "unknown option model.optimization.learning_rte",
        ),
        ("models.lstm.overrides", {"model.optimization.learning_rate": -1}, "learning_rate must be positive, got -1"),
        ("models.lstm.overrides", {"training.ema_decay": "high"}, r"training.ema_decay of .*a number, got 'high'"),
        ("models.lstm.overrides", {"trainer.gradient_clip_val": "abc"}, r"gradient_clip_val of .*lstm.*, got 'abc'"),
        ("match.parameters", 100, "parameters: 100 cannot be met within 10 %; the nearest are .* at size 1"),
    ],
)
def test_a_model_that_cannot_be_made_is_refused_before_anything_is_trained(
    content: dict[str, Any],
    write: Write,
    commands: list[list[str]],
    capfd: pytest.CaptureFixture[str],
    place: str,
    value: Any,
    words: str,
) -> None:
    assert main(["sweep", str(write(changed(content, place, value)))]) == 1
    error = capfd.readouterr().err
    assert commands == []
    assert re.search(words, error), error


@pytest.mark.parametrize(
    "overrides",
    [{"model.optimization.learning_rate": 4e-3}, {"model.optimization": {"learning_rate": 4e-3, "weight_decay": 0}}],
)
def test_a_trial_that_an_override_of_a_model_would_undo_is_refused(
    content: dict[str, Any], write: Write, overrides: dict[str, Any]
) -> None:
    content["models"]["gru"]["overrides"] = overrides
    content["trials"] = [{}, {"training.ema_decay": 0.9}]
    assert len(read_sweep(write(content)).trials) == 2
    content["trials"].append({"model.optimization": {"learning_rate": 1e-3}})
    words = (
        r"trials\[2\] of .*sweep.yaml sets model.optimization.learning_rate to 0.001, which models.gru.overrides sets "
        "to 0.004; every model is trained with every trial"
    )
    with pytest.raises(InputError, match=words):
        read_sweep(write(content))


def test_a_model_without_size_must_meet_what_is_matched(
    content: dict[str, Any], write: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    del content["models"]["gru"], content["models"]["lstm"]["size"]
    content["models"]["lstm"]["init_args"]["hidden_size"] = 12
    # One bidirectional layer over 3 x 20 features, its layer norm, and a head to 5 tokens.
    parameters = 2 * 4 * 12 * (60 + 12 + 2) + 2 * 24 + 24 * 5 + 5
    content["match"] = {"parameters": parameters, "tolerance": 1e-6}
    assert main(["sweep", str(write(content)), "--plan"]) == 0
    content["match"]["parameters"] = 2 * parameters
    assert main(["sweep", str(write(content)), "--plan"]) == 1
    assert f"parameters: {parameters:,} is not within 0.0001 % of {2 * parameters:,}" in capfd.readouterr().err


def test_a_configuration_lends_its_encoder_and_may_say_nothing_else(
    content: dict[str, Any], write: Write, tmp_path: Path
) -> None:
    encoder = {"class_path": "asr.encoders.StackedRNNEncoder", "init_args": {"cell": "rnn", "num_layers": 2}}
    other = {"base": "base.yaml", "run": "x", "model": {"encoder": encoder}}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))
    content["models"]["rnn"] = {"config": "other.yaml", "init_args": {"num_layers": 1}, "size": ["hidden_size"]}
    model = read_sweep(write(content)).models[-1]
    assert model.encoder == {**encoder, "init_args": {"cell": "rnn", "num_layers": 1}}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({**other, "trainer": {"max_epochs": 3}}))
    with pytest.raises(InputError, match=r"other.yaml sets trainer too, and a sweep takes the encoder alone"):
        read_sweep(write(content))


@pytest.mark.parametrize(
    ("size", "ratios"),
    [
        ("a", {"a": 1}),
        (["a", {"b": 3}], {"a": 1, "b": 3}),
        ({"a": 1, "b": 0.5}, {"a": 1, "b": 0.5}),
        (None, {}),
    ],
)
def test_sizes_are_a_name_or_several_with_ratios(
    content: dict[str, Any], write: Write, size: Any, ratios: dict[str, float]
) -> None:
    content["models"]["lstm"]["size"] = size
    assert read_sweep(write(content)).models[0].size == ratios
