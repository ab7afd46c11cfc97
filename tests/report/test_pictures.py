"""The picture of a comparison shows the utterance, the words and the counts that it should."""

import re
import shutil

import pytest
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from asr.decode.hypotheses import Hypothesis, read_hypotheses
from asr.errors import InputError
from asr.files import read_json, read_jsonl, write_json, write_jsonl
from asr.report.compare import main, read_runs
from asr.report.pictures import (
    COLORS,
    MOST_BARS,
    WRONG,
    choose_utterance,
    comparison_figure,
    comparison_picture,
    group_errors,
    read_groups,
)
from asr.score.errors import ErrorCounts
from asr.score.scores import score


def texts(figure: Figure) -> list[tuple[str, str]]:
    """All texts of a figure with their colours."""
    return [(text.get_text(), text.get_color()) for text in figure.findobj(Text)]


def test_the_words_of_each_model_are_written_with_their_errors_in_red(two_runs):
    runs = read_runs(two_runs)
    for utterance in ("test-000", "test-002"):
        written = texts(comparison_figure(runs, utterance))
        [right, wrong] = [next(row for row in read_hypotheses(run.hypotheses) if row.id == utterance) for run in runs]
        assert (f"said: {right.reference}", "black") in written
        for word in right.hypothesis.split():
            assert (word, "black") in written
        reference = right.reference.split()
        for word, said in zip(wrong.hypothesis.split(), reference, strict=True):
            assert (word, "black" if word == said else WRONG) in written
        assert {("right:", COLORS[0]), ("wrong:", COLORS[1])} <= set(written)


def test_a_missed_word_stands_in_brackets(two_runs, tmp_path):
    shutil.copytree(two_runs[0], tmp_path / "run")
    scores = read_json(tmp_path / "run" / "scores.json")
    manifest = two_runs[0].parent / "root" / "longer.jsonl"
    cuts = list(read_jsonl(scores["manifest"]))
    for cut in cuts:
        cut["supervisions"][0]["text"] += " CCCC"
    write_jsonl(manifest, cuts)
    write_json(tmp_path / "run" / "scores.json", {**scores, "manifest": str(manifest)})
    written = texts(comparison_figure(read_runs([tmp_path / "run"]), "test-000"))
    assert ("[CCCC]", WRONG) in written


def test_the_names_of_three_models_are_inside_the_picture(two_runs, tmp_path):
    runs = [tmp_path / f"a_model_with_a_long_name-seed{seed}" for seed in range(3)]
    for run in runs:
        shutil.copytree(two_runs[0], run)
    figure = comparison_figure(read_runs(runs))
    figure.draw_without_rendering()
    [legend] = figure.findobj(Legend)
    assert [text.get_text() for text in legend.get_texts()] == [run.name for run in runs]
    corners = legend.get_window_extent().corners()
    assert all(figure.bbox.contains(x, y) for x, y in corners), corners


def test_bars_are_labelled_with_the_counts_of_scores_json(two_runs):
    written = " ".join(text for text, _ in texts(comparison_figure(read_runs(two_runs))))
    for run in two_runs:
        scores = read_json(run / "scores.json")
        for counts in [*scores["speakers"].values(), scores]:
            assert f"{100 * counts['wer']:.1f} % ({counts['errors']}/{counts['words']})" in written


def test_a_choice_of_utterance_says_how_it_was_made(two_runs):
    def caption(*arguments):
        return next(text for text, _ in texts(comparison_figure(*arguments)) if text.startswith("Utterance "))

    assert ", on which the models differ most. " in caption(read_runs(two_runs))
    assert caption(read_runs(two_runs), "test-001").startswith("Utterance test-001. ")
    assert "differ" not in caption(read_runs(two_runs[:1]))


def test_families_of_voices_replace_speakers_when_they_are_known(two_runs, tmp_path):
    table = tmp_path / "voices.tsv"
    table.write_text("speaker\tsex\tfamily\ntest-speaker-0\tF\tformants\ntest-speaker-1\tM\tformants\n")
    written = [text for text, _ in texts(comparison_figure(read_runs(two_runs), groups=read_groups(table)))]
    assert "formants" in written
    assert not [text for text in written if "speaker-" in text]


def test_the_picture_is_a_png_and_the_same_one_twice(two_runs, tmp_path, capsys):
    picture = tmp_path / "a.png"
    assert main([*map(str, two_runs), "--picture", str(picture), "--utterance", "test-001"]) == 0
    assert f"picture: {picture}" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    comparison_picture(read_runs(two_runs), tmp_path / "b.png", "test-001")
    assert (tmp_path / "b.png").read_bytes() == picture.read_bytes()
    comparison_picture(read_runs(two_runs), tmp_path / "c.png", "test-003")
    assert (tmp_path / "c.png").read_bytes() != picture.read_bytes()


def test_json_output_stays_json_when_a_picture_is_drawn(two_runs, tmp_path, capsys):
    main([*map(str, two_runs), "--json", "--picture", str(tmp_path / "a.png")])
    output = capsys.readouterr()
    assert output.out.startswith("{")
    assert output.out.rstrip().endswith("}")
    assert "picture: " in output.err


def test_the_utterance_shown_is_one_on_which_the_models_differ_most():
    def rows(*hypotheses):
        references = ["A B", "A B C", "A B C", "A"]
        return [Hypothesis(f"u{i}", h, r) for i, (h, r) in enumerate(zip(hypotheses, references, strict=True))]

    systems = [score(rows("A B", "X X X", "A B C", "A")), score(rows("A X", "X X X", "A X X", "A"))]
    seconds = {"u0": 1.0, "u1": 1.0, "u2": 1.0, "u3": 1.0}
    assert choose_utterance(systems, seconds) == "u2"  # none and two errors; in u1 both have three
    assert choose_utterance(systems, {**seconds, "u2": 60.0}) == "u0"  # too long to be read in a picture
    assert choose_utterance(systems, dict.fromkeys(seconds, 60.0)) == "u2"
    assert choose_utterance(systems[:1], seconds) == "u1"  # one system, no difference: most words, then first by id


def test_group_errors_add_up_whatever_the_groups():
    rows = [Hypothesis(f"u{n}", "A X", "A B", f"s{n:02d}") for n in range(30)]
    scores = score(rows)
    for groups in (None, {f"s{n:02d}": f"g{n % 3}" for n in range(30)}, {"s00": "known"}):
        counts = group_errors(scores, groups)
        assert counts["all"] == scores.words
        assert sum((c for name, c in counts.items() if name != "all"), ErrorCounts()) == scores.words
        assert len(counts) <= MOST_BARS + 1
    assert "15 others" in group_errors(scores, None)
    assert group_errors(scores, {"s00": "known"})["others"].length == 58


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"speaker\tvoice\n1\tx\n", "no column family"),
        (b"", "no column family, speaker"),
        (None, "cannot be read"),
        (b"speaker\tfamily\n1\tx\n2\n", "speaker '2' has no family"),
        (b"\xff\xfe", "no table of UTF-8 text"),
    ],
)
def test_a_table_of_families_that_is_none_is_refused(tmp_path, content, named):
    if content is not None:
        (tmp_path / "voices.tsv").write_bytes(content)
    with pytest.raises(InputError, match=named):
        read_groups(tmp_path / "voices.tsv")


def test_an_unknown_utterance_is_refused_by_name(two_runs):
    with pytest.raises(InputError, match="--utterance nobody: there is no such utterance in"):
        comparison_figure(read_runs(two_runs), "nobody")


def test_scores_of_unknown_audio_cannot_be_drawn(two_runs, tmp_path):
    shutil.copytree(two_runs[0], tmp_path / "run")
    scores = read_json(tmp_path / "run" / "scores.json")
    write_json(tmp_path / "run" / "scores.json", {k: v for k, v in scores.items() if k != "manifest"})
    with pytest.raises(InputError, match=re.escape(f"the scores of {tmp_path / 'run'} do not name the manifest")):
        comparison_figure(read_runs([tmp_path / "run"]))


def test_a_scores_file_leads_to_the_model_that_made_it(two_runs, tmp_path):
    runs = read_runs([two_runs[0] / "scores.json"])
    source = read_json(two_runs[0] / "scores.json")["model"]["source"]
    assert source.endswith("model.safetensors")
    assert ("scores:", COLORS[0]) in texts(comparison_figure(runs))
    write_json(tmp_path / "scores.json", {**read_json(two_runs[0] / "scores.json"), "model": None})
    shutil.copy(two_runs[0] / "hypotheses.jsonl", tmp_path)
    with pytest.raises(InputError, match="name no model that could hear an utterance: were they imported"):
        comparison_figure(read_runs([tmp_path / "scores.json"]))
