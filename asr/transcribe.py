"""Audio files -> text, in three lines of Python or with `asr transcribe`.

>>> import asr
>>> recognizer = asr.load()  # doctest: +SKIP
>>> recognizer.transcribe("recording.wav").text  # doctest: +SKIP
'FOUR GREEN BIRDS'
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchaudio

from asr.data.audio import read_audio
from asr.decode.greedy import TimedText
from asr.decode.log_probs import tokens_digest
from asr.decode.nbest import ScoredText
from asr.decode.options import (
    DecodingOptions,
    add_decoding_arguments,
    check_tokens,
    decoding_of,
    packed_decoder,
    read_decoder,
)
from asr.decode.reading import Reader
from asr.decode.recognition import reading_of, recognize
from asr.errors import InputError
from asr.model import MODEL_HELP, PACKAGED, PRETRAINED, LoadedModel, load_model, model_path

MAXIMUM_RESAMPLING_DENOMINATOR = 1000
"""Rates are converted by a ratio of integers up to this, exact for all usual rates (44.1 kHz: 160/441).

An odd rate such as 22051 Hz would need 16,000 filters of 22,000 taps. Its nearest ratio is off by at most 0.06 %, which
no recogniser hears, but which moves the times of words: at 943,506 Hz by 1.9 seconds an hour, at 22051 Hz by 1.4
milliseconds.
"""
RATES = (1000, 1_000_000)
"""Sample rates of recordings, in Hz; another one is a mistake."""
LOUDEST_PEAK = 8.0
"""Samples above this are on another scale than that whose full scale is 1: what decoders overshoot it by is less."""
LEAST_POWER_OF_SUM = 0.1
"""Channels whose sum has less than this share of the loudest one's power cancel each other."""


@dataclass(frozen=True)
class Transcription:
    """What was said, and when.

    Args:
        text: the words, separated by single spaces; empty if none was recognised.
        seconds: duration of the audio.
        words: the words with times (s) and confidences (0 to 1; see `asr.decode.reading.Recognition`).
        tokens: the same for the model's tokens (characters or byte pairs).
        notes: what was done to the audio before recognition (resampling, mixing down), and what looks wrong with it
            (another full scale, channels that cancel each other), for people.
        alternatives: the best texts of a beam search with their scores, as many as were asked for.
    """

    text: str
    seconds: float
    words: tuple[TimedText, ...]
    tokens: tuple[TimedText, ...]
    notes: tuple[str, ...] = ()
    alternatives: tuple[ScoredText, ...] = ()


class Transcriber:
    """A loaded model that turns audio into text.

    Args:
        loaded: the model.
        decoding: how it decodes; greedily by default.
        nbest: texts that a beam search gives for each recording.

    Raises:
        InputError: a file that `decoding` names cannot be used.
    """

    def __init__(self, loaded: LoadedModel, decoding: DecodingOptions | None = None, nbest: int = 0) -> None:
        self.loaded = loaded
        self.reader = Reader(reading_of(loaded, decoding, nbest))

    @classmethod
    def load(
        cls,
        path: Path | str | None = None,
        device: str = "cpu",
        decoding: DecodingOptions | None = None,
        nbest: int = 0,
    ) -> "Transcriber":
        """Load an exported folder, a run folder or a checkpoint, or "pretrained", onto a torch device; by
        default the model that comes with the package.

        Without `decoding`, an exported folder is decoded by the decoder.json in it, and all others greedily.

        Raises:
            InputError: see `asr.model.load_model`; or the device does not exist here, or a file that `decoding` names
                cannot be used.
        """
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"the device {device!r} cannot be used: {str(error).splitlines()[0]}") from error
        path = PACKAGED if path is None else model_path(path)
        config = packed_decoder(path) if decoding is None else None
        return cls(load_model(path, device=device), read_decoder(config) if config else decoding, nbest)

    def transcribe(self, audio: Any, sample_rate: int | None = None) -> Transcription:
        """Transcribe one recording, at any sample rate and with any number of channels.

        Args:
            audio: a path, a pair (samples, sample_rate), or samples with `sample_rate`. Samples are an array or tensor
                (N,) or (channels, N), floating point with full scale 1.0, or signed integers with theirs.
            sample_rate: of the samples, in Hz.

        Raises:
            InputError: the file cannot be read, or the samples are empty, not finite, of another shape or type, or
                come without a rate.
        """
        if isinstance(audio, str | Path):
            samples, rate = read_audio(audio)
            name = str(audio)
        else:
            samples, rate = _samples(audio, sample_rate)
            name = "the samples"
        target = self.loaded.description.features.sample_rate
        try:
            waveform, notes = prepare_waveform(torch.from_numpy(samples), rate, target)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        found = recognize(self.loaded, [waveform], [name], self.reader)[0]
        return Transcription(found.text, samples.shape[-1] / rate, found.words, found.tokens, notes, found.alternatives)


def _samples(audio: Any, sample_rate: int | None) -> tuple[np.ndarray, int]:
    """Check samples given from Python; as float32 (channels, N) with their rate."""
    if isinstance(audio, tuple):
        if len(audio) != 2 or sample_rate is not None:
            raise InputError("audio is a path, a pair (samples, sample_rate), or samples with sample_rate=")
        audio, sample_rate = audio
    if sample_rate is None:
        raise InputError("samples need their sample rate: transcribe(samples, sample_rate=16000)")
    if isinstance(sample_rate, bool) or int(sample_rate) != sample_rate or sample_rate < 1:
        raise InputError(f"sample_rate must be a positive whole number of Hz, got {sample_rate!r}")
    samples = np.asarray(audio.detach().cpu() if isinstance(audio, torch.Tensor) else audio)
    if samples.dtype.kind == "i":
        samples = samples / -float(np.iinfo(samples.dtype).min)
    elif samples.dtype.kind != "f":
        raise InputError(f"samples must be floating point or signed integers, got {samples.dtype}")
    samples = np.atleast_2d(samples).astype(np.float32)
    if samples.ndim != 2 or samples.size == 0:
        raise InputError(f"samples must have the shape (N,) or (channels, N) and not be empty, got {samples.shape}")
    if samples.shape[0] > samples.shape[1]:
        raise InputError(f"samples of shape {samples.shape} look transposed: (channels, N) is expected")
    if not np.isfinite(samples).all():
        raise InputError(f"{int((~np.isfinite(samples)).sum())} of {samples.size} samples are not finite")
    return samples, int(sample_rate)


def prepare_waveform(samples: torch.Tensor, rate: int, target: int) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Samples (channels, N) at `rate` Hz -> mono (N',) at `target` Hz, and notes on what was done and looks wrong.

    Raises:
        InputError: the rate is outside `RATES`.
    """
    if not RATES[0] <= rate <= RATES[1]:
        raise InputError(f"a sample rate of {rate} Hz is outside {RATES[0]} to {RATES[1]} Hz")
    waveform = samples.mean(dim=0) if len(samples) > 1 else samples[0]
    notes = _doubts(samples, waveform)
    if len(samples) > 1:
        notes.append(f"{len(samples)} channels mixed down to one")
    if rate != target:
        lost = f"; it holds nothing above {rate // 2} Hz, which costs accuracy" if rate < target else ""
        notes.append(f"resampled from {rate} to {target} Hz{lost}")
        ratio = Fraction(target, rate).limit_denominator(MAXIMUM_RESAMPLING_DENOMINATOR)
        waveform = torchaudio.functional.resample(waveform, ratio.denominator, ratio.numerator)
    return waveform, tuple(notes)


def _doubts(samples: torch.Tensor, mixed: torch.Tensor) -> list[str]:
    """What looks wrong with samples (channels, N) and their mean over channels (N,)."""
    found = []
    low, high = torch.aminmax(samples)
    peak = max(-float(low), float(high))
    if peak > LOUDEST_PEAK:
        found.append(f"samples reach {peak:.0f}, full scale is 1")
    loudest = float(torch.linalg.vector_norm(samples, dim=1).max())
    total = len(samples) * float(torch.linalg.vector_norm(mixed))
    share = (total / loudest) ** 2 if loudest else 1.0
    if share < LEAST_POWER_OF_SUM:
        found.append(f"the channels cancel each other: their sum has {100 * share:.2g} % of the loudest one's power")
    return found


def main(arguments: Sequence[str]) -> int:
    """`asr transcribe`."""
    options = _parser().parse_intermixed_args(arguments)
    decoding = decoding_of(options, options.model)
    if options.nbest < 0:
        raise InputError(f"--nbest must be a number of at least 0, got {options.nbest}")
    if options.nbest and not (options.json and decoding.decoder != "greedy"):
        raise InputError("--nbest needs --json and --decoder beam: other output has one text a file")
    transcriber = Transcriber.load(options.model, options.device, decoding, options.nbest)
    check_tokens(options.decoder_config, tokens_digest(transcriber.loaded.tokenizer))
    if options.model == PACKAGED:
        own = packed_decoder(options.model)
        other = "" if own and decoding == read_decoder(own) else " (with its own decoder, which this is not)"
        print(f"model: {transcriber.loaded.metadata.get('about', PRETRAINED)}{other}", file=sys.stderr)
    failed = 0
    for path in options.audio:
        try:
            result = transcriber.transcribe(path)
        except InputError as error:
            failed += 1
            print(f"error: {error}", file=sys.stderr)
            if options.json:
                _print_json({"path": path, "error": str(error)})
            continue
        for note in result.notes:
            print(f"{path}: {note}", file=sys.stderr)
        if options.json:
            row = {
                "path": path,
                "text": result.text,
                "seconds": round(result.seconds, 3),
                "words": [_timed(word) for word in result.words],
                "notes": list(result.notes),
            }
            _print_json(row | {"nbest": [entry.to_dict() for entry in result.alternatives]} if options.nbest else row)
        else:
            _print(result.text if len(options.audio) == 1 else f"{path}\t{result.text}")
    if failed:
        print(f"{failed} of {len(options.audio)} files could not be transcribed", file=sys.stderr)
    return 1 if failed else 0


def _timed(word: TimedText) -> dict[str, Any]:
    return {
        "text": word.text,
        "start": round(word.start, 3),
        "end": round(word.end, 3),
        "confidence": round(word.confidence, 4),
    }


def _print_json(row: dict[str, Any]) -> None:
    """Print a line of JSON, with JSON's escapes if stdout cannot say all of it."""
    line = json.dumps(row, ensure_ascii=False)
    _print(line if _sayable(line) == line else json.dumps(row))


def _print(line: str) -> None:
    print(_sayable(line), flush=True)


def _sayable(line: str) -> str:
    """A line with escapes, as stderr has them, for what stdout cannot say: file names need not be text."""
    encoding = sys.stdout.encoding or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asr transcribe",
        description="Turn audio files into text. Any sample rate and number of channels; WAV, FLAC, OGG, Opus, MP3 and "
        "what else libsndfile reads. Files that cannot be read are named, the others are still transcribed, and the "
        "exit code is 1.",
        epilog="One file prints its text; several print a line `path<TAB>text` each. Recordings of more than "
        "40 seconds are computed in windows that overlap: what the network computes at a time is bounded. The samples, "
        "features and log-probabilities are in memory whole, and grow by about 8 MB a minute.",
    )
    parser.add_argument("audio", nargs="+", help="audio files")
    parser.add_argument(
        "-m",
        "--model",
        type=model_path,
        default=PACKAGED,
        help=f"{MODEL_HELP} (default)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a file: text, seconds, word times")
    parser.add_argument("--nbest", type=int, default=0, metavar="N", help="with --json: the N best texts, scored")
    parser.add_argument("--device", default="cpu", help="torch device: cpu (default), cuda, cuda:1, ...")
    add_decoding_arguments(parser)
    return parser
