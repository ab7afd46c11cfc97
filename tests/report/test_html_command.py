"""`asr report` from end to end, what it refuses, and what it says."""

from pathlib import Path

import pytest
from report_page import EVIL, Elements
from scored_run import write_scored_run

from asr.cli import main as asr
from asr.decode.hypotheses import Hypothesis
from asr.errors import InputError
from asr.report.html.command import date_of_page, main

ROWS = [Hypothesis("u1", "A B", "A B", "ann", 1.0), Hypothesis("u2", "A", "B", "bob", 2.0)]


def test_one_command_writes_everything_that_is_asked_for(
    two_runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"-o": "report.html", "--markdown": "report.md", "--csv": "tables", "--json": "report.json"}
    options = [part for option, name in names.items() for part in (option, str(tmp_path / name))]
    assert asr(["report", *map(str, two_runs), *options, "--number", "2"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json", "report.md", "tables"]
    assert Elements((tmp_path / "report.html").read_text(encoding="utf-8")).tags["article"] == 2
    said = capsys.readouterr().out
    assert f"wrote {tmp_path}/report.html (" in said
    assert "2 utterances)" in said


def test_the_utterances_asked_for_are_shown_in_that_order(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    main([str(two_runs[0]), "-o", str(page), "--utterances", "test-003,test-001"])
    labels = Elements(page.read_text(encoding="utf-8")).values("audio", "aria-label")
    assert labels == ["Utterance test-003", "Utterance test-001"]


def test_an_empty_list_and_the_number_zero_show_none(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    for option in (["--utterances", ""], ["--number", "0"]):
        main([str(two_runs[0]), "-o", str(tmp_path / "report.html"), *option])
        assert Elements((tmp_path / "report.html").read_text(encoding="utf-8")).tags["article"] == 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ([], "asr report writes nothing: give -o FILE.html, --markdown FILE, --csv FOLDER or --json FILE"),
        (["-o", "page.html", "--utterances", "u1,u7"], "--utterances: u7 not among the 2 utterances"),
        (["-o", "page.html", "--number", "-1"], "--number must be at least 0, got -1"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], named: str
) -> None:
    run = write_scored_run(tmp_path / "run", ROWS)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=named):
        main([str(run), *options])
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("rows", "normalizer", "named"),
    [
        (ROWS[:1], "verbatim/1", "1 utterances are in .*one only"),
        ([ROWS[0], Hypothesis("u2", "A", "C")], "verbatim/1", "1 references differ"),
        (ROWS, "english/1", "their texts were normalised by"),
    ],
)
def test_runs_that_asr_compare_refuses_are_refused_by_the_same_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[Hypothesis], normalizer: str, named: str
) -> None:
    one = write_scored_run(tmp_path / "one", ROWS)
    other = write_scored_run(tmp_path / "other", rows, normalizer=normalizer)
    assert asr(["report", str(one), str(other), "-o", str(tmp_path / "page.html")]) == 1
    said = capsys.readouterr().err
    assert asr(["compare", str(one), str(other)]) == 1
    assert capsys.readouterr().err == said
    assert not (tmp_path / "page.html").exists()


def test_common_utterances_alone_are_shown_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    one = write_scored_run(tmp_path / "one", ROWS)
    other = write_scored_run(tmp_path / "other", ROWS[1:])
    page = tmp_path / "page.html"
    main([str(one), str(other), "--common", "-o", str(page)])
    found = Elements(page.read_text(encoding="utf-8"))
    assert found.tags["article"] == 1
    assert "1 of 2 utterances of one are left out: u1." in found.texts


def test_families_of_voices_have_a_part_of_their_own(tmp_path: Path) -> None:
    run = write_scored_run(tmp_path / "run", ROWS)
    (tmp_path / "voices.tsv").write_text("speaker\tfamily\nann\thuman\nbob\trobot\n")
    main([str(run), "-o", str(tmp_path / "page.html"), "--groups", str(tmp_path / "voices.tsv")])
    found = Elements((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "families" in found.values("section", "id")
    assert {"human", "robot"} <= set(found.texts)


def test_runs_of_several_seeds_stand_with_their_mean_in_the_table(tmp_path: Path) -> None:
    errors = [Hypothesis(row.id, "X", row.reference, row.speaker) for row in ROWS]
    runs = [write_scored_run(tmp_path / f"seed{i}", rows, seed=i) for i, rows in enumerate((ROWS, errors))]
    other = write_scored_run(tmp_path / "other", errors)
    page = tmp_path / "page.html"
    main([str(other), "--seeds-of", "both=" + ",".join(map(str, runs)), "-o", str(page)])
    found = Elements(page.read_text(encoding="utf-8"))
    assert {"other", "seed0", "seed1", "both, mean of 2"} <= set(found.texts)
    assert any(text.startswith("both has the lowest word error rate") for text in found.texts)


def test_another_split_is_read_and_named(tmp_path: Path) -> None:
    run = write_scored_run(tmp_path / "run", ROWS)
    for name in ("scores.json", "hypotheses.jsonl"):
        stem, ending = name.split(".")
        (run / name).rename(run / f"{stem}-dev.{ending}")
    main([str(run), "--split", "dev", "-o", str(tmp_path / "page.html")])
    assert "run on dev" in Elements((tmp_path / "page.html").read_text(encoding="utf-8")).texts


def test_the_date_can_be_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert f"{date_of_page():%Y-%m-%d %H:%M}" == "1970-01-02 00:00"
    for given in (EVIL, "1e400", "99999999999999999999"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", given)
        with pytest.raises(InputError, match="SOURCE_DATE_EPOCH"):
            date_of_page()
