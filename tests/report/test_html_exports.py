"""CSV, JSON and Markdown have the numbers of the page."""

import csv
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from scored_run import write_scored_run

from asr.decode.hypotheses import Hypothesis
from asr.report.compare import compared
from asr.report.compare import main as compare
from asr.report.html.exports import markdown, tables, write_tables_csv, write_tables_json
from asr.report.html.records import Gathered, gather
from asr.report.runs import read_runs
from asr.report.tables import markdown_table, markdown_text

CURVE = "epoch,seconds,train_loss,val_loss,val_wer\n1,2.5,3.0,2.0,0.9\n2,5.0,1.0,,\n"
ROWS = [
    Hypothesis("u1", "A X C", "A B C", "ann", 1.0),
    Hypothesis("u2", 'say "A", B', 'say "A", B', "bob", 2.0),
    Hypothesis("u3", "B", "", "bob", 3.0),
]


def two(folder: Path) -> Gathered:
    other = [Hypothesis(row.id, "A", row.reference, row.speaker, row.seconds) for row in ROWS]
    runs = [write_scored_run(folder / "one", ROWS, CURVE), write_scored_run(folder / "other|2", other)]
    return gather(compared(read_runs(runs)))


def read(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_files_have_a_row_for_each_thing_counted_and_empty_cells_for_unknown_ones(tmp_path: Path) -> None:
    gathered = two(tmp_path)
    written = write_tables_csv(tmp_path / "csv", gathered)
    assert [path.stem for path in written] == ["runs", "comparisons", "curves", "groups", "confusions", "utterances"]
    assert [row["run"] for row in read(tmp_path / "csv" / "runs.csv")] == ["one", "other|2"]
    curves = read(tmp_path / "csv" / "curves.csv")
    assert [(row["epoch"], row["dev_wer"]) for row in curves] == [("1.0", "0.9"), ("2.0", "")]
    utterances = read(tmp_path / "csv" / "utterances.csv")
    assert len(utterances) == 2 * len(ROWS)
    assert utterances[2]["hypothesis"] == 'say "A", B'
    assert utterances[4]["wer"] == ""  # no reference words


def test_counts_add_up_to_those_of_the_scores(tmp_path: Path) -> None:
    gathered = two(tmp_path)
    found = tables(gathered)
    for run in gathered.runs:
        errors = run.scores["errors"]
        own = [row for row in found["utterances"] if row["run"] == run.name]
        assert sum(row["substitutions"] + row["deletions"] + row["insertions"] for row in own) == errors
        assert sum(row["count"] for row in found["confusions"] if row["run"] == run.name) == errors
        for by in ("speaker", "seconds"):
            groups = [row for row in found["groups"] if (row["run"], row["by"]) == (run.name, by)]
            assert sum(row["words"] for row in groups) == run.scores["words"]


def test_json_has_what_asr_compare_prints_and_more(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    gathered = two(tmp_path)
    write_tables_json(tmp_path / "all.json", gathered)
    compare([str(run.scored.path) for run in gathered.runs] + ["--json"])
    printed = json.loads(capsys.readouterr().out)
    written = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    assert {key: written[key] for key in printed} == printed
    assert {"curves", "groups", "confusions", "utterances"} <= written.keys()


def test_tables_without_rows_are_not_written(tmp_path: Path) -> None:
    run = write_scored_run(tmp_path / "run", ROWS)
    (run / "hypotheses.jsonl").unlink()
    written = write_tables_csv(tmp_path / "csv", gather(compared(read_runs([run]))))
    assert [path.name for path in written] == ["runs.csv"]


def test_markdown_has_the_table_and_every_sentence_and_its_signs_are_escaped(tmp_path: Path) -> None:
    gathered = two(tmp_path)
    lines = markdown(gathered).splitlines()
    assert lines[0].startswith("| model | parameters |")
    assert lines[1].count("|") == lines[0].count("|")
    assert lines[2].startswith("| one | – | – | 33.33 % (2/6)")
    assert lines[3].startswith("| other\\|2 |")
    for sentence in (*gathered.comparison.statements, *gathered.comparison.notes):
        shown = sentence.replace("|", "\\|").replace("`", "\\`")
        assert f"- {shown}" in lines
    assert "| model | substitutions | deletions | insertions |" in lines


NAMES = (
    "grid_lstm",
    "_a_",
    "a__b_",
    "a*b*c",
    "**a**",
    "other|2",
    "`code`",
    "[l](javascript:alert(1))",
    "![i](x)",
    "<b>a",
    "&lt;b&gt;",
    "a\\_b",
    "end\\",
    "two  words\nin lines",
)


def test_markdown_renders_every_name_as_it_is(tmp_path: Path) -> None:
    rendered = pytest.importorskip("markdown", reason="a renderer of Markdown (tensorboard brings one)").markdown
    table = markdown_table(["model", *NAMES], [[name, *NAMES] for name in NAMES])
    rows = ElementTree.fromstring(f"<all>{rendered(table, extensions=['tables'])}</all>").findall(".//tr")
    names = [" ".join(name.split()) for name in NAMES]
    assert [[cell.text for cell in row] for row in rows] == [["model", *names], *([name, *names] for name in names)]
    for name in NAMES:
        paragraph = ElementTree.fromstring(rendered(f"a {markdown_text(name)} b", extensions=["tables"]))
        assert (len(paragraph), paragraph.text) == (0, f"a {' '.join(name.split())} b")
