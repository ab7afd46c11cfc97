"""What the runs of a comparison do not share is said of them, as run.json, config.yaml and scores.json have it."""

import pytest

from asr.decode.hypotheses import Hypothesis, write_hypotheses
from asr.errors import InputError
from asr.files import write_json
from asr.report.circumstances import circumstances, unfinished
from asr.report.compare import main
from asr.report.runs import read_runs
from asr.score.scores import score

ROWS = [Hypothesis(f"u{n}", "A B", "A C", f"s{n}") for n in range(4)]
DATA = "train: 2156 utterances, 7.48 h, 264 batches of up to 120 s (train)\ndev: 427 utterances, 1.38 h, 45 batches"


@pytest.fixture
def make(tmp_path):
    def run(name, record=None, config=None, **changes):
        write_hypotheses(tmp_path / name / "hypotheses.jsonl", ROWS)
        write_json(tmp_path / name / "scores.json", {**score(ROWS, "english/1").to_dict(), **changes})
        for file, content in (("run.json", record), ("config.yaml", config)):
            if content is not None:
                write_json(tmp_path / name / file, content)  # JSON is YAML
        return tmp_path / name

    return run


@pytest.mark.parametrize(
    ("record", "config", "said"),
    [
        (None, None, None),
        ({}, None, None),
        ({"finished": True, "epochs": 3}, {"trainer": {"max_epochs": 70}}, None),
        ({"finished": False, "epochs": 32}, {"trainer": {"max_epochs": 70}}, "not finished, 32 of 70 epochs"),
        ({"finished": False, "epochs": 32}, {"trainer": {"max_epochs": -1}}, "not finished, 32 epochs"),
        ({"finished": False, "epochs": 32}, None, "not finished, 32 epochs"),
        ({"finished": False}, {"trainer": None}, "not finished"),
    ],
)
def test_how_far_an_unfinished_training_came_is_said_as_far_as_it_is_known(make, record, config, said):
    [run] = read_runs([make("grid", record, config)])
    assert unfinished(run) == said
    assert circumstances([run]) == ([] if said is None else [f"grid: training {said}."])


def test_decoding_that_differs_is_stated_with_the_files_that_differ(make):
    models = [{"path": f"{n}/3gram.npz", "sha256": str(n) * 64} for n in (1, 2)]
    beams = [{"decoder": "beam", "lm": model, "alpha": None} for model in models]
    runs = [make("a", decoding="greedy"), make("b", decoding=beams[0]), make("c", decoding="greedy"), make("d")]
    assert circumstances(read_runs(runs)) == [
        "Decoding differs: a, c: greedy; b: decoder beam, lm 3gram.npz (11111111)."
    ]
    assert circumstances(read_runs([runs[0], runs[2], runs[3]])) == []
    [said] = circumstances(read_runs([runs[1], make("e", decoding=beams[1])]))
    assert said == "Decoding differs: b: lm 3gram.npz (11111111); e: lm 3gram.npz (22222222)."


def test_training_data_and_commits_that_differ_are_stated(make):
    first = {"data": DATA, "data_root": "/here/work/runs/libri/data", "commit": "a" * 40}
    same = {**first, "data_root": "/there/runs/libri/data"}
    half = {**first, "data": DATA.replace("2156 utterances, 7.48 h", "1078 utterances, 3.74 h"), "commit": "b" * 40}
    runs = [make("a", first), make("b", same), make("c", half), make("foreign")]
    assert circumstances(read_runs([*runs[:2], runs[3]])) == []
    assert circumstances(read_runs(runs)) == [
        "Training data differ: a, b: 2156 utterances, 7.48 h of runs/libri/data; "
        "c: 1078 utterances, 3.74 h of runs/libri/data.",
        "Commits of training differ: a, b: aaaaaaaaaa; c: bbbbbbbbbb.",
    ]


def test_a_short_path_differs_from_no_longer_one_that_ends_like_it(make):
    short, long = "an4/data", "/home/somebody/work/an4/data"
    runs = [
        make("a", {"data": DATA, "data_root": short}, manifest=f"{short}/test.jsonl.gz"),
        make("b", {"data": DATA, "data_root": long}, manifest=f"{long}/test.jsonl.gz"),
    ]
    assert circumstances(read_runs(runs)) == []
    other = make("c", {"data": DATA, "data_root": "/home/somebody/work/an4/half"})
    assert circumstances(read_runs([*runs, other])) == [
        "Training data differ: a, b: 2156 utterances, 7.48 h of an4/data; c: 2156 utterances, 7.48 h of an4/half."
    ]


def test_test_sets_that_may_have_other_audio_are_stated(make):
    clean, noisy = ("/work/runs/an4/data/test.jsonl.gz", "/work/runs/an4/noisy/test.jsonl.gz")
    runs = [make("a", manifest=clean), make("b", manifest=clean.removeprefix("/work")), make("c", manifest=noisy)]
    foreign = make("d", manifest="refs.txt", imported={"file": "theirs.trn"})
    assert circumstances(read_runs([*runs[:2], foreign])) == []
    assert circumstances(read_runs(runs)) == [
        "Manifests of the test set, and so perhaps its audio, differ: a, b: an4/data/test.jsonl.gz; "
        "c: an4/noisy/test.jsonl.gz."
    ]


def test_without_a_record_the_configuration_names_the_training_data(make):
    runs = [make(name, {}, {"data": {"root": root}}) for name, root in (("a", "runs/an4"), ("b", "runs/libri"))]
    assert circumstances(read_runs(runs)) == ["Training data differ: a: runs/an4; b: runs/libri."]


def test_what_differs_stands_below_the_table(make, capsys):
    assert main([str(make("a", {"finished": False, "epochs": 2})), str(make("b")), "--draws", "100"]) == 0
    assert "\na: training not finished, 2 epochs.\n" in capsys.readouterr().out


def test_a_value_in_the_place_of_a_block_of_options_is_refused(make):
    run = make("a", {"finished": False, "epochs": 2}, {"trainer": 3})
    with pytest.raises(InputError, match=r"a/config.yaml: trainer must be a block of options, not 3"):
        main([str(run)])
