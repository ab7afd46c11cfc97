"""`asr test` and `asr predict`: decode a prepared split, or any cuts; `test` also scores."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lhotse import MonoCut

from asr.data.cuts import read_cuts, text_of
from asr.decode.hypotheses import Hypothesis, write_hypotheses
from asr.decode.log_probs import Origin, tokens_digest, write_log_probs
from asr.decode.options import DecodingOptions, add_decoding_arguments, check_tokens, decoder_file, decoding_of
from asr.decode.outputs import Outputs, corpus_root, name_of, output_folder, split_manifest
from asr.decode.prediction import Decoded, Resources, Timing, Wanted, decode, is_first_process
from asr.decode.tuned import notes_on, tuned_on
from asr.errors import InputError
from asr.files import read_json, sha256_of, write_json, write_jsonl, write_text
from asr.model import MODEL_HELP, LoadedModel, load_model, model_path
from asr.provenance import provenance
from asr.score.scores import Scores, format_alignments, format_rate, reference_digest, score


def test(arguments: Sequence[str]) -> int:
    """`asr test`."""
    options = _parser("test").parse_args(arguments)
    wanted = _wanted(options)
    loaded, manifest, outputs = _prepare(options, wanted.options)
    cuts = list(read_cuts(manifest))
    normalizer = reference_normalizer(manifest, loaded, options.allow_normalizer_mismatch)
    _say_unknown_characters(cuts, loaded)
    decoded = decode(loaded, cuts, _resources(options), wanted)
    if not is_first_process():
        return 0
    scores = score(decoded.rows, normalizer)
    record = scores_record(scores, loaded, manifest, decoded.timing, wanted.options)
    record |= _tuned_on(options, scores, loaded)
    _say_replaced(outputs.scores, record, "which are replaced")
    written = _write_decoded(decoded, loaded, manifest, outputs, wanted)
    write_text(outputs.alignments, format_alignments(scores))
    write_json(outputs.scores, record)
    print(f"WER {format_rate(scores.words)}")
    print(f"CER {format_rate(scores.characters)}")
    _print_timing(decoded.timing)
    print(f"wrote {', '.join([str(outputs.scores), outputs.alignments.name, *(path.name for path in written)])}")
    return 0


def _tuned_on(options: argparse.Namespace, scores: Scores, loaded: LoadedModel) -> dict[str, Any]:
    """For scores.json, what the decoder was tuned on; what that means for the error rate is said."""
    config = decoder_file(options, options.model)
    if config is None:
        return {}
    found = tuned_on(config, scores.reference_digest, options.model, loaded)
    for note in notes_on(config, found):
        print(f"note: {note}", file=sys.stderr)
    return {"decoder_tuned_on": found}


def _say_replaced(file: Path, record: dict[str, Any], what: str) -> None:
    """Say that scores of other utterances or of another decoding (a tuned one, perhaps) are about to be replaced.

    Args:
        file: scores.json.
        record: of the new decoding: `reference_digest` and `decoding`.
        what: is replaced, the scores or their hypotheses.
    """
    try:
        scores = read_json(file)
        earlier, references, manifest = (scores[name] for name in ("decoding", "reference_digest", "manifest"))
    except (InputError, KeyError, TypeError):  # there are none, or they do not say
        return
    if references != record["reference_digest"]:
        print(f"note: {file} had scores of {manifest}, {what}; -o FOLDER keeps both", file=sys.stderr)
        return
    new = record["decoding"]
    if earlier == new:
        return
    changes = "their decoding was not recorded"
    if isinstance(earlier, dict) and isinstance(new, dict):
        names = [name for name in {**earlier, **new} if earlier.get(name) != new.get(name)]
        changes = ", ".join(f"{name} {_value(earlier.get(name))}, now {_value(new.get(name))}" for name in names)
    print(f"note: {file} had scores of another decoding ({changes}), {what}", file=sys.stderr)


def _value(option: Any) -> str:
    """An option of a decoder as it stands in scores.json, for a message."""
    return str(option.get("path")) if isinstance(option, dict) else "none" if option is None else f"{option}"


def predict(arguments: Sequence[str]) -> int:
    """`asr predict`."""
    options = _parser("predict").parse_args(arguments)
    wanted = _wanted(options)
    loaded, manifest, outputs = _prepare(options, wanted.options)
    decoded = decode(loaded, list(read_cuts(manifest, transcribed=False)), _resources(options), wanted)
    if is_first_process():
        _say_replaced(outputs.scores, _unscored(decoded.rows, wanted), "whose hypotheses are replaced")
        written = _write_decoded(decoded, loaded, manifest, outputs, wanted)
        print(f"decoded {len(decoded.rows)} utterances")
        _print_timing(decoded.timing)
        print(f"wrote {', '.join(map(str, written))}")
    return 0


def _unscored(rows: Sequence[Hypothesis], wanted: Wanted) -> dict[str, Any]:
    """What scores of the rows would say of their references, if all are known, and of their decoding."""
    known = [(row.id, row.reference) for row in rows if row.reference is not None]
    digest = reference_digest(known) if len(known) == len(rows) else None
    return {"reference_digest": digest, "decoding": wanted.options.to_record()}


def _write_decoded(
    decoded: Decoded, loaded: LoadedModel, manifest: Path, outputs: Outputs, wanted: Wanted
) -> list[Path]:
    """Write hypotheses, and what else was wanted; returns the files."""
    write_hypotheses(outputs.hypotheses, decoded.rows)
    written = [outputs.hypotheses]
    if wanted.nbest:
        write_jsonl(outputs.nbest, nbest_rows(decoded))
        written.append(outputs.nbest)
    if wanted.log_probs:
        write_log_probs(outputs.log_probs, decoded.log_probs, origin_of(loaded, manifest))
        written.append(outputs.log_probs)
    return written


def nbest_rows(decoded: Decoded) -> Iterator[dict[str, Any]]:
    """Rows of nbest.jsonl: an utterance each, sorted by id, with its texts, the best first."""
    for row in sorted(decoded.rows, key=lambda row: row.id):
        known = {"id": row.id, "speaker": row.speaker, "seconds": row.seconds, "reference": row.reference}
        yield {**known, "nbest": [entry.to_dict() for entry in decoded.nbest[row.id]]}


def origin_of(loaded: LoadedModel, manifest: Path) -> Origin:
    """What the log-probabilities of a split by a model are computed from."""
    return Origin(loaded.metadata.get("sha256"), sha256_of(manifest), tokens_digest(loaded.tokenizer))


def _wanted(options: argparse.Namespace) -> Wanted:
    wanted = Wanted(decoding_of(options, options.model), options.nbest, options.save_log_probs, options.decode_workers)
    if wanted.nbest and wanted.options.decoder == "greedy":
        raise InputError("the greedy decoder has one text of each utterance: --nbest needs --decoder beam")
    return wanted


def scores_record(
    scores: Scores, loaded: LoadedModel, manifest: Path, timing: Timing, decoding: DecodingOptions | None = None
) -> dict[str, Any]:
    """The content of scores.json: the scores, what was scored with what, and how long it took."""
    model, features = loaded.model, loaded.description.features
    frames_per_second = features.sample_rate / features.hop_length
    made_with = provenance()
    return {
        **scores.to_dict(),
        "manifest": str(manifest),
        "decoding": (decoding or DecodingOptions()).to_record(),
        "seed": loaded.metadata.get("seed"),
        "training_seconds": loaded.metadata.get("training_seconds"),
        "model": {
            "name": loaded.metadata.get("name"),
            "source": loaded.metadata["source"],
            "sha256": loaded.metadata.get("sha256"),
            "step": loaded.metadata.get("step"),
            "encoder": loaded.description.encoder["class_path"],
            "parameters": model.parameter_count(),
            "multiply_adds_per_second": model.multiply_adds_per_second(frames_per_second),
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


def _prepare(options: argparse.Namespace, decoding: DecodingOptions) -> tuple[LoadedModel, Path, Outputs]:
    """Check what is given before anything takes time."""
    loaded = load_model(options.model)
    if options.cuts is not None:
        manifest, split = Path(options.cuts), options.split or name_of(options.cuts)
    else:
        split = options.split or "test"
        manifest = split_manifest(corpus_root(options.root, loaded, options.model), split)
    check_tokens(options.decoder_config, tokens_digest(loaded.tokenizer))
    folder = output_folder(options.output, options.model)
    return loaded, manifest, Outputs.of(folder, split, decoding.decoder)


def reference_normalizer(manifest: Path, loaded: LoadedModel, allow_mismatch: bool) -> str | None:
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
        description="Decode a prepared split"
        + (" and score it against its transcripts." if scored else "; transcripts are not needed.")
        + " Features, normalisation and tokens are those that the model was trained with.",
        epilog="Writes hypotheses.jsonl"
        + (", scores.json and alignments.txt" if scored else "")
        + " (for another split than test: hypotheses-SPLIT.jsonl, ...; for another decoder than the greedy one: "
        "hypotheses-beam.jsonl, ...).",
    )
    parser.add_argument("model", type=model_path, help=MODEL_HELP)
    parser.add_argument("--root", "--data.root", help="prepared corpus; default: the one the run was trained on")
    parser.add_argument("--split", help="split of the prepared corpus (default: test)")
    parser.add_argument("--cuts", help="any lhotse cuts (.jsonl, .jsonl.gz) instead of a split of the corpus")
    parser.add_argument("-o", "--output", help="folder for the results; default: the run folder")
    parser.add_argument("--batch-seconds", type=float, default=120.0, help="padded audio in a batch (default: 120)")
    parser.add_argument("--accelerator", choices=["auto", "cpu", "gpu"], default="auto")
    parser.add_argument("--devices", type=int, default=1, help="processes on each machine, one GPU each (default: 1)")
    parser.add_argument("--num-nodes", type=int, default=1, help="machines (default: 1)")
    parser.add_argument("--workers", type=int, default=1, help="processes that read audio (default: 1)")
    parser.add_argument("--decode-workers", type=int, default=0, help="processes that search (default: 0, in this one)")
    parser.add_argument("--nbest", type=int, default=0, metavar="N", help="write the N best texts to nbest.jsonl")
    parser.add_argument("--save-log-probs", action="store_true", help="write log-probs.safetensors")
    add_decoding_arguments(parser)
    if scored:
        add_normalizer_argument(parser)
    return parser


def add_normalizer_argument(parser: argparse.ArgumentParser) -> None:
    """Give a command that counts errors the option for references that `reference_normalizer` refuses."""
    parser.add_argument(
        "--allow-normalizer-mismatch",
        action="store_true",
        help="score although the references were not normalised as the model's training transcripts were",
    )
