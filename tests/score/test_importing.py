"""`asr import` as a user runs it: another system's hypotheses join the comparison."""

import pytest

from asr.cli import main as asr_main
from asr.decode.hypotheses import Hypothesis, read_hypotheses, write_hypotheses
from asr.errors import InputError
from asr.files import read_json, write_json, write_jsonl
from asr.report.compare import main as compare
from asr.score.foreign import read_texts
from asr.score.formats import format_trn
from asr.score.importing import main
from asr.score.scores import score

ROWS = [
    Hypothesis("u1", "THE CAT", "THE CAT SAT", "anna", 1.5),
    Hypothesis("u2", "A HAT", "A CAT", "bo", 2.0),
    Hypothesis("u3", "UM", "", "bo", 0.5),
]


@pytest.fixture
def run(tmp_path):
    """A run folder that was scored: 2 errors of 5 words and an insertion."""
    folder = tmp_path / "run"
    write_hypotheses(folder / "hypotheses.jsonl", ROWS)
    write_json(folder / "scores.json", score(ROWS, "english/1").to_dict())
    return folder


def imported(tmp_path, run, content, *arguments, name="other.trn"):
    (tmp_path / name).write_text(content)
    assert main([str(tmp_path / name), "--references", str(run), "-o", str(tmp_path / "other"), *arguments]) == 0
    return read_json(tmp_path / "other" / "scores.json")


def test_an_imported_system_stands_in_the_table_beside_a_run(run, tmp_path, capsys):
    scores = imported(tmp_path, run, "THE CAT SAT (u1)\nA CAT (u2)\nUM (u3)\n", "--name", "their system")
    assert (scores["errors"], scores["words"], scores["normalizer"]) == (1, 5, "english/1")
    assert (scores["model"]["name"], scores["imported"]["missing_as_empty"]) == ("their system", [])
    capsys.readouterr()
    assert compare([str(run), str(tmp_path / "other")]) == 0
    printed = capsys.readouterr().out
    assert "60.00 % (3/5)" in printed
    assert "20.00 % (1/5)" in printed


def test_the_export_of_a_run_is_imported_with_the_same_counts(run, tmp_path):
    assert asr_main(["sclite", str(run), "-o", str(tmp_path / "sclite")]) == 0
    for name, options in (("hyp.trn", ()), ("hyp.ctm", ())):
        folder = tmp_path / name.replace(".", "-")
        assert asr_main(["import", str(tmp_path / "sclite" / name), "--references", str(run), "-o", str(folder)]) == 0
        assert (folder / "hypotheses.jsonl").read_bytes() == (run / "hypotheses.jsonl").read_bytes(), options
        assert read_json(folder / "scores.json")["wer"] == read_json(run / "scores.json")["wer"]


def test_confidences_of_a_ctm_are_scored_where_all_words_have_one(run, tmp_path):
    lines = ["u1 1 0 0.5 THE 0.9", "u1 1 0.5 0.5 CAT 0.8", "u2 1 0 1 A 0.7", "u2 1 1 1 HAT {}"]
    scores = imported(tmp_path, run, "\n".join([*lines, ""]).format("0.2"), "--missing-as-empty", name="other.ctm")
    assert [row.confidences for row in read_hypotheses(tmp_path / "other" / "hypotheses.jsonl")] == [
        (0.9, 0.8),
        (0.7, 0.2),
        (),
    ]
    assert (scores["confidences"]["words"], scores["confidences"]["right"]) == (4, 3)
    assert scores["confidences"]["area"] == 1.0
    for unknown in ("", "-1.6"):  # none, and a logarithm
        scores = imported(
            tmp_path, run, "\n".join([*lines, ""]).format(unknown), "--missing-as-empty", name="other.ctm"
        )
        assert scores["confidences"] is None


def test_a_normaliser_that_joins_words_leaves_no_confidences(run, tmp_path):
    content = "u1 1 0 1 the 0.9\nu1 1 1 1 ?! 0.8\nu2 1 0 1 a 0.7\n"
    for name, expected in (("", 3), ("english/1", None)):
        options = ["--normalizer", name] if name else []
        scores = imported(tmp_path, run, content, "--missing-as-empty", *options, name="other.ctm")
        assert (scores["confidences"] or {}).get("words") == expected


def test_speakers_and_durations_come_from_the_references(run, tmp_path):
    imported(tmp_path, run, "A (u1)\nB (u2)\nC (u3)\n")
    rows = read_hypotheses(tmp_path / "other" / "hypotheses.jsonl")
    assert [(row.id, row.reference, row.speaker, row.seconds) for row in rows] == [
        (row.id, row.reference, row.speaker, row.seconds) for row in ROWS
    ]


def test_a_speaker_before_the_id_is_passed_over(run, tmp_path):
    scores = imported(tmp_path, run, "THE CAT SAT (anna-u1)\nA CAT (bo_u2)\n(u3)\n")
    assert scores["errors"] == 0
    for content, named in (
        ("A (anna-u1)\nA (u1)\nA (bo-u2)\n(u3)\n", "anna-u1"),
        ("A (anna-u1)\nA (anna_u1)\nA (bo-u2)\n(u3)\n", "anna-u1, anna_u1"),
    ):
        with pytest.raises(InputError, match=f"^1 utterances occur twice, with and without their speaker: {named}$"):
            imported(tmp_path, run, content)


def test_an_id_that_could_be_of_two_speakers_is_refused(tmp_path):
    write_hypotheses(tmp_path / "r.jsonl", [Hypothesis("b-c", "", "A", "a"), Hypothesis("c", "", "A", "a-b")])
    with pytest.raises(InputError, match="does not have: a-b-c"):
        imported(tmp_path, tmp_path / "r.jsonl", "A (b-c)\nA (a-b-c)\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("A (u1)\nA (u3)\n", "1 of 3 utterances have no hypothesis: u2; .* --missing-as-empty"),
        ("A (u1)\nA (u2)\nA (u3)\nA (u4)\n", "1 of 4 hypotheses are of utterances that .* does not have: u4"),
        ("A (bo-u1)\nA (u2)\nA (u3)\n", "does not have: bo-u1"),  # it was anna
        ("A (u1)\nA (u2)\nA (u2)\n", "1 utterances occur more than once: u2"),
    ],
)
def test_missing_unknown_and_repeated_utterances_are_refused_by_name_and_nothing_is_written(
    run, tmp_path, content, message
):
    with pytest.raises(InputError, match=message):
        imported(tmp_path, run, content)
    assert not (tmp_path / "other").exists()


def test_missing_utterances_count_as_deleted_where_that_is_said(run, tmp_path, capsys):
    scores = imported(tmp_path, run, "u1 1 0 1 THE\n", "--missing-as-empty", name="h.ctm")
    assert (scores["deletions"], scores["errors"]) == (2 + 2, 4)
    assert scores["imported"]["missing_as_empty"] == ["u2", "u3"]
    said = capsys.readouterr().out
    assert "note: 2 utterances without a hypothesis were scored as empty: u2, u3" in said
    assert "hypotheses are empty" not in said


def test_empty_hypotheses_are_stated(run, tmp_path, capsys):
    imported(tmp_path, run, "(u1)\nA (u2)\n(u3)\n")
    assert "note: 2 hypotheses are empty: u1, u3" in capsys.readouterr().out


def test_texts_that_are_not_written_as_the_references_are_named_and_a_normaliser_treats_them_alike(
    run, tmp_path, capsys
):
    content = '{"id": "u1", "text": "The cat sat."}\n{"id": "u2", "text": "a cat"}\n{"id": "u3", "text": ""}\n'
    scores = imported(tmp_path, run, content, name="h.jsonl")
    assert (scores["errors"], scores["imported"]["normalizer"]) == (5, None)
    assert (
        "note: the references were normalised by english/1, and 2 hypotheses are not written so: u1, u2; "
        "--normalizer english/1 treats them alike" in capsys.readouterr().out
    )
    scores = imported(tmp_path, run, content, "--normalizer", "english/1", name="h.jsonl")
    assert (scores["errors"], scores["normalizer"], scores["imported"]["normalizer"]) == (0, "english/1", "english/1")
    assert read_hypotheses(tmp_path / "other" / "hypotheses.jsonl")[0].hypothesis == "THE CAT SAT"
    assert "not written so" not in capsys.readouterr().out


def test_a_split_has_names_of_its_own(run, tmp_path):
    (run / "hypotheses.jsonl").rename(run / "hypotheses-dev.jsonl")
    (tmp_path / "h.txt").write_text("u1 A\nu2 A\nu3\n")
    arguments = ["--references", str(run), "--split", "dev", "-o", str(tmp_path / "other")]
    assert main([str(tmp_path / "h.txt"), *arguments]) == 0
    names = sorted(path.name for path in (tmp_path / "other").iterdir())
    assert names == ["alignments-dev.txt", "hypotheses-dev.jsonl", "scores-dev.json"]


@pytest.mark.parametrize("kind", ["ref.trn", "text", "refs.jsonl"])
def test_references_may_be_a_file_too(run, tmp_path, kind):
    references = {row.id: row.reference for row in ROWS}
    if kind == "ref.trn":
        (tmp_path / kind).write_text(format_trn(references))
        assert read_texts(tmp_path / kind) == references
    elif kind == "text":
        (tmp_path / kind).write_text("".join(f"{name} {text}\n" for name, text in references.items()))
    else:
        write_jsonl(tmp_path / kind, [{"id": name, "text": text} for name, text in references.items()])
    scores = imported(tmp_path, tmp_path / kind, "THE CAT (u1)\nA CAT (u2)\n(u3)\n", name="h.trn")
    assert (scores["errors"], scores["normalizer"]) == (1, None)
    assert scores["reference_digest"] == read_json(run / "scores.json")["reference_digest"]


def test_cuts_of_a_prepared_corpus_bring_its_normaliser_and_durations(tmp_path):
    from tone_corpus import write_tone_corpus

    root = write_tone_corpus(tmp_path / "root", {"test": 2})
    write_json(root / "normalization.json", {"name": "english", "version": 1})
    from asr.data.cuts import read_cuts, text_of

    cuts = list(read_cuts(root / "test.jsonl.gz"))
    content = format_trn({cut.id: text_of(cut) for cut in cuts})
    scores = imported(tmp_path, root / "test.jsonl.gz", content)
    assert (scores["errors"], scores["normalizer"], scores["utterances"]) == (0, "english/1", 2)
    rows = read_hypotheses(tmp_path / "other" / "hypotheses.jsonl")
    assert {row.id: row.seconds for row in rows} == {cut.id: cut.duration for cut in cuts}


def test_the_folder_of_a_run_of_ours_is_not_overwritten_and_one_imported_is(run, tmp_path):
    (tmp_path / "h.txt").write_text("u1 A\nu2 A\nu3\n")
    with pytest.raises(InputError, match="holds a run of another system"):
        main([str(tmp_path / "h.txt"), "--references", str(run), "-o", str(run)])
    (tmp_path / "begun" / "checkpoints").mkdir(parents=True)  # trained, not yet scored
    with pytest.raises(InputError, match="begun holds a run of another system"):
        main([str(tmp_path / "h.txt"), "--references", str(run), "-o", str(tmp_path / "begun")])
    for _ in range(2):
        imported(tmp_path, run, "A (u1)\nA (u2)\n(u3)\n")


def test_a_run_that_was_collected_has_references_and_is_exported_as_the_run_is(run, tmp_path):
    assert asr_main(["results", "collect", str(run), "-o", str(tmp_path / "results")]) == 0
    exported = []
    for source in (run, tmp_path / "results" / "run"):
        scores = imported(tmp_path, source, "THE CAT SAT (u1)\nA CAT (u2)\nUM (u3)\n")
        assert (scores["errors"], scores["normalizer"]) == (1, "english/1")
        assert asr_main(["sclite", str(source), "-o", str(tmp_path / "sclite")]) == 0
        exported.append([path.read_text() for path in sorted((tmp_path / "sclite").iterdir())])
    assert exported[0] == exported[1]
