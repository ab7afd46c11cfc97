"""`asr robustness` as a user runs it, with a model that makes no errors on clean audio."""

import json

import pytest
import torch
from tone_corpus import write_tone_corpus
from tone_reader import export_tone_reader

from asr.cli import main
from asr.decode.recognition import recognize
from asr.errors import InputError
from asr.files import read_json, read_jsonl, write_json
from asr.robustness import command
from asr.robustness.measurement import PAUSE_SECONDS, Utterance, joined, long_recordings

FEW = ["--noise", "white", "--snr", "-10", "--speed", "0.95", "--rate", "8000", "--minutes", "1"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_tone_corpus(tmp_path_factory.mktemp("tones") / "root", {"test": 12})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return export_tone_reader(tmp_path_factory.mktemp("model"))


def test_clean_audio_and_long_recordings_have_no_errors_and_loud_noise_has_many(root, model, tmp_path, capsys):
    file = tmp_path / "robustness.json"
    assert main(["robustness", str(model), "--root", str(root), *FEW, "--json", str(file)]) == 0
    record = read_json(file)
    rows = {row["condition"]: row for row in record["rows"]}
    seconds = sum(cut["duration"] for cut in read_jsonl(root / "test.jsonl.gz")) + 11 * PAUSE_SECONDS
    long = f"recordings of up to {round(seconds)} s"  # which is less than a minute
    assert list(rows) == ["unchanged", "white -10 dB", "speed 0.95", "8000 Hz", long]
    assert [rows[name]["errors"] for name in ("unchanged", "8000 Hz", long)] == [0, 0, 0]
    assert rows["white -10 dB"]["wer"] > 0.5
    assert len({row["words"] for row in rows.values()}) == 1, "the same words are spoken under all conditions"
    printed = capsys.readouterr().out
    assert "unchanged" in printed
    assert f"0.00 % (0/{rows['unchanged']['words']})" in printed
    assert record["model"]["sha256"]


def test_a_limit_spreads_the_utterances_over_the_split(root, model, tmp_path):
    file = tmp_path / "few.json"
    options = ["--noise", "--speed", "--rate", "--minutes", "0", "--limit", "5", "--json", str(file)]
    assert main(["robustness", str(model), "--root", str(root), *options]) == 0
    record = read_json(file)
    (row,) = record["rows"]
    assert (row["condition"], row["utterances"]) == ("unchanged", 5)
    assert 1 < row["blocks"] <= 5
    assert f"where few are drawn: these count as {row['blocks']:.1f} of equal size." in record["note"]


def test_decoding_is_as_asked_for_and_recorded(root, model, tmp_path, capsys):
    few = ["--noise", "--speed", "--rate", "--minutes", "0", "--limit", "5"]
    lexicon, file = tmp_path / "words.txt", tmp_path / "robustness.json"
    lexicon.write_text("A\n")
    options = [*few, "--decoder", "beam", "--lexicon", str(lexicon), "--json", str(file)]
    assert main(["robustness", str(model), "--root", str(root), *options]) == 0
    record = read_json(file)
    assert record["rows"][0]["errors"] > 0, "the greedy decoder makes none, but may write any word"
    assert record["decoding"]["lexicon"]["path"] == str(lexicon)
    assert "Decoder: beam (lexicon words.txt)." in capsys.readouterr().out
    assert main(["robustness", str(model), "--root", str(root), *few, "--json", str(file)]) == 0
    assert read_json(file)["decoding"] == "greedy"


@pytest.mark.parametrize("form", [[], ["--markdown"]])
def test_a_kept_record_is_shown_as_it_was_printed(root, model, tmp_path, form, capsys):
    file = tmp_path / "robustness.json"
    options = ["--noise", "--speed", "--minutes", "0", "--limit", "5", "--json", str(file), *form]
    assert main(["robustness", str(model), "--root", str(root), *options]) == 0
    printed = capsys.readouterr().out
    assert "8000 Hz" in printed
    assert main(["robustness", "--show", str(file), *form]) == 0
    assert capsys.readouterr().out == printed


def test_only_records_of_robustness_are_shown(tmp_path, capsys):
    file = tmp_path / "scores.json"
    counts = ("utterances", "words", "errors", "substitutions", "deletions", "insertions", "cer")
    row = {"condition": "unchanged", **dict.fromkeys(counts, 1), "wer": 1.0, "lower": None, "upper": None}
    odd = [{"wer": "1"}, {"words": None}, {"condition": 3}, {"lower": "0"}]
    rows = [f'{{"rows": [{json.dumps(row | change)}], "note": ""}}' for change in odd]
    for content in ("{}", "[]", '{"rows": [{"wer": 1}], "note": ""}', '{"rows": [5], "note": ""}', *rows):
        file.write_text(content)
        assert main(["robustness", "--show", str(file)]) == 1
        assert f"{file} is no record that `asr robustness --json` wrote" in capsys.readouterr().err
    write_json(file, {"rows": [row], "note": ""})
    assert main(["robustness", "--show", str(file)]) == 0


@pytest.mark.parametrize("arguments", [[], ["model", "--show", "robustness.json"]])
def test_there_is_either_a_model_or_a_record(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        main(["robustness", *arguments])
    assert error.value.code == 2
    assert "--show FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--noise", "brown"], "--noise 'brown' is neither white, pink, babble nor a manifest"),
        (["--speed", "3"], "--speed must be hundredths from 0.5 to 2, got 3"),
        (["--split", "nosuch"], "has no split 'nosuch'"),
        (["--cuts", "nosuch.jsonl"], "--cuts 'nosuch.jsonl': there is no such file"),
    ],
)
def test_wrong_options_are_named(root, model, options, message, capsys):
    assert main(["robustness", str(model), "--root", str(root), *options]) == 1
    assert message in capsys.readouterr().err


@pytest.fixture
def nothing_is_recognised(monkeypatch):
    monkeypatch.setattr(command, "recognize", lambda *_: pytest.fail("something was recognised"))


@pytest.mark.usefixtures("nothing_is_recognised")
def test_babble_without_another_speaker_is_refused_before_anything_is_measured(root, model, capsys):
    assert main(["robustness", str(model), "--root", str(root), "--limit", "1"]) == 1
    assert "no babble can be made for test-000: there is no utterance of another" in capsys.readouterr().err


@pytest.mark.usefixtures("nothing_is_recognised")
@pytest.mark.parametrize("target", ["", "file/robustness.json", "file/below/robustness.json"])
def test_a_record_that_cannot_be_written_is_refused_before_anything_is_measured(root, model, target, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["robustness", str(model), "--root", str(root), "--json", str(tmp_path / target)]) == 1
    error = capsys.readouterr().err
    unwritable = f"{tmp_path / 'file'} is not a folder that can be written"
    assert (unwritable if target else f"--json {tmp_path} is a folder: give the name of a file") in error


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (InputError("the noise is silence"), 1)])
def test_rows_before_an_error_are_printed_as_incomplete_and_not_recorded(
    root, model, error, code, tmp_path, capsys, monkeypatch
):
    file, seen = tmp_path / "robustness.json", []

    def first_two_conditions_alone(loaded, waveforms, names, reader):
        seen.extend(names)
        if len(seen) > 2 * 12:
            raise error
        return recognize(loaded, waveforms, names, reader)

    monkeypatch.setattr(command, "recognize", first_two_conditions_alone)
    assert main(["robustness", str(model), "--root", str(root), *FEW, "--json", str(file)]) == code
    printed = capsys.readouterr().out
    assert [line.split("  ")[0] for line in printed.splitlines()[-4:-2]] == ["unchanged", "white -10 dB"]
    assert f"Incomplete: 2 of 5 rows were measured. {file} is not written. Intervals:" in printed
    assert not file.exists()


def test_references_of_another_normaliser_are_refused_unless_it_is_wanted(model, tmp_path, capsys):
    root = write_tone_corpus(tmp_path / "root", {"test": 2})
    write_json(root / "normalization.json", {"name": "english", "version": 1})
    few = ["robustness", str(model), "--root", str(root), "--noise", "--speed", "--rate", "--minutes", "0"]
    assert main(few) == 1
    assert "were normalised by 'english/1', and the model writes text as 'verbatim/1' does" in capsys.readouterr().err
    assert main([*few, "--allow-normalizer-mismatch"]) == 0


@pytest.mark.parametrize(
    "option",
    [["--limit", "0"], ["--minutes", "-1"], ["--batch-seconds", "0"], ["--snr", "nan"], ["--snr", "10", "inf"]],
)
def test_numbers_out_of_range_are_wrong_usage(root, model, option):
    with pytest.raises(SystemExit) as error:
        main(["robustness", str(model), "--root", str(root), *option])
    assert error.value.code == 2


@pytest.mark.parametrize("ratio", ["-4000", "100.5", "loud"])
def test_ratios_of_speech_and_noise_have_limits(root, model, ratio, capsys):
    with pytest.raises(SystemExit) as error:
        main(["robustness", str(model), "--root", str(root), "--snr", "20", ratio])
    assert error.value.code == 2
    assert f"must be from -100 to 100 dB, got '{ratio}'" in capsys.readouterr().err


def test_rows_of_one_name_are_refused(root, model, tmp_path, capsys):
    streets = [str(write_tone_corpus(tmp_path / folder, {"street": 1}) / "street.jsonl.gz") for folder in "xy"]
    for noises, ratios, row in ((streets, ["20"], "street 20 dB"), (["white"], ["20", "5", "20"], "white 20 dB")):
        assert main(["robustness", str(model), "--root", str(root), "--noise", *noises, "--snr", *ratios]) == 1
        assert f"more than one row '{row}': give no value of --noise, --snr" in capsys.readouterr().err


def test_long_recordings_hold_every_utterance_once_and_are_no_longer_than_asked_for():
    utterances = [Utterance(str(n), torch.ones(16000 * (5 + n % 7)), f"W{n}", None) for n in range(40)]
    groups = long_recordings(utterances, 1.0, 16000)
    assert [u.id for group in groups for u in group] == [str(n) for n in range(40)]
    for group in groups:
        recording = joined(group, "r", 16000)
        assert len(recording.waveform) <= 60 * 16000
        assert recording.reference.split() == [u.reference for u in group]
        assert int(recording.waveform.sum()) == sum(len(u.waveform) for u in group)
