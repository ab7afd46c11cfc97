"""`asr robustness`: one table of a recogniser's error rates under noise, speed, bandwidth and length."""

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from asr.data.cuts import check_sample_rates, load_waveform, read_cuts, speaker_of, text_of
from asr.decode.commands import add_normalizer_argument, reference_normalizer
from asr.decode.log_probs import tokens_digest
from asr.decode.options import DecodingOptions, add_decoding_arguments, check_tokens, decoding_of
from asr.decode.outputs import corpus_root, output_folder, split_manifest
from asr.decode.reading import Reader
from asr.decode.recognition import reading_of, recognize
from asr.errors import InputError
from asr.files import read_json, write_json
from asr.model import MODEL_HELP, LoadedModel, load_model, model_path
from asr.provenance import provenance
from asr.report.tables import markdown_table, percent, plain_table
from asr.robustness.conditions import (
    NOISES,
    Condition,
    at_speed,
    through_rate,
    unchanged,
    with_noise,
    with_recorded_noise,
)
from asr.robustness.measurement import Recogniser, Row, Utterance, joined, long_recordings, measure, row_of
from asr.score.uncertainty import FEW_BLOCKS

HEADINGS = ("audio", "utterances", "WER", "95 % interval", "CER", "substituted", "deleted", "inserted")
LARGEST_RATIO = 100
"""Of speech and noise, in dB, to either side; 16-bit audio has 96 between full scale and its smallest step."""


def main(arguments: Sequence[str]) -> int:
    """`asr robustness`."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if (options.model is None) == (options.show is None):
        parser.error("give a model to measure, or --show FILE with what was measured before")
    if options.show:
        rows, note = _kept(options.show)
        _print(rows, note, options.markdown)
        return 0
    if options.json:
        _check_target(Path(options.json), options.model)
    decoding = decoding_of(options, options.model)
    loaded = load_model(options.model)
    check_tokens(options.decoder_config, tokens_digest(loaded.tokenizer))
    reader = Reader(reading_of(loaded, decoding))
    manifest = _manifest_of(options, loaded)
    reference_normalizer(manifest, loaded, options.allow_normalizer_mismatch)
    utterances = _read(manifest, loaded, options.limit)
    conditions = _conditions(options, loaded.description.features.sample_rate, utterances)
    measured = _measured(loaded, reader, utterances, conditions, options)
    rows = _finished(measured, _number_of_rows(conditions, options), decoding, options)
    note = _note(rows, decoding, options)
    _print(rows, note, options.markdown)
    if options.json:
        write_json(options.json, _record(rows, note, loaded, decoding, manifest, options))
        print(f"wrote {options.json}", file=sys.stderr)
    return 0


def _check_target(file: Path, model: Path) -> None:
    """Whether a file for --json can be written, which is to be known before anything is measured.

    Raises:
        InputError: there is a folder in its place, or its own folder cannot be made or written.
    """
    if file.is_dir():
        raise InputError(f"--json {file} is a folder: give the name of a file")
    output_folder(str(file.parent), model)


def _finished(measured: Iterator[Row], total: int, decoding: DecodingOptions, options: argparse.Namespace) -> list[Row]:
    """All rows. Where an error or an interrupt ends them early, those before it are printed: they may have taken hours.

    --json is for whole tables, since other commands read it.
    """
    rows: list[Row] = []
    try:
        rows.extend(measured)  # which keeps those before an error
    except BaseException:
        if rows:
            unwritten = f" {options.json} is not written." if options.json else ""
            incomplete = f"Incomplete: {len(rows)} of {total} rows were measured.{unwritten}"
            _print(rows, f"{incomplete} {_note(rows, decoding, options)}", options.markdown)
        raise
    return rows


def _number_of_rows(conditions: Sequence[Condition], options: argparse.Namespace) -> int:
    return len(conditions) + bool(options.minutes)


def _print(rows: Sequence[Row], note: str, markdown: bool) -> None:
    table = [_cells(row) for row in rows]
    print(f"{(markdown_table if markdown else plain_table)(HEADINGS, table)}\n\n{note}")


def _kept(file: str) -> tuple[list[Row], str]:
    """The rows and the note of a record that `--json` wrote.

    Raises:
        InputError: it cannot be read, or is another kind of file.
    """
    record = read_json(file)
    try:
        return [_kept_row(row) for row in record["rows"]], str(record["note"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{file} is no record that `asr robustness --json` wrote: {error}") from error


def _kept_row(data: dict[str, Any]) -> Row:
    row = Row(**data)
    for name, value in row.to_dict().items():
        undefined = value is None and name in ("lower", "upper", "blocks")
        if not undefined and not isinstance(value, str if name == "condition" else int | float):
            raise TypeError(f"{name} is {value!r}")
    return row


def _manifest_of(options: argparse.Namespace, loaded: LoadedModel) -> Path:
    if options.cuts:
        if not Path(options.cuts).is_file():
            raise InputError(f"--cuts {options.cuts!r}: there is no such file")
        return Path(options.cuts)
    return split_manifest(corpus_root(options.root, loaded, options.model), options.split)


def _read(manifest: Path, loaded: LoadedModel, limit: int | None) -> list[Utterance]:
    """The utterances in the order of their ids; with a limit, so many spread evenly over all."""
    rate = loaded.description.features.sample_rate
    cuts = sorted(read_cuts(manifest), key=lambda cut: cut.id)
    if limit is not None and limit < len(cuts):
        cuts = [cuts[index * len(cuts) // limit] for index in range(limit)]
    check_sample_rates(str(manifest), cuts, rate)
    return [
        Utterance(cut.id, torch.from_numpy(load_waveform(cut, rate)), text_of(cut), speaker_of(cut)) for cut in cuts
    ]


def _conditions(options: argparse.Namespace, rate: int, utterances: Sequence[Utterance]) -> list[Condition]:
    voices = {u.id: u.waveform for u in utterances}
    speakers = {u.id: u.speaker for u in utterances}
    found = [unchanged()]
    for noise in options.noise:
        recorded = None if noise in NOISES else _recorded(noise, rate)
        for snr in options.snr:
            if recorded is None:
                found.append(with_noise(noise, snr, options.seed, voices, speakers))
            else:
                found.append(with_recorded_noise(Path(noise).name.split(".")[0], recorded, snr, options.seed))
    found.extend(at_speed(factor) for factor in options.speed)
    found.extend(through_rate(low, rate) for low in options.rate)
    _check_names(found)
    return found


def _check_names(conditions: Sequence[Condition]) -> None:
    """Rows of the table are told apart by their names, and noise of one name would be drawn alike.

    Raises:
        InputError: two conditions have the same name.
    """
    repeated = [name for name, times in Counter(condition.name for condition in conditions).items() if times > 1]
    if repeated:
        raise InputError(
            f"the table would have more than one row {repeated[0]!r}: give no value of --noise, --snr, --speed and "
            "--rate twice, and manifests of noise names that differ before their first dot"
        )


def _recorded(manifest: str, rate: int) -> dict[str, torch.Tensor]:
    """The recordings of noise of a manifest, by id.

    Raises:
        InputError: there is no such file, it cannot be used, or one of them is silence throughout.
    """
    if not Path(manifest).exists():
        raise InputError(f"--noise {manifest!r} is neither {', '.join(NOISES)} nor a manifest of cuts")
    cuts = list(read_cuts(manifest, transcribed=False))
    check_sample_rates(manifest, cuts, rate)
    noises = {cut.id: torch.from_numpy(load_waveform(cut, rate)) for cut in cuts}
    silent = [name for name, noise in noises.items() if not noise.any()]
    if silent:
        raise InputError(f"the noises {', '.join(silent[:5])} of {manifest} are silence")
    return noises


def _measured(
    loaded: LoadedModel,
    reader: Reader,
    utterances: Sequence[Utterance],
    conditions: Sequence[Condition],
    options: argparse.Namespace,
) -> Iterator[Row]:
    """The rows of the table, each when it is finished."""
    rate = loaded.description.features.sample_rate

    def recognise(waveforms: Sequence[torch.Tensor], names: Sequence[str]) -> list[str]:
        return [found.text for found in recognize(loaded, waveforms, names, reader)]

    total = len(utterances) * _number_of_rows(conditions, options)
    with tqdm(total=total, desc="recognising", unit="utt", disable=None) as bar:
        for condition in conditions:
            yield measure(utterances, condition, recognise, rate, options.batch_seconds, bar.update)
        if options.minutes:
            yield _long(utterances, recognise, rate, options, bar.update)


def _long(
    utterances: Sequence[Utterance],
    recognise: Recogniser,
    rate: int,
    options: argparse.Namespace,
    done: Callable[[int], object],
) -> Row:
    """All utterances, put together to long recordings."""
    groups = long_recordings(utterances, options.minutes, rate)
    recordings = [joined(group, f"recording {number}", rate) for number, group in enumerate(groups, start=1)]
    texts = {}
    for group, recording in zip(groups, recordings, strict=True):
        texts[recording.id] = recognise([recording.waveform], [recording.id])[0]
        done(len(group))
    return row_of(_long_name(recordings, rate), recordings, texts)


def _long_name(recordings: Sequence[Utterance], rate: int) -> str:
    """Of the row: how long the recordings are in fact, which may be less than was asked for."""
    seconds = max(len(recording.waveform) for recording in recordings) / rate
    return f"recordings of up to {f'{seconds / 60:.1f} min' if seconds >= 60 else f'{seconds:.0f} s'}"


def _cells(row: Row) -> tuple[str, ...]:
    interval = "–" if row.lower is None or row.upper is None else f"{100 * row.lower:.1f} to {100 * row.upper:.1f}"
    wer = f"{percent(row.wer)} ({row.errors}/{row.words})"
    counts = (str(row.substitutions), str(row.deletions), str(row.insertions))
    return (row.condition, str(row.utterances), wer, interval, percent(row.cer), *counts)


def _note(rows: Sequence[Row], decoding: DecodingOptions, options: argparse.Namespace) -> str:
    parts = ["Intervals: bootstrap over speakers where they are known."]
    if few := _few_blocks(rows):
        parts.append(few)
    if decoding.decoder != "greedy":
        files = ", ".join(f"{name.replace('_', ' ')} {Path(path).name}" for name, path in decoding.files().items())
        parts.append(f"Decoder: {decoding.decoder}{f' ({files})' if files else ''}.")
    if any(noise in NOISES for noise in options.noise):
        parts.append("White, pink and babble noise are made here (babble of utterances of other speakers).")
    if options.minutes:
        parts.append("Long recordings are the utterances one after the other, with silence between them.")
    return " ".join(parts)


def _few_blocks(rows: Sequence[Row]) -> str:
    """A sentence on intervals that are drawn from few speakers or recordings; empty where none is."""
    few: dict[str, list[str]] = {}
    for row in rows:
        if row.blocks is not None and round(row.blocks) < FEW_BLOCKS:
            few.setdefault(f"{row.blocks:.1f}", []).append(row.condition)
    if not few:
        return ""
    most = max(few, key=lambda number: len(few[number]))
    others = "".join(f", {number} in {', '.join(names)}" for number, names in few.items() if number != most)
    return f"Such intervals are too narrow where few are drawn: these count as {most} of equal size{others}."


def _record(
    rows: Sequence[Row],
    note: str,
    loaded: LoadedModel,
    decoding: DecodingOptions,
    manifest: Path,
    options: argparse.Namespace,
) -> dict[str, Any]:
    return {
        "model": {"source": loaded.metadata["source"], "sha256": loaded.metadata.get("sha256")},
        "manifest": str(manifest),
        "seed": options.seed,
        "limit": options.limit,
        "decoding": decoding.to_record(),
        "rows": [row.to_dict() for row in rows],
        "note": note,
        **provenance(),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asr robustness",
        description="Error rates of a recogniser on a split as it is, under noise, at other speeds, at a telephone's "
        "bandwidth, and in long recordings made of its utterances.",
    )
    parser.add_argument("model", nargs="?", type=model_path, help=MODEL_HELP)
    parser.add_argument("--show", metavar="FILE", help="print what --json kept, and measure nothing")
    parser.add_argument("--root", help="prepared corpus; default: the one the run was trained on")
    parser.add_argument("--split", default="test", help="split of the prepared corpus (default: test)")
    parser.add_argument("--cuts", help="any lhotse cuts (.jsonl, .jsonl.gz) instead of a split of the corpus")
    parser.add_argument("--limit", type=_count, help="utterances, spread evenly over the split (default: all)")
    parser.add_argument(
        "--noise",
        nargs="*",
        default=["white", "babble"],
        help="white, pink, babble, or manifests of recorded noise (default: white babble)",
    )
    parser.add_argument("--snr", nargs="+", type=_decibels, default=[20.0, 10.0, 5.0], help="in dB (default: 20 10 5)")
    parser.add_argument("--speed", nargs="*", type=float, default=[0.9, 1.1], help="factors (default: 0.9 1.1)")
    parser.add_argument("--rate", nargs="*", type=int, default=[8000], help="sample rates in Hz (default: 8000)")
    parser.add_argument(
        "--minutes", type=_minutes, default=10.0, help="of long recordings; 0 leaves them out (default: 10)"
    )
    parser.add_argument("--batch-seconds", type=_positive, default=120.0, help="padded audio in a batch (default: 120)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    parser.add_argument("--json", metavar="FILE", help="also write the rows, with what they were made with")
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    add_decoding_arguments(parser)
    add_normalizer_argument(parser)
    return parser


def _decibels(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not -LARGEST_RATIO <= value <= LARGEST_RATIO:
        raise argparse.ArgumentTypeError(f"must be from {-LARGEST_RATIO} to {LARGEST_RATIO} dB, got {text!r}")
    return value


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a number of at least 1, got {text!r}")
    return int(text)


def _positive(text: str) -> float:
    value = _minutes(text)
    if not value:
        raise argparse.ArgumentTypeError("must be positive, got 0")
    return value


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, got {text!r}")
    return value
