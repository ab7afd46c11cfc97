"""What is still to be tested: each run greedily, and all seeds of a model by a beam search that was tuned on dev."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from asr.decode.options import read_decoder
from asr.decode.outputs import Outputs, split_manifest
from asr.decode.tuned import DECODER_FILE, tuned_for
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


def check_splits(sweep: Sweep) -> None:
    """Refuse to train what could not be tested in the end.

    Raises:
        InputError: there is no prepared corpus, or it has not all splits.
    """
    root = Path(sweep.base["data"]["root"])
    if not root.is_dir():
        raise InputError(
            f"data.root of {sweep.base_file}: there is no folder {root} with a prepared corpus; make it with "
            "asr-prepare, or name another one there"
        )
    for split in sweep.splits:
        try:
            split_manifest(root, split)
        except InputError as error:
            raise InputError(f"splits of {sweep.path}: {error}") from error


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


def greedy_tests(sweep: Sweep, place: RunPlace) -> Iterator[tuple[str, Sequence[str]]]:
    """What is still to be run of a run, one after the other: in words, and as arguments of `asr`."""
    for split in sweep.splits:
        if not place.tested(split):
            yield f"testing on {split}", ("test", str(place.run), "--split", split)


def beam_tests(
    sweep: Sweep, decoding: Decoding, places: Sequence[RunPlace]
) -> Iterator[tuple[RunPlace, str, Sequence[str]]]:
    """What is still to be run of all seeds of a model, which share a decoder; and the run that it is of.

    What is yielded depends on what the commands before have written.
    """
    if not _tuned(places, decoding):
        runs = [str(place.run) for place in places]
        yield (
            places[0],
            "tuning the decoder",
            ("tune-decoder", *runs, "--lm", decoding.lm, "--trials", str(decoding.trials)),
        )
    for place in places:
        for split in sweep.splits:
            if not _searched(place, split):
                decoder = str(place.run / DECODER_FILE)
                yield (
                    place,
                    f"beam search on {split}",
                    ("test", str(place.run), "--split", split, "--decoder-config", decoder),
                )


def _searched(place: RunPlace, split: str) -> bool:
    """Whether there are scores of the run's weights by its decoder, as both are now."""
    if not place.tested(beam_name(split)):
        return False
    scores, config = read_json(Outputs.of(place.run, split, "beam").scores), place.run / DECODER_FILE
    decoding = read_decoder(config)
    if tuned_for(config, place.run, (scores.get("model") or {}).get("sha256")) is False:
        decoding = replace(decoding, confidence=None)  # as `asr test` does
    return bool(scores.get("decoding") == decoding.to_record())


def _tuned(places: Sequence[RunPlace], decoding: Decoding) -> bool:
    """Whether the runs were tuned together with this language model, as it is now, by as many trials."""
    together = []
    for place in places:
        try:
            content = read_json(place.run / DECODER_FILE)
            if (
                read_decoder(place.run / DECODER_FILE).lm != str(Path(decoding.lm))
                or len(content["trials"]) != decoding.trials
            ):
                return False
            of = content["tuned_on"]
            together.append(of.get("together_sha256", [of["model_sha256"]]))
        except (InputError, KeyError, TypeError):
            return False
    return len(together[0]) == len(places) and all(models == together[0] for models in together)
