"""`asr lm train`: a language model of characters from text."""

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from asr.errors import InputError
from asr.files import obstacle
from asr.lm.neural import BOUNDARY, CharacterLanguageModel, bits_per_character, save_language_model
from asr.lm.neural_training import Training, TrainingOptions
from asr.lm.sentences import Exclusion, read_sentences, without_held_out
from asr.provenance import provenance
from asr.text import normalizer

STREAMS = 16
"""Of the text that the trained model is measured on; less where it is short, so that each has two characters."""


def main(arguments: Sequence[str]) -> int:
    """`asr lm train`."""
    given = _parser().parse_args(arguments)
    _check_output(Path(given.output))
    options = TrainingOptions(given.learning_rate, given.streams, seed=given.seed)
    sentences, exclusions = _sentences(given)
    cut = len(sentences) - math.ceil(len(sentences) * given.unseen)
    training_text, unseen_text = (
        BOUNDARY.join([*part, ""]) for part in (sentences[:cut], sentences[cut:])
    )  # each sentence with a boundary behind it
    torch.manual_seed(given.seed)
    alphabet = "".join(sorted({BOUNDARY, *training_text, *unseen_text}))
    model = CharacterLanguageModel(alphabet, given.architecture, given.layers, given.size, given.tied)
    training = Training(model, model.encode(training_text), options)
    unseen = model.encode(unseen_text)
    print(f"{model.parameter_count()} parameters, {len(training.codes)} characters of {cut} sentences")
    for exclusion in exclusions:
        print(
            f"left out {exclusion.sentences} sentences that are in {exclusion.path} "
            f"({exclusion.found} of its {exclusion.transcripts} different transcripts were found)"
        )
    _train(training, given.epochs, given.reports)
    record = _record(given, training, exclusions)
    if len(unseen):
        streams = min(STREAMS, len(unseen) // 2)
        record["unseen_bits"] = float(bits_per_character(training.averaged, unseen, streams).mean())
        print(f"{record['unseen_bits']:.4f} bits per character on {len(sentences) - cut} unseen sentences")
    save_language_model(training.averaged, given.output, record)
    print(f"wrote {Path(given.output) / 'lm.safetensors'} and lm.json")
    return 0


def _check_output(folder: Path) -> None:
    """Whether the model can be written, which is to be known before it is trained.

    Raises:
        InputError: there is a file in the folder's place or above it, or a folder that cannot be written.
    """
    if found := obstacle(folder):
        raise InputError(f"-o {folder}: no model can be written there, since {found} is no folder one can write to")


def _train(training: Training, epochs: float, reports: int) -> None:
    """Train for so many passes over the text, in equal parts with a line each; a step may end several of them."""
    began = time.perf_counter()
    for part in range(reports):
        characters = epochs * len(training.codes) * (part + 1) / reports
        if training.characters < characters:
            bits = training.until(characters=characters)
            print(f"{time.perf_counter() - began:.0f} s, {training.characters} characters: {bits:.3f} bits", flush=True)


def _sentences(given: argparse.Namespace) -> tuple[list[str], list[Exclusion]]:
    """The sentences of all texts in their order, without the excluded ones.

    Raises:
        InputError: a file cannot be read, or there are none left.
    """
    if not 0 <= given.unseen < 1:
        raise InputError(f"--unseen must be at least 0 and less than 1, got {given.unseen}")
    if not (given.epochs > 0 and given.reports > 0):
        raise InputError(f"--epochs and --reports must be more than 0, got {given.epochs} and {given.reports}")
    normalize = normalizer(given.normalizer)
    texts = [normalize(sentence) for path in given.text for sentence in read_sentences(path)]
    sentences, exclusions = without_held_out([text for text in texts if text], given.exclude, normalize)
    if not sentences:
        raise InputError(f"no sentence is left of {', '.join(given.text)}")
    return sentences, exclusions


def _record(given: argparse.Namespace, training: Training, exclusions: Sequence[Exclusion]) -> dict[str, Any]:
    return {
        "texts": list(given.text),
        "normalizer": given.normalizer,
        "excluded": [exclusion._asdict() for exclusion in exclusions],
        "training": asdict(training.options),
        "steps": training.steps,
        "characters": training.characters,
        "training_cpu_seconds": training.seconds,
        "provenance": provenance(),
    }


def _parser() -> argparse.ArgumentParser:
    options = TrainingOptions()
    parser = argparse.ArgumentParser(
        prog="asr lm train",
        description="Train a language model of characters: a stacked LSTM, or a Grid LSTM of time x depth. Sentences "
        "are read in their order, as many streams side by side; what is kept is an average of the weights.",
        epilog="Writes lm.safetensors and lm.json, for asr lm rescore.",
    )
    parser.add_argument("text", nargs="+", help="text, a sentence a line, or manifests, as for asr lm build")
    parser.add_argument("-o", "--output", required=True, help="folder for the model")
    parser.add_argument(
        "--exclude", nargs="+", action="extend", default=[], metavar="FILE", help="held-out transcripts"
    )
    parser.add_argument("--architecture", choices=["lstm", "grid"], default="grid", help="default: %(default)s")
    parser.add_argument("--layers", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--size", type=int, default=128, help="of the hidden vectors (default: %(default)s)")
    parser.add_argument("--tied", action="store_true", help="the layers of a grid share their weights")
    parser.add_argument("--learning-rate", type=float, default=options.learning_rate, help="default: %(default)s")
    parser.add_argument("--streams", type=int, default=options.streams, help="default: %(default)s")
    parser.add_argument("--epochs", type=float, default=2.0, help="passes over the text (default: %(default)s)")
    parser.add_argument("--reports", type=int, default=20, help="lines on how it goes, at most (default: %(default)s)")
    parser.add_argument(
        "--unseen", type=float, default=0.01, help="share of the sentences, the last, to measure on (default: 0.01)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--normalizer", default="verbatim/1", help="of the text (default: %(default)s)")
    return parser
