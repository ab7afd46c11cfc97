"""`asr test` and `asr predict`: decode a prepared split, or any cuts; `test` also scores."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lhotse import MonoCut

from asr.data.cuts import read_cuts, text_of
from asr.decode.hypotheses import write_hypotheses
from asr.decode.prediction import Resources, Timing, decode_cuts, is_first_process
from asr.errors import InputError
from asr.files import read_json, write_json, write_text
from asr.model import LoadedModel, load_model
from asr.provenance import provenance
from asr.score.scores import Scores, format_alignments, format_rate, score


@dataclass(frozen=True)
class Outputs:
    """Where the results of a split go.

    In a run folder the split "test" has the plain names, another one its own, so that no split overwrites another.
    """

    hypotheses: Path
    scores: Path
    alignments: Path

    @classmethod
    def of(cls, folder: Path, split: str) -> "Outputs":
        suffix = "" if split == "test" else f"-{split}"
        return cls(
            folder / f"hypotheses{suffix}.jsonl", folder / f"scores{suffix}.json", folder / f"alignments{suffix}.txt"
        )


def test(arguments: Sequence[str]) -> int:
    """`asr test`."""
    options = _parser("test").parse_args(arguments)
    loaded, manifest, outputs = _prepare(options)
    cuts = list(read_cuts(manifest))
    normalizer = _reference_normalizer(manifest, loaded, options.allow_normalizer_mismatch)
    _say_unknown_characters(cuts, loaded)
    rows, timing = decode_cuts(loaded, cuts, _resources(options))
    if not is_first_process():
        return 0
    scores = score(rows, normalizer)
    write_hypotheses(outputs.hypotheses, rows)
    write_text(outputs.alignments, format_alignments(scores))
    write_json(outputs.scores, scores_record(scores, loaded, manifest, timing))
    print(f"WER {format_rate(scores.words)}")
    print(f"CER {format_rate(scores.characters)}")
    _print_timing(timing)
    print(f"wrote {outputs.scores}, {outputs.hypotheses.name}, {outputs.alignments.name}")
    return 0


def predict(arguments: Sequence[str]) -> int:
    """`asr predict`."""
    options = _parser("predict").parse_args(arguments)
    loaded, manifest, outputs = _prepare(options)
    rows, timing = decode_cuts(loaded, list(read_cuts(manifest, transcribed=False)), _resources(options))
    if is_first_process():
        write_hypotheses(outputs.hypotheses, rows)
        print(f"decoded {len(rows)} utterances")
        _print_timing(timing)
        print(f"wrote {outputs.hypotheses}")
    return 0


def scores_record(scores: Scores, loaded: LoadedModel, manifest: Path, timing: Timing) -> dict[str, Any]:
    """The content of scores.json: the scores, what was scored with what, and how long it took."""
    model, features = loaded.model, loaded.description.features
    frames_per_second = features.sample_rate / features.hop_length
    made_with = provenance()
    return {
        **scores.to_dict(),
        "manifest": str(manifest),
        "decoding": "greedy",
        "seed": loaded.metadata.get("seed"),
        "training_seconds": loaded.metadata.get("training_seconds"),
        "model": {
            "name": loaded.metadata.get("name"),
            "source": loaded.metadata["source"],
            "sha256": loaded.metadata.get("sha256"),
            "step": loaded.metadata.get("step"),
            "encoder": loaded.description.encoder["class_path"],
            "parameters": model.parameter_count(),
            # Of an utterance of ten seconds: what an edge costs is spread as it is in use.
            "multiply_adds_per_second": round(model.multiply_adds(round(10 * frames_per_second)) / 10),
            "frame_rate": frames_per_second / model.encoder.subsampling,
        },
        "real_time_factor": timing.real_time_factor,
        "audio_seconds": timing.audio_seconds,
        "machine": {
            "cpu": made_with["cpu"],
            "device": timing.device,
            "processes": timing.processes,
            "threads": timing.threads,
        },
        "versions": made_with["versions"],
        "commit": made_with["commit"],
    }


def recorded_root(loaded: LoadedModel, model_path: Path) -> Path | None:
    """The prepared corpus that the model was trained on; None if that is not recorded.

    It stands in the metadata of run folders and exported models, and for a checkpoint in the run.json of its run.
    """
    root = loaded.metadata.get("data_root")
    record = model_path.parent.parent / "run.json"
    if root is None and model_path.is_file() and record.is_file():
        root = read_json(record).get("data_root")
    return Path(root) if root else None


def _prepare(options: argparse.Namespace) -> tuple[LoadedModel, Path, Outputs]:
    """Check what is given before anything takes time."""
    model_path = Path(options.model)
    loaded = load_model(model_path)
    if options.cuts is not None:
        manifest, split = Path(options.cuts), options.split or Path(options.cuts).name.split(".")[0]
    else:
        split = options.split or "test"
        root = Path(options.root) if options.root else recorded_root(loaded, model_path)
        if root is None:
            raise InputError(f"{model_path} does not say which corpus it was trained on: give --root or --cuts")
        manifest = split_manifest(root, split)
    return loaded, manifest, Outputs.of(_output_folder(options.output, model_path), split)


def _output_folder(given: str | None, model_path: Path) -> Path:
    if given is None and not (model_path / "checkpoints").is_dir():
        raise InputError(f"{model_path} is not a run folder, so there is no place for the results: give -o FOLDER")
    folder = Path(given) if given else model_path
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK)):  # to be known before decoding, not after
        raise InputError(f"the results cannot be written to {folder}: {existing} is not a folder that can be written")
    return folder


def split_manifest(root: Path, split: str) -> Path:
    """The manifest of a split of a prepared corpus.

    Raises:
        InputError: there is no such folder or no such split; the splits that there are are named.
    """
    if not root.is_dir():
        raise InputError(f"there is no folder {root} with a prepared corpus; give --root or --cuts")
    for name in (f"{split}.jsonl.gz", f"{split}.jsonl"):
        if (root / name).is_file():
            return root / name
    splits = sorted(path.name.removesuffix(".jsonl.gz") for path in root.glob("*.jsonl.gz"))
    raise InputError(f"{root} has no split {split!r}; it has {', '.join(splits) or 'none: is it a prepared corpus?'}")


def _reference_normalizer(manifest: Path, loaded: LoadedModel, allow_mismatch: bool) -> str | None:
    """The normaliser of the references, which must be that of the transcripts the model was trained on."""
    record = manifest.parent / "normalization.json"
    identifier = None
    if record.is_file():
        content = read_json(record)
        try:
            identifier = f"{content['name']}/{content['version']}"
        except (KeyError, TypeError) as error:
            raise InputError(f"{record} does not hold a normaliser's name and version") from error
    if identifier == loaded.description.normalizer or allow_mismatch:
        return identifier
    found = f"were normalised by {identifier!r}" if identifier else f"went through no known normaliser (no {record})"
    raise InputError(
        f"the references of {manifest} {found}, and the model writes text as {loaded.description.normalizer!r} does: "
        "prepare the corpus with that one, or compare texts as they are with --allow-normalizer-mismatch"
    )


def _say_unknown_characters(cuts: Sequence[MonoCut], loaded: LoadedModel) -> None:
    known = {character for token in loaded.tokenizer.tokens[1:] for character in token} | {" "}
    unknown = {cut.id: sorted(set(text_of(cut)) - known) for cut in cuts}
    affected = [name for name, characters in unknown.items() if characters]
    if affected and is_first_process():
        characters = sorted({c for found in unknown.values() for c in found})
        print(
            f"note: {len(affected)} references ({affected[0]}, ...) have characters that the model cannot write, "
            f"{characters}; they are scored as they are",
            file=sys.stderr,
        )


def _resources(options: argparse.Namespace) -> Resources:
    return Resources(options.accelerator, options.devices, options.num_nodes, options.workers, options.batch_seconds)


def _print_timing(timing: Timing) -> None:
    print(
        f"real-time factor {timing.real_time_factor:.4f}: {timing.audio_seconds:.1f} s of audio in "
        f"{timing.seconds:.1f} s (features, model and decoding; {timing.processes} process(es) on {timing.device}, "
        f"{timing.threads} thread(s) each)"
    )


def _parser(verb: str) -> argparse.ArgumentParser:
    scored = verb == "test"
    parser = argparse.ArgumentParser(
        prog=f"asr {verb}",
        description="Decode a prepared split greedily"
        + (" and score it against its transcripts." if scored else "; transcripts are not needed.")
        + " Features, normalisation and tokens are those that the model was trained with.",
        epilog="Writes hypotheses.jsonl"
        + (", scores.json and alignments.txt" if scored else "")
        + " (for another split than test: hypotheses-SPLIT.jsonl, ...).",
    )
    parser.add_argument("model", help="run folder, checkpoint or exported folder")
    parser.add_argument("--root", "--data.root", help="prepared corpus; default: the one the run was trained on")
    parser.add_argument("--split", help="split of the prepared corpus (default: test)")
    parser.add_argument("--cuts", help="any lhotse cuts (.jsonl, .jsonl.gz) instead of a split of the corpus")
    parser.add_argument("-o", "--output", help="folder for the results; default: the run folder")
    parser.add_argument("--batch-seconds", type=float, default=120.0, help="padded audio in a batch (default: 120)")
    parser.add_argument("--accelerator", choices=["auto", "cpu", "gpu"], default="auto")
    parser.add_argument("--devices", type=int, default=1, help="processes on each machine, one GPU each (default: 1)")
    parser.add_argument("--num-nodes", type=int, default=1, help="machines (default: 1)")
    parser.add_argument("--workers", type=int, default=1, help="processes that read audio (default: 1)")
    if scored:
        parser.add_argument(
            "--allow-normalizer-mismatch",
            action="store_true",
            help="score although the references were not normalised as the model's training transcripts were",
        )
    return parser
