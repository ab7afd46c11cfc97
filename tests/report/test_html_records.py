"""What lies beside scores is read, and what does not is said."""

from pathlib import Path

import pytest
from scored_run import write_scored_run
from tone_corpus import tone_cut, write_tone_corpus

from asr.data.cuts import read_cuts
from asr.decode.hypotheses import Hypothesis
from asr.errors import InputError
from asr.files import read_jsonl, write_jsonl
from asr.report.compare import compared
from asr.report.html.records import Gathered, gather, read_curve, snr_of
from asr.report.runs import read_runs

ROWS = [Hypothesis("u1", "A B", "A B"), Hypothesis("u2", "A", "B")]
CURVE = "epoch,step,seconds,train_loss,val_cer,val_loss,val_wer\n1,5,2.5,3.0,0.5,2.0,0.9\n2,10,5.0,1.0,,,\n"


def gathered_from(*folders: Path, **options: Path) -> Gathered:
    return gather(compared(read_runs(folders)), **options)  # type: ignore[arg-type]


def test_a_curve_has_a_row_an_epoch_and_none_where_nothing_was_measured(tmp_path: Path) -> None:
    run = write_scored_run(tmp_path / "run", ROWS, CURVE)
    [record] = gathered_from(run).runs
    assert record.curve == ((1, 2.5, 3.0, 2.0, 0.9), (2, 5.0, 1.0, None, None))
    assert record.missing == ()


def test_a_damaged_curve_is_named_with_file_row_and_column(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,val_wer\n1,0.5\n2,half\n")
    with pytest.raises(InputError, match=r"metrics.csv, row 2, val_wer: 'half' is not a number"):
        read_curve(tmp_path / "metrics.csv")


def test_values_that_are_not_finite_are_no_points_of_a_curve(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,train_loss\n1,nan\n2,inf\n")
    assert [epoch.train_loss for epoch in read_curve(tmp_path / "metrics.csv")] == [None, None]


def test_what_a_foreign_system_lacks_is_said(tmp_path: Path) -> None:
    run = write_scored_run(tmp_path / "run", ROWS)
    (run / "hypotheses.jsonl").unlink()
    gathered = gathered_from(run)
    assert gathered.detailed == ()
    assert gathered.utterances == ()
    assert gathered.runs[0].missing == (
        f"there is no {run}/hypotheses.jsonl: its errors are counted in the table only",
        "no metrics.csv with epochs: no learning curve",
    )
    assert gathered.missing == (
        "no audio and no spectrograms: the scores name no manifest of the test set (--cuts FILE names the manifest)",
    )


def test_a_manifest_of_another_machine_is_said_to_be_missing_and_may_be_named(tmp_path: Path) -> None:
    root = write_tone_corpus(tmp_path / "root", {"test": 2})
    rows = [Hypothesis(f"test-00{i}", "A", "A") for i in range(2)]
    run = write_scored_run(tmp_path / "run", rows, manifest="/elsewhere/test.jsonl.gz")
    said = gathered_from(run).missing[0]
    assert said.startswith("no audio and no spectrograms: cannot read /elsewhere/test.jsonl.gz")
    found = gathered_from(run, manifest=root / "test.jsonl.gz")
    assert (found.missing, sorted(found.cuts)) == ((), ["test-000", "test-001"])
    assert [one.speaker for one in found.utterances] == ["test-speaker-0", "test-speaker-1"]
    assert [one.seconds for one in found.utterances] == [cut.duration for cut in found.cuts.values()]


def test_a_manifest_named_from_another_folder_is_found_in_the_corpus_of_the_run(tmp_path: Path) -> None:
    root = write_tone_corpus(tmp_path / "root", {"test": 2})
    rows = [Hypothesis(f"test-00{i}", "A", "A") for i in range(2)]
    record = {"data_root": str(root)}
    run = write_scored_run(tmp_path / "run", rows, None, record, manifest="relative/root/test.jsonl.gz")
    assert sorted(gathered_from(run).cuts) == ["test-000", "test-001"]


def test_references_that_are_no_cuts_are_passed_over_for_the_manifest_of_another_run(tmp_path: Path) -> None:
    root = write_tone_corpus(tmp_path / "root", {"test": 2})
    rows = [Hypothesis(f"test-00{i}", "A", "A") for i in range(2)]
    (tmp_path / "text").write_text("test-000 A\ntest-001 A\n")
    imported = write_scored_run(tmp_path / "imported", rows, manifest=str(tmp_path / "text"))
    own = write_scored_run(tmp_path / "own", rows, manifest=str(root / "test.jsonl.gz"))
    assert sorted(gathered_from(imported, own).cuts) == ["test-000", "test-001"]
    assert gathered_from(imported, own).missing == ()
    assert "text" in gathered_from(imported).missing[0]


def test_a_named_manifest_must_exist_and_have_the_utterances(tmp_path: Path) -> None:
    root = write_tone_corpus(tmp_path / "root", {"dev": 2})
    run = write_scored_run(tmp_path / "run", ROWS)
    with pytest.raises(InputError, match=r"cannot read \S+nothing.jsonl"):
        gathered_from(run, manifest=tmp_path / "nothing.jsonl")
    with pytest.raises(InputError, match="has none of the 2 utterances that were scored"):
        gathered_from(run, manifest=root / "dev.jsonl.gz")


def test_speaker_and_duration_come_from_any_run_that_knows_them(tmp_path: Path) -> None:
    known = [Hypothesis(row.id, row.hypothesis, row.reference, "ann", 1.5) for row in ROWS]
    runs = [write_scored_run(tmp_path / "foreign", ROWS), write_scored_run(tmp_path / "own", known)]
    assert {(one.speaker, one.seconds) for one in gathered_from(*runs).utterances} == {("ann", 1.5)}


@pytest.mark.parametrize("of_supervision", [False, True])
def test_a_ratio_is_that_of_the_cut_or_of_its_supervision(tmp_path: Path, of_supervision: bool) -> None:
    root = write_tone_corpus(tmp_path / "root", {"test": 3})
    cuts = list(read_jsonl(root / "test.jsonl.gz"))
    (cuts[0]["supervisions"][0] if of_supervision else cuts[0])["custom"] = {"snr": 10}
    cuts[1]["custom"] = {"snr": "loud"}
    write_jsonl(root / "noisy.jsonl", cuts)
    first, second, third = read_cuts(root / "noisy.jsonl")
    assert snr_of(first) == 10.0
    assert snr_of(third) is None
    with pytest.raises(InputError, match="cut 'test-001': its field 'snr' is 'loud', and must be a number of dB"):
        snr_of(second)


def test_an_ordinary_cut_has_no_ratio(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "one.jsonl", [tone_cut("one", "test", 0, "A", 16000)])
    assert [snr_of(cut) for cut in read_cuts(tmp_path / "one.jsonl")] == [None]
