"""What lies beside a scores file is found and held against it, whether the file is given or its folder."""

from pathlib import Path

import pytest
from scored_run import write_scored_run

from asr.decode.hypotheses import Hypothesis
from asr.errors import InputError
from asr.files import read_json, write_json, write_text
from asr.report.compare import compared
from asr.report.html.records import gather
from asr.report.runs import read_runs

ROWS = [Hypothesis("u1", "A B", "A B", "ann"), Hypothesis("u2", "A", "B", "bob")]
CURVE = "epoch,seconds,train_loss,val_loss,val_wer\n1,2.5,3.0,2.0,0.9\n"


def test_scores_of_weights_that_their_folder_has_no_more_are_refused_by_file_as_by_folder(tmp_path: Path) -> None:
    model = {"source": "elsewhere/checkpoints/best.ckpt", "sha256": "0" * 64}
    run = write_scored_run(tmp_path / "run", ROWS, model=model)
    write_json(run / "scores-dev-beam.json", read_json(run / "scores.json"))
    assert read_runs([run / "scores-dev-beam.json"])
    write_text(run / "checkpoints" / "best.ckpt", "weights")
    for path, command in ((run, "--split test"), (run / "scores-dev-beam.json", "--split dev --decoder beam")):
        with pytest.raises(InputError, match=rf"of an earlier state of the run: .* with `asr test {run} {command}`"):
            read_runs([path])


def test_the_command_for_missing_scores_names_the_decoder_and_not_a_split_of_its_name(tmp_path: Path) -> None:
    run = write_scored_run(tmp_path / "run", ROWS)
    for split, options in (("beam", "--split test --decoder beam"), ("dev", "--split dev"), ("dev-flashlight", None)):
        options = options or "--split dev --decoder flashlight"
        with pytest.raises(InputError, match=rf"no scores-{split}.json: make it with `asr test {run} {options}`"):
            read_runs([run], split)


def test_scores_files_bring_seeds_and_curves_of_their_folders(tmp_path: Path) -> None:
    for seed in (0, 1):
        run = write_scored_run(tmp_path / f"grid-seed{seed}", ROWS, CURVE, {"epochs": 1}, seed=seed)
        write_text(run / "config.yaml", f"seed: {seed}\nmodel: {{encoder: {{class_path: E}}}}\n")
    found = compared(read_runs([tmp_path / f"grid-seed{seed}" / "scores.json" for seed in (0, 1)]))
    assert [(one.name, len(one.runs)) for one in found.evidence.systems] == [("grid", 2)]
    assert [(len(run.curve), run.record) for run in gather(found).runs] == [(1, {"epochs": 1})] * 2
