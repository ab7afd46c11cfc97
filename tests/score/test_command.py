"""`asr score` as a user runs it."""

import pytest

from asr.cli import main as asr_main
from asr.decode.hypotheses import Hypothesis, write_hypotheses
from asr.errors import InputError
from asr.files import read_json, write_json
from asr.score.command import main
from asr.score.scores import score

ROWS = [
    Hypothesis("u1", "the cat sat", "The cat sat.", "anna"),
    Hypothesis("u2", "a hat", "A CAT", "bo"),
    Hypothesis("u3", "um", "", "bo"),
]


@pytest.fixture
def hypotheses(tmp_path):
    write_hypotheses(tmp_path / "hypotheses.jsonl", ROWS)
    return tmp_path / "hypotheses.jsonl"


def test_scores_as_they_stand_without_a_normaliser_and_normalised_with_one(hypotheses, tmp_path, capsys):
    assert main([str(hypotheses), "-o", str(tmp_path / "raw.json")]) == 0
    assert main([str(hypotheses), "--normalizer", "english/1", "-o", str(tmp_path / "scores.json")]) == 0
    raw, scores = read_json(tmp_path / "raw.json"), read_json(tmp_path / "scores.json")
    # raw: The/the and sat./sat; both words of u2; one insertion in u3
    assert (raw["errors"], raw["words"], raw["normalizer"]) == (5, 5, None)
    assert (scores["errors"], scores["words"], scores["normalizer"]) == (2, 5, "english/1")
    assert scores["versions"]["jiwer"]
    assert raw["reference_digest"] != scores["reference_digest"]
    assert "WER 40.00 % (2/5): 1 substitutions, 0 deletions, 1 insertions" in capsys.readouterr().out


def test_the_three_worst_utterances_are_printed_and_right_ones_are_not(tmp_path, capsys):
    rows = [Hypothesis(f"u{n}", " ".join("X" * n), " ".join("A" * n)) for n in range(1, 6)]
    write_hypotheses(tmp_path / "h.jsonl", [*rows, Hypothesis("right", "A", "A")])
    main([str(tmp_path / "h.jsonl")])
    printed = capsys.readouterr().out
    assert [name for name in ("u5", "u4", "u3", "u2", "u1", "right") if f"\n{name}: " in printed] == ["u5", "u4", "u3"]
    assert printed.index("u5: ") < printed.index("u4: ") < printed.index("u3: ")
    assert "6 utterances, speakers not known, 5 utterances with errors" in printed


def test_speakers_are_counted_as_far_as_they_are_known(tmp_path, capsys):
    rows = [Hypothesis(f"u{n}", "A", "A", speaker) for n, speaker in enumerate(["ann", "bob", "ann", None])]
    for number, said in ((3, "2 speakers,"), (4, "2 speakers and 1 utterances of unknown ones,")):
        write_hypotheses(tmp_path / "h.jsonl", rows[:number])
        main([str(tmp_path / "h.jsonl")])
        assert f"{number} utterances, {said}" in capsys.readouterr().out


def test_empty_references_are_stated(hypotheses, capsys):
    main([str(hypotheses)])
    assert "1 empty references (u3): what was recognised there counts as insertions" in capsys.readouterr().out


def test_alignments_are_written_when_asked_for(hypotheses, tmp_path, capsys):
    main([str(hypotheses), "--alignments", str(tmp_path / "a.txt"), "--normalizer", "english"])
    assert "REF: A CAT\nHYP: A HAT\n       S" in (tmp_path / "a.txt").read_text()
    assert f"wrote {tmp_path / 'a.txt'}" in capsys.readouterr().out


def test_references_of_another_file_can_be_used(hypotheses, tmp_path, capsys):
    (tmp_path / "text").write_text("u1 the cat sat\nu2 a hat\nu3 um\n")
    main([str(hypotheses), "--reference", str(tmp_path / "text")])
    assert "WER 0.00 % (0/6)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--normalizer", "klingon/3"], "klingon/3"),
        (["--reference", "nowhere"], "cannot read nowhere"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(hypotheses, arguments, named):
    with pytest.raises(InputError, match=named):
        main([str(hypotheses), *arguments])


def test_a_row_without_reference_ends_with_exit_code_1(tmp_path, capsys):
    write_hypotheses(tmp_path / "h.jsonl", [Hypothesis("lonely", "A")])
    assert asr_main(["score", str(tmp_path / "h.jsonl")]) == 1
    assert capsys.readouterr().err == "error: 1 of 1 utterances have no reference: lonely\n"


def recorded(folder, rows, **more):
    write_hypotheses(folder / "hypotheses-dev.jsonl", rows)
    write_json(folder / "scores-dev.json", {**score(rows, "english/1").to_dict(), "seed": 5, **more})
    return str(folder / "hypotheses-dev.jsonl")


def test_what_the_hypotheses_were_scored_with_before_is_kept(tmp_path):
    main([recorded(tmp_path, ROWS), "-o", str(tmp_path / "again.json")])
    again = read_json(tmp_path / "again.json")
    assert (again["normalizer"], again["seed"]) == ("english/1", 5)


def test_a_normaliser_that_is_asked_for_is_the_one_recorded(tmp_path):
    main([recorded(tmp_path, ROWS), "--normalizer", "lower/1", "-o", str(tmp_path / "again.json")])
    again = read_json(tmp_path / "again.json")
    assert (again["normalizer"], again["seed"]) == ("lower/1", 5)


def test_other_references_have_no_known_normaliser(tmp_path):
    path = recorded(tmp_path, ROWS)
    (tmp_path / "text").write_text("u1 The cat\nu2 a hat\nu3 um\n")
    main([path, "--reference", str(tmp_path / "text"), "-o", str(tmp_path / "again.json")])
    again = read_json(tmp_path / "again.json")
    assert (again["normalizer"], again["seed"]) == (None, 5)


def test_hypotheses_alone_know_no_seed_and_those_of_a_run_folder_its(hypotheses, tmp_path):
    main([str(hypotheses), "-o", str(tmp_path / "alone.json")])
    assert read_json(tmp_path / "alone.json")["seed"] is None
    write_json(tmp_path / "run.json", {"seed": 4})
    main([str(hypotheses), "-o", str(tmp_path / "run-scores.json")])
    assert read_json(tmp_path / "run-scores.json")["seed"] == 4
