"""`asr test` and `asr predict` as a user runs them, with a model that makes no errors, or known ones."""

import hashlib
import json
from pathlib import Path

import pytest
from tone_corpus import write_tone_corpus
from tone_reader import export_tone_reader, write_run

from asr.cli import main as asr_main
from asr.decode.commands import Outputs, predict
from asr.decode.commands import test as asr_test
from asr.decode.hypotheses import read_hypotheses
from asr.errors import InputError
from asr.files import read_json, read_jsonl, write_json, write_jsonl

ON_CPU = ["--accelerator", "cpu", "--workers", "0"]


@pytest.fixture
def root(tmp_path):
    return write_tone_corpus(tmp_path / "root", {"dev": 3, "test": 4})


@pytest.fixture
def model(tmp_path):
    return export_tone_reader(tmp_path / "model")


def change_text(root: Path, split: str, utterance: str, text: str | None) -> None:
    cuts = list(read_jsonl(root / f"{split}.jsonl.gz"))
    for cut in cuts:
        if cut["id"] == utterance:
            cut["supervisions"] = [] if text is None else [{**cut["supervisions"][0], "text": text}]
    write_jsonl(root / f"{split}.jsonl.gz", cuts)


def test_a_perfect_recogniser_scores_zero_and_leaves_its_three_files(root, model, tmp_path, capsys):
    assert asr_test([str(model), "--root", str(root), "-o", str(tmp_path / "out"), *ON_CPU]) == 0
    scores = read_json(tmp_path / "out" / "scores.json")
    rows = read_hypotheses(tmp_path / "out" / "hypotheses.jsonl")
    assert (scores["wer"], scores["cer"], scores["errors"], scores["utterances"]) == (0.0, 0.0, 0, 4)
    assert [row.hypothesis for row in rows] == [row.reference for row in rows]
    assert scores["words"] == sum(len(row.reference.split()) for row in rows)
    assert (tmp_path / "out" / "alignments.txt").read_text().startswith(f"WER 0.00 % (0/{scores['words']})")
    printed = capsys.readouterr().out
    for part in (f"WER 0.00 % (0/{scores['words']})", "CER 0.00 %", "real-time factor", "1 thread(s)", "scores.json"):
        assert part in printed


def test_scores_say_what_was_scored_with_what(root, model, tmp_path):
    asr_test([str(model), "--root", str(root), "-o", str(tmp_path), *ON_CPU])
    scores = read_json(tmp_path / "scores.json")
    assert (scores["normalizer"], scores["seed"], scores["decoding"]) == ("verbatim/1", 7, "greedy")
    # one weight matrix of 5 x 5 with bias, used 50 times a second
    assert scores["model"]["parameters"] == 30
    assert scores["model"]["multiply_adds_per_second"] == 50 * 25
    assert (scores["model"]["frame_rate"], scores["model"]["name"]) == (50.0, "tone-reader")
    assert scores["model"]["encoder"] == "tone_reader.ToneReader"
    weights = (model / "model.safetensors").read_bytes()
    assert scores["model"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert scores["manifest"] == str(root / "test.jsonl.gz")
    assert scores["real_time_factor"] > 0
    assert scores["machine"]["threads"] == 1
    assert set(scores["versions"]) >= {"asr", "python", "torch", "jiwer"}
    assert set(scores["speakers"]) == {"test-speaker-0", "test-speaker-1"}


def test_errors_are_those_of_the_references(root, model, tmp_path):
    [reference] = [cut["supervisions"][0]["text"] for cut in read_jsonl(root / "test.jsonl.gz") if cut["id"][-1] == "0"]
    change_text(root, "test", "test-000", reference + " A")
    asr_test([str(model), "--root", str(root), "-o", str(tmp_path), *ON_CPU])
    scores = read_json(tmp_path / "scores.json")
    assert (scores["errors"], scores["deletions"], scores["character_errors"]) == (1, 1, 2)
    assert (tmp_path / "alignments.txt").read_text().splitlines()[3].startswith("test-000, speaker test-speaker-0: ")


def test_a_split_other_than_test_has_files_of_its_own(root, model, tmp_path):
    out = tmp_path / "out"
    asr_test([str(model), "--root", str(root), "--split", "dev", "-o", str(out), *ON_CPU])
    assert sorted(path.name for path in out.iterdir()) == [
        "alignments-dev.txt",
        "hypotheses-dev.jsonl",
        "scores-dev.json",
    ]
    assert read_json(out / "scores-dev.json")["utterances"] == 3


def test_any_cuts_can_be_given_and_are_called_by_their_file(root, model, tmp_path):
    out = tmp_path / "out"
    asr_test([str(model), "--cuts", str(root / "dev.jsonl.gz"), "-o", str(out), *ON_CPU])
    assert (out / "scores-dev.json").is_file()
    assert Outputs.of(out, "test").scores == out / "scores.json"


def test_cuts_whose_names_have_dots_have_files_of_their_own(root, model, tmp_path):
    cuts = list(read_jsonl(root / "dev.jsonl.gz"))
    names = ("dev.clean.jsonl.gz", "dev.other.jsonl", "dev.jsonl.other.jsonl")
    for index, name in enumerate(names):
        write_jsonl(root / name, cuts[: index + 1])
        assert predict([str(model), "--cuts", str(root / name), "-o", str(tmp_path / "out"), *ON_CPU]) == 0
    for index, name in enumerate(("dev.clean", "dev.other", "dev.jsonl.other")):
        assert len(read_hypotheses(tmp_path / "out" / f"hypotheses-{name}.jsonl")) == index + 1


def test_hypotheses_that_were_scored_are_not_replaced_silently_by_predict(root, model, tmp_path, capsys):
    out = ["-o", str(tmp_path / "out"), *ON_CPU]
    assert asr_test([str(model), "--root", str(root), *out]) == 0
    assert predict([str(model), "--root", str(root), *out]) == 0  # the same once more
    assert predict([str(model), "--cuts", str(root / "dev.jsonl.gz"), *out]) == 0  # files of their own
    assert capsys.readouterr().err == ""
    other = write_tone_corpus(tmp_path / "other", {"test": 2})
    for _ in range(2):
        assert predict([str(model), "--cuts", str(other / "test.jsonl.gz"), *out]) == 0
        note = (
            f"scores.json had scores of {root / 'test.jsonl.gz'}, whose hypotheses are replaced; -o FOLDER keeps both"
        )
        assert note in capsys.readouterr().err
        change_text(other, "test", "test-001", None)  # neither are they if a reference is not known


def test_hypotheses_of_another_decoding_are_not_replaced_silently_by_predict(root, model, tmp_path, capsys):
    (tmp_path / "words").write_text("A\nB\n")
    beam = [str(model), "--root", str(root), "-o", str(tmp_path / "out"), *ON_CPU, "--lexicon", str(tmp_path / "words")]
    assert asr_test(beam) == 0
    assert predict([*beam, "--beta", "0.3"]) == 0
    said = capsys.readouterr().err
    assert "scores-beam.json had scores of another decoding (beta 1.0, now 0.3), whose hypotheses are replaced" in said


def test_a_run_folder_knows_its_corpus_and_takes_the_results(root, tmp_path):
    run = write_run(tmp_path / "run", root)
    assert asr_main(["test", str(run), *ON_CPU]) == 0
    scores = read_json(run / "scores.json")
    assert (scores["wer"], scores["model"]["name"], scores["seed"]) == (0.0, "tones", 3)


def test_a_checkpoint_knows_the_corpus_of_its_run_but_needs_a_place_for_results(root, tmp_path):
    checkpoint = write_run(tmp_path / "run", root) / "checkpoints" / "best.ckpt"
    with pytest.raises(InputError, match="give -o FOLDER"):
        asr_test([str(checkpoint), *ON_CPU])
    assert asr_test([str(checkpoint), "-o", str(tmp_path / "out"), *ON_CPU]) == 0
    assert read_json(tmp_path / "out" / "scores.json")["wer"] == 0.0


def test_a_recorded_corpus_that_is_gone_is_named(tmp_path):
    run = write_run(tmp_path / "run", tmp_path / "gone")
    with pytest.raises(InputError, match="there is no folder .*gone with a prepared corpus; give --root or --cuts"):
        asr_test([str(run), *ON_CPU])


def test_predict_needs_no_transcripts(root, model, tmp_path, capsys):
    expected = {cut["id"]: cut["supervisions"][0]["text"] for cut in read_jsonl(root / "test.jsonl.gz")}
    change_text(root, "test", "test-001", None)
    assert predict([str(model), "--root", str(root), "-o", str(tmp_path / "out"), *ON_CPU]) == 0
    rows = read_hypotheses(tmp_path / "out" / "hypotheses.jsonl")
    assert {row.id: row.hypothesis for row in rows} == expected
    assert [row.id for row in rows if row.reference is None] == ["test-001"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["hypotheses.jsonl"]
    assert "decoded 4 utterances" in capsys.readouterr().out


def test_a_missing_transcript_is_refused_by_test(root, model, tmp_path):
    change_text(root, "test", "test-001", None)
    with pytest.raises(InputError, match="test-001"):
        asr_test([str(model), "--root", str(root), "-o", str(tmp_path / "out"), *ON_CPU])
    assert not (tmp_path / "out").exists()


def test_an_empty_reference_is_scored_as_insertions(root, model, tmp_path):
    change_text(root, "test", "test-002", "")
    asr_test([str(model), "--root", str(root), "-o", str(tmp_path), *ON_CPU])
    scores = read_json(tmp_path / "scores.json")
    assert scores["empty_references"] == 1
    assert scores["errors"] == scores["insertions"] > 0


def test_references_of_another_normaliser_are_refused_unless_it_is_wanted(root, model, tmp_path, capsys):
    write_json(root / "normalization.json", {"name": "english", "version": 1})
    arguments = [str(model), "--root", str(root), "-o", str(tmp_path / "out"), *ON_CPU]
    with pytest.raises(InputError, match="'english/1', and the model writes text as 'verbatim/1'"):
        asr_test(arguments)
    assert asr_test([*arguments, "--allow-normalizer-mismatch"]) == 0
    assert read_json(tmp_path / "out" / "scores.json")["normalizer"] == "english/1"


@pytest.mark.parametrize(("record", "named"), [(None, "no known normaliser"), ({"name": "x"}, "does not hold")])
def test_references_without_a_known_normaliser_are_refused(root, model, tmp_path, record, named):
    (root / "normalization.json").unlink()
    if record is not None:
        write_json(root / "normalization.json", record)
    with pytest.raises(InputError, match=named):
        asr_test([str(model), "--root", str(root), "-o", str(tmp_path / "out"), *ON_CPU])


def test_characters_that_the_model_cannot_write_are_said_and_scored(root, model, tmp_path, capsys):
    change_text(root, "test", "test-003", "A É")
    assert asr_test([str(model), "--root", str(root), "-o", str(tmp_path), *ON_CPU]) == 0
    assert "1 references (test-003, ...) have characters that the model cannot write, ['É']" in capsys.readouterr().err
    assert read_json(tmp_path / "scores.json")["errors"] > 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--root", "{root}"], "is not a run folder, so there is no place for the results: give -o FOLDER"),
        (["-o", "{out}"], "does not say which corpus it was trained on: give --root or --cuts"),
        (["--root", "{out}/nowhere", "-o", "{out}"], "there is no folder .*nowhere with a prepared corpus"),
        (["--root", "{root}", "--split", "tset", "-o", "{out}"], "has no split 'tset'; it has dev, test"),
        (["--root", "{root}/audio", "-o", "{out}"], "it has none: is it a prepared corpus?"),
        (["--root", "{root}", "-o", "{root}/tokens.json"], "tokens.json is not a folder that can be written"),
        (["--cuts", "{out}/gone.jsonl", "-o", "{out}"], "cannot read .*gone.jsonl"),
        (["--root", "{root}", "-o", "{out}", "--batch-seconds", "0"], "--batch-seconds must be positive"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(root, model, tmp_path, arguments, named):
    places = {"root": str(root), "out": str(tmp_path)}
    with pytest.raises(InputError, match=named):
        asr_test([str(model), *(argument.format(**places) for argument in arguments), *ON_CPU])


def test_a_missing_model_and_an_unwritable_folder_end_with_exit_code_1(root, model, tmp_path, capsys):
    assert asr_main(["test", str(tmp_path / "none"), "--root", str(root), "-o", str(tmp_path / "o"), *ON_CPU]) == 1
    assert "error: no model at" in capsys.readouterr().err
    (tmp_path / "taken").write_text("a file in the folder's place")
    arguments = ["test", str(model), "--root", str(root), "-o", str(tmp_path / "taken" / "deep"), *ON_CPU]
    assert asr_main(arguments) == 1
    assert f"{tmp_path / 'taken'}" in capsys.readouterr().err


def test_scores_are_valid_json_also_when_no_rate_is_defined(root, model, tmp_path):
    for index in range(4):
        change_text(root, "test", f"test-{index:03d}", "")
    asr_test([str(model), "--root", str(root), "-o", str(tmp_path), *ON_CPU])
    assert json.loads((tmp_path / "scores.json").read_text())["wer"] is None
