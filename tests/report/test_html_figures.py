"""Charts have a mark where the numbers say, in the order and the colours of the runs."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup
from scored_run import write_scored_run

from asr.decode.hypotheses import Hypothesis
from asr.report.compare import compared
from asr.report.html.figures import (
    BOX,
    MOST_ROWS,
    columns_chart,
    cost_charts,
    error_types,
    learning_curves,
    rows_chart,
)
from asr.report.html.records import Gathered, gather
from asr.report.html.results import intervals, main_result, table
from asr.report.html.words import by_length, by_speaker
from asr.report.runs import read_runs

ONE = "epoch,seconds,train_loss,val_loss,val_wer\n1,60,4.0,3.0,1.0\n2,120,2.0,1.5,0.5\n"
OTHER = "epoch,seconds,train_loss,val_loss,val_wer\n4,600,1.0,,\n"


def elements(chart: Markup | None, name: str, class_: str = "") -> list[ElementTree.Element]:
    assert chart is not None
    return [one for one in ElementTree.fromstring(str(chart)).iter(name) if (one.get("class") or "").startswith(class_)]


def titles(chart: Markup | None) -> list[str]:
    return [str(title.text) for title in elements(chart, "title")]


def places(chart: Markup | None) -> list[tuple[str, float, float]]:
    """Colour and place of each mark."""
    found = []
    for one in elements(chart, "path", "mark"):
        x, y = str(one.get("transform")).removeprefix("translate(").removesuffix(")").split()
        found.append((str(one.get("class")).removeprefix("mark "), float(x), float(y)))
    return found


def rows_with(*errors: int, words: int = 10) -> list[Hypothesis]:
    """An utterance a number: so many of its words are wrong."""
    return [
        Hypothesis(f"u{i}", " ".join("X" * wrong + "A" * (words - wrong)), " ".join("A" * words), f"s{i}", 1.0 + i)
        for i, wrong in enumerate(errors)
    ]


def gathered_from(folder: Path, *errors: tuple[int, ...], changes: dict[int, dict[str, Any]] | None = None) -> Gathered:
    runs = [
        write_scored_run(folder / f"run{index}", rows_with(*of_run), **(changes or {}).get(index, {}))
        for index, of_run in enumerate(errors)
    ]
    return gather(compared(read_runs(runs)))


def test_every_curve_has_its_run_s_colour_and_ends_at_its_last_value(tmp_path: Path) -> None:
    gathered = gathered_from(tmp_path, (1, 2), (2, 2), changes={0: {"curve": ONE}, 1: {"curve": OTHER}})
    charts = learning_curves(gathered)
    assert len(charts) == 6
    assert titles(charts[0]) == ["run0: 2", "run1: 1"]
    assert [color for color, *_ in places(charts[0])] == ["fill0", "fill1"]
    assert titles(charts[2]) == ["run0: 50 %"]
    assert [str(one.get("class")) for one in elements(charts[0], "polyline")] == ["line stroke0", "line stroke1"]


def test_curves_lie_where_the_values_say(tmp_path: Path) -> None:
    gathered = gathered_from(tmp_path, (1, 2), changes={0: {"curve": ONE}})
    loss, *_, error_by_time = learning_curves(gathered)
    left, _, bottom, _ = BOX
    (first, second) = (
        tuple(map(float, pair.split(","))) for pair in elements(loss, "polyline")[0].attrib["points"].split()
    )
    assert second[0] - left == pytest.approx(2 * (first[0] - left), abs=0.02)  # epochs 1 and 2
    assert bottom - first[1] == pytest.approx(2 * (bottom - second[1]), abs=0.02)  # losses 4 and 2
    assert "wall time in minutes" in str(error_by_time)


def test_runs_without_curves_have_no_charts(tmp_path: Path) -> None:
    assert learning_curves(gathered_from(tmp_path, (1, 2))) == []


def test_a_chart_of_costs_has_the_runs_whose_cost_is_known_with_their_intervals(tmp_path: Path) -> None:
    models = {
        0: {"model": {"parameters": 1_000_000}},
        1: {"model": {"parameters": 4_000_000}, "real_time_factor": 0.5},
        2: {"real_time_factor": 0},
    }
    gathered = gathered_from(tmp_path, (1, 5, 2), (3, 4, 8), (1, 1, 1), changes=models)
    by_size, by_time = cost_charts(gathered, intervals(gathered))
    assert titles(by_size) == ["run0: 26.67 %, 1 M", "run1: 50 %, 4 M"]
    assert titles(by_time) == ["run1: 50 %, 0.5"]
    small, large = places(by_size)
    assert (small[0], large[0]) == ("fill0", "fill1")
    assert small[1] < large[1]
    assert small[2] > large[2]  # fewer errors are lower
    for whisker, (_, x, y) in zip(elements(by_size, "line", "whisker"), (small, large), strict=True):
        assert float(whisker.attrib["x1"]) == float(whisker.attrib["x2"]) == x
        assert float(whisker.attrib["y1"]) >= y >= float(whisker.attrib["y2"])


def test_bars_of_errors_are_as_long_as_their_counts(tmp_path: Path) -> None:
    counts = {"substitutions": 4, "deletions": 2, "insertions": 1}
    chart = error_types(gathered_from(tmp_path, (3, 4), changes={0: counts}))
    widths = [float(bar.attrib["width"]) for bar in elements(chart, "rect", "bar")]
    assert [width / widths[2] for width in widths] == pytest.approx([4, 2, 1], rel=0.01)
    assert titles(chart) == [f"run0: {n} {kind}, {100 * n / 20:g} % of the words" for kind, n in counts.items()]


def test_scores_without_kinds_of_errors_have_no_bar(tmp_path: Path) -> None:
    assert error_types(gathered_from(tmp_path, (3, 4), changes={0: {"substitutions": None}})) is None


def test_a_row_has_a_mark_for_each_run_where_its_error_rate_is(tmp_path: Path) -> None:
    gathered = gathered_from(tmp_path, (0, 8), (4, 6))
    breakdown = by_speaker(gathered)
    assert breakdown is not None
    chart = rows_chart(gathered, breakdown)
    assert titles(chart) == ["run0, s1: 80 %", "run1, s1: 60 %", "run0, s0: 0 %", "run1, s0: 40 %"]
    (_, x80, y1), (_, x60, _), (_, x0, y0), (_, x40, _) = places(chart)
    assert y1 < y0
    assert (x60 - x0) / (x80 - x0) == pytest.approx(0.75, abs=0.001)
    assert (x40 - x0) / (x80 - x0) == pytest.approx(0.5, abs=0.001)


def test_of_many_speakers_as_many_rows_are_drawn_as_the_caption_says(tmp_path: Path) -> None:
    gathered = gathered_from(tmp_path, tuple(i % 7 for i in range(MOST_ROWS + 3)))
    breakdown = by_speaker(gathered)
    assert breakdown is not None
    assert len(places(rows_chart(gathered, breakdown))) == MOST_ROWS


def test_a_column_has_the_utterances_and_words_of_its_group(tmp_path: Path) -> None:
    gathered = gathered_from(tmp_path, (0, 1, 2), (5, 5, 5))
    breakdown = by_length(gathered)
    assert breakdown is not None
    chart = columns_chart(gathered, breakdown)
    assert titles(chart) == [
        f"{run}, {n}: {w} %"
        for run, n, w in (
            ("run0", "up to 2 s", "5"),
            ("run0", "2–4 s", "20"),
            ("run1", "up to 2 s", "50"),
            ("run1", "2–4 s", "50"),
        )
    ]
    assert "2 utt., 20 words" in [one.text for one in elements(chart, "text")]


def test_the_main_result_names_the_best_system_and_what_the_tests_say(tmp_path: Path) -> None:
    wrong, right = (5,) * 40, (1,) * 40
    said = main_result(gathered_from(tmp_path / "a", wrong, right))
    assert said == (
        "run1 has the lowest word error rate, 10.00 %. It is 40.00 points below run0, a difference by every test that "
        "was made."
    )
    said = main_result(gathered_from(tmp_path / "b", (0, 2) * 20, (2, 1) * 20))
    assert said is not None
    assert said.startswith("run0 has the lowest word error rate, 10.00 %")
    runs = [
        [replace(row, speaker=f"s{n % 4}") for n, row in enumerate(rows_with(*of_run))]
        for of_run in ((4, 6) * 20, right)
    ]
    paths = [write_scored_run(tmp_path / "few" / f"run{n}", rows) for n, rows in enumerate(runs)]
    few = main_result(gather(compared(read_runs(paths))))
    assert few is not None
    assert few.endswith("40.00 points below run0, a difference by MAPSSWE alone.")
    said = main_result(gathered_from(tmp_path / "c", (2, 1) * 20, (1, 2) * 20))
    assert said is not None
    assert "no difference to run1, 0.00 points above it, can be told" in said
    assert main_result(gathered_from(tmp_path / "d", wrong)) == "run0 has a word error rate of 50.00 %."


def test_the_main_result_ranks_runs_and_means_without_hypotheses_too_and_says_that_they_were_not_tested(
    tmp_path: Path,
) -> None:
    paths = [
        write_scored_run(tmp_path / name, rows_with(*of_run))
        for name, of_run in {"best": (1,) * 4, "mean0": (3,) * 4, "mean1": (2,) * 4, "good": (4,) * 4}.items()
    ]
    untested = "that difference has no interval and was not tested."
    (tmp_path / "best" / "hypotheses.jsonl").unlink()
    assert main_result(gather(compared(read_runs([*paths[1:], paths[0]])))) == (
        f"best has the lowest word error rate, 10.00 %, 10.00 points below mean1; {untested}"
    )
    (tmp_path / "mean1" / "hypotheses.jsonl").unlink()
    runs = read_runs([paths[3], *paths[1:3]])
    assert main_result(gather(compared(runs, {"mean": runs[1:]}))) == (
        f"mean has the lowest word error rate, 25.00 %, 15.00 points below good; {untested}"
    )


def test_the_table_begins_with_the_runs_in_their_order(tmp_path: Path) -> None:
    found = table(gathered_from(tmp_path, (1, 2), (3, 4)).comparison)
    assert [row[0].text for row in found.rows] == ["run0", "run1"]
    assert [row[found.headings.index("WER")] for row in found.rows] == [("15.00 %", "3/20"), ("35.00 %", "7/20")]
