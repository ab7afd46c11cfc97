"""The comparison table shows what scores.json says, and only of runs that were scored on the same thing."""

import hashlib
import json
import shutil

import pytest

from asr.cli import main as asr_main
from asr.decode.hypotheses import Hypothesis, read_hypotheses, write_hypotheses
from asr.errors import InputError
from asr.files import read_json, write_json
from asr.report.compare import main
from asr.report.runs import ScoredRun, check_comparable, read_runs
from asr.report.tables import HEADINGS, notes, table_rows
from asr.score.scores import score

SCORES = {
    **score([Hypothesis("u1", "A B", "A C"), Hypothesis("u2", "A", "A")], "english/1").to_dict(),
    "model": {"name": "m", "parameters": 1_234_567, "multiply_adds_per_second": 250_000_000},
    "real_time_factor": 0.01234,
    "training_seconds": 3725.0,
    "machine": {"cpu": "Some CPU", "device": "cpu", "processes": 1, "threads": 2},
}


@pytest.fixture
def make_run(tmp_path):
    def make(name, rows=None, **changes):
        scores = {**SCORES, **changes}
        if rows is not None:
            scores = {**scores, **score(rows, "english/1").to_dict(), **changes}
            write_hypotheses(tmp_path / name / "hypotheses.jsonl", rows)
        write_json(tmp_path / name / "scores.json", scores)
        return tmp_path / name

    return make


def test_a_row_has_the_numbers_of_scores_json(make_run):
    [row] = table_rows(read_runs([make_run("grid")]))
    assert dict(zip(HEADINGS, row, strict=True)) == {
        "model": "grid",
        "parameters": "1.23 M",
        "multiply-adds/s": "250 M",
        "WER": "33.33 % (1/3)",
        "interval": "–",
        "CER": "25.00 %",
        "real-time factor": "0.0123",
        "training time": "1:02:05",
    }


def test_options_may_stand_between_runs(make_run, capsys):
    rows = [Hypothesis(f"u{n}", "A B", "A C") for n in range(3)]
    runs = [str(make_run(name, rows)) for name in "abc"]
    assert main([runs[0], "--draws", "100", runs[1], "--level", "90", runs[2]]) == 0
    assert [line[:2] for line in capsys.readouterr().out.splitlines()[1:4]] == ["a ", "b ", "c "]


def test_what_is_not_known_is_a_dash_and_an_undefined_rate_says_so(make_run):
    unknown = {"model": None, "real_time_factor": None, "training_seconds": None, "machine": None}
    run = make_run("other-system", wer=None, cer=None, words=0, errors=2, **unknown)
    [row] = table_rows(read_runs([run]))
    assert row == ("other-system", "–", "–", "undefined (2/0)", "–", "undefined", "–", "–")
    assert notes(read_runs([run])) == ["2 utterances, 0 words, normalised by english/1."]


def test_runs_of_equal_folder_names_are_called_by_their_paths(make_run, tmp_path):
    runs = [make_run("a/grid"), make_run("b/grid")]
    assert [run.name for run in read_runs(runs)] == [str(run) for run in runs]
    assert [run.name for run in read_runs([make_run("c")])] == ["c"]


def test_real_time_factors_of_different_machines_are_said_not_to_compare(make_run):
    same = read_runs([make_run("a"), make_run("b")])
    assert notes(same)[1] == "Real-time factors on Some CPU, 1 process(es) with 2 thread(s)."
    machine = {"cpu": "Some CPU", "device": "Some GPU", "processes": 1, "threads": 2}
    other = read_runs([make_run("a"), make_run("c", machine=machine), make_run("b")])
    assert notes(other)[1].startswith("The real-time factors are not comparable, they come from a, b: Some CPU, 1")
    assert "; c: Some GPU" in notes(other)[1]


def test_the_order_of_utterances_does_not_matter(make_run):
    rows = [Hypothesis("u1", "A", "A"), Hypothesis("u2", "B", "C")]
    check_comparable(read_runs([make_run("a", rows), make_run("b", rows[::-1])]))


ROWS = [Hypothesis("u1", "A", "A"), Hypothesis("u2", "B", "C D"), Hypothesis("u3", "B", "C")]


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        (ROWS[:2], r"1 utterances are in \S*/a only \(u3\)"),
        ([*ROWS, Hypothesis("u4", "", "E")], r"1 utterances are in \S*/b only \(u4\)"),
        ([*ROWS[:2], Hypothesis("u3", "B", "X")], r"1 references differ \(u3: 'C' and 'X'\)"),
        ([*ROWS[:2], Hypothesis("u9", "B", "C")], r"/a only \(u3\); 1 utterances are in \S*/b only \(u9\)"),
    ],
)
def test_runs_scored_on_different_things_are_refused_and_the_difference_named(make_run, rows, named):
    runs = read_runs([make_run("a", ROWS), make_run("b", rows)])
    with pytest.raises(InputError, match=named):
        check_comparable(runs)


def test_without_hypotheses_the_difference_is_told_in_numbers(make_run):
    other = score(ROWS, "english/1").to_dict()
    with pytest.raises(InputError, match=r"different references \(2 and 3 utterances, 3 and 4 words\)"):
        check_comparable(read_runs([make_run("a"), make_run("b", **other)]))


def test_scores_that_do_not_belong_to_their_hypotheses_are_told(make_run):
    runs = [make_run("a", ROWS), make_run("b", ROWS, reference_digest="0" * 16)]
    with pytest.raises(InputError, match="do not belong together: score them again"):
        check_comparable(read_runs(runs))


def test_runs_of_different_normalisation_are_refused(make_run):
    runs = read_runs([make_run("a"), make_run("b", normalizer=None)])
    with pytest.raises(InputError, match="normalised by 'english/1' and by None"):
        check_comparable(runs)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ([], "holds no scores"),
        ({}, "'wer' is None"),
        ({**SCORES, "errors": None}, "'errors' is None"),
        ({**SCORES, "words": 1.5}, "'words' is 1.5"),
        ({**SCORES, "utterances": True}, "'utterances' is True"),
        ({**SCORES, "reference_digest": 3}, "'reference_digest' is 3"),
    ],
)
def test_a_file_without_scores_is_refused_by_what_it_lacks(tmp_path, content, named):
    write_json(tmp_path / "run" / "scores.json", content)
    with pytest.raises(InputError, match=named):
        read_runs([tmp_path / "run"])


def test_a_run_without_scores_is_told_how_to_get_them(tmp_path):
    with pytest.raises(InputError, match=r"has no scores-dev.json: make it with `asr test \S+ --split dev`"):
        read_runs([tmp_path], "dev")


def test_the_table_of_two_runs_is_printed_and_written(two_runs, tmp_path, capsys):
    right, wrong = (read_json(run / "scores.json") for run in two_runs)
    assert wrong["errors"] > right["errors"] == 0
    assert main([*map(str, two_runs), "-o", str(tmp_path / "table.txt")]) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "table.txt").read_text() == printed
    lines = printed.splitlines()
    assert lines[0].split()[:3] == ["model", "parameters", "multiply-adds/s"]
    assert lines[1].startswith("right ")
    assert f"0.00 % (0/{right['words']})" in lines[1]
    assert f"{100 * wrong['wer']:.2f} % ({wrong['errors']}/{wrong['words']})" in lines[2]


def test_a_markdown_table_has_a_row_a_run(two_runs, capsys):
    main([*map(str, two_runs), "--markdown"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| model | parameters |")
    assert lines[1] == "|---|---:|---:|---:|---:|---:|---:|---:|"
    assert [line.split(" | ")[0] for line in lines[2:4]] == ["| right", "| wrong"]


def test_no_name_of_a_run_is_taken_for_html_in_markdown(two_runs, tmp_path, capsys):
    shutil.copytree(two_runs[0], tmp_path / "<img src=x>")
    main([str(tmp_path / "<img src=x>"), str(two_runs[1]), "--markdown"])
    printed = capsys.readouterr().out
    assert printed.count("&lt;img src=x>") >= 2  # in the table, and in what is said of the difference
    assert "<img" not in printed


def test_json_has_all_scores_intervals_and_comparisons(two_runs, capsys):
    main([*map(str, two_runs), "--json"])
    data = json.loads(capsys.readouterr().out)
    runs, wrong = data["runs"], read_json(two_runs[1] / "scores.json")
    assert [run["name"] for run in runs] == ["right", "wrong"]
    assert runs[1]["errors"] == wrong["errors"]
    for key, rate in (("wer_interval", "wer"), ("cer_interval", "cer")):
        assert runs[1][key]["rate"] == pytest.approx(wrong[rate])
        assert 0 <= runs[1][key]["lower"] <= wrong[rate] <= runs[1][key]["upper"]
    [pair] = data["comparisons"]
    assert (pair["first"], pair["second"]) == ("right", "wrong")
    assert pair["words"]["difference"] == pytest.approx(-wrong["wer"])
    assert pair["mapsswe"]["difference"] == -wrong["errors"]
    assert data["settings"]["draws"] == 10_000


def test_a_scores_file_can_stand_for_a_run(two_runs, capsys):
    main([str(two_runs[0] / "scores.json"), str(two_runs[1])])
    assert capsys.readouterr().out.splitlines()[1].startswith("scores ")


def test_runs_that_cannot_be_compared_end_with_exit_code_1(two_runs, tmp_path, capsys):
    shutil.copytree(two_runs[0], tmp_path / "shorter")
    rows = read_hypotheses(two_runs[0] / "hypotheses.jsonl")[:-1]
    write_hypotheses(tmp_path / "shorter" / "hypotheses.jsonl", rows)
    write_json(tmp_path / "shorter" / "scores.json", score(rows, "verbatim/1").to_dict())
    assert asr_main(["compare", str(two_runs[0]), str(tmp_path / "shorter")]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert "only (test-003)" in output.err


def test_a_scored_run_is_plain_data(two_runs):
    [run] = read_runs(two_runs[:1])
    assert isinstance(run, ScoredRun)
    assert (run.name, run.hypotheses) == ("right", two_runs[0] / "hypotheses.jsonl")


def test_scores_of_weights_that_the_run_has_no_more_are_refused(two_runs, tmp_path, capsys):
    run = shutil.copytree(two_runs[0], tmp_path / "right")
    assert main([str(run), str(two_runs[1])]) == 0
    shutil.copy(two_runs[1] / "model.safetensors", run)  # as if trained further
    with pytest.raises(InputError, match=r"right/scores.json is of an earlier state of the run: .*model.safetensors"):
        main([str(run), str(two_runs[1])])
    shutil.copy(run / "scores.json", tmp_path)
    assert main([str(tmp_path / "scores.json"), str(two_runs[1])]) == 0  # a file elsewhere is of no run


def test_the_step_of_outdated_scores_is_named(make_run):
    run = make_run("grid", model={"source": "elsewhere/checkpoints/best.ckpt", "sha256": "0" * 64, "step": 120})
    assert read_runs([run])
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "best.ckpt").write_bytes(b"weights")
    with pytest.raises(InputError, match=r"step 120: .*best.ckpt has been .* `asr test .*grid --split test`"):
        read_runs([run])
    digest = hashlib.sha256(b"weights").hexdigest()
    make_run("grid", model={"source": "elsewhere/checkpoints/best.ckpt", "sha256": digest, "step": 120})
    assert read_runs([run])
