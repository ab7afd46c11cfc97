"""The character prediction example: how it cuts the text, the size of its nets, and what it keeps."""

import json
import runpy
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "examples" / "characters.py"
CHARACTERS = runpy.run_path(str(FILE))
LINES = [f"LINE {number:04}" for number in range(1000)]


def numbers(text):
    return [int(line.split()[1]) for line in text.splitlines()]


def test_unseen_stretches_lie_at_five_places_with_gaps_around_them():
    texts = CHARACTERS["split"](LINES, set(), 0)
    for start in range(0, 1000, 200):
        inside = {start + number for number in range(200)}
        assert sorted(inside.intersection(numbers(texts.training))) == list(range(start, start + 178))
        assert sorted(inside.intersection(numbers(texts.tuning))) == list(range(start + 182, start + 186))
        assert sorted(inside.intersection(numbers(texts.unseen))) == list(range(start + 190, start + 196))


def test_excluded_lines_and_their_margins_are_in_no_text_and_counted():
    texts = CHARACTERS["split"](LINES, {"LINE 0000", "LINE 0300", "LINE 0302", "ELSEWHERE"}, 2)
    seen = {number for text in texts[:3] for number in numbers(text)}
    assert seen.isdisjoint([0, 1, 2, *range(298, 305)])
    assert {3, 297, 305} <= seen
    assert (texts.counts["excluded"], texts.counts["in the margins"]) == (3, 7)
    parts = ("excluded", "in the margins", "in gaps", "repeated", "training", "tuning", "unseen")
    assert sum(texts.counts[part] for part in parts) == texts.counts["lines"] == 1000


def test_a_line_that_is_unseen_is_not_trained_on_where_it_is_repeated():
    lines = list(LINES)
    lines[5] = lines[192]
    texts = CHARACTERS["split"](lines, set(), 0)
    assert texts.counts["repeated"] == 1
    assert 192 in numbers(texts.unseen)
    assert 192 not in numbers(texts.training)


def test_runs_of_eight_words_that_both_texts_have_are_counted():
    words = "A B C D E F G H I J"
    assert CHARACTERS["shared_runs"]([words], ["A B C D E F G H X", "B C D E F G H I J", "A B"]) == (4, 3)


@pytest.mark.parametrize("layers", [3, 6])
@pytest.mark.parametrize("net", CHARACTERS["NETS"])
def test_all_nets_have_the_size_that_makes_their_parameters_nearest(net, layers):
    model = CHARACTERS["build"](net, layers, 20_000, "\n AB", 0)
    described = model.describe()
    sizes = {}
    for size in range(described["size"] - 1, described["size"] + 2):
        sizes[size] = type(model)(**described | {"size": size}).parameter_count()
    assert min(sizes, key=lambda size: abs(sizes[size] - 20_000)) == described["size"]


@pytest.fixture
def command(tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text("".join(f"A BAD CAB {number}\n" for number in range(3000)))
    arguments = [tmp_path / "text.txt", "-o", tmp_path / "out", "--parameters", "1500", "--layers", "1"]
    arguments += ["--seconds", "0.2", "--trial-seconds", "0.05", "--plot", tmp_path / "plot.png"]
    monkeypatch.setattr(sys, "argv", [str(FILE), *map(str, arguments)])
    return lambda: runpy.run_path(str(FILE), run_name="__main__")


def test_each_model_is_trained_once_and_kept_and_a_table_and_a_plot_are_made(command, tmp_path, capsys):
    command()
    first = capsys.readouterr().out.splitlines()
    rows = [line.split(" | ")[0] for line in first if line.startswith("| ")]
    assert rows == ["| model", "| ---", "| lstm", "| grid", "| tied grid"]
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    kept = {name: (tmp_path / "out" / f"{name}.json").read_bytes() for name in ("lstm_1", "grid_1", "tied_grid_1")}
    assert all(json.loads(content)["points"][-1]["seconds"] >= 0.2 for content in kept.values())
    assert numbers((tmp_path / "out" / "unseen.txt").read_text().replace("A BAD CAB", "LINE"))[0] == 570
    (tmp_path / "out" / "grid_1.json").unlink()
    command()
    again = {name: (tmp_path / "out" / f"{name}.json").read_bytes() for name in kept}
    assert {name for name in kept if kept[name] != again[name]} == {"grid_1"}


def test_models_can_be_timed_without_training_them_and_times_are_of_these_speeds(command, tmp_path, capsys):
    sys.argv.append("--time")
    command()
    speeds = json.loads((tmp_path / "out" / "speeds.json").read_text())
    assert list(speeds) == ["lstm_1", "grid_1", "tied_grid_1"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["speeds.json"]
    (tmp_path / "out" / "speeds.json").write_text(json.dumps({"lstm_1": 50.0, "grid_1": 100.0, "tied_grid_1": 1e-3}))
    sys.argv.pop()
    capsys.readouterr()
    command()
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    assert [row[5] for row in rows] == ["50", "100", "0"]


def test_bits_between_two_points_are_interpolated_over_the_logarithm_of_time():
    result = {"net": "lstm", "layers": 1, "points": []}
    for characters, bits in ((100, 4.0), (10_000, 2.0)):
        result["points"].append({"seconds": 7.0, "characters": characters, "unseen_bits": bits})
    timed = CHARACTERS["timed"](result, {"lstm_1": 100.0})
    assert [point["seconds"] for point in timed["points"]] == [1.0, 100.0]
    assert CHARACTERS["at_seconds"](timed, 10.0) == pytest.approx(3.0)
    assert CHARACTERS["timed"](result, {})["speed"] == pytest.approx(10_000 / 7)
