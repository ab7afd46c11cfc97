"""`asr tune-decoder`, and what the decoders leave behind, as a user runs them."""

import argparse
import math
from pathlib import Path

import numpy as np
import pytest
from tone_corpus import write_tone_corpus
from tone_reader import export_tone_reader, tone_reader, write_run

from asr.cli import main as asr_main
from asr.data.tokens import CharacterTokenizer
from asr.decode.commands import predict
from asr.decode.commands import test as asr_test
from asr.decode.hypotheses import read_hypotheses
from asr.decode.log_probs import Origin, read_log_probs, write_log_probs
from asr.decode.options import DecodingOptions, add_decoding_arguments, decoding_of, read_decoder
from asr.decode.tune_command import Subject, check_together
from asr.decode.tune_command import main as tune
from asr.decode.tuning import Trial, edges, free_weights, proposals
from asr.errors import InputError
from asr.files import read_json, read_jsonl, write_json, write_jsonl
from asr.model import export_model
from asr.score.reliability import format_reliability
from asr.score.scores import score
from asr.transcribe import main as transcribe

ON_CPU = ["--accelerator", "cpu", "--workers", "0"]
ARPA = "\\data\\\nngram 1=6\n\n\\1-grams:\n-99 <s>\n-0.7 </s>\n-1.0 <unk>\n-0.5 {0}\n-0.9 {1}\n-1.2 {2}\n\n\\end\\\n"


@pytest.fixture
def root(tmp_path) -> Path:
    return write_tone_corpus(tmp_path / "root", {"dev": 3, "test": 4})


@pytest.fixture
def model(tmp_path) -> Path:
    return export_tone_reader(tmp_path / "model")


@pytest.fixture
def lm(tmp_path) -> str:
    (tmp_path / "lm.arpa").write_text(ARPA.format("A", "AB", "CAB"))
    return str(tmp_path / "lm.arpa")


def tuning(model: Path, root: Path, out: Path, *arguments: str) -> list[str]:
    return [str(model), "--root", str(root), "-o", str(out), *ON_CPU, *arguments]


def test_a_tuned_decoder_is_used_by_test_and_transcribe_and_overwrites_no_greedy_result(
    root, model, lm, tmp_path, capsys
):
    out = tmp_path / "out"
    assert tune(tuning(model, root, out, "--lm", lm, "--grid", "alpha=0.2,90", "beta=0")) == 0
    printed = capsys.readouterr().out
    assert "WER" in printed.splitlines()[1]
    assert "0.200" in printed.splitlines()[2]
    record = read_json(out / "decoder.json")
    assert [trial["weights"] for trial in record["trials"]] == [
        {"alpha": 0.2, "beta": 0.0},
        {"alpha": 90.0, "beta": 0.0},
    ]
    assert record["trials"][0]["errors"] == 0 < record["trials"][1]["errors"]
    assert read_decoder(out / "decoder.json") == DecodingOptions("beam", lm=lm, alpha=0.2, beta=0.0)

    arguments = [str(model), "--root", str(root), "-o", str(out), *ON_CPU]
    assert asr_test(arguments) == 0
    beam = [*arguments, "--decoder-config", str(out / "decoder.json"), "--nbest", "2", "--save-log-probs"]
    assert asr_test(beam) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "alignments-beam.txt",
        "alignments.txt",
        "decoder.json",
        "hypotheses-beam.jsonl",
        "hypotheses.jsonl",
        "log-probs-dev.safetensors",
        "log-probs.safetensors",
        "nbest-beam.jsonl",
        "scores-beam.json",
        "scores.json",
    ]
    greedy, searched = read_json(out / "scores.json"), read_json(out / "scores-beam.json")
    assert (greedy["decoding"], greedy["wer"], searched["wer"]) == ("greedy", 0.0, 0.0)
    assert (searched["decoding"]["alpha"], searched["decoding"]["lm"]["path"]) == (0.2, lm)
    rows = read_hypotheses(out / "hypotheses-beam.jsonl")
    assert all(len(row.confidences) == len(row.hypothesis.split()) for row in rows)
    lists = list(read_jsonl(out / "nbest-beam.jsonl"))
    assert [(row["id"], row["nbest"][0]["text"], row["reference"]) for row in lists] == [
        (row.id, row.hypothesis, row.reference) for row in rows
    ]
    for entry in (entry for row in lists for entry in row["nbest"]):
        unknown = sum(len(word) for word in entry["text"].split() if word not in ("A", "AB", "CAB"))
        assert entry["unknown_characters"] == unknown
        fused = 0.2 * entry["word_lm"] - 0.5 * unknown
        assert entry["total"] == pytest.approx(entry["acoustic"] + fused, abs=1e-3)

    audio = str(root / "audio" / "test-000.flac")
    capsys.readouterr()
    config = ["--decoder-config", str(out / "decoder.json"), "--json", "--nbest", "3"]
    assert transcribe([audio, "-m", str(model), *config]) == 0
    assert '"nbest": [{"text"' in capsys.readouterr().out


def test_models_that_are_tuned_together_share_the_weights_of_the_fewest_errors_of_all(root, lm, tmp_path):
    runs = [write_run(tmp_path / name, root, sharpness) for name, sharpness in (("one", 10.0), ("two", 4.0))]
    grid = ["--lm", lm, "--grid", "alpha=0,3,20", "beta=0", *ON_CPU]
    alone = []
    for run in runs:
        assert tune([str(run), *grid]) == 0
        alone.append({t["weights"]["alpha"]: t for t in read_json(run / "decoder.json")["trials"]})
    assert tune([*map(str, runs), *grid]) == 0
    first, second = (read_json(run / "decoder.json") for run in runs)
    assert (first["options"], first["trials"]) == (second["options"], second["trials"])
    for trial in first["trials"]:
        of_each = [trials[trial["weights"]["alpha"]] for trials in alone]
        assert trial["errors"] == sum(each["errors"] for each in of_each)
        assert trial["words"] == sum(each["words"] for each in of_each)
    assert first["tuned_on"]["model_sha256"] != second["tuned_on"]["model_sha256"]
    assert first["tuned_on"]["together_sha256"] == [d["tuned_on"]["model_sha256"] for d in (first, second)]


def test_what_cannot_be_tuned_together_is_refused_by_name(root, lm, tmp_path):
    one = write_run(tmp_path / "one", root)
    other = write_run(tmp_path / "other", write_tone_corpus(tmp_path / "less", {"dev": 2, "test": 2}))
    arguments = ["--lm", lm, *ON_CPU]
    with pytest.raises(InputError, match=r"one/.* and .*/other/.* would be tuned on different utterances: .*root/dev"):
        tune([str(one), str(other), *arguments])
    with pytest.raises(InputError, match="leave out -o and --config"):
        tune([str(one), str(other), "-o", str(tmp_path / "out"), *arguments])
    assert not (one / "decoder.json").exists()
    loaded = tone_reader()
    others = loaded._replace(tokenizer=CharacterTokenizer(" ABCD"))
    subjects = [
        Subject(model, root / "dev.jsonl.gz", [], one / "stored", one / "decoder.json") for model in (loaded, others)
    ]
    with pytest.raises(InputError, match="have different tokens or frame rates, and cannot share"):
        check_together(subjects, DecodingOptions("beam", lm=lm))


def test_confidences_are_calibrated_where_the_decoder_errs_and_test_writes_them_so(root, model, lm, tmp_path, capsys):
    out = tmp_path / "out"
    assert tune(tuning(model, root, out, "--lm", lm, "--grid", "alpha=20", "beta=0")) == 0
    before, after = (line for line in capsys.readouterr().out.splitlines() if "confidences of" in line)
    assert after.startswith("calibrated, ")
    calibration = read_decoder(out / "decoder.json").confidence
    assert calibration is not None
    rows = {}
    for name, options in (("plain", {"confidence": None}), ("sure", {})):
        record = read_json(out / "decoder.json")
        write_json(out / f"{name}.json", record | {"options": record["options"] | options})
        arguments = [str(model), "--root", str(root), "--split", "dev", "-o", str(tmp_path / name), *ON_CPU]
        assert asr_test([*arguments, "--decoder-config", str(out / f"{name}.json")]) == 0
        rows[name] = read_hypotheses(tmp_path / name / "hypotheses-dev-beam.jsonl")
        kept = read_json(tmp_path / name / "scores-dev-beam.json")["confidences"]
        assert format_reliability(score(rows[name]).reliability) in {before, after.removeprefix("calibrated, ")}
        assert kept["words"] == sum(len(row.confidences) for row in rows[name])
    assert [row.hypothesis for row in rows["plain"]] == [row.hypothesis for row in rows["sure"]]
    assert [row.confidences for row in rows["plain"]] != [row.confidences for row in rows["sure"]]


def calibrated(config: Path) -> Path:
    """A decoder.json, changed: with a calibration of confidences."""
    record = read_json(config)
    confidence = {"bias": 0.1, "share": 0.5, "posterior": 0.25}
    write_json(config, record | {"options": record["options"] | {"confidence": confidence}})
    return config


def other_reader(folder: Path) -> Path:
    """An exported recogniser with other weights than `export_tone_reader` writes."""
    loaded = tone_reader()
    loaded.model.head.bias.data[0] += 1e-3
    export_model(loaded, folder)
    return folder


def test_the_calibration_of_other_weights_is_left_out_and_that_is_said(root, model, lm, tmp_path, capsys):
    out = tmp_path / "out"
    assert tune(tuning(model, root, out, "--lm", lm, "--trials", "1")) == 0
    config = calibrated(out / "decoder.json")
    other = other_reader(tmp_path / "other")
    options = decoding_options(config)
    capsys.readouterr()
    assert decoding_of(options, model).confidence is not None
    assert capsys.readouterr().err == ""
    assert decoding_of(options, other).confidence is None
    note = f"note: the confidences of words are not calibrated: {config} was tuned for other weights than those of "
    assert f"{note}{other}" in capsys.readouterr().err
    assert decoding_of(options, other, calibrated=False).confidence is None
    assert capsys.readouterr().err == ""

    predicted = ["--root", str(root), "-o", str(out), *ON_CPU, "--decoder-config", str(config)]
    assert predict([str(other), *predicted]) == 0
    assert note in capsys.readouterr().err
    assert asr_test([str(other), *predicted]) == 0
    assert note in capsys.readouterr().err
    assert "confidence" not in read_json(out / "scores-beam.json")["decoding"]


def test_an_export_keeps_the_calibration_of_its_own_weights_alone(root, model, lm, tmp_path, capsys):
    out = tmp_path / "out"
    assert tune(tuning(model, root, out, "--lm", lm, "--trials", "1")) == 0
    config = calibrated(out / "decoder.json")
    capsys.readouterr()
    for name, exported, kept in (("same", model, True), ("half", model, True), ("other", None, False)):
        exported = exported or other_reader(tmp_path / "source")
        half = ["--half"] if name == "half" else []
        arguments = [str(exported), "-o", str(tmp_path / name), "--decoder-config", str(config), *half]
        assert asr_main(["export", *arguments]) == 0
        assert ("not calibrated" in capsys.readouterr().err) == (not kept)
        packed = read_decoder(tmp_path / name / "decoder.json")
        assert (packed.confidence is not None) == kept
        assert decoding_of(decoding_options(None), tmp_path / name) == packed
        assert decoding_of(decoding_options(tmp_path / name / "decoder.json"), tmp_path / name) == packed
        assert capsys.readouterr().err == ""


def decoding_options(config: Path | None, *given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_decoding_arguments(parser)
    return parser.parse_args([*(["--decoder-config", str(config)] if config else []), *given])


def test_tuning_begins_with_a_decoder_of_other_weights_without_a_note(root, model, lm, tmp_path, capsys):
    out = tmp_path / "out"
    assert tune(tuning(model, root, out, "--lm", lm, "--trials", "1")) == 0
    config = calibrated(out / "decoder.json")
    other = other_reader(tmp_path / "other")
    assert tune(tuning(other, root, tmp_path / "new", "--decoder-config", str(config), "--trials", "1")) == 0
    assert "not calibrated" not in capsys.readouterr().err
    assert read_decoder(tmp_path / "new" / "decoder.json").confidence is None  # no word was wrong


def test_log_probs_are_computed_once_and_anew_for_another_split(root, model, lm, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = tuning(model, root, out, "--lm", lm, "--trials", "1")
    assert tune(arguments) == 0
    assert "wrote" in capsys.readouterr().out.splitlines()[0]
    stored = out / "log-probs-dev.safetensors"
    before = stored.stat().st_mtime_ns
    assert tune(arguments) == 0
    assert stored.stat().st_mtime_ns == before
    cuts = list(read_jsonl(root / "dev.jsonl.gz"))
    write_jsonl(root / "dev.jsonl.gz", cuts[1:])
    assert tune(arguments) == 0
    assert "was computed from something else (manifest_sha256)" in capsys.readouterr().err
    assert list(read_log_probs(stored)) == [cut["id"] for cut in cuts[1:]]


@pytest.mark.parametrize("shared", [False, True])
def test_the_test_split_is_never_tuned_on(root, model, lm, tmp_path, shared):
    split = "test"
    if shared:
        write_jsonl(root / "held-out.jsonl.gz", list(read_jsonl(root / "test.jsonl.gz"))[:2])
        split = "held-out"
    named = r"2 utterance\(s\) are in both the test split .* and the split 'held-out'" if shared else "not tuned on"
    with pytest.raises(InputError, match=named):
        tune(tuning(model, root, tmp_path / "out", "--lm", lm, "--split", split))
    assert not (tmp_path / "out").exists()


def test_the_audio_of_the_test_split_is_not_tuned_on_under_other_names(root, model, lm, tmp_path):
    cuts = [{**cut, "id": f"renamed-{cut['id']}"} for cut in read_jsonl(root / "test.jsonl.gz")]
    for cut in cuts:  # by another way to the same files
        cut["recording"]["sources"][0]["source"] = f"../{root.name}/{cut['recording']['sources'][0]['source']}"
    write_jsonl(root / "dev.jsonl.gz", cuts)
    with pytest.raises(
        InputError, match=r"4 utterance\(s\) are in both .* \(same id or same audio\): renamed-test-000"
    ):
        tune(tuning(model, root, tmp_path / "out", "--lm", lm))


def test_the_test_split_of_the_training_corpus_is_not_tuned_on_as_dev_of_another(root, lm, tmp_path):
    run = write_run(tmp_path / "run", root)
    other = write_tone_corpus(tmp_path / "other", {"test": 2})
    (other / "test.jsonl.gz").rename(other / "dev.jsonl.gz")
    with pytest.raises(InputError, match=f"2 utterance.* the test split {root}/test.jsonl.gz"):
        tune(tuning(run, other, tmp_path / "out", "--lm", lm))


def test_a_test_split_that_cannot_be_read_is_not_taken_for_none(root, model, lm, tmp_path):
    (root / "test.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match="cannot read .*test.jsonl.gz"):
        tune(tuning(model, root, tmp_path / "out", "--lm", lm, "--trials", "1"))
    (root / "test.jsonl.gz").unlink()
    assert tune(tuning(model, root, tmp_path / "out", "--lm", lm, "--trials", "1")) == 0


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("base.yaml", "model: {}\n", "its name ends in .json, not 'base.yaml'"),
        ("scores.json", '{"wer": 0.1}', "scores.json is no decoder.json, and is not overwritten"),
        ("scores.json", "wer", "scores.json is no decoder.json, and is not overwritten"),
        ("decoder.json", '{"options": {"decoder": "beam"}}', None),
    ],
)
def test_only_a_decoder_json_is_overwritten(root, model, lm, tmp_path, name, content, named):
    (tmp_path / name).write_text(content)
    arguments = tuning(model, root, tmp_path / "out", "--lm", lm, "--trials", "1", "--config", str(tmp_path / name))
    if named is None:
        assert tune(arguments) == 0
        assert read_decoder(tmp_path / name).lm == lm
    else:
        with pytest.raises(InputError, match=named):
            tune(arguments)
        assert (tmp_path / name).read_text() == content


def test_scores_tell_whether_the_decoder_was_tuned_on_them_and_for_the_model(root, model, lm, tmp_path, capsys):
    out = tmp_path / "out"
    assert tune(tuning(model, root, out, "--lm", lm, "--trials", "1")) == 0
    beam = ["--root", str(root), "-o", str(out), *ON_CPU, "--decoder-config", str(out / "decoder.json")]
    capsys.readouterr()
    assert asr_test([str(model), *beam]) == 0
    assert capsys.readouterr().err == ""
    assert read_json(out / "scores-beam.json")["decoder_tuned_on"] == {"these_references": False, "this_model": True}

    assert asr_test([str(model), *beam, "--split", "dev"]) == 0
    assert "was tuned on these very references" in capsys.readouterr().err
    assert read_json(out / "scores-dev-beam.json")["decoder_tuned_on"]["these_references"]

    assert asr_test([str(other_reader(tmp_path / "other")), *beam]) == 0
    assert "was tuned for other weights than those of this model" in capsys.readouterr().err
    assert read_json(out / "scores-beam.json")["decoder_tuned_on"] == {"these_references": False, "this_model": False}

    packed = tmp_path / "packed"
    assert asr_main(["export", str(model), "-o", str(packed), "--decoder-config", str(out / "decoder.json")]) == 0
    capsys.readouterr()
    assert asr_test([str(packed), "--root", str(root), "-o", str(tmp_path / "elsewhere"), *ON_CPU]) == 0
    assert capsys.readouterr().err == ""
    found = read_json(tmp_path / "elsewhere" / "scores-beam.json")["decoder_tuned_on"]
    assert found == {"these_references": False, "this_model": None}
    assert asr_main(["compare", str(out / "scores-beam.json"), str(tmp_path / "elsewhere" / "scores-beam.json")]) == 0


def test_scores_of_another_decoding_are_not_replaced_silently(root, model, lm, tmp_path, capsys):
    beam = [str(model), "--root", str(root), "-o", str(tmp_path / "out"), *ON_CPU, "--lm", lm]
    for _ in range(2):
        assert asr_test([*beam, "--alpha", "0.3"]) == 0
    assert capsys.readouterr().err == ""
    assert asr_test(beam) == 0
    said = capsys.readouterr().err
    assert "scores-beam.json had scores of another decoding (alpha 0.3, now 0.5), which are replaced" in said


def test_scores_of_other_utterances_are_not_replaced_silently(root, model, tmp_path, capsys):
    test = [str(model), "-o", str(tmp_path / "out"), *ON_CPU, "--root"]
    assert asr_test([*test, str(root)]) == 0
    assert capsys.readouterr().err == ""
    assert asr_test([*test, str(write_tone_corpus(tmp_path / "other", {"test": 2}))]) == 0
    assert "scores.json had scores of " in (said := capsys.readouterr().err)
    assert "test.jsonl.gz, which are replaced; -o FOLDER keeps both" in said


def test_a_decoder_json_for_greedy_decoding_is_refused(root, model, lm, tmp_path):
    greedy = ["--decoder", "greedy", "--decoder-config", str(tmp_path / "decoder.json")]
    with pytest.raises(InputError, match="--decoder-config .* has no part in the result: --decoder is greedy"):
        asr_test([str(model), "--root", str(root), "-o", str(tmp_path / "out"), *ON_CPU, *greedy])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "there is no weight to tune: give --lm, --char-lm or --lexicon"),
        (["--lm", "{lm}", "--decoder", "flashlight", "--lexicon", "lm"], "not those of 'flashlight'"),
        (["--lm", "{lm}", "--grid", "gamma=1"], "NAME one of alpha, beta, unknown_penalty, got 'gamma=1'"),
        (["--lm", "{lm}", "--grid", "alpha=x"], "got 'alpha=x'"),
        (["--lm", "{lm}", "--grid", "alpha=0.4", "beta=0", "alpha=0.6"], "--grid has alpha twice, .* as 'alpha=0.6'"),
        (["--lm", "{lm}", "--grid", "alpha=-1"], "--alpha must be a number of at least 0"),
        (["--lm", "{lm}", "--grid", "alpha=1", "--trials", "3"], "leave out --trials"),
        (["--lm", "{lm}", "--trials", "0"], "--trials must be a number of at least 1"),
        (["--lm", "{lm}.gone"], "lm.arpa.gone"),
        (["--lm", "{lm}", "--char-alpha", "1"], r"--char-alpha \(1.0\) has no part .* it needs --char-lm"),
    ],
)
def test_what_cannot_be_tuned_is_refused(root, model, lm, tmp_path, arguments, named):
    with pytest.raises(InputError, match=named):
        tune(tuning(model, root, tmp_path / "out", *(argument.format(lm=lm) for argument in arguments)))


def test_a_decoder_of_other_tokens_is_refused(root, model, lm, tmp_path):
    options = DecodingOptions("beam", lm=lm)
    write_json(tmp_path / "decoder.json", {"options": options.to_dict(), "tokens": "others"})
    arguments = ["-o", str(tmp_path / "out"), *ON_CPU, "--decoder-config", str(tmp_path / "decoder.json")]
    with pytest.raises(InputError, match="decoder.json was tuned for a model with other tokens"):
        asr_test([str(model), "--root", str(root), *arguments])


def test_an_n_best_list_of_greedy_decoding_is_refused(root, model, tmp_path, capsys):
    arguments = ["--root", str(root), "-o", str(tmp_path / "out"), *ON_CPU, "--nbest", "2"]
    assert asr_main(["test", str(model), *arguments]) == 1
    assert "--nbest needs --decoder beam" in capsys.readouterr().err


def test_options_of_a_search_are_refused_where_decoding_is_greedy(root, model, tmp_path):
    with pytest.raises(InputError, match=r"--beam \(5\) has no part in the result: it needs --decoder beam"):
        asr_test([str(model), "--root", str(root), "-o", str(tmp_path / "out"), *ON_CPU, "--beam", "5"])


def test_stored_log_probs_come_back_as_they_were(tmp_path):
    rows = {"b": np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32), "a": np.zeros((0, 3), np.float32)}
    origin = Origin("model", "manifest", "tokens")
    write_log_probs(tmp_path / "file", rows, origin)
    found = read_log_probs(tmp_path / "file", origin)
    assert {name: row.tolist() for name, row in found.items()} == {name: row.tolist() for name, row in rows.items()}
    with pytest.raises(InputError, match=r"something else \(model_sha256\)"):
        read_log_probs(tmp_path / "file", Origin("other", "manifest", "tokens"))
    (tmp_path / "file").write_bytes(b"nothing")
    with pytest.raises(InputError, match="file holds no log-probabilities"):
        read_log_probs(tmp_path / "file")


def test_the_search_begins_where_it_is_told_goes_on_near_the_best_and_depends_on_the_seed_alone():
    def sequence(seed: int) -> list[dict[str, float]]:
        points = proposals(("alpha", "beta"), {"alpha": 0.5, "beta": 1.0}, 40, seed)
        found = [next(points)]
        while True:
            try:
                found.append(points.send({"alpha": 1.2, "beta": 3.0}))
            except StopIteration:
                return found

    points = sequence(3)
    assert points == sequence(3) != sequence(4)
    assert (len(points), points[0]) == (40, {"alpha": 0.5, "beta": 1.0})
    assert all(point["alpha"] >= 0 for point in points)
    distance = [math.hypot(point["alpha"] - 1.2, point["beta"] - 3.0) for point in points]
    assert np.mean(distance[-8:]) < 0.3 * np.mean(distance[1:20])


def test_only_weights_with_a_part_are_free():
    assert free_weights(DecodingOptions("beam")) == ()
    assert free_weights(DecodingOptions("beam", lexicon="x")) == ("beta",)
    assert free_weights(DecodingOptions("beam", lexicon="lm", lm="y")) == ("alpha", "beta")
    assert free_weights(DecodingOptions("beam", lexicon="x", lm="y")) == ("alpha", "beta", "unknown_penalty")
    assert free_weights(DecodingOptions("beam", char_lm="z")) == ("char_alpha",)


def test_the_best_value_at_an_edge_is_said():
    trials = [Trial({"alpha": alpha, "beta": 0.0}, errors, 10, 0.1) for alpha, errors in ((0.2, 3), (0.5, 2), (0.9, 1))]
    assert edges(trials) == ["alpha"]
    assert edges([*trials[:2], Trial({"alpha": 0.9, "beta": 0.0}, 5, 10, 0.1)]) == []
