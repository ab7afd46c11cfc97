"""The beam search of a sweep: tuned on dev for each model that is compared, tested, compared beside the greedy one."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asr.cli import main
from asr.errors import InputError
from asr.files import read_json, write_json
from asr.sweep.description import read_sweep

Write = Callable[[dict[str, Any]], Path]


@pytest.fixture
def model(tone_root: Path, tmp_path: Path) -> Path:
    """An n-gram model of the transcripts."""
    path = tmp_path / "words.npz"
    assert main(["lm", "build", str(tone_root / "train.jsonl.gz"), "-o", str(path), "--order", "2"]) == 0
    return path


def test_a_run_is_tuned_on_dev_and_compared_by_beam_search(
    content: dict[str, Any], write: Write, commands: list[list[str]], model: Path, tmp_path: Path
) -> None:
    lm = f"{model.parent}/./{model.name}"  # written otherwise than decoder.json does
    path = write(content | {"splits": ["dev", "test"], "decoding": {"lm": lm, "trials": 2}})
    assert main(["sweep", str(path), "--only", "gru"]) == 0
    assert [verb for verb, *_ in commands] == ["fit", "test", "test", "tune-decoder", "test", "test"]
    run = tmp_path / "runs" / "gru-seed0"
    decoder = read_json(run / "decoder.json")
    assert len(decoder["trials"]) >= 2
    assert decoder["tuned_on"]["manifest"].endswith("dev.jsonl.gz")
    for name in ("scores-beam.json", "scores-dev-beam.json"):
        assert read_json(run / name)["decoding"]["alpha"] == decoder["options"]["alpha"]
    commands.clear()
    assert main(["sweep", str(path)]) == 0
    assert {rest[1 if verb == "fit" else 0].split("/")[-1].split(".")[0] for verb, *rest in commands} == {"lstm-seed0"}
    for name in ("dev", "test", "dev-beam", "test-beam"):
        assert "gru-seed0" in (tmp_path / "runs" / f"comparison-{name}.txt").read_text()


@pytest.mark.parametrize("options", [[], ["--plan"]])
def test_a_split_that_the_corpus_has_not_is_refused_before_training(
    content: dict[str, Any],
    write: Write,
    commands: list[list[str]],
    options: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["sweep", str(write(content | {"splits": ["dev", "tset"]})), *options]) == 1
    assert "has no split 'tset'; it has dev, test, train" in capsys.readouterr().err
    assert commands == []


def test_a_corpus_that_is_not_prepared_is_told_with_what_to_do_in_a_sweep(
    content: dict[str, Any],
    write: Write,
    change_base: Callable[[str, Any], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change_base("data.root", str(tmp_path / "nowhere"))
    assert main(["sweep", str(write(content)), "--plan"]) == 1
    error = capsys.readouterr().err
    assert f"data.root of {tmp_path / 'base.yaml'}: there is no folder {tmp_path / 'nowhere'}" in error
    assert "asr-prepare" in error
    assert "--root" not in error


def test_another_language_model_or_number_of_trials_is_tuned_and_tested_anew(
    content: dict[str, Any], write: Write, commands: list[list[str]], model: Path, tmp_path: Path
) -> None:
    other = shutil.copyfile(model, tmp_path / "others.npz")
    for lm in (other, model):
        commands.clear()
        path = write(content | {"decoding": {"lm": str(lm), "trials": 1}})
        assert main(["sweep", str(path), "--only", "gru"]) == 0
    assert [verb for verb, *_ in commands] == ["tune-decoder", "test"]
    for trials, expected in ((2, ["tune-decoder", "test"]), (2, [])):
        commands.clear()
        path = write(content | {"decoding": {"lm": str(model), "trials": trials}})
        assert main(["sweep", str(path), "--only", "gru"]) == 0
        assert [verb for verb, *_ in commands] == expected
    assert read_json(tmp_path / "runs" / "gru-seed0" / "scores-beam.json")["decoding"]["lm"]["path"] == str(model)


def test_all_seeds_of_a_model_get_the_weights_that_are_best_for_them_together(
    content: dict[str, Any], write: Write, commands: list[list[str]], model: Path, tmp_path: Path
) -> None:
    path = write(content | {"seeds": [0, 1], "decoding": {"lm": str(model), "trials": 2}})
    assert main(["sweep", str(path), "--only", "gru"]) == 0
    assert [verb for verb, *_ in commands] == ["fit", "test", "fit", "test", "tune-decoder", "test", "test"]
    runs = [tmp_path / "runs" / f"gru-seed{seed}" for seed in (0, 1)]
    first, second = (read_json(run / "decoder.json") for run in runs)
    assert first["options"] == second["options"]
    assert first["trials"] == second["trials"]
    together = first["tuned_on"]["together_sha256"]
    assert together == [first["tuned_on"]["model_sha256"], second["tuned_on"]["model_sha256"]]
    one = read_json(runs[0] / "scores.json")
    assert {trial["words"] for trial in first["trials"]} != {one["words"]}
    commands.clear()
    assert main(["sweep", str(path), "--only", "gru"]) == 0
    assert commands == []


def test_scores_of_another_decoder_than_the_present_one_are_made_anew(
    content: dict[str, Any], write: Write, commands: list[list[str]], model: Path, tmp_path: Path
) -> None:
    path = write(content | {"decoding": {"lm": str(model), "trials": 1}})
    assert main(["sweep", str(path), "--only", "gru"]) == 0
    decoder = tmp_path / "runs" / "gru-seed0" / "decoder.json"  # as if it was stopped after tuning anew
    write_json(decoder, read_json(decoder) | {"options": read_json(decoder)["options"] | {"alpha": 0.123}})
    commands.clear()
    assert main(["sweep", str(path), "--only", "gru"]) == 0
    assert [verb for verb, *_ in commands] == ["test"]
    assert read_json(decoder.parent / "scores-beam.json")["decoding"]["alpha"] == 0.123


def test_a_beam_search_that_fails_is_tried_once_by_a_command_and_again_by_the_next(
    content: dict[str, Any], write: Write, commands: list[list[str]], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(content | {"seeds": [0, 1]})
    assert main(["sweep", str(path), "--only", "gru"]) == 0
    unreadable = shutil.copyfile(model, model.parent / "broken.npz")
    unreadable.write_bytes(b"no model")
    path = write(content | {"seeds": [0, 1], "decoding": {"lm": str(unreadable), "trials": 1}})
    for _ in range(2):
        commands.clear()
        assert main(["sweep", str(path), "--only", "gru"]) == 1
        assert [verb for verb, *_ in commands] == ["tune-decoder"]
    assert "gru-seed0: tuning the decoder failed" in capsys.readouterr().err


def test_nothing_is_trained_without_the_language_model_that_it_is_to_be_decoded_with(
    content: dict[str, Any], write: Write, commands: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(content | {"decoding": {"lm": "nowhere.npz"}})
    assert main(["sweep", str(path), "--plan"]) == 0
    assert main(["sweep", str(path)]) == 1
    assert "there is no file nowhere.npz" in capsys.readouterr().err
    assert commands == []


@pytest.mark.parametrize(
    ("decoding", "message"),
    [
        ({"trials": 3}, "decoding of .* needs the option lm"),
        ({"lm": "{model}", "trials": 0}, "decoding.trials must be at least 1, got 0"),
        ({"lm": "{model}", "beam": 3}, "beam"),
        ("words.npz", "decoding of .* must be a mapping of options"),
    ],
)
def test_a_decoding_that_cannot_be_is_refused(
    content: dict[str, Any], write: Write, model: Path, decoding: Any, message: str
) -> None:
    if isinstance(decoding, dict) and "lm" in decoding:
        decoding = decoding | {"lm": decoding["lm"].format(model=model)}
    with pytest.raises(InputError, match=message):
        read_sweep(write(content | {"decoding": decoding}))


def test_scores_without_the_calibration_of_other_weights_are_not_made_again(
    content: dict[str, Any], write: Write, commands: list[list[str]], model: Path, tmp_path: Path
) -> None:
    path = write(content | {"decoding": {"lm": str(model), "trials": 1}})
    assert main(["sweep", str(path), "--only", "gru"]) == 0
    decoder = tmp_path / "runs" / "gru-seed0" / "decoder.json"  # as if the run was trained further after tuning
    record = read_json(decoder)
    options = record["options"] | {"confidence": {"bias": 0.1, "share": 0.5, "posterior": 0.2}}
    write_json(decoder, record | {"options": options, "tuned_on": record["tuned_on"] | {"model_sha256": "0" * 64}})
    for _ in range(2):
        commands.clear()
        assert main(["sweep", str(path), "--only", "gru"]) == 0
    assert commands == []
