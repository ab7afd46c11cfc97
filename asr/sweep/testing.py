"""What is still to be tested of a run: greedily on each split, and by a beam search that was tuned on dev."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from asr.decode.options import DECODER_FILE, read_decoder
from asr.decode.outputs import Outputs
from asr.errors import InputError
from asr.files import read_json
from asr.sweep.description import Decoding, Sweep
from asr.sweep.runs import RunPlace


def check_decoding(sweep: Sweep) -> None:
    """Refuse to train what could not be decoded in the end.

    Raises:
        InputError: there is no such language model.
    """
    if sweep.decoding is not None and not Path(sweep.decoding.lm).is_file():
        lm = sweep.decoding.lm
        raise InputError(f"decoding.lm of {sweep.path}: there is no file {lm}; `asr lm build` makes one")


def scored(sweep: Sweep) -> list[tuple[str, str]]:
    """What is compared in the end: how it is called, and how `asr compare --split` calls it.

    >>> beam_name("test"), beam_name("dev")
    ('beam', 'dev-beam')
    """
    greedy = [(split, split) for split in sweep.splits]
    return greedy + [(f"{split}-beam", beam_name(split)) for split in sweep.splits if sweep.decoding is not None]


def beam_name(split: str) -> str:
    """The scores of a split by beam search, as `asr compare --split` calls them."""
    return Outputs.of(Path(), split, "beam").scores.stem.removeprefix("scores-")


def to_do(sweep: Sweep, place: RunPlace) -> Iterator[tuple[str, Sequence[str]]]:
    """What is to be run, one after the other: in words, and as arguments of `asr`."""
    run = str(place.run)
    for split in sweep.splits:
        if not place.tested(split):
            yield f"testing on {split}", ("test", run, "--split", split)
    if sweep.decoding is None:
        return
    decoder = place.run / DECODER_FILE
    anew = not _tuned(decoder, sweep.decoding)
    if anew:
        weights = ("--lm", sweep.decoding.lm, "--trials", str(sweep.decoding.trials))
        yield "tuning the decoder", ("tune-decoder", run, *weights)
    for split in sweep.splits:
        if anew or not place.tested(beam_name(split)):
            yield f"beam search on {split}", ("test", run, "--split", split, "--decoder-config", str(decoder))


def _tuned(decoder: Path, decoding: Decoding) -> bool:
    """Whether the decoder was tuned with this language model, as it is now, by as many trials."""
    try:
        return (
            read_decoder(decoder).lm == str(Path(decoding.lm)) and len(read_json(decoder)["trials"]) == decoding.trials
        )
    except (InputError, KeyError, TypeError):
        return False
