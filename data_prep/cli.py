"""The `asr-prepare` command: one sub-command a corpus, all with the same options beside their own."""

import argparse
import dataclasses
import importlib
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, TypeVar

from asr import __version__
from asr.data.augmentation import AugmentationConfig
from asr.data.features import FeatureConfig, LogMel
from asr.data.tokens import read_tokenizer
from asr.errors import InputError
from asr.experiment import Experiment, read_experiment
from asr.provenance import available_cores
from asr.text import NORMALIZERS, normalizer
from data_prep.convert import convert
from data_prep.listed import ListedIds
from data_prep.pipeline import Outcome, Preparation, prepare
from data_prep.select import Criteria
from data_prep.splits import SplitPlan, parse_speakers
from data_prep.utterance import Problem, Utterance
from data_prep.verify import SUBSAMPLING, VerificationSettings

CORPORA = ("librispeech", "an4", "table", "cuts", "embedded")
"""Modules of data_prep, each with SUMMARY, add_arguments(parser) and read(options) -> utterances, problems.

A module may also have DEFAULT_SPLITS (split -> parts) and DEFAULT_HELD_OUT (split -> number of speakers), which are
used when no split is named.
"""

TRAINED_TOKENS = ("characters", "bpe")
"""What --tokens may be beside the path of a file."""

Number = TypeVar("Number", int, float)


def usage() -> str:
    """The text of `asr-prepare --help`."""
    names = (*CORPORA, "report")
    width = max(map(len, names))
    lines = [f"  {name:<{width}}  {_module(name).SUMMARY}" for name in names]
    return (
        "usage: asr-prepare CORPUS ... OUT [options]    (asr-prepare CORPUS --help explains one)\n\n"
        + "\n".join(lines)
        + "\n\nOUT gets lhotse cuts (SPLIT.jsonl.gz), tokens, feature statistics, the selection, what normalisation "
        "changed,\nand a report on every file that was refused or is worth a look.\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command.

    Returns:
        0 when all went well, 1 when something given could not be used or something was refused (and not
        --allow-refused), 2 for a usage error, 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        name, *rest = arguments or [""]
        if name in ("", "-h", "--help"):
            print(usage(), end="", file=sys.stdout if name else sys.stderr)
            return 0 if name else 2
        if name == "--version":
            print(f"asr-prepare {__version__}")
            return 0
        if name == "report":
            return int(_module(name).main(rest))
        if name not in CORPORA:
            print(f"asr-prepare: no corpus {name!r}\n\n{usage()}", end="", file=sys.stderr)
            return 2
        return prepare_corpus(name, rest)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was fetched or verified so far is kept", file=sys.stderr)
        return 130


def _module(name: str) -> ModuleType:
    """A corpus's module, imported when it is asked for."""
    return importlib.import_module(f"data_prep.{name}")


class CorpusParser(argparse.ArgumentParser):
    """Names the folders first, and says so where an option with several values has taken one of them."""

    def folders(self) -> str:
        """The arguments that are no options, as they are to be typed."""
        words = [(str(action.metavar), action.nargs) for action in self._actions if not action.option_strings]
        return " ".join(f"{word} [{word} ...]" if nargs == "+" else word for word, nargs in words)

    def error(self, message: str) -> NoReturn:
        if message.startswith("the following arguments are required"):
            message += (
                f"\nusage: {self.prog} {self.folders()} [options]\n"
                "The folders come first: --train, --dev and --test take every word up to the next option."
            )
        print(f"error: {message}\n({self.prog} --help lists the options)", file=sys.stderr)
        sys.exit(2)


def prepare_corpus(name: str, arguments: Sequence[str]) -> int:
    """Prepare one corpus; see `main` for the exit codes."""
    module = _module(name)
    parser = CorpusParser(prog=f"asr-prepare {name}", description=f"{module.SUMMARY}.")
    module.add_arguments(parser)
    _add_common_arguments(parser)
    parser.usage = f"%(prog)s {parser.folders()} [options]"
    options = parser.parse_args(arguments)
    _check_counts(options)
    given = _given_parts(options)
    options.parts = [part for parts in given.values() for part in parts]
    features, subsampling, speed = _training(options)
    criteria = _criteria(options)
    text_normalizer = normalizer(options.normalizer)
    listed = ListedIds.read(options.ids) if options.ids else None
    if options.tokens not in TRAINED_TOKENS:
        read_tokenizer(options.tokens)  # before hours of downloading and decoding
    utterances, problems = _read(module, options)
    if listed:
        utterances, problems = listed.keep(utterances, problems, options.parts)
    preparation = Preparation(
        corpus=name,
        plan=_plan(options, given, utterances, module),
        normalizer=text_normalizer,
        criteria=criteria,
        listed=listed,
        tokens=options.tokens,
        vocabulary_size=options.vocabulary_size,
        features=features,
        subsampling=subsampling,
        fastest_speed=speed,
        jobs=options.jobs,
    )
    if options.convert:
        used = {part for parts in preparation.plan.parts.values() for part in parts}
        utterances, converted = convert(utterances, used, options.output / "audio", features.sample_rate, options.jobs)
        problems = [*problems, *converted]
    outcome = prepare(utterances, problems, preparation, options.output)
    print(summary(outcome, options.output), end="")
    return 1 if outcome.refused and not options.allow_refused else 0


def _add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", type=Path, metavar="OUT", help="the folder to write; files of its own are replaced")
    parser.add_argument(
        "--jobs", type=int, default=available_cores(), metavar="N", help="processes (default: all cores, %(default)s)"
    )
    parser.add_argument("--allow-refused", action="store_true", help="exit with 0 although utterances were refused")

    group = parser.add_argument_group("splits", "which parts of the corpus make up a split")
    for split in ("train", "dev", "test"):
        group.add_argument(f"--{split}", nargs="+", metavar="PART", help=f"parts that make up {split}")
    group.add_argument(
        "--split", action="append", default=[], metavar="NAME=PART[,PART]", help="a split of another name; repeatable"
    )
    for split in ("dev", "test"):
        group.add_argument(
            f"--{split}-speakers",
            metavar="N|IDS|@FILE",
            help=f"make {split} of speakers held out of train, and, with --{split}, of theirs in these parts: so many, "
            "drawn by --seed, or these (separated by commas; a single id ends in one; @FILE has an id a line)",
        )
    group.add_argument("--allow-shared-speakers", action="store_true", help="accept a speaker in two splits")

    group = parser.add_argument_group(
        "subsets",
        "of train, or of another split with SPLIT=VALUE (--utterances dev=200); each repeatable. A smaller "
        "subset is contained in a larger one of the same seed, and speakers take turns.",
    )
    for option, kind, what in (
        ("--hours", "H", "as much as fits into so many hours"),
        ("--utterances", "N", "so many utterances"),
        ("--speakers", "N", "so many speakers"),
        ("--utterances-per-speaker", "N", "at most so many utterances of each speaker"),
        ("--min-duration", "S", "no utterance shorter than so many seconds"),
        ("--max-duration", "S", "no utterance longer than so many seconds"),
    ):
        group.add_argument(option, action="append", default=[], metavar=f"[SPLIT=]{kind}", help=what)
    group.add_argument(
        "--ids",
        type=Path,
        metavar="FILE",
        help="of all parts, nothing but the utterances with these ids, one a line, to begin with",
    )
    group.add_argument("--seed", type=int, default=0, help="of held-out speakers and subsets (default %(default)s)")

    group = parser.add_argument_group("text")
    known = ", ".join(f"{known.identifier}: {known.description}" for known in NORMALIZERS)
    group.add_argument("--normalizer", default="english/1", metavar="NAME", help=f"default %(default)s. {known}")
    group.add_argument(
        "--tokens",
        default="characters",
        metavar="characters|bpe|FILE",
        help="characters (those of the normaliser, or of train if it has no fixed set), byte-pair tokens trained on "
        "train, or the tokens.json of another preparation (default %(default)s)",
    )
    group.add_argument(
        "--vocabulary-size", type=int, default=500, metavar="V", help="of byte-pair tokens (default %(default)s)"
    )

    group = parser.add_argument_group("audio")
    group.add_argument("--sample-rate", type=int, metavar="HZ", help="that files must have (default 16000)")
    group.add_argument(
        "--convert",
        action="store_true",
        help="of files at another rate or with several channels, write FLAC copies at the right one, their channels "
        "averaged, into OUT/audio, and use those (default: such files are refused)",
    )
    group.add_argument("--num-mels", type=int, metavar="M", help="mel bins of the feature statistics (default 80)")
    group.add_argument(
        "--subsampling",
        type=int,
        metavar="K",
        help=f"feature frames (10 ms) per output frame of the model: CTC needs an output frame a token (default "
        f"{SUBSAMPLING})",
    )
    group.add_argument(
        "--fastest-speed",
        type=float,
        metavar="F",
        help="at which training will play utterances, which leaves them fewer frames: a train utterance without a "
        f"frame a token at this speed is refused (default {max(AugmentationConfig().speed_factors):g}, that of "
        "`asr fit`)",
    )
    group.add_argument(
        "--config", type=Path, metavar="FILE", help="take features, subsampling and speed from what `asr fit` gets"
    )


def _check_counts(options: argparse.Namespace) -> None:
    for name in ("jobs", "vocabulary_size"):
        if (count := getattr(options, name)) < 1:
            raise InputError(f"--{name.replace('_', '-')} must be at least 1, got {count}")


def _read(module: ModuleType, options: argparse.Namespace) -> tuple[list[Utterance], list[Problem]]:
    """The corpus as its module lists it; an utterance that no file of OUT can hold is a refused problem.

    Raises:
        InputError: as the module's, or the system refuses a path.
    """
    try:
        listed, found = module.read(options)
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from error
    utterances, problems = [], [*found]
    for utterance in listed:
        if wrong := _unwritable(utterance):
            problems.append(Problem(str(utterance.audio), "unwritable", wrong, refused=True, utterance=utterance.id))
        else:
            utterances.append(utterance)
    escaped = [dataclasses.replace(p, subject=_escaped(p.subject), detail=_escaped(p.detail)) for p in problems]
    return utterances, escaped


def _unwritable(utterance: Utterance) -> str | None:
    """Which of an utterance's names and texts is not UTF-8 or has a NUL; None if all can be written."""
    for name in ("audio", "id", "text", "speaker", "part"):
        text = str(getattr(utterance, name))
        if _escaped(text) != text:
            return f"its {name}, {text!r}, is not UTF-8 or has a NUL"
    return None


def _escaped(text: str) -> str:
    r"""The text with escapes for NUL and for bytes that are not UTF-8, which Python reads as lone surrogates.

    >>> _escaped("café.wav"), _escaped("caf\udce9.wav")
    ('café.wav', 'caf\\udce9.wav')
    """
    return re.sub(r"[\x00\ud800-\udfff]", lambda match: repr(match[0])[1:-1], text)


def _given_parts(options: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    """split -> parts, as named by --train, --dev, --test and --split."""
    given = {split: tuple(parts) for split in ("train", "dev", "test") if (parts := getattr(options, split))}
    for text in options.split:
        name, equals, parts = text.partition("=")
        if not (equals and parts and name.replace("-", "").replace("_", "").isalnum()) or name in given:
            raise InputError(f"--split {text!r} must be NAME=PART[,PART], with a name that is not used before")
        given[name] = tuple(parts.split(","))
    return given


def _plan(
    options: argparse.Namespace,
    given: Mapping[str, tuple[str, ...]],
    utterances: Iterable[Utterance],
    module: ModuleType,
) -> SplitPlan:
    """The splits as given; else as the corpus's module has them; else by the names of its parts."""
    speakers = {
        split: parse_speakers(text) for split in ("dev", "test") if (text := getattr(options, f"{split}_speakers"))
    }
    parts = dict(given)
    if not parts:
        there = sorted({utterance.part for utterance in utterances})
        default = {split: tuple(some) for split, some in getattr(module, "DEFAULT_SPLITS", {}).items()}
        parts = default or _splits_by_name(there)
        for split, number in getattr(module, "DEFAULT_HELD_OUT", {}).items():
            speakers.setdefault(split, number)
        parts = {split: some for split, some in parts.items() if split not in speakers}
    return SplitPlan(parts, speakers, options.seed, options.allow_shared_speakers)


def _splits_by_name(parts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Parts that are called train, dev and test; or the only one there is, as train if it is called otherwise."""
    named: dict[str, tuple[str, ...]] = {split: (split,) for split in ("train", "dev", "test") if split in parts}
    if "train" in named or (named and len(named) == len(parts)):
        return named
    if len(parts) == 1:
        return {"train": (parts[0],)}
    raise InputError(f"name the splits, with --train, --dev, --test or --split; parts: {', '.join(parts) or 'none'}")


def _criteria(options: argparse.Namespace) -> dict[str, Criteria]:
    """split -> criteria, from the options' `[SPLIT=]VALUE`."""
    values: dict[str, dict[str, Any]] = {}
    for field in dataclasses.fields(Criteria):
        kind = float if field.name in ("hours", "min_duration", "max_duration") else int
        for text in getattr(options, field.name):
            split, _, number = text.rpartition("=")
            name = f"--{field.name.replace('_', '-')}"
            if field.name in values.setdefault(split or "train", {}):
                raise InputError(f"{name} is given twice for {split or 'train'}")
            values[split or "train"][field.name] = _number(kind, number, f"{name} {text}")
    return {split: Criteria(**some) for split, some in values.items()}


def _number(kind: Callable[[str], Number], text: str, where: str) -> Number:
    try:
        return kind(text)
    except ValueError:
        raise InputError(f"{where}: {text!r} is not a{'n integer' if kind is int else ' number'}") from None


def _training(options: argparse.Namespace) -> tuple[FeatureConfig, int, float]:
    """Features, feature frames per output frame, fastest speed; an option counts more than the configuration."""
    experiment = read_experiment(options.config) if options.config else Experiment({}, "the defaults")
    given = {name: value for name in ("sample_rate", "num_mels") if (value := getattr(options, name)) is not None}
    features = experiment.features(**given)
    speed, subsampling = options.fastest_speed, options.subsampling
    if speed is None:
        speed = max(1.0, *experiment.augmentation().speed_factors)
    if subsampling is None:
        subsampling = experiment.encoder(features.num_mels).subsampling if experiment.has_model else SUBSAMPLING
    VerificationSettings(features, subsampling=subsampling, fastest_speed=speed)  # refuses what is out of range
    LogMel(dataclasses.replace(features, normalization="none"))  # and so do the statistics, but after all is decoded
    return features, subsampling, speed


def summary(outcome: Outcome, output: Path) -> str:
    """What was prepared, what was not, and where it is written down."""
    width = max(len(split) for split in outcome.splits)
    lines = []
    for split, entries in outcome.splits.items():
        hours = sum(entry.measurement.seconds for entry in entries) / 3600
        speakers = len({entry.utterance.speaker for entry in entries} - {None})
        left_out = ", ".join(f"{count} by {reason}" for reason, count in outcome.selections[split].left_out.items())
        lines.append(
            f"{split:<{width}}  {len(entries):>7} utterances  {hours:>8.2f} h  {speakers:>5} speakers"
            + (f"  (left out: {left_out})" if left_out else "")
        )
    changes = outcome.changes
    lines.append(f"texts: {changes['identifier']} changed {changes['changed']} of {changes['texts']}")
    for sample in changes["samples"][:3]:
        identifier = sample["id"]
        lines += [
            f"  {identifier}  before  {sample['before']}",
            f"  {' ' * len(identifier)}  after   {sample['after']}",
        ]
    lines += [f"removed {name}, of a former preparation" for name in outcome.removed]
    if outcome.unused_parts:
        lines.append(f"in no split: {_counts(outcome.unused_parts)}")
    kept = Counter(problem.kind for problem in outcome.problems if not problem.refused)
    if kept:
        lines.append(f"kept, but worth a look: {_counts(kept)}")
    lines.append(f"refused: {_counts(outcome.refused) or 'nothing'}")
    lines.append(f"every file with its reason: {output / 'verification.txt'}")
    return "\n".join(lines) + "\n"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


if __name__ == "__main__":
    sys.exit(main())
