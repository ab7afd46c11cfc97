"""Runs that cannot be averaged over are refused, or what is odd about them stands below the table."""

import shutil

import pytest

from asr.decode.hypotheses import Hypothesis, write_hypotheses
from asr.errors import InputError
from asr.files import read_json, write_json, write_text
from asr.report.compare import compared, main
from asr.report.rescored import rescore
from asr.report.runs import read_runs
from asr.score.command import main as score_main
from asr.score.importing import main as import_main
from asr.score.scores import score
from asr.text import normalizer

ROWS = [
    Hypothesis("u1", "A B", "A B", "s1"),
    Hypothesis("u2", "B", "C D", "s1"),
    Hypothesis("u3", "B", "C", "s2"),
    Hypothesis("u4", "D D", "D E", "s3"),
]


@pytest.fixture
def make(tmp_path):
    def run(name, rows=ROWS, identifier="english/1", **changes):
        write_hypotheses(tmp_path / name / "hypotheses.jsonl", rows)
        write_json(tmp_path / name / "scores.json", {**score(rows, identifier).to_dict(), **changes})
        return tmp_path / name

    return run


@pytest.fixture
def compare(capsys):
    def printed(*arguments):
        assert main([*map(str, arguments), "--draws", "100"]) == 0
        return capsys.readouterr().out

    return printed


def test_missing_utterances_are_refused_and_common_ones_compared_on_demand_with_what_is_left_out(make, compare):
    a, b = make("a"), make("b", [*ROWS[1:], Hypothesis("u9", "Z", "Z")])
    with pytest.raises(InputError, match=r"a only \(u1\).*b only \(u9\); --common compares"):
        main([str(a), str(b)])
    printed = compare(a, b, "--common")
    assert "3 utterances, 5 words" in printed
    assert "(4/5)" in printed  # u2, u3 and u4
    assert "1 of 4 utterances of a are left out: u1." in printed
    assert "1 of 4 utterances of b are left out: u9." in printed
    assert "left out" not in compare(a, make("c"), "--common")


def test_common_utterances_with_different_references_are_refused(make):
    other = make("b", [*ROWS[1:3], Hypothesis("u4", "D D", "D X")])
    with pytest.raises(InputError, match=r"1 references differ \(u4: 'D E' and 'D X'\)"):
        main([str(make("a")), str(other), "--common"])


def test_without_common_utterances_or_hypotheses_there_is_nothing_common(make):
    with pytest.raises(InputError, match="no utterance in common"):
        main([str(make("a")), str(make("b", [Hypothesis("x", "A", "A")])), "--common"])
    bare = make("c")
    (bare / "hypotheses.jsonl").unlink()
    with pytest.raises(InputError, match=r"c cannot be reduced .* there is no .*c/hypotheses.jsonl"):
        main([str(make("a")), str(bare), "--common"])


def test_other_normalisers_are_refused_with_common_utterances_too(make):
    with pytest.raises(InputError, match="normalised by 'english/1' and by 'lower/1'"):
        main([str(make("a")), str(make("b", ROWS[1:], "lower/1")), "--common"])


def test_a_repeated_id_is_refused_by_file_and_row(make):
    run = make("a")
    lines = (run / "hypotheses.jsonl").read_text()
    write_text(run / "hypotheses.jsonl", lines + lines.splitlines()[0] + "\n")
    with pytest.raises(InputError, match=r"a/hypotheses.jsonl, row 5: utterance 'u1' occurs twice"):
        main([str(run)])


def test_empty_references_and_hypotheses_are_counted_and_stated(make, compare):
    odd = [*ROWS[:2], Hypothesis("u3", "B B", ""), Hypothesis("u4", "", "D E"), Hypothesis("u5", "", "")]
    even = [*ROWS[:2], Hypothesis("u3", "", ""), Hypothesis("u4", "D", "D E"), Hypothesis("u5", "", "")]
    printed = compare(make("a", odd), make("b", even))
    assert (
        "2 of 5 references are empty (u3, u5): what was recognised there counts as insertions (a: 2, b: 0)." in printed
    )
    assert "a recognised nothing in 1 of 5 utterances (u4): all words there count as deleted." in printed
    assert "b recognised nothing" not in printed
    assert "100.00 % (6/6)" in printed  # u2: 2, u3: 2, u4: 2


def test_references_without_words_have_no_rate_and_no_interval(make, compare):
    printed = compare(make("a", [Hypothesis("u1", "X", ""), Hypothesis("u2", "", "")]))
    assert "undefined (1/0)" in printed
    assert "No interval: the references have no words." in printed


def test_a_run_without_hypotheses_has_no_interval_and_is_not_compared(make, compare):
    bare = make("bare")
    (bare / "hypotheses.jsonl").unlink()
    printed = compare(make("a"), make("b"), bare)
    assert "No interval: bare: there is no " in printed
    assert printed.count("make equally many errors") == 1


def test_a_scores_file_of_another_split_goes_with_the_hypotheses_of_that_split(make):
    run = make("a")
    for name in ("scores.json", "hypotheses.jsonl"):
        stem, ending = name.split(".")
        shutil.copy(make("b", ROWS[:2]) / name, run / f"{stem}-dev.{ending}")
    [dev, test] = read_runs([run / "scores-dev.json", run / "scores.json"])
    assert (len(rescore(dev).scores.utterances), len(rescore(test).scores.utterances)) == (2, 4)
    assert read_runs([run], "dev")[0].hypotheses == dev.hypotheses == run / "hypotheses-dev.jsonl"


def test_scores_of_other_hypotheses_are_refused(make):
    a, b = make("a"), make("b", [*ROWS[:3], Hypothesis("u4", "D E", "D E", "s3")])
    shutil.copy(b / "hypotheses.jsonl", a)
    with pytest.raises(InputError, match=r"a: its scores \(4 errors, 7 words\) and .* \(3, 7\) do not belong together"):
        main([str(a)])


def test_scores_made_with_a_normaliser_or_other_references_are_made_the_same_way_again(tmp_path):
    rows = [Hypothesis("u1", "It's two!"), Hypothesis("u2", "no")]
    write_hypotheses(tmp_path / "theirs.jsonl", rows)
    write_text(tmp_path / "refs.txt", "u1 it’s 2\nu2 yes\n")
    command = ["theirs.jsonl", "--reference", "refs.txt", "--normalizer", "english/1", "-o", "out/theirs.json"]
    assert score_main([str(tmp_path / part) if "." in part else part for part in command]) == 0
    [run] = read_runs([tmp_path / "out" / "theirs.json"])
    found = rescore(run).scores
    assert (found.words.errors, found.words.length) == (1, 3)
    assert [one.reference for one in found.utterances] == [normalizer("english/1")(text) for text in ("it's 2", "yes")]
    write_json(tmp_path / "out" / "theirs.json", {**read_json(tmp_path / "out" / "theirs.json"), "references": None})
    [run] = read_runs([tmp_path / "out" / "theirs.json"])
    assert "without a reference" in rescore(run).reason


def imported(run, folder, lines, *options):
    """Another system's hypotheses, scored with the references of a run."""
    write_text(folder / "theirs.text", "".join(f"{line}\n" for line in lines))
    command = [folder / "theirs.text", "--references", run, "-o", folder / "theirs", *options]
    assert import_main([str(part) for part in command]) == 0
    return folder / "theirs"


def test_imported_hypotheses_in_another_writing_are_counted_and_the_option_named(make, tmp_path, compare):
    ours = make("ours")
    lines = ["u1 a b", "u2 B", "u3 b", "u4 D D"]
    theirs = imported(ours, tmp_path, lines)
    printed = compare(ours, theirs)
    assert "7 words, references normalised by english/1, hypotheses of theirs not all.\n" in printed
    assert (
        "2 of 4 hypotheses of theirs are not written as english/1 writes (u1, u3), so that another way of writing "
        "counts as errors: `asr import --normalizer english/1` treats both sides alike." in printed
    )
    assert rescore(read_runs([theirs])[0]).unlike == ("u1", "u3")
    imported(ours, tmp_path, lines, "--normalizer", "english/1")
    printed = compare(ours, theirs)
    assert "7 words, normalised by english/1.\n" in printed
    assert "not written as" not in printed
    imported(make("verbatim", identifier=None), tmp_path, lines)  # nothing is known of these references
    assert rescore(read_runs([theirs])[0]).unlike == ()


def test_only_common_utterances_in_another_writing_are_counted(make, tmp_path):
    theirs = imported(make("ours"), tmp_path, ["u1 a b", "u2 B", "u3 b", "u4 D D"])
    runs = read_runs([theirs, make("less", ROWS[1:])])
    assert compared(runs, common=True).rescored[0].unlike == ("u3",)


def test_utterances_that_an_imported_file_lacks_are_told_from_those_in_which_nothing_was_recognised(
    make, tmp_path, compare
):
    ours = make("ours")
    printed = compare(ours, imported(ours, tmp_path, ["u1 A B", "u3", "u4 D D"], "--missing-as-empty"))
    assert "The file that theirs was imported from has no hypothesis of 1 of 4 utterances (u2): all words" in printed
    assert "theirs recognised nothing in 1 of 4 utterances (u3): all words" in printed


def test_an_utterance_of_wrong_words_alone_is_none_in_which_nothing_was_recognised(make, compare):
    swapped = [*ROWS[:3], Hypothesis("u4", "E", "D E F", "s3"), Hypothesis("u5", "X", "F G", "s3")]
    assert "recognised nothing" not in compare(make("a", swapped))


def test_scores_of_other_references_with_equal_counts_are_refused(make):
    a, b = make("a"), make("b", [*ROWS[:3], Hypothesis("u4", "D D", "D F", "s3")])
    shutil.copy(b / "hypotheses.jsonl", a)
    with pytest.raises(InputError, match=r"4 errors, 7 words\) and .* \(4, 7\) do not belong together"):
        main([str(a)])
