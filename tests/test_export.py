"""An exported folder is used with the decoder that was exported with it, wherever it is moved."""

import json
import shutil
from pathlib import Path

import pytest
import soundfile
from tone_corpus import tone_waveform
from tone_reader import export_tone_reader, tone_reader, write_run

import asr
from asr.cli import main
from asr.decode.log_probs import tokens_digest
from asr.decode.options import DecodingOptions, packed_decoder
from asr.files import read_json, write_json

ARPA = """\\data\\
ngram 1=5

\\1-grams:
-99 <s>
-0.5 </s>
-9 <unk>
-0.3 ABBA
-0.3 CAB

\\end\\
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return export_tone_reader(tmp_path / "model")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A decoder.json that allows the words ABBA and CAB only."""
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "two-words.arpa").write_text(ARPA)
    options = DecodingOptions("beam", lm=str(tmp_path / "tuned" / "two-words.arpa"), lexicon="lm", token_threshold=0.0)
    tuned_on = {"manifest": str(tmp_path / "dev.jsonl.gz"), "utterances": 3, "model": str(tmp_path / "run")}
    record = {"options": options.to_dict(), "tokens": tokens_digest(tone_reader().tokenizer), "tuned_on": tuned_on}
    write_json(tmp_path / "tuned" / "decoder.json", record | {"trials": [{"alpha": 1.0}]})
    return tmp_path / "tuned" / "decoder.json"


@pytest.fixture
def exported(model: Path, config: Path, tmp_path: Path) -> Path:
    """The export, moved, with nothing left where it came from."""
    about = "reads tones; no errors"
    arguments = ["-o", str(tmp_path / "out"), "--decoder-config", str(config), "--about", about]
    assert main(["export", str(model), *arguments]) == 0
    shutil.rmtree(config.parent)
    return (tmp_path / "out").rename(tmp_path / "moved")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """ABB, which is not one of the two words."""
    soundfile.write(tmp_path / "a.wav", tone_waveform("ABB", 16000), 16000)
    return tmp_path / "a.wav"


def test_a_moved_export_decodes_by_its_own_decoder(exported: Path, recording: Path, capsys) -> None:
    assert main(["transcribe", str(recording), "--model", str(exported)]) == 0
    assert capsys.readouterr().out == "ABBA\n"
    assert asr.load(exported).transcribe(recording).text == "ABBA"


def test_options_stand_above_the_decoder_of_an_export(exported: Path, recording: Path, tmp_path: Path, capsys) -> None:
    assert main(["transcribe", str(recording), "--model", str(exported), "--decoder", "greedy"]) == 0
    assert capsys.readouterr().out == "ABB\n"
    (tmp_path / "words.txt").write_text("CAB\n")
    assert main(["transcribe", str(recording), "--model", str(exported), "--lexicon", str(tmp_path / "words.txt")]) == 0
    assert capsys.readouterr().out == "CAB\n"


def test_asr_test_decodes_an_export_as_transcribe_does(exported: Path, recording: Path, tmp_path: Path) -> None:
    assert main(["predict", str(exported), "--cuts", str(cuts(recording)), "-o", str(tmp_path)]) == 0
    [row] = [json.loads(line) for line in (tmp_path / "hypotheses-cuts-beam.jsonl").read_text().splitlines()]
    assert row["hypothesis"] == "ABBA"


def test_an_export_keeps_no_path_and_no_trials(exported: Path, tmp_path: Path) -> None:
    text = (exported / "decoder.json").read_text()
    assert str(tmp_path) not in text
    assert read_json(exported / "decoder.json").keys() == {"options", "tokens", "tuned_on"}
    assert read_json(exported / "decoder.json")["tuned_on"] == {"utterances": 3}
    assert read_json(exported / "model.json")["metadata"]["about"] == "reads tones; no errors"


def test_a_decoder_of_other_tokens_is_not_exported(model: Path, config: Path, tmp_path: Path, capsys) -> None:
    write_json(config, read_json(config) | {"tokens": "of another model"})
    assert main(["export", str(model), "-o", str(tmp_path / "out"), "--decoder-config", str(config)]) == 1
    assert "was tuned for a model with other tokens" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_second_export_does_not_take_the_decoder_of_the_first(exported: Path, model: Path, capsys) -> None:
    assert main(["export", str(model), "-o", str(exported)]) == 1
    assert "is that of another export" in capsys.readouterr().err


@pytest.mark.parametrize("tuned", [False, True])
def test_nothing_is_exported_into_a_run_folder(config: Path, tmp_path: Path, capsys, tuned: bool) -> None:
    run = write_run(tmp_path / "run", tmp_path / "root")
    if tuned:
        shutil.copyfile(config, run / "decoder.json")
    before = sorted(run.rglob("*"))
    assert main(["export", str(run), "-o", str(run)]) == 1
    assert f"{run} is a run folder" in capsys.readouterr().err
    assert sorted(run.rglob("*")) == before


def test_the_decoder_json_of_a_run_folder_is_not_used_unasked(tmp_path: Path, config: Path) -> None:
    assert packed_decoder(config.parent) is None


def cuts(recording: Path) -> Path:
    """A manifest of the recording."""
    samples = soundfile.info(recording).frames
    source = {"type": "file", "channels": [0], "source": str(recording)}
    seconds = samples / 16000
    inside = {"id": "a", "sources": [source], "sampling_rate": 16000, "num_samples": samples, "duration": seconds}
    cut = {"id": "a", "start": 0.0, "duration": seconds, "channel": 0, "supervisions": [], "type": "MonoCut"}
    path = recording.with_name("cuts.jsonl")
    path.write_text(json.dumps(cut | {"recording": inside | {"channel_ids": [0]}}) + "\n")
    return path
