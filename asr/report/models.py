"""`asr models`: what the models of configurations cost, before anything is trained."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from asr.errors import InputError
from asr.experiment import Experiment, NoModelError, read_experiment
from asr.model import CTCModel
from asr.report.tables import plain_table

CHARACTERS = 29
"""Tokens of a head whose token set is not known yet: the blank, the space, the apostrophe and A to Z."""

HEADINGS = ("configuration", "encoder", "parameters", "multiply-adds/s", "frames/s", "can stream")


@dataclass(frozen=True)
class ModelSummary:
    """Size and cost of a model with its CTC head.

    Args:
        config: path of the configuration.
        encoder: class of the encoder.
        parameters: trainable ones.
        multiply_adds_per_second: of matrix products and convolutions, for a second of audio.
        frame_rate: output frames a second.
        streamable: whether an output frame waits for no more than a bounded stretch of later input.
        tokens: outputs of the head, which are counted.
    """

    config: str
    encoder: str
    parameters: int
    multiply_adds_per_second: int
    frame_rate: float
    streamable: bool
    tokens: int


def summarize(path: Path | str, tokens: int = CHARACTERS) -> ModelSummary:
    """Build the model of a configuration, without memory for its weights, and count.

    Raises:
        NoModelError: there is no model.encoder.
        InputError: the file or its model block cannot be used; the message names it.
    """
    return summary_of(read_experiment(path), tokens)


def summary_of(experiment: Experiment, tokens: int) -> ModelSummary:
    """The same of a configuration that was read; errors as for `summarize`."""
    features = experiment.features()
    with torch.device("meta"):
        model = CTCModel(experiment.encoder(features.num_mels), tokens)
    frames_per_second = features.sample_rate / features.hop_length
    return ModelSummary(
        config=str(experiment.path),
        encoder=type(model.encoder).__name__,
        parameters=model.parameter_count(),
        multiply_adds_per_second=model.multiply_adds_per_second(frames_per_second),
        frame_rate=frames_per_second / model.encoder.subsampling,
        streamable=model.encoder.streamable,
        tokens=tokens,
    )


def table(summaries: Sequence[ModelSummary]) -> str:
    """One line a model, aligned."""
    rows = [
        (
            summary.config,
            summary.encoder,
            f"{summary.parameters:,}",
            f"{summary.multiply_adds_per_second / 1e6:,.1f} M",
            f"{summary.frame_rate:.1f}",
            "yes" if summary.streamable else "no",
        )
        for summary in summaries
    ]
    return plain_table(HEADINGS, rows)


def main(arguments: Sequence[str]) -> int:
    """`asr models`. The exit code is 1 if a configuration could not be used, or if none has a model."""
    parser = argparse.ArgumentParser(
        prog="asr models",
        description="Print parameters, multiply-adds for a second of audio, output frames a second, and whether the "
        "model could stream, for each configuration. Nothing is trained or loaded.",
    )
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="YAML files, as for `asr fit -c`")
    parser.add_argument(
        "--tokens",
        type=int,
        default=CHARACTERS,
        metavar="V",
        help="tokens of the CTC head, the blank included (default: %(default)s, English characters)",
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects instead of a table")
    options = parser.parse_args(arguments)
    if options.tokens < 2:
        raise InputError(f"--tokens must be at least 2, the blank and one more, got {options.tokens}")
    summaries, failed = [], False
    for path in options.configs:
        try:
            summaries.append(summarize(path, options.tokens))
        except NoModelError as error:
            print(f"left out: {error}", file=sys.stderr)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            failed = True
    if options.json:
        print(json.dumps([asdict(summary) for summary in summaries], indent=2))
    elif summaries:
        print(table(summaries))
        print(f"With a CTC head of {options.tokens} tokens.")
    return int(failed or not summaries)
