"""Which utterance belongs to which split: parts of the corpus, and speakers held out of train."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asr.errors import InputError
from data_prep.reading import read_utf8
from data_prep.select import held_out_speakers
from data_prep.utterance import Utterance

Speakers = int | tuple[str, ...]
"""How many speakers, or which."""


@dataclass(frozen=True)
class SplitPlan:
    """How a corpus is divided.

    Args:
        parts: for each split, the parts of the corpus it consists of.
        speakers: for some splits, the speakers that they consist of and that are held out of train: their utterances
            in train's parts, and in the split's own if it has any; drawn in the order of this mapping.
        seed: of the draw.
        shared_speakers: whether splits may have speakers in common.
    """

    parts: Mapping[str, tuple[str, ...]]
    speakers: Mapping[str, Speakers] = field(default_factory=dict)
    seed: int = 0
    shared_speakers: bool = False

    def __post_init__(self) -> None:
        owner: dict[str, str] = {}
        for split, parts in self.parts.items():
            for part in parts:
                if owner.setdefault(part, split) != split:
                    raise InputError(f"part {part!r} is given to two splits, {owner[part]} and {split}")
        if further := [split for split in self.speakers if split not in self.parts and "train" not in self.parts]:
            raise InputError(f"{further[0]} speakers are held out of train, and train has no part")


def parse_speakers(text: str) -> Speakers:
    """Read a number of speakers, ids separated by commas, or `@FILE` with an id a line.

    >>> parse_speakers("10"), parse_speakers("19,26,27"), parse_speakers("19,")
    (10, ('19', '26', '27'), ('19',))

    Raises:
        InputError: the file cannot be read or is not UTF-8, or nothing is named.
    """
    if text.isdigit():
        return int(text)
    listed = read_utf8(Path(text[1:])).replace("\n", ",") if text.startswith("@") else text
    speakers = tuple(sorted({speaker.strip() for speaker in listed.split(",")} - {""}))
    if not speakers:
        raise InputError(f"no speaker is named by {text!r}")
    return speakers


def assign(utterances: Sequence[Utterance], plan: SplitPlan) -> dict[str, list[Utterance]]:
    """Divide a corpus; each split keeps the order of `utterances`. What no split claims is left out.

    Splits come in the order train, dev, then the others as planned: what is tested on comes last.

    Raises:
        InputError: a part or a named speaker does not exist, a speaker to choose from is unknown, an id occurs in two
            splits, or a speaker does and must not.
    """
    split_of = {part: split for split, parts in plan.parts.items() for part in parts}
    missing = sorted(set(split_of) - {utterance.part for utterance in utterances})
    if missing:
        there = sorted({utterance.part for utterance in utterances})
        raise InputError(f"the corpus has no part {missing[0]!r} (parts: {', '.join(there) or 'none'})")
    names = sorted(dict.fromkeys((*plan.parts, *plan.speakers)), key=lambda split: {"train": 0, "dev": 1}.get(split, 2))
    splits: dict[str, list[Utterance]] = {split: [] for split in names}
    for utterance in utterances:
        if utterance.part in split_of:
            splits[split_of[utterance.part]].append(utterance)
    for split, wanted in plan.speakers.items():
        own, train = splits[split], splits.get("train", [])
        chosen = _choose([*own, *train], split, wanted, plan)
        if train:
            splits["train"] = [u for u in train if u.speaker not in chosen]
            if not splits["train"]:
                raise InputError(f"--{split}-speakers leaves no speaker to train on")
        taken = {id(u) for u in (*own, *train) if u.speaker in chosen}
        splits[split] = [u for u in utterances if id(u) in taken]
    _check_ids(splits)
    if not plan.shared_speakers:
        _check_speakers(splits)
    return splits


def _choose(utterances: Sequence[Utterance], split: str, wanted: Speakers, plan: SplitPlan) -> frozenset[str]:
    """The speakers that `split` gets, of those in its own parts and in train's."""
    speakers: list[str] = []
    for utterance in utterances:
        if utterance.speaker is None:
            raise InputError(f"--{split}-speakers needs every speaker, and that of {utterance.id!r} is unknown")
        speakers.append(utterance.speaker)
    if isinstance(wanted, int):
        return frozenset(held_out_speakers(speakers, wanted, plan.seed, split))
    missing = sorted(set(wanted) - set(speakers))
    if missing:
        where = " and ".join(sorted({"train", split} & set(plan.parts), reverse=True))
        raise InputError(f"--{split}-speakers: {where}: no speaker {', '.join(map(repr, missing))}")
    return frozenset(wanted)


def _check_ids(splits: Mapping[str, Sequence[Utterance]]) -> None:
    first: dict[str, tuple[str, Utterance]] = {}
    for split, utterances in splits.items():
        for utterance in utterances:
            other, known = first.setdefault(utterance.id, (split, utterance))
            if other != split:
                raise InputError(
                    f"utterance {utterance.id!r} is in two splits: {other} ({known.audio}) and {split} "
                    f"({utterance.audio})"
                )


def _check_speakers(splits: Mapping[str, Sequence[Utterance]]) -> None:
    speakers = {split: {u.speaker for u in utterances} - {None} for split, utterances in splits.items()}
    names = list(splits)
    for index, split in enumerate(names):
        for other in names[index + 1 :]:
            shared = sorted(speakers[split] & speakers[other])  # type: ignore[type-var]
            if shared:
                some = ", ".join(map(str, shared[:5])) + (", ..." if len(shared) > 5 else "")
                raise InputError(
                    f"{split} and {other} share {len(shared)} speakers ({some}); an error rate on known voices says "
                    f"little about new ones. --allow-shared-speakers accepts it"
                )
