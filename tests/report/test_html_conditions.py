"""What `asr robustness` kept of runs stands in their report, side by side where it may."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from report_page import Elements, html_of
from scored_run import write_scored_run

from asr.cli import main
from asr.decode.hypotheses import Hypothesis
from asr.errors import InputError
from asr.files import read_json, write_json
from asr.report.compare import compared
from asr.report.html.exports import tables
from asr.report.html.figures import rows_chart
from asr.report.html.records import Gathered, gather
from asr.report.html.words import by_condition
from asr.report.runs import read_runs

ROWS = [Hypothesis("u1", "A B", "A B", "ann"), Hypothesis("u2", "A", "B", "bob")]


def row(condition: str, errors: int, words: int = 20) -> dict[str, Any]:
    counts = {"words": words, "errors": errors, "substitutions": errors, "deletions": 0, "insertions": 0}
    return {"condition": condition, "utterances": 4, "wer": errors / words, "cer": 0.0, **counts}


def record(*rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    kept = {"model": {"sha256": "m"}, "manifest": "d/test.jsonl.gz", "seed": 0, "limit": None, "decoding": "greedy"}
    return {**kept, "rows": list(rows), **changes}


def gathered_from(folder: Path, *records: dict[str, Any] | None, **scores: Any) -> Gathered:
    runs = [write_scored_run(folder / f"run{n}", ROWS, **scores) for n in range(len(records))]
    for run, kept in zip(runs, records, strict=True):
        if kept is not None:
            write_json(run / "robustness.json", kept)
    return gather(compared(read_runs(runs)))


def test_what_asr_robustness_keeps_in_a_run_folder_is_drawn_and_written(two_runs: tuple[Path, Path]) -> None:
    few = ["--noise", "white", "--snr", "20", "-10", "--speed", "--rate", "--minutes", "0"]
    kept = two_runs[0] / "robustness.json"
    assert (
        main(["robustness", str(two_runs[0]), "--root", str(two_runs[0].parent / "root"), *few, "--json", str(kept)])
        == 0
    )
    measured = {row["condition"]: row for row in read_json(kept)["rows"]}
    gathered = gather(compared(read_runs(two_runs)))
    breakdown = by_condition(gathered)
    assert breakdown is not None
    assert [group.name for group in breakdown.groups] == list(measured) == ["unchanged", "white 20 dB", "white -10 dB"]
    titles = [title.text for title in ElementTree.fromstring(str(rows_chart(gathered, breakdown))).iter("title")]
    assert titles == [f"right, {name}: {100 * round(row['wer'], 4):.4g} %" for name, row in measured.items()]
    found = tables(gathered)["conditions"]
    assert [(one["run"], one["condition"], one["wer"]) for one in found] == [
        ("right", name, row["wer"]) for name, row in measured.items()
    ]
    page = Elements(html_of(*two_runs))
    kept.unlink()
    assert "conditions" in page.values("section", "id")
    assert "white -10 dB" in page.texts


def test_conditions_that_a_run_lacks_are_left_out_of_its_row(tmp_path: Path) -> None:
    gathered = gathered_from(
        tmp_path, record(row("a", 1), row("b", 2)), None, record(row("b", 3), row("c", 4)), manifest="d/test.jsonl.gz"
    )
    breakdown = by_condition(gathered)
    assert breakdown is not None
    counts = {group.name: [count and count.errors for count in group.counts] for group in breakdown.groups}
    assert counts == {"a": [1, None, None], "b": [2, None, 3], "c": [None, None, 4]}
    assert not any("robustness" in reason for run in gathered.runs for reason in run.missing)


def test_runs_that_were_not_measured_so_have_no_such_part(tmp_path: Path) -> None:
    assert by_condition(gathered_from(tmp_path, None)) is None


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (record(row("a", 1), seed=1), "is of another split, seed, number of utterances or decoder"),
        (record(row("a", 1), limit=4), "is of another split, seed, number of utterances or decoder"),
        (record(row("a", 1), decoding={"decoder": "beam"}), "is of another split, seed, number of utterances"),
        (record(row("a", 1, words=21)), "is of another split, seed, number of utterances or decoder"),
        (record(row("a", 1), manifest="dev.jsonl.gz"), "is of dev.jsonl.gz, and its scores are of test.jsonl.gz"),
        (record(row("a", 1), model={"sha256": "n"}), "is of other weights than its scores"),
    ],
)
def test_what_was_measured_otherwise_is_not_beside_the_rest_and_the_reason_is_said(
    tmp_path: Path, other: dict[str, Any], reason: str
) -> None:
    known = {"manifest": "e/test.jsonl.gz", "model": {"sha256": "m"}}
    gathered = gathered_from(tmp_path, record(row("a", 2)), other, **known)
    breakdown = by_condition(gathered)
    assert breakdown is not None
    assert [count and count.errors for count in breakdown.groups[0].counts] == [2, None]
    assert reason in gathered.runs[1].missing[-1]
    assert len(gathered.runs[0].missing) == 1  # no learning curve


@pytest.mark.parametrize("kept", [[], {}, {"rows": [{}]}, record(row("a", 1), model=None), record({"condition": "a"})])
def test_another_kind_of_file_is_refused_by_its_name(tmp_path: Path, kept: Any) -> None:
    with pytest.raises(InputError, match=r"run0/robustness.json is no record that `asr robustness --json` wrote"):
        gathered_from(tmp_path, kept)
