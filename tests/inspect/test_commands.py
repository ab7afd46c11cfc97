"""`asr inspect` and `asr gradients` as a user runs them."""

import shutil

import numpy as np
import pytest
import soundfile
import torch
from matplotlib.image import imread
from tone_corpus import write_tone_corpus

from asr.data.features import FeatureConfig, LogMel
from asr.data.tokens import CharacterTokenizer
from asr.encoders import GridLSTMEncoder, StackedRNNEncoder
from asr.errors import InputError
from asr.files import read_json
from asr.inspect.command import main
from asr.inspect.gradient_command import main as gradients
from asr.model import CTCModel, LoadedModel, ModelDescription, export_model


def export(encoder, folder):
    """Write an untrained model."""
    tokenizer = CharacterTokenizer(" ABC")
    features = FeatureConfig(normalization="none")
    description = ModelDescription(encoder.describe(), features, None, tokenizer.to_dict(), "verbatim/1")
    model = CTCModel(encoder, len(tokenizer.tokens)).eval()
    export_model(LoadedModel(model, description, tokenizer, LogMel(features), {}), folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with two untrained models, one of them a grid, and a corpus of two utterances."""
    folder = tmp_path_factory.mktemp("inspect")
    torch.manual_seed(0)
    options = {"patch_mels": 40, "hidden_size": 4, "num_layers": 1, "lstm_layers": 0, "projection_size": 8}
    export(GridLSTMEncoder(80, **options, bidirectional_frequency=False), folder / "grid")
    export(StackedRNNEncoder(80, hidden_size=4, num_layers=1, bidirectional=False), folder / "stacked")
    write_tone_corpus(folder / "root", {"test": 2})
    return folder


def test_a_grid_has_a_picture_for_each_direction_and_one_of_its_receptive_field(folder, tmp_path, capsys):
    arguments = ["--utterance", "test-001", "--root", str(folder / "root"), "-o", str(tmp_path)]
    assert main([str(folder / "grid"), *arguments]) == 0
    ways = ["gates_layer1_forward_upward.png", "gates_layer1_backward_upward.png"]
    names = sorted([*ways, "receptive_field.png", "receptive_field.json"])
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert all(imread(tmp_path / name).std() > 0.05 for name in names if name.endswith(".png"))
    printed = capsys.readouterr().out
    assert printed.count("mean gates input 0.") == 4
    fields = read_json(tmp_path / "receptive_field.json")
    assert fields["utterance"] == "test-001"
    assert [field["of"] for field in fields["fields"]] == [
        "log-probabilities of an output frame",
        "a cell of the grid, frequency block 2 of 2",
    ]
    for field in fields["fields"]:
        assert len(field["seconds"]) == len(field["along_time"])
        assert len(field["along_frequency"]) == 80


def test_pictures_are_the_same_bytes_again(folder, tmp_path):
    for name in ("a", "b"):
        arguments = ["--utterance", "test-001", "--root", str(folder / "root"), "-o", str(tmp_path / name)]
        main([str(folder / "stacked"), *arguments])
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_of_an_encoder_that_is_no_grid_only_the_receptive_field_is_drawn_which_is_said(folder, tmp_path, capsys):
    tone = 0.1 * np.sin(np.arange(8000) * 2 * np.pi * 500 / 8000)
    soundfile.write(tmp_path / "tone.wav", tone, 8000)
    arguments = ["--audio", str(tmp_path / "tone.wav"), "-o", str(tmp_path / "out")]
    assert main([str(folder / "stacked"), *arguments]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["receptive_field.json", "receptive_field.png"]
    printed = capsys.readouterr().out
    assert "resampled from 8000 to 16000 Hz" in printed
    assert "gates: none are drawn, since StackedRNNEncoder is no grid of LSTM cells" in printed


def test_an_utterance_that_is_not_there_is_named(folder, tmp_path):
    with pytest.raises(InputError, match="--utterance nobody: it is not in .*test.jsonl.gz"):
        main([str(folder / "grid"), "--utterance", "nobody", "--root", str(folder / "root"), "-o", str(tmp_path)])
    with pytest.raises(InputError, match="give --root or --cuts"):
        main([str(folder / "grid"), "--utterance", "nobody", "-o", str(tmp_path)])


SIZES = ["--hidden-size", "3", "--reach", "2", "--layers", "2", "--seeds", "1"]


def test_gradients_are_drawn_printed_and_written_at_initialisation_and_trained(folder, tmp_path, capsys):
    files = [str(tmp_path / "g.png"), "--json", str(tmp_path / "g.json")]
    assert gradients([str(folder / "grid"), "-o", *files, *SIZES]) == 0
    assert imread(tmp_path / "g.png").std() > 0.05
    written = read_json(tmp_path / "g.json")
    assert [row["setting"]["forget_bias"] for row in written["initial"]] == [0.0, 1.0]
    assert set(written["trained"]) == {"grid: encoder", "grid: grid"}
    printed = capsys.readouterr().out
    assert printed.count("Grid LSTM, memory along depth") == 2
    assert "grid: grid" in printed


def test_runs_of_equal_folder_names_have_curves_of_their_own(folder, tmp_path, monkeypatch):
    shutil.copytree(folder / "grid", tmp_path / "other" / "grid")
    monkeypatch.chdir(tmp_path)
    runs = [str(folder / "grid"), "other/grid"]
    assert gradients([*runs, "-o", "g.png", "--json", "g.json", *SIZES]) == 0
    assert set(read_json("g.json")["trained"]) == {f"{run}: {part}" for run in runs for part in ("encoder", "grid")}
    with pytest.raises(InputError, match="other/grid was given twice"):
        gradients(["other/grid", "other/grid", "-o", "g.png", *SIZES])


def test_sizes_below_one_are_refused(tmp_path):
    with pytest.raises(InputError, match="--reach must be at least 1, got 0"):
        gradients(["-o", str(tmp_path / "g.png"), "--reach", "0"])


@pytest.mark.parametrize("bias", ["nan", "inf", "-inf"])
def test_a_forget_bias_that_is_not_finite_is_refused(tmp_path, bias):
    with pytest.raises(InputError, match=f"^--forget-bias must be a finite number, got {bias}$"):
        gradients(["-o", str(tmp_path / "g.png"), *SIZES, f"--forget-bias={bias}"])
