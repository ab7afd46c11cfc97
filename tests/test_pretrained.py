"""The model in the package: small, whole, used unless another is named, and as good as its card says."""

import json
import os
import re
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load_file
from tone_corpus import tone_waveform
from tone_reader import export_tone_reader

import asr
from asr.cli import main
from asr.decode.options import packed_decoder, read_decoder
from asr.files import read_json
from asr.lm.storage import read_model
from asr.model import PRETRAINED, load_model, model_path

FOLDER = Path(asr.__file__).parent / PRETRAINED


def test_it_takes_at_most_ten_megabytes_in_float16() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 10e6
    assert {weight.dtype for weight in load_file(FOLDER / "model.safetensors").values()} == {torch.float16}


def test_a_file_or_folder_of_its_name_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_path(PRETRAINED) == FOLDER
    export_tone_reader(tmp_path / PRETRAINED)
    assert model_path(PRETRAINED) == Path(PRETRAINED)
    assert load_model(PRETRAINED).metadata["name"] == "tone-reader"


def test_load_without_a_path_gives_it_whatever_lies_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    export_tone_reader(tmp_path / PRETRAINED)
    assert asr.load().loaded.metadata["source"] == str(FOLDER / "model.safetensors")


def test_its_decoder_was_tuned_for_it_and_its_language_model_lies_beside_it() -> None:
    decoding = read_decoder(packed_decoder(FOLDER))
    assert decoding.decoder == "beam"
    assert Path(decoding.lm).parent == FOLDER


def test_its_language_model_was_made_without_the_sentences_of_the_sets_of_its_card() -> None:
    excluded = read_model(read_decoder(packed_decoder(FOLDER)).lm).record["excluded"]
    # LibriSpeech's held-out speakers and dev-clean, AN4's dev and test: their transcripts, and sentences left out.
    assert [(entry["path"], entry["transcripts"], entry["sentences"]) for entry in excluded] == [
        ("dev.jsonl.gz", 427, 427),
        ("test.jsonl.gz", 1312, 0),
        ("dev.jsonl.gz", 91, 144),
        ("test.jsonl.gz", 123, 34),
    ]


def test_no_path_of_a_machine_is_in_it() -> None:
    for name in ("model.json", "decoder.json"):
        assert not re.search(r'"/', (FOLDER / name).read_text())


def test_transcribe_takes_it_and_says_how_good_it_is_whatever_lies_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    export_tone_reader(tmp_path / PRETRAINED)
    soundfile.write(tmp_path / "a.wav", tone_waveform("ABC", 44100), 44100)
    assert main(["transcribe", "a.wav"]) == 0
    said = capsys.readouterr().err
    about = read_json(FOLDER / "model.json")["metadata"]["about"]
    assert f"model: {about}\n" in said
    assert main(["transcribe", "a.wav", "--decoder", "greedy"]) == 0
    assert f"{about} (with its own decoder, which this is not)" in capsys.readouterr().err
    assert re.search(r"\d+(\.\d+)? % WER", about)


def test_it_reads_an4_as_well_as_its_card_says(tmp_path: Path) -> None:
    corpora = os.environ.get("ASR_CORPORA")
    if not corpora or not (Path(corpora) / "an4").is_dir():
        pytest.skip("ASR_CORPORA names no folder with AN4")
    stated = float(re.search(r"AN4 test, .*?\| (\d+\.\d+) %", (FOLDER / "README.md").read_text())[1])
    from data_prep.cli import main as prepare

    assert prepare(["an4", f"{corpora}/an4", str(tmp_path / "data"), "--jobs", "1"]) == 0
    arguments = ["--root", str(tmp_path / "data"), "--allow-normalizer-mismatch", "-o", str(tmp_path / "out")]
    assert main(["test", PRETRAINED, *arguments]) == 0
    [scores] = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("scores*.json")]
    assert 100 * scores["wer"] == pytest.approx(stated, abs=0.3)
