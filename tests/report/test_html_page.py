"""The page says what it should of any runs, loads nothing, and lets no text become markup."""

import re
from collections import Counter
from pathlib import Path

import pytest
from report_page import CURVE, EVIL, Elements, evil_runs, html_of
from scored_run import write_scored_run
from tone_corpus import tone_cut, write_tone_corpus

from asr.decode.hypotheses import Hypothesis
from asr.files import write_jsonl
from asr.report.compare import compared
from asr.report.runs import read_runs

ROWS = [
    Hypothesis("test-000", "A B C", "A B C", "ann", 1.0),
    Hypothesis("test-001", "A X", "A B", "ann", 3.0),
    Hypothesis("test-002", "B B", "B", "bob", 5.0),
]


def test_a_page_of_whole_runs_has_every_part(two_runs: tuple[Path, Path]) -> None:
    for run in two_runs:
        (run / "metrics.csv").write_text(CURVE)
    found = Elements(html_of(*two_runs))
    ids = list(found.values("section", "id"))
    assert ids == ["table", "curves", "cost", "types", "words", "speakers", "length", "utterances", "origin"]
    assert {f"#{name}" for name in ids} <= set(found.values("a", "href"))
    assert found.tags["article"] == found.tags["audio"] == found.tags["image"] == 3
    for run in two_runs:
        (run / "metrics.csv").unlink()


def test_every_link_of_the_contents_leads_somewhere(two_runs: tuple[Path, Path]) -> None:
    found = Elements(html_of(*two_runs))
    ids = [value for _, name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {target.removeprefix("#") for target in found.values("a", "href")} <= set(ids)


def test_nothing_is_loaded_from_elsewhere(two_runs: tuple[Path, Path]) -> None:
    content = html_of(*two_runs)
    found = Elements(content)
    loading = [value for _, name, value in found.attributes if name in ("src", "href", "srcset", "data", "poster")]
    assert loading
    assert all(value.startswith(("#", "data:")) for value in loading)
    assert "@import" not in content
    assert "url(" not in content
    policy = next(value for value in found.values("meta", "content") if "default-src" in value)
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy


def test_the_same_runs_give_the_same_bytes(two_runs: tuple[Path, Path]) -> None:
    assert html_of(*two_runs) == html_of(*two_runs)


def test_the_numbers_of_the_table_stand_in_the_page(two_runs: tuple[Path, Path]) -> None:
    comparison = compared(read_runs(two_runs))
    texts = Elements(html_of(*two_runs)).texts
    for run in comparison.runs:
        assert f"{100 * run.scores['wer']:.2f} %" in texts
        assert f"{run.scores['errors']}/{run.scores['words']}" in texts
    for sentence in (*comparison.statements, *comparison.notes):
        assert sentence in texts


def test_alignments_show_every_word_and_mark_the_errors(tmp_path: Path) -> None:
    found = Elements(html_of(write_scored_run(tmp_path / "one", ROWS)))
    classes = Counter(found.values("span", "class"))
    assert (classes["word substitution"], classes["word insertion"], classes["word hit"]) == (1, 1, 5)
    assert "X" in found.texts


def test_what_is_missing_is_listed_and_the_rest_is_there(tmp_path: Path) -> None:
    own = write_scored_run(tmp_path / "own", ROWS, CURVE, {"data": "train: 5 utterances, 1 h, 2 batches", "epochs": 2})
    foreign = write_scored_run(tmp_path / "foreign", ROWS)
    bare = write_scored_run(tmp_path / "bare", ROWS)
    (bare / "hypotheses.jsonl").unlink()
    found = Elements(html_of(own, foreign, bare))
    said = "\n".join(found.texts)
    assert "foreign, bare: no metrics.csv with epochs: no learning curve" in said
    assert "hypotheses.jsonl: its errors are counted in the table only" in said
    assert "no audio and no spectrograms: the scores name no manifest of the test set" in said
    assert "5 utterances, 1 h" in said
    assert (found.tags["article"], found.tags["audio"]) == (3, 0)
    assert {"curves", "types", "words"} <= set(found.values("section", "id"))
    assert "cost" not in found.values("section", "id")


def test_runs_with_nothing_but_scores_have_a_page(tmp_path: Path) -> None:
    run = write_scored_run(tmp_path / "run", ROWS)
    (run / "hypotheses.jsonl").unlink()
    found = Elements(html_of(run))
    assert found.values("section", "id") == ["table", "types", "missing", "origin"]


@pytest.mark.parametrize("rows", [[Hypothesis("u", "", "")], [Hypothesis("u", "A", "")], [Hypothesis("u", "", "A B")]])
def test_empty_references_and_hypotheses_have_a_page(tmp_path: Path, rows: list[Hypothesis]) -> None:
    runs = [write_scored_run(tmp_path / name, rows) for name in ("one", "other")]
    assert "table" in Elements(html_of(*runs)).values("section", "id")


def test_error_rates_by_ratio_are_shown_where_the_cuts_state_it(tmp_path: Path) -> None:
    root = write_tone_corpus(tmp_path / "root", {"other": 1})
    cuts = [tone_cut(row.id, "test", 0, row.reference or "", 16000) for row in ROWS]
    for cut, ratio in zip(cuts, (5, 20), strict=False):
        cut["custom"] = {"snr": ratio}
    write_jsonl(root / "noisy.jsonl", cuts)
    found = Elements(html_of(write_scored_run(tmp_path / "run", ROWS), manifest=root / "noisy.jsonl"))
    assert "snr" in found.values("section", "id")
    assert {"5 dB", "20 dB", "not mixed"} <= set(found.texts)


def test_no_text_becomes_markup(tmp_path: Path) -> None:
    harmless = re.sub(r"\S", "W", EVIL)
    evil = Elements(html_of(*evil_runs(tmp_path / "evil", EVIL)))
    plain = Elements(html_of(*evil_runs(tmp_path / "plain", harmless)))
    assert evil.tags == plain.tags
    assert evil.tags["script"] == 1
    assert [name for _, name, _ in evil.attributes] == [name for _, name, _ in plain.attributes]
    assert any(EVIL in text for text in evil.texts)
    assert "49" not in evil.texts
