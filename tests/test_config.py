from pathlib import Path

import pytest

from asr.config import config_chain, read_config
from asr.errors import InputError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_an_experiment_changes_single_values_of_its_base(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", "seed: 0\ndata: {num_workers: 1, max_batch_seconds: 200}\n")
    experiment = write(tmp_path / "demo" / "a.yaml", "base: ../base.yaml\ndata: {num_workers: 2}\n")
    assert read_config(experiment) == {"seed": 0, "data": {"num_workers": 2, "max_batch_seconds": 200}}


def test_an_encoder_of_another_class_replaces_the_one_of_the_base(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", "model: {encoder: {class_path: A, init_args: {x: 1}}}\n")
    other = write(tmp_path / "other.yaml", "base: base.yaml\nmodel: {encoder: {class_path: B, init_args: {y: 2}}}\n")
    same = write(tmp_path / "same.yaml", "base: base.yaml\nmodel: {encoder: {init_args: {y: 2}}}\n")
    assert read_config(other)["model"]["encoder"] == {"class_path": "B", "init_args": {"y": 2}}
    assert read_config(same)["model"]["encoder"] == {"class_path": "A", "init_args": {"x": 1, "y": 2}}


def test_the_chain_begins_with_the_outermost_base(tmp_path: Path) -> None:
    a = write(tmp_path / "a.yaml", "seed: 1\n")
    b = write(tmp_path / "b.yaml", "base: a.yaml\n")
    c = write(tmp_path / "c.yaml", "base: b.yaml\n")
    assert [p.resolve() for p in config_chain(c)] == [a, b, c]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("base: bad.yaml\n", "circle"),
        ("- a list\n", "mapping of options, not list"),
        ("a: [1\n", "not valid YAML"),
        ("base: nowhere.yaml\n", "nowhere.yaml: No such file"),
    ],
)
def test_an_unusable_configuration_is_named(tmp_path: Path, text: str, words: str) -> None:
    bad = write(tmp_path / "bad.yaml", text)
    with pytest.raises(InputError, match=words) as raised:
        read_config(bad)
    assert str(tmp_path) in str(raised.value)
