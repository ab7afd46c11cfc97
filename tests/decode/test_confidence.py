"""The calibration of confidences: its fit against definitions, and what the decoder does with it."""

import argparse
import math
from dataclasses import replace

import numpy as np
import pytest
from small_arpa import ARPA

from asr.data.tokens import CharacterTokenizer
from asr.decode.calibration import calibrate
from asr.decode.confidence import PRIOR, Calibration, Evidence, calibration_from_dict, fit
from asr.decode.options import DecodingOptions, add_decoding_arguments, decoding_from_dict, decoding_of
from asr.decode.pool import ReaderPool
from asr.decode.reading import Reader, Reading
from asr.decode.tuning import Task
from asr.errors import InputError
from asr.files import write_json


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def simulated(truth: Calibration, words: int, seed: int = 0) -> tuple[list[Evidence], list[bool]]:
    rng = np.random.default_rng(seed)
    evidence = [Evidence(*row) for row in rng.uniform(0.02, 0.98, size=(words, 2)).tolist()]
    return evidence, [bool(rng.uniform() < truth(word)) for word in evidence]


def test_the_map_is_logistic_in_the_log_odds():
    found = Calibration(0.3, 0.5, 0.2)(Evidence(0.9, 0.6))
    assert logit(found) == pytest.approx(0.3 + 0.5 * logit(0.9) + 0.2 * logit(0.6), abs=1e-3)


@pytest.mark.parametrize("bias", [-999_999.0, 999_999.0])
def test_no_weight_overflows(bias):
    assert Calibration(bias, 0.0, 0.0)(Evidence(0.5, 0.5)) in (0.0, 1.0)


@pytest.mark.parametrize("certain", [Evidence(1.0, 1.0), Evidence(0.0, 0.0), Evidence(1.0, 0.0)])
def test_certainty_stays_finite(certain):
    assert 0 < Calibration(0.0, 0.5, 0.5)(certain) < 1


def test_the_fit_finds_what_made_the_data():
    truth = Calibration(0.4, 0.6, 0.3)
    found = fit(*simulated(truth, 40_000))
    assert [found.bias, found.share, found.posterior] == pytest.approx([0.4, 0.6, 0.3], abs=0.04)


def test_the_fit_is_where_the_slope_of_likelihood_and_prior_vanishes():
    evidence, right = simulated(Calibration(-0.2, 0.8, 0.5), 60)
    found = fit(evidence, right)
    features = np.array([[1.0, logit(word.share), logit(word.posterior)] for word in evidence])
    weights = np.array([found.bias, found.share, found.posterior])
    slope = features.T @ (1 / (1 + np.exp(-features @ weights)) - right) + PRIOR * (weights - [0, 1, 0])
    assert np.abs(slope).max() < 0.02  # weights are rounded to four digits


def test_words_that_a_threshold_separates_give_finite_weights():
    evidence = [Evidence(0.9, 0.9)] * 50 + [Evidence(0.1, 0.1)] * 50
    found = fit(evidence, [True] * 50 + [False] * 50)
    assert found(Evidence(0.9, 0.9)) > 0.95
    assert found(Evidence(0.1, 0.1)) < 0.05


def test_more_evidence_never_lowers_a_confidence():
    evidence, _ = simulated(Calibration(0.0, 1.0, 0.0), 500)
    found = fit(evidence, [word.share + 1 - word.posterior > 1 for word in evidence])
    assert found.share > 0
    assert found.posterior == 0.0
    opposed = fit(evidence, [word.share + word.posterior < 1 for word in evidence])
    assert (opposed.share, opposed.posterior) == (0.0, 0.0)


def test_few_words_leave_the_share_nearly_as_it_is():
    found = fit([Evidence(0.6, 0.5), Evidence(0.4, 0.5)], [True, False])
    assert found.share == pytest.approx(1.0, abs=0.35)


@pytest.mark.parametrize("right", [[], [True, True], [False, False]])
def test_nothing_is_fitted_to_words_that_are_all_right_or_all_wrong(right):
    assert fit([Evidence(0.5, 0.5)] * len(right), right) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1, 2, 3], "decoder.json, confidence must be an object with bias, share, posterior"),
        ({"bias": 0, "share": 1}, "must be an object with bias, share, posterior"),
        ({"bias": 0, "share": "1", "posterior": 0}, "share must be a number between 0 and 1e\\+06, got '1'"),
        (
            {"bias": float("nan"), "share": 1, "posterior": 0},
            "bias must be a number between -1e\\+06 and 1e\\+06, got nan",
        ),
        ({"bias": 10**400, "share": 1, "posterior": 0}, "bias must be a number between"),
        (
            {"bias": 0, "share": True, "posterior": 0},
            "share must be a number between 0 and 1e\\+06, got True",
        ),
        ({"bias": 0, "share": 1, "posterior": -0.1}, "posterior must be a number between 0"),
    ],
)
def test_a_calibration_of_another_form_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        decoding_from_dict({"decoder": "beam", "confidence": given}, "decoder.json")


def test_options_with_a_calibration_survive_plain_data():
    options = DecodingOptions("beam", confidence=Calibration(0.1, 0.5, 0.25))
    assert decoding_from_dict(options.to_dict(), "here") == options
    assert calibration_from_dict(options.confidence.to_dict(), "here") == options.confidence
    assert options.to_record()["confidence"] == {"bias": 0.1, "share": 0.5, "posterior": 0.25}
    assert "confidence" not in replace(options, confidence=None).to_record()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([], True),
        (["--beam", "9", "--alpha", "0.4"], True),  # which is what was tuned
        (["--beam", "1"], False),
        (["--beam-threshold", "5"], False),
        (["--token-threshold", "0"], False),
        (["--top-tokens", "3"], False),
        (["--blank-skip", "0.99"], False),
        (["--alpha", "0.5"], False),
        (["--beta", "0"], False),
        (["--no-look-ahead"], False),
        (["--lexicon", "words.txt"], False),
    ],
)
def test_a_calibration_is_dropped_where_another_search_is_asked_for_than_was_tuned(tmp_path, capsys, given, kept):
    calibration = Calibration(0.1, 0.5, 0.25)
    (tmp_path / "lm.arpa").write_text(ARPA)
    tuned = DecodingOptions("beam", lm=str(tmp_path / "lm.arpa"), alpha=0.4, beam=9, confidence=calibration)
    write_json(tmp_path / "decoder.json", {"options": tuned.to_dict()})
    parser = argparse.ArgumentParser()
    add_decoding_arguments(parser)
    options = parser.parse_args(["--decoder-config", str(tmp_path / "decoder.json"), *given])
    assert decoding_of(options).confidence == (calibration if kept else None)
    said = capsys.readouterr().err
    if kept:
        assert said == ""
    else:
        option = given[0].replace("--no-", "--")
        assert (
            f"the confidences of words are not calibrated: {tmp_path / 'decoder.json'} was tuned with another" in said
        )
        assert f"({option} {getattr(decoding_of(options), option[2:].replace('-', '_'))}, not " in said


TOKENIZER = CharacterTokenizer(" AB")


def doubtful(share: float, words: int) -> np.ndarray:
    """Log-probabilities of words A, each of which is B with probability 1 - share."""
    rows = []
    for _ in range(words):
        rows += [
            [1e-6, 1e-6, share, 1 - share],
            [1.0, 1e-6, 1e-6, 1e-6],
            [1e-6, 1.0, 1e-6, 1e-6],
            [1.0, 1e-6, 1e-6, 1e-6],
        ]
    probabilities = np.array(rows)
    return np.log(probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float32)


def reading(**options) -> Reading:
    return Reading(TOKENIZER.to_dict(), 0.03, DecodingOptions("beam", **options))


def test_a_reader_applies_the_calibration_to_words_and_changes_no_text():
    calibration = Calibration(-0.2, 0.5, 0.3)
    [plain] = Reader(reading()).read([doubtful(0.7, 3)])
    [sure] = Reader(reading(confidence=calibration)).read([doubtful(0.7, 3)])
    assert (plain.text, plain.tokens) == (sure.text, sure.tokens)
    assert [word.confidence for word in plain.words] == pytest.approx([0.7] * 3, abs=0.02)
    expected = calibration(Evidence(0.7, 0.7))
    assert [word.confidence for word in sure.words] == pytest.approx([expected] * 3, abs=0.01)


@pytest.mark.parametrize("processes", [0, 1])
def test_a_calibrated_decoder_promises_as_many_right_words_as_there_are(processes):
    # The decoder believes 0.9; of every ten words seven are what was said.
    batches = [[doubtful(0.9, 10)] * 4] * 10
    references = [[" ".join("AAAAAAABBB")] * 4] * 10
    readers = ReaderPool(reading(), processes)
    try:
        found = calibrate(Task(batches, references), readers, reading().options)
    finally:
        readers.close()
    assert found.before.expected == pytest.approx(0.9, abs=0.02)
    assert found.after.expected == pytest.approx(0.7, abs=0.01)
    assert found.after.normalised_cross_entropy > found.before.normalised_cross_entropy


def test_a_task_without_errors_is_not_calibrated():
    task = Task([[doubtful(0.9, 2)]], [["A A"]])
    assert calibrate(task, ReaderPool(reading()), reading().options) is None
    silent = Task([[np.log(np.array([[1.0, 1e-6, 1e-6, 1e-6]], dtype=np.float32))]], [["A"]])
    assert calibrate(silent, ReaderPool(reading()), reading().options) is None
