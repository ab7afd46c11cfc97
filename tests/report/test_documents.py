"""Collected runs compare like the runs they were, and a document's tables are what their commands print."""

import shutil
from pathlib import Path

import pytest
import yaml
from tone_corpus import write_tone_corpus
from tone_reader import export_tone_reader

from asr.cli import main
from asr.decode.hypotheses import Hypothesis, write_hypotheses
from asr.files import read_json, read_jsonl, write_json, write_text

TABLE = "<!-- asr compare {} -->\n<!-- end -->\n"


@pytest.fixture(scope="module")
def tested(tmp_path_factory) -> Path:
    """A folder that looks like a run that was trained on this machine, and scored."""
    folder = tmp_path_factory.mktemp("made")
    root, model = write_tone_corpus(folder / "root", {"test": 4}), export_tone_reader(folder / "model")
    run = folder / "here" / "runs" / "reader"
    assert main(["test", str(model), "--root", str(root), "-o", str(run), "--workers", "0"]) == 0
    made = {"seed": 3, "epochs": 2, "training_seconds": 61.0, "cpu": "a chip", "threads": 1, "commit": "abcdef012345"}
    write_json(run / "run.json", {"name": "reader", "data_root": str(root), **made})
    write_text(run / "metrics.csv", "epoch,val_wer\n1,0.5\n2,0.125\n3,0.25\n")
    write_text(run / "config.yaml", yaml.safe_dump({"seed": 3, "data": {"root": str(folder / "here" / "data")}}))
    (run / "checkpoints").mkdir()
    return run


@pytest.fixture
def run(tested, tmp_path, monkeypatch) -> Path:
    """A copy of it, below the current folder."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(tested, tmp_path / "runs" / "reader")).relative_to(tmp_path)


def test_a_collected_run_compares_like_the_run_and_holds_no_weights(run, capsys):
    assert main(["compare", str(run), "--markdown"]) == 0
    original = capsys.readouterr().out
    assert main(["results", "collect", str(run), "-o", "results"]) == 0
    capsys.readouterr()
    assert main(["compare", "results/reader", "--markdown"]) == 0
    assert capsys.readouterr().out == original
    kept = {path.name for path in Path("results/reader").rglob("*")}
    assert kept == {"run.json", "metrics.csv", "scores.json", "hypotheses.jsonl.gz", "config.yaml"}
    assert list(read_jsonl("results/reader/hypotheses.jsonl.gz")) == list(read_jsonl(run / "hypotheses.jsonl"))


def test_two_collected_runs_are_tested_against_each_other(run, capsys):
    shutil.copytree(run, "runs/other")
    assert main(["results", "collect", str(run), "runs/other", "-o", "results"]) == 0
    assert main(["compare", "results/reader", "results/other"]) == 0
    assert "MAPSSWE" in capsys.readouterr().out


def test_two_runs_of_one_name_are_refused_before_anything_is_written(run, capsys):
    shutil.copytree(run, "others/reader")
    assert main(["results", "collect", "runs/reader", "others/reader", "-o", "results"]) == 1
    assert "collected under one name: runs/reader, others/reader" in capsys.readouterr().err
    assert not Path("results").exists()


@pytest.mark.parametrize("known", ["log", "weights", "options"])
def test_another_run_of_the_name_is_not_mixed_into_the_one_that_was_collected(run, capsys, known):
    other = Path(shutil.copytree(run, "others/reader"))
    (other / "metrics.csv").write_text("epoch,val_wer\n1,0.25\n")
    (other / "config.yaml").write_text("seed: 4\n")
    for folder in (run, other) if known != "log" else ():
        (folder / "metrics.csv").unlink()
        scores = read_json(folder / "scores.json")
        model = {**scores["model"], "source": f"{folder.parent}/model"} if known == "weights" else {}
        write_json(folder / "scores.json", {**scores, "model": model})
    for _ in range(2):
        assert main(["results", "collect", str(run), "-o", "results"]) == 0
    before = {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()}
    assert main(["results", "collect", str(other), "-o", "results"]) == 1
    assert "results/reader holds another run than others/reader: remove it" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()} == before
    assert main(["results", "collect", str(run), "-o", str(run.parent)]) == 1
    assert "into itself" in capsys.readouterr().err


def test_collecting_a_run_again_replaces_its_files_and_leaves_those_of_others(run):
    (run / "scores-dev.json").write_bytes((run / "scores.json").read_bytes())
    main(["results", "collect", str(run), "-o", "results"])
    (run / "scores-dev.json").unlink()
    (run / "metrics.csv").write_text((run / "metrics.csv").read_text() + "4,0.25\n")
    Path("results/reader/notes.txt").write_text("mine")
    main(["results", "collect", str(run), "-o", "results"])
    assert Path("results/reader/metrics.csv").read_text().endswith("4,0.25\n")
    kept = {path.name for path in Path("results/reader").iterdir()}
    assert kept == {"run.json", "metrics.csv", "scores.json", "hypotheses.jsonl.gz", "config.yaml", "notes.txt"}


def test_a_collected_run_is_collected_with_its_hypotheses(run):
    main(["results", "collect", str(run), "-o", "results"])
    assert main(["results", "collect", "results/reader", "-o", "again"]) == 0
    packed = [Path(folder, "reader/hypotheses.jsonl.gz").read_bytes() for folder in ("results", "again")]
    assert packed[0] == packed[1]


def test_references_of_another_file_are_collected_with_the_hypotheses(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_hypotheses("theirs/hypotheses.jsonl", [Hypothesis("u1", "ONE TWO", "OLD"), Hypothesis("u2", "THREE")])
    write_text("refs/ref.txt", "u1 ONE TO\nu2 THREE\n")
    scoring = ["score", "theirs/hypotheses.jsonl", "--reference", "refs/ref.txt", "-o", "theirs/scores.json"]
    assert main(scoring) == main(["compare", "theirs", "--markdown"]) == 0
    table = capsys.readouterr().out.partition("| model")[2]
    assert main(["results", "collect", "theirs", "-o", "results"]) == 0
    Path("refs/ref.txt").rename("theirs/ref.txt")  # beside the scores it is found as well
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for run in ("../results/theirs", "../theirs"):
        capsys.readouterr()
        assert main(["compare", run, "--markdown"]) == 0
        assert capsys.readouterr().out.partition("| model")[2] == table
    Path("../theirs/ref.txt").unlink()
    assert main(["compare", "../theirs"]) == main(["results", "collect", "../theirs", "-o", "more"]) == 1
    said = capsys.readouterr().err
    assert "../theirs was scored on the references of refs/ref.txt, which are not there" in said
    assert "cannot read refs/ref.txt" in said
    assert not Path("more").exists()


def test_scored_hypotheses_without_a_training_are_collected_and_listed_as_unknown(run, tmp_path, capsys):
    assert main(["score", str(run / "hypotheses.jsonl"), "-o", "theirs/scores.json"]) == 0
    assert main(["results", "collect", str(run), "theirs", "-o", "results"]) == 0
    capsys.readouterr()
    assert main(["results", "list", "results/reader", "results/theirs", "--markdown"]) == 0
    trained, other = capsys.readouterr().out.splitlines()[-2:]
    assert "results/reader/config.yaml" in trained
    assert other == f"| theirs |{' – |' * 7}"
    assert main(["results", "list", str(tmp_path)]) == 1
    assert "run.json: No such file" in capsys.readouterr().err


def test_no_path_of_the_machine_is_kept(run, tmp_path):
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text + f"own: {tmp_path}/data\nmessage: /a/path\n")
    main(["results", "collect", str(run), "-o", "results"])
    options = yaml.safe_load(Path("results/reader/config.yaml").read_text())
    assert (options["own"], options["message"], options["seed"]) == ("data", "a/path", 3)
    for path in Path("results").rglob("*.json"):
        assert str(tmp_path) not in path.read_text()
        assert '"/' not in path.read_text()
    assert not Path(read_json("results/reader/run.json")["data_root"]).is_absolute()


def test_a_run_that_was_not_scored_is_not_collected(tmp_path, capsys):
    assert main(["results", "collect", str(tmp_path), "-o", str(tmp_path / "results")]) == 1
    assert "holds no scores: make them with `asr test" in capsys.readouterr().err


def test_the_list_says_how_runs_were_made(run, capsys):
    assert main(["results", "list", str(run), "--markdown"]) == 0
    cells = capsys.readouterr().out.splitlines()[2].strip("| ").split(" | ")
    assert cells == ["reader", f"{run}/config.yaml", "3", "2", "12.50 %", "0:01:01", "a chip, 1 thread(s)", "abcdef0"]


def test_the_list_of_several_trainings_ends_with_their_time_together(run, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    write_json(other / "run.json", read_json(run / "run.json") | {"training_seconds": 3600})
    assert main(["results", "list", str(run), str(other), "--markdown"]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert [cell.strip() for cell in last.strip("|").split("|")] == ["all", *[""] * 4, "1:01:01", "", ""]
    write_json(other / "run.json", read_json(run / "run.json") | {"training_seconds": None})
    assert main(["results", "list", str(run), str(other), "--markdown"]) == 0
    assert "| all |" not in capsys.readouterr().out
    write_json(tmp_path / "theirs" / "scores.json", {})  # of unknown origin
    assert main(["results", "list", str(run), str(run), str(tmp_path / "theirs"), "--markdown"]) == 0
    assert "| all |" not in capsys.readouterr().out


def test_the_list_compares_within_the_time_of_the_shortest_training(run, tmp_path, capsys):
    log = "epoch,seconds,val_wer\n1,20.0,0.5\n2,40.0,\n3,61.04,0.25\n"
    write_text(run / "metrics.csv", log)  # of 61.0 seconds, which are rounded
    slow = Path(shutil.copytree(run, tmp_path / "slow"))
    write_json(slow / "run.json", read_json(run / "run.json") | {"training_seconds": 3600.0})
    write_text(slow / "metrics.csv", log.replace("61.04,0.25", "61.1,0.25"))
    none = Path(shutil.copytree(slow, tmp_path / "none"))
    write_text(none / "metrics.csv", "epoch,seconds,val_wer\n1,61.1,0.5\n")
    assert main(["results", "list", str(run), str(slow), str(none), "--same-time", "--markdown"]) == 0
    heading, _, *rows = [line.strip("|").split("|")[-1].strip() for line in capsys.readouterr().out.splitlines()]
    assert heading == "best dev WER within 0:01:01"
    assert rows == ["25.00 % (epoch 3)", "50.00 % (epoch 1)", "–", ""]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("run.json", '{"seed": 3}', "run.json has no training_seconds, so there is no time to compare at"),
        ("metrics.csv", "seconds,val_wer\n1,0.5\n", "cannot read the log"),
    ],
)
def test_runs_without_times_are_not_compared_at_the_same_time(run, capsys, file, content, message):
    write_text(run / file, content)
    assert main(["results", "list", str(run), "--same-time"]) == 1
    assert message in capsys.readouterr().err


def test_a_document_gets_the_tables_that_its_commands_print(run, capsys):
    main(["compare", str(run), "--markdown"])
    table = capsys.readouterr().out.strip()
    Path("RESULTS.md").write_text(
        f"# Results\n\n{TABLE.format('runs/*')}\nwords between\n\n{TABLE.format('runs/*')}end\n"
    )
    assert main(["results", "write", "RESULTS.md", "--check"]) == 1
    assert "is not what its commands print" in capsys.readouterr().err
    assert main(["results", "write", "RESULTS.md"]) == 0
    filled = f"<!-- asr compare runs/* -->\n{table}\n<!-- end -->\n"
    assert Path("RESULTS.md").read_text() == f"# Results\n\n{filled}\nwords between\n\n{filled}end\n"
    assert main(["results", "write", "RESULTS.md", "--check"]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n<!-- asr compare runs/* -->\n", "RESULTS.md, line 2: the table has no `<!-- end -->`"),
        (f"<!-- asr compare runs/* -->\n{TABLE.format('runs/*')}", "line 1: the table has no `<!-- end -->`"),
        (
            TABLE.replace("compare", "doctor").format(""),
            "line 1: tables come from asr compare, asr results, asr robustness, not",
        ),
        (f"x\n{TABLE.format('nowhere/*')}", "error: RESULTS.md, line 2: nothing matches 'nowhere/*'"),
        (TABLE.format("runs/none"), "line 1: cannot read runs/none"),
        (TABLE.format("runs/reader --nonsense"), "is wrong usage"),
        (TABLE.format("'runs"), "cannot be read"),
        (TABLE.replace("compare", "robustness").format("runs/reader"), "line 1: asr robustness measures for minutes"),
    ],
)
def test_what_is_wrong_with_a_document_is_said_with_its_line_and_the_document_is_left(run, text, message, capsys):
    Path("RESULTS.md").write_text(text)
    assert main(["results", "write", "RESULTS.md"]) == 1
    assert message in capsys.readouterr().err
    assert Path("RESULTS.md").read_text() == text


def test_a_kept_record_of_robustness_is_a_table_of_a_document(run, tmp_path, capsys):
    condition = {"condition": "white 10 dB", "utterances": 4, "words": 8, "errors": 2, "wer": 0.25, "cer": 0.1}
    counts = {"substitutions": 1, "deletions": 1, "insertions": 0, "lower": 0.125, "upper": 0.5}
    write_json(run / "robustness.json", {"rows": [condition | counts], "note": "A note."})
    assert main(["results", "collect", str(run), "-o", "results"]) == 0
    write_text("page.md", "<!-- asr robustness --show results/reader/robustness.json -->\n<!-- end -->\n")
    assert main(["results", "write", "page.md"]) == 0
    assert "| white 10 dB | 4 | 25.00 % (2/8) | 12.5 to 50.0 | 10.00 % | 1 | 1 | 0 |" in Path("page.md").read_text()
    assert main(["results", "write", "page.md", "--check"]) == 0
