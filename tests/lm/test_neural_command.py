"""`asr lm train`: what it trains on, what it leaves out, and what it writes."""

import json
import math
import re

import pytest

from asr.errors import InputError
from asr.lm.neural import load_language_model
from asr.lm.neural_command import main
from asr.lm.neural_training import Training


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("AB  BA\n" * 100 + "C\n" + "AB BA\n" * 100)
    return str(path)


SMALL = ["--layers", "1", "--size", "8", "--streams", "2", "--learning-rate", "0.02", "--unseen", "0.2"]


@pytest.mark.parametrize("architecture", [["--architecture", "lstm"], ["--tied"]])
def test_a_model_is_trained_measured_and_written(tmp_path, text, architecture, capsys):
    assert main([text, "-o", str(tmp_path / "lm"), *SMALL, *architecture, "--epochs", "20", "--reports", "2"]) == 0
    printed = capsys.readouterr().out
    model, record = load_language_model(tmp_path / "lm")
    assert model.describe()["tied"] == (architecture == ["--tied"])
    assert record["unseen_bits"] < 0.3
    assert f"{record['unseen_bits']:.4f} bits per character on 41 unseen sentences" in printed
    assert record["characters"] == pytest.approx(20 * (160 * 6 - 4), rel=0.05)
    # The sentence of the text is likelier than another of its letters.
    seen, other = model.score(["AB BA", "BB AA"])
    assert seen > other + 5


@pytest.mark.parametrize("last", ["A", "AB BA"])
def test_a_model_is_written_however_short_the_unseen_text_is(tmp_path, last):
    (tmp_path / "text.txt").write_text("AB BA\n" * 9 + last + "\n")
    options = [*SMALL, "--epochs", "1", "--unseen", "0.1"]
    assert main([str(tmp_path / "text.txt"), "-o", str(tmp_path / "lm"), *options]) == 0
    assert load_language_model(tmp_path / "lm")[1]["unseen_bits"] > 0


def test_excluded_sentences_are_left_out_and_counted(tmp_path, text, capsys):
    (tmp_path / "held_out.txt").write_text("C\nD\n")
    excluded = ["--exclude", str(tmp_path / "held_out.txt")]
    assert main([text, "-o", str(tmp_path / "lm"), *SMALL, *excluded, "--epochs", "0.5", "--unseen", "0"]) == 0
    assert "left out 1 sentences" in capsys.readouterr().out
    described = json.loads((tmp_path / "lm" / "lm.json").read_text())
    assert described["description"]["alphabet"] == "\n AB"
    assert described["metadata"]["excluded"][0]["found"] == 1
    assert "unseen_bits" not in described["metadata"]


def test_the_same_seed_gives_the_same_weights_and_another_one_others(tmp_path, text):
    weights = []
    for seed in ("1", "1", "2"):
        assert main([text, "-o", str(tmp_path / "lm"), *SMALL, "--epochs", "0.5", "--seed", seed]) == 0
        weights.append((tmp_path / "lm" / "lm.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--unseen", "1"], "--unseen must be at least 0 and less than 1, got 1.0"),
        (["--epochs", "0"], "--epochs and --reports must be more than 0, got 0.0"),
        (["--tied", "--architecture", "lstm"], "only the layers of a grid can be tied"),
        (["--streams", "4000"], "too few to train on in 4000 streams"),
        (["--streams", "0"], "streams must be at least 1, got 0"),
        (["--learning-rate", "-1"], "learning_rate must be more than 0 and finite, got -1.0"),
    ],
)
def test_what_cannot_be_trained_is_refused(tmp_path, text, wrong, message):
    with pytest.raises(InputError, match=message):
        main([text, "-o", str(tmp_path / "lm"), *wrong])


@pytest.mark.parametrize("below", ["", "lm"])
def test_an_output_that_cannot_be_written_is_refused_before_training(tmp_path, text, below, monkeypatch):
    monkeypatch.setattr(Training, "until", lambda *_, **__: pytest.fail("it was trained"))
    file = tmp_path / "a.wav"
    file.write_text("")
    with pytest.raises(InputError, match=f"-o {file / below}: .* {file} is no folder one can write to"):
        main([text, "-o", str(file / below), *SMALL])


def test_a_training_of_fewer_steps_than_reports_has_a_line_a_step(tmp_path, text, capsys):
    assert main([text, "-o", str(tmp_path / "lm"), *SMALL, "--epochs", "0.5", "--reports", "20"]) == 0
    reported = re.findall(r"(\d+) characters: (\S+) bits", capsys.readouterr().out)
    steps = math.ceil(0.5 * 160 * 6 / (2 * 64))
    assert steps < 20
    assert [int(characters) for characters, _ in reported] == [2 * 64 * (step + 1) for step in range(steps)]
    assert all(float(bits) > 0.5 for _, bits in reported)


def test_a_text_of_which_nothing_is_left_is_refused(tmp_path, text):
    with pytest.raises(InputError, match="no sentence is left of .*text.txt"):
        main([text, "-o", str(tmp_path / "lm"), "--exclude", text])


def test_nothing_is_learnt_of_noise(tmp_path):
    import random

    random.seed(0)
    path = tmp_path / "text.txt"
    path.write_text("".join("".join(random.choices("ABCD", k=20)) + "\n" for _ in range(200)))
    main([str(path), "-o", str(tmp_path / "lm"), *SMALL, "--epochs", "2"])
    bits = json.loads((tmp_path / "lm" / "lm.json").read_text())["metadata"]["unseen_bits"]
    assert bits > 20 / 21 * math.log2(4)
