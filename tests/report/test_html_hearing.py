"""The picture of an utterance shows the features, patches and posteriors that the model has, and its very samples."""

import io
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import soundfile
import torch

from asr.data.cuts import load_waveform
from asr.data.features import FeatureConfig, LogMel
from asr.data.tokens import CharacterTokenizer
from asr.decode.commands import test as asr_test
from asr.encoders import GridLSTMEncoder, StackedRNNEncoder, TimeFrequencyLSTMEncoder
from asr.files import read_jsonl
from asr.model import CTCModel, LoadedModel, ModelDescription, export_model
from asr.report.compare import compared
from asr.report.html.choice import Choice, chosen
from asr.report.html.hearing import Shown, load_models, patches_of, show
from asr.report.html.records import Gathered, gather
from asr.report.html.spectrum import LEAST, MOST_ROWS, shown_tokens, spectrogram_png, utterance_picture
from asr.report.runs import read_runs

NAMESPACE = "{http://www.w3.org/2000/svg}"


def write_grid_run(folder: Path, root: Path) -> Path:
    """A run of an untrained Grid LSTM."""
    features = FeatureConfig(normalization="none")
    tokenizer = CharacterTokenizer(" ABC")
    encoder = GridLSTMEncoder(80, 3, 16, hidden_size=4, num_layers=1, lstm_layers=0, projection_size=8)
    model = CTCModel(encoder, len(tokenizer.tokens)).eval()
    description = ModelDescription(encoder.describe(), features, None, tokenizer.to_dict(), "verbatim/1")
    export_model(LoadedModel(model, description, tokenizer, LogMel(features), {"name": "grid"}), folder)
    asr_test([str(folder), "--root", str(root), "-o", str(folder), "--accelerator", "cpu", "--workers", "0"])
    return folder


@pytest.fixture(scope="module")
def three_runs(two_runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    grid = write_grid_run(tmp_path_factory.mktemp("grid") / "grid", two_runs[0].parent / "root")
    return (*two_runs, grid)


@pytest.fixture(scope="module")
def gathered(three_runs: tuple[Path, ...]) -> Gathered:
    return gather(compared(read_runs(three_runs)))


@pytest.fixture(scope="module")
def shown(gathered: Gathered) -> Shown:
    models, missing = load_models(gathered)
    assert missing == []
    [one] = show(gathered, chosen(gathered, ["test-000"]), models)
    return one


def test_the_audio_is_that_of_the_cut_to_the_sample(gathered: Gathered, shown: Shown) -> None:
    assert shown.audio is not None
    samples, rate = soundfile.read(io.BytesIO(shown.audio), dtype="float32")
    assert rate == 16000
    np.testing.assert_array_equal(samples, load_waveform(gathered.cuts["test-000"], 16000))


def test_the_best_path_and_the_posteriors_are_those_of_each_model(gathered: Gathered, shown: Shown) -> None:
    assert [heard.run for heard in shown.heard] == [0, 1, 2]
    for heard in shown.heard:
        np.testing.assert_allclose(heard.posteriors.sum(axis=1), 1, rtol=1e-5)
        written = " ".join("".join(heard.tokens[i] for i in heard.path.ids).split())
        alignment = gathered.runs[heard.run].utterances["test-000"].alignment
        assert written == " ".join(edit.hypothesis for edit in alignment if edit.hypothesis)


def test_models_with_the_same_features_share_a_spectrogram(shown: Shown) -> None:
    [spectrogram] = shown.spectrograms
    assert sorted(spectrogram.patches) == [0, 1, 2]
    assert spectrogram.features.shape[1] == 80


def test_patches_are_those_of_the_encoder() -> None:
    grid = patches_of(GridLSTMEncoder(80, 4, 10, mel_stride=5, hidden_size=2))
    assert (grid.patch_frames, grid.patch_mels, grid.subsampling, grid.mel_stride) == (4, 10, 4, 5)
    stacked = patches_of(StackedRNNEncoder(40, 4, 1, stacked_frames=5, frame_stride=2))
    assert (stacked.patch_frames, stacked.patch_mels, stacked.subsampling, stacked.num_blocks) == (5, 40, 2, 1)
    convolved = patches_of(StackedRNNEncoder(40, 4, 1, stacked_frames=2, convolution_channels=[2]))
    assert (convolved.patch_frames, convolved.patch_mels, convolved.num_blocks) == (4, 40, 1)
    scanned = patches_of(TimeFrequencyLSTMEncoder(40, patch_mels=8))
    assert scanned.patch_mels == 8


def test_the_grid_has_an_edge_for_each_patch_of_the_encoder(shown: Shown) -> None:
    root = ElementTree.fromstring(str(utterance_picture(shown, ["right", "wrong", "grid"])))
    grids = {group.get("class"): group for group in root.iter("g") if (group.get("class") or "").startswith("grid-")}
    frames = len(shown.spectrograms[0].features)
    features = torch.zeros(1, frames, 80)
    encoder = GridLSTMEncoder(80, 3, 16, hidden_size=4)
    patches = encoder.patches(features, torch.tensor([frames]))
    assert (grids["grid-2"].get("data-columns"), grids["grid-2"].get("data-rows")) == (
        str(patches.shape[1]),
        str(patches.shape[2]),
    )
    assert str(grids["grid-2"][0].get("d")).count("M") == patches.shape[1] + patches.shape[2]
    assert grids["grid-0"].get("data-rows") == "1"


def test_the_bold_patch_has_the_size_of_a_patch(shown: Shown) -> None:
    root = ElementTree.fromstring(str(utterance_picture(shown, ["right", "wrong", "grid"])))
    [group] = [group for group in root.iter("g") if group.get("class") == "grid-2"]
    image, patch = next(root.iter("image")), group[1]
    frames = len(shown.spectrograms[0].features)
    assert float(patch.get("width", 0)) / float(image.get("width", 0)) == pytest.approx(3 / frames, rel=0.01)
    assert float(patch.get("height", 0)) / float(image.get("height", 0)) == pytest.approx(16 / 80, rel=0.01)


def test_posteriors_cover_the_time_and_rows_that_they_should(shown: Shown) -> None:
    root = ElementTree.fromstring(str(utterance_picture(shown, ["right", "wrong", "grid"])))
    groups = [group for group in root.iter("g") if group.get("class") == "posteriors"]
    assert [group.get("data-run") for group in groups] == ["0", "1", "2"]
    for heard, group in zip(shown.heard, groups, strict=True):
        labels = [text.text for text in group.iter("text") if text.get("class") == "token end"]
        expected = [heard.tokens[i].replace(" ", "␣") for i in shown_tokens(heard.posteriors)]
        assert labels == ["blank", *expected[1:]]
        certain = [path for path in group.iter("path") if path.get("fill-opacity") == "1"]
        assert bool(certain) == bool((heard.posteriors > 1 - 1 / 16).any())


def test_tokens_have_a_row_if_they_are_somewhere_likely_and_the_likeliest_if_there_are_too_many() -> None:
    posteriors = np.zeros((3, 5))
    posteriors[0, 3], posteriors[1, 2] = LEAST, LEAST * 0.99
    assert shown_tokens(posteriors) == [0, 3]
    many = np.linspace(0.2, 0.9, 100)[None, ::-1]
    assert shown_tokens(many) == list(range(MOST_ROWS))


def test_a_spectrogram_has_a_pixel_a_value_low_frequencies_below() -> None:
    features = np.zeros((7, 4))
    features[2, 0] = 5.0  # the lowest bin of the third frame is loud
    pixels = matplotlib.image.imread(io.BytesIO(spectrogram_png(features)))
    assert pixels.shape[:2] == (4, 7)
    brightness = pixels[..., :3].sum(axis=2)
    assert np.unravel_index(brightness.argmax(), brightness.shape) == (3, 2)
    assert spectrogram_png(features) == spectrogram_png(features)


def test_audio_that_is_gone_is_said_and_the_rest_is_shown(gathered: Gathered) -> None:
    choice = chosen(gathered, ["test-001"])[0]
    models, _ = load_models(gathered)
    manifest = list(read_jsonl(gathered.runs[0].scores["manifest"]))
    cut = gathered.cuts["test-001"]
    gone = type(cut).from_dict(
        {
            **cut.to_dict(),
            "recording": {
                **cut.recording.to_dict(),
                "sources": [{"type": "file", "channels": [0], "source": "/nowhere/a.flac"}],
            },
        }
    )
    assert manifest
    broken = Gathered(gathered.split, gathered.comparison, gathered.runs, gathered.utterances, {cut.id: gone}, ())
    [one] = show(broken, [choice], models)
    assert (one.audio, one.spectrograms, one.heard) == (None, (), ())
    assert "/nowhere/a.flac: no such audio file" in one.missing[0]
    assert utterance_picture(one, ["a", "b", "c"]) is None
    [other] = show(broken, [Choice(gathered.utterances[0], "asked for")], models)
    assert other.missing == ("no audio: it is not in the manifest",)


def test_a_system_without_a_model_is_said_to_have_none(gathered: Gathered, tmp_path: Path) -> None:
    scores = (gathered.runs[0].scored.path / "scores.json").read_text().replace('"source"', '"former"')
    (tmp_path / "scores.json").write_text(scores)
    models, [said] = load_models(gather(compared(read_runs([tmp_path / "scores.json"]))))
    assert models == {}
    assert said == ("scores", "its scores name no model: no posteriors, no patches")
