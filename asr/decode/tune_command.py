"""`asr tune-decoder`: search the weights of a beam search that make the fewest word errors on a development split.

The log-probabilities of the split are computed once and stored; each trial decodes them with other weights. The test
split is refused, and so is one that shares utterances or audio with it, in the corpus at hand or in the one that the
model was trained on.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from lhotse import CutSet, MonoCut
from numpy.typing import NDArray

from asr.data.corpus import check_disjoint
from asr.data.cuts import read_cuts, text_of
from asr.decode.calibration import calibrate
from asr.decode.commands import origin_of, reference_normalizer
from asr.decode.log_probs import Origin, read_log_probs, tokens_digest, write_log_probs
from asr.decode.options import DecodingOptions, add_decoding_arguments, decoding_of
from asr.decode.outputs import Outputs, corpus_root, output_folder, recorded_root, split_manifest
from asr.decode.pool import ReaderPool
from asr.decode.prediction import Resources, Wanted, decode
from asr.decode.recognition import reading_of
from asr.decode.tuned import DECODER_FILE, check_target
from asr.decode.tuning import (
    Task,
    Trial,
    best_of,
    edges,
    format_trials,
    free_weights,
    grid_points,
    joined,
    make_task,
    proposals,
    search,
)
from asr.errors import InputError
from asr.files import write_json
from asr.model import MODEL_HELP, LoadedModel, load_model, model_path
from asr.provenance import provenance
from asr.score.reliability import format_reliability
from asr.score.scores import reference_digest


def refuse_test(roots: Iterable[Path], split: str, cuts: CutSet) -> None:
    """Nothing is tuned on what errors are reported of.

    Args:
        roots: prepared corpora, of whose test splits no utterance and no stretch of audio may be among the cuts.
        split: name of the split that the cuts are of.
        cuts: with the real paths of their audio.

    Raises:
        InputError: the split is a test split, or shares something with one, or one that is there cannot be read.
    """
    if split == "test":
        raise InputError("the decoder is not tuned on the test split: give another one, as --split dev")
    names = ("test.jsonl.gz", "test.jsonl")
    for path in dict.fromkeys(root.resolve() / name for root in roots for name in names):
        if path.is_file():
            of_test = with_real_paths(read_cuts(path, transcribed=False))
            check_disjoint(f"the test split {path}", of_test, f"the split {split!r}", cuts)


def with_real_paths(cuts: CutSet) -> CutSet:
    """The cuts, changed: however a manifest leads to an audio file, its path is the same."""
    for cut in cuts:
        for source in cut.recording.sources:
            source.source = os.path.realpath(source.source)
    return cuts


def stored_log_probs(
    loaded: LoadedModel, cuts: Sequence[MonoCut], path: Path, origin: Origin, resources: Resources
) -> dict[str, NDArray[np.float32]]:
    """The log-probabilities of a split: those of the file if they are of this model and split, else made and stored."""
    if path.is_file():
        try:
            return read_log_probs(path, origin)
        except InputError as error:
            print(f"note: {error}; it is computed anew", file=sys.stderr)
    rows = decode(loaded, cuts, resources, Wanted(log_probs=True)).log_probs
    write_log_probs(path, rows, origin)
    print(f"wrote {path}")
    return rows


@dataclass(frozen=True)
class Subject:
    """A model, and what its decoder is tuned on.

    Args:
        loaded: the model.
        manifest: the split.
        cuts: of the split.
        stored: file of the log-probabilities.
        target: the decoder.json.
    """

    loaded: LoadedModel
    manifest: Path
    cuts: list[MonoCut]
    stored: Path
    target: Path

    @classmethod
    def of(cls, run: Path, options: argparse.Namespace) -> "Subject":
        """Check all that can be known before anything is computed.

        Raises:
            InputError: see `refuse_test` and `check_target`; or model, corpus or folder cannot be used.
        """
        loaded = load_model(run)
        folder = output_folder(options.output, run)
        root = corpus_root(options.root, loaded, run, "--root")
        manifest = split_manifest(root, options.split)
        target = Path(options.config) if options.config else folder / DECODER_FILE
        check_target(target)
        cuts = with_real_paths(read_cuts(manifest))
        recorded = recorded_root(loaded, run)
        refuse_test([root] if recorded is None else [root, recorded], options.split, cuts)
        reference_normalizer(manifest, loaded, allow_mismatch=False)
        return cls(loaded, manifest, list(cuts), Outputs.of(folder, options.split).log_probs, target)

    @property
    def references(self) -> str:
        """Digest of the utterances and what was said in them."""
        return reference_digest((cut.id, text_of(cut)) for cut in self.cuts)

    def task(self, resources: Resources) -> Task:
        """What is decoded in every trial."""
        origin = origin_of(self.loaded, self.manifest)
        task = make_task(stored_log_probs(self.loaded, self.cuts, self.stored, origin, resources), self.cuts)
        if not any(text.split() for texts in task.references for text in texts):
            raise InputError(f"{self.manifest} has no reference with a word")
        return task


def check_together(subjects: Sequence[Subject], start: DecodingOptions) -> None:
    """Models that are tuned together are decoded by one search of the same utterances.

    Raises:
        InputError: two of them have other tokens or frames, or other utterances or references.
    """
    first, *others = subjects
    for other in others:
        names = f"{first.loaded.metadata['source']} and {other.loaded.metadata['source']}"
        if reading_of(other.loaded, start) != reading_of(first.loaded, start):
            raise InputError(f"{names} have different tokens or frame rates, and cannot share the weights of a search")
        if other.references != first.references:
            raise InputError(f"{names} would be tuned on different utterances: {first.manifest}, {other.manifest}")


def main(arguments: Sequence[str]) -> int:
    """`asr tune-decoder`."""
    options = _parser().parse_args(arguments)
    if len(options.model) > 1 and (options.output or options.config):
        raise InputError("several models get a decoder.json each in their run folders: leave out -o and --config")
    start, grid = _start(options)
    subjects = [Subject.of(run, options) for run in dict.fromkeys(options.model)]
    check_together(subjects, start)
    readers = ReaderPool(reading_of(subjects[0].loaded, start), options.decode_workers)
    try:
        resources = Resources(options.accelerator, workers=options.workers)
        task = joined([subject.task(resources) for subject in subjects])
        points, total = _points(options, start, grid)
        trials = search(task, readers, start, points, total)
        print(format_trials(trials))
        best = replace(start, **best_of(trials).weights)
        sure = calibrate(task, readers, best)
    finally:
        readers.close()
    if sure:
        print(f"{format_reliability(sure.before)}\ncalibrated, {format_reliability(sure.after)}")
        best = replace(best, confidence=sure.calibration)
    for name in edges(trials):
        print(f"note: the best {name} is at the edge of what was tried", file=sys.stderr)
    models = [subject.loaded.metadata.get("sha256") for subject in subjects]
    for subject in subjects:
        record = _record(subject, models, trials, best) | {"seed": None if grid else options.seed}
        write_json(subject.target, record)
        print(f"wrote {subject.target}")
    return 0


def _record(
    subject: Subject, models: Sequence[str | None], trials: Sequence[Trial], best: DecodingOptions
) -> dict[str, Any]:
    """The content of decoder.json; `models` are the digests of all that were tuned together."""
    made_with = provenance()
    ordered = sorted(trials, key=lambda trial: trial.errors)
    return {
        "options": best.to_dict(),
        "tokens": tokens_digest(subject.loaded.tokenizer),
        "tuned_on": {
            "manifest": str(subject.manifest),
            "utterances": len(subject.cuts),
            "reference_digest": subject.references,
            "model": subject.loaded.metadata["source"],
            "model_sha256": subject.loaded.metadata.get("sha256"),
            "together_sha256": models,
        },
        "trials": [{**asdict(trial), "wer": trial.wer} for trial in ordered],
        "versions": made_with["versions"],
        "commit": made_with["commit"],
    }


def _start(options: argparse.Namespace) -> tuple[DecodingOptions, dict[str, list[float]]]:
    """The options to begin with, and the grid if one was given."""
    if options.decoder is None and options.decoder_config is None:
        options.decoder = "beam"
    start = decoding_of(options, options.model[0], calibrated=False)
    if start.decoder != "beam":
        raise InputError(f"the weights of the decoder 'beam' can be tuned, not those of {start.decoder!r}")
    names = free_weights(start)
    if not names:
        raise InputError("there is no weight to tune: give --lm, --char-lm or --lexicon")
    grid = _grid(options.grid or [], names)
    if grid and options.trials is not None:
        raise InputError("a --grid has as many trials as points: leave out --trials")
    if not grid and options.trials is not None and options.trials < 1:
        raise InputError(f"--trials must be a number of at least 1, got {options.trials}")
    for point in grid_points(grid):
        replace(start, **point)  # refuses what no weight can be
    return start, grid


def _grid(given: Sequence[str], names: Sequence[str]) -> dict[str, list[float]]:
    grid: dict[str, list[float]] = {}
    for text in given:
        name, equals, values = text.partition("=")
        name = name.replace("-", "_")
        if name in grid:
            raise InputError(f"--grid has {name} twice, the second time as {text!r}: give all its values at once")
        try:
            grid[name] = [float(value) for value in values.split(",")]
        except ValueError:
            equals = ""
        if not equals or name not in names:
            raise InputError(f"--grid takes NAME=VALUE,VALUE,... with NAME one of {', '.join(names)}, got {text!r}")
    return grid


def _points(
    options: argparse.Namespace, start: DecodingOptions, grid: dict[str, list[float]]
) -> tuple[Iterator[dict[str, float]], int]:
    if grid:
        points = grid_points(grid)
        return iter(points), len(points)
    names = free_weights(start)
    trials = 30 if options.trials is None else options.trials
    return proposals(names, {name: getattr(start, name) for name in names}, trials, options.seed), trials


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asr tune-decoder",
        description="Search the weights of a beam search that make the fewest word errors on a development split. Its "
        "log-probabilities are computed once and stored (log-probs-SPLIT.safetensors). With the best weights, "
        "confidences of words are mapped to how often such words are right on the split. The test split is refused.",
        epilog="Writes decoder.json, for --decoder-config of asr test, predict and transcribe.",
    )
    parser.add_argument(
        "model",
        nargs="+",
        type=model_path,
        help=f"{MODEL_HELP}; several, such as the seeds of a model, share the weights that are best for all together",
    )
    parser.add_argument("--split", default="dev", help="split of the prepared corpus to tune on (default: dev)")
    parser.add_argument("--root", help="prepared corpus; default: the one the run was trained on")
    parser.add_argument("-o", "--output", help="folder for decoder.json and log-probabilities; default: the run folder")
    parser.add_argument("--config", metavar="FILE", help="where decoder.json is written, if elsewhere")
    parser.add_argument("--grid", nargs="+", metavar="NAME=V,V", help="try all of these: alpha=0.4,0.6 beta=0,1,2")
    parser.add_argument("--trials", type=int, help="random trials, the second half near the best (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="of the random trials (default: 0)")
    parser.add_argument("--decode-workers", type=int, default=0, help="processes that search (default: 0, in this one)")
    parser.add_argument("--accelerator", choices=["auto", "cpu", "gpu"], default="auto")
    parser.add_argument("--workers", type=int, default=1, help="processes that read audio (default: 1)")
    add_decoding_arguments(parser)
    return parser
