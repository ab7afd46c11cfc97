from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import yaml

from asr.cli import main as asr
from asr.config import OPTIONS, config_chain, construct, read_config
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


@pytest.mark.parametrize("name", ["GridLSTMEncoder", "asr.encoders.grid_lstm.GridLSTMEncoder"])
def test_an_encoder_of_the_same_class_by_another_name_changes_the_one_of_the_base(tmp_path: Path, name: str) -> None:
    encoder = "class_path: asr.encoders.GridLSTMEncoder, init_args: {hidden_size: 1, num_layers: 1}"
    write(tmp_path / "base.yaml", f"model: {{encoder: {{{encoder}}}}}\n")
    changed = f"base: base.yaml\nmodel: {{encoder: {{class_path: {name}, init_args: {{hidden_size: 2}}}}}}\n"
    merged = read_config(write(tmp_path / "a.yaml", changed))["model"]["encoder"]
    assert merged["init_args"] == {"hidden_size": 2, "num_layers": 1}


def test_the_chain_begins_with_the_outermost_base(tmp_path: Path) -> None:
    a = write(tmp_path / "a.yaml", "seed: 1\n")
    b = write(tmp_path / "b.yaml", "base: a.yaml\n")
    c = write(tmp_path / "c.yaml", "base: b.yaml\n")
    assert [p.resolve() for p in config_chain(c)] == [a, b, c]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("base: bad.yaml\n", "circle"),
        ("- a list\n", r"bad.yaml must be a mapping of options, not a list: \['a list'\]"),
        ("# nothing\n", "bad.yaml must be a mapping of options, not empty"),
        ("base: 3\n", "bad.yaml: base must be the path of a file, got 3"),
        ("base: [a, b]\n", r"bad.yaml: base must be the path of a file, got \['a', 'b'\]"),
        ("data: 3\n", "data of .*bad.yaml must be a mapping of options, not a number: 3"),
        ("data: {features: [80]}\n", r"data.features of .*bad.yaml must be a mapping of options, not a list: \[80\]"),
        ("model: yes\n", "model of .*bad.yaml must be a mapping of options, not a truth value: True"),
        ("model: {encoder: LSTM}\n", "model.encoder of .*bad.yaml must be a mapping of options, not text: 'LSTM'"),
        ("model: {encoder: {init_args: 7}}\n", "model.encoder.init_args of .*bad.yaml must be a mapping"),
        ("model: {optimization: adam}\n", "model.optimization of .*bad.yaml must be a mapping"),
        ("trainer: gpu\n", "trainer of .*bad.yaml must be a mapping"),
        ("dat: {root: x}\n", r"bad.yaml has an unknown option dat: {'root': 'x'} \(did you mean 'data'\?\)"),
        ("data: {feature: {num_mels: 4}}\n", r"unknown option data.feature: .*did you mean 'features'\?"),
        ("model: {encoder: {clas_path: A}}\n", "unknown option model.encoder.clas_path: 'A'"),
        ("training: {zzz: 1}\n", r"unknown option training.zzz: 1 \(known: ema_decay, early_stopping"),
        ("3: 4\n", "unknown option 3: 4"),
        ("a: [1\n", "not valid YAML"),
        ("base: nowhere.yaml\n", "nowhere.yaml: No such file"),
    ],
)
def test_an_unusable_configuration_is_named(tmp_path: Path, text: str, words: str) -> None:
    bad = write(tmp_path / "bad.yaml", text)
    with pytest.raises(InputError, match=words) as raised:
        read_config(bad)
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_wrong_in_a_base_is_said_of_the_base(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", "data: {mels: 3}\n")
    experiment = write(tmp_path / "a.yaml", "base: base.yaml\ndata: {num_workers: 2}\n")
    with pytest.raises(InputError, match="base.yaml has an unknown option data.mels: 3"):
        read_config(experiment)


def test_a_block_without_options_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", "data: {num_workers: 1, features: {max_frequency: 4000}}\n")
    experiment = write(tmp_path / "a.yaml", "base: base.yaml\ndata:\n")
    assert read_config(experiment)["data"]["num_workers"] == 1
    single = write(tmp_path / "b.yaml", "base: base.yaml\ndata: {features: {max_frequency: null}}\n")
    assert read_config(single)["data"]["features"] == {"max_frequency": None}


def test_the_options_known_here_are_those_of_training(capsys: pytest.CaptureFixture[str]) -> None:
    config = Path(__file__).parents[1] / "configs" / "stacked_lstm.yaml"
    with pytest.raises(SystemExit):
        asr(["fit", "-c", str(config), "--data.root", "x", "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    for place, known in OPTIONS.items():
        block = printed
        for key in place.split(".") if place else ():
            block = block[key]
        assert set(block) == set(known), place


@dataclass(frozen=True)
class Recipe:
    """Options of each kind that there is."""

    spoons: int = 1
    litres: float = 1.0
    name: str = "soup"
    heat: Literal["low", "high"] = "low"
    oven: float | None = None
    spices: tuple[str, ...] = ()
    minutes: tuple[float, float] = (1.0, 2.0)
    covered: bool = False
    layers: list[int] | None = None
    anything: object = None

    def __post_init__(self) -> None:
        if self.spoons < 0:
            raise InputError(f"spoons must not be negative, got {self.spoons}")


def test_options_become_a_dataclass_with_its_types() -> None:
    fields = {"spoons": 2, "litres": 1, "heat": "high", "oven": "2e2", "spices": ["salt"], "minutes": [1, 2.5]}
    made = construct(Recipe, fields, "kitchen", "a.yaml")
    assert made == Recipe(2, 1.0, "soup", "high", 200.0, ("salt",), (1.0, 2.5))
    assert construct(Recipe, {"oven": None}, "kitchen", "a.yaml") == Recipe()
    fields = {"covered": True, "layers": [1, 2], "anything": {"is": "accepted"}}
    assert construct(Recipe, fields, "kitchen", "a.yaml") == Recipe(**fields)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("spoons", "many", "kitchen.spoons of a.yaml must be an integer, got 'many'"),
        ("spoons", 2.5, "must be an integer, got 2.5"),
        ("spoons", True, "must be an integer, got True"),
        ("spoons", None, "must be an integer, got None"),
        ("spoons", -1, "kitchen of a.yaml: spoons must not be negative, got -1"),
        ("litres", "some", "must be a number, got 'some'"),
        ("litres", False, "must be a number, got False"),
        ("litres", [1.0], r"must be a number, got \[1.0\]"),
        ("litres", float("nan"), "must be a number, got nan"),
        ("name", 3, "must be text, got 3"),
        ("heat", "warm", "must be one of 'low', 'high', got 'warm'"),
        ("heat", ["low"], r"must be one of 'low', 'high', got \['low'\]"),
        ("oven", "hot", "must be a number, got 'hot'"),
        ("spices", "salt", "must be a list, got 'salt'"),
        ("spices", ["salt", 1], r"must be text, got \['salt', 1\]"),
        ("spices", {"salt": 1}, "must be a list, got {'salt': 1}"),
        ("covered", "yes", "must be true or false, got 'yes'"),
        ("covered", 1, "must be true or false, got 1"),
        ("layers", 2, "must be a list, got 2"),
        ("layers", [2, "x"], r"must be an integer, got \[2, 'x'\]"),
        ("minutes", [1], r"must be a list of 2, got \[1\]"),
        ("spoon", 1, r"a.yaml has an unknown option kitchen.spoon: 1 \(did you mean 'spoons'\?\)"),
    ],
)
def test_an_option_of_another_type_is_named_with_its_file_and_value(name: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        construct(Recipe, {name: value}, "kitchen", "a.yaml")
