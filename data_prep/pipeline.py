"""From a corpus's utterances to a prepared folder: divide, normalise, verify, select, write."""

import dataclasses
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr.data.corpus import TOLERANCE, Stretch, Stretches, later_end, real_paths
from asr.data.features import FeatureConfig
from asr.data.tokens import CharacterTokenizer, SentencePieceTokenizer, Tokenizer, minimum_frames, read_tokenizer
from asr.errors import InputError
from asr.files import write_json, write_text
from asr.text import Normalizer, describe_changes
from data_prep import manifest
from data_prep.listed import ListedIds
from data_prep.manifest import Entry
from data_prep.select import Candidate, Criteria, Selection, select
from data_prep.splits import SplitPlan, assign
from data_prep.utterance import Problem, Utterance
from data_prep.verification import verify_all
from data_prep.verification_report import report_text, verification_report
from data_prep.verify import SUBSAMPLING, VerificationSettings, Verified, find_duplicates


@dataclass(frozen=True)
class Preparation:
    """What is to be made of a corpus.

    Args:
        corpus: its name.
        plan: how it is divided into splits.
        criteria: for a split, which subset of it is used, drawn with the plan's seed; all of it if it is not there.
        normalizer: of the transcripts.
        listed: the ids that the corpus was reduced to, for the record; None if it was not.
        tokens: "characters" (those of the normaliser, or of train if it has no fixed set), "bpe" (trained on train),
            or the path of a `tokens.json`.
        vocabulary_size: of byte-pair tokens.
        features: what the statistics are computed of, and the sample rate that files must have.
        subsampling: feature frames per output frame of the model, for the CTC check.
        fastest_speed: at which training plays its utterances: splits whose name begins with "train" must be feasible
            for CTC at this speed, the others at their own.
        jobs: processes.
    """

    corpus: str
    plan: SplitPlan
    normalizer: Normalizer
    criteria: Mapping[str, Criteria] = field(default_factory=dict)
    listed: ListedIds | None = None
    tokens: str = "characters"
    vocabulary_size: int = 500
    features: FeatureConfig = field(default_factory=FeatureConfig)
    subsampling: int = SUBSAMPLING
    fastest_speed: float = 1.0
    jobs: int = 1

    def __post_init__(self) -> None:
        unknown = sorted(set(self.criteria) - {*self.plan.parts, *self.plan.speakers})
        if unknown:
            raise InputError(f"a subset of {unknown[0]!r} was asked for, and there is no such split")
        for name in ("jobs", "vocabulary_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class Outcome:
    """What was made.

    Args:
        splits: what each split consists of.
        selections: which subset was chosen, for each split.
        problems: all that were found.
        changes: what normalisation changed (the content of `normalization.json`).
        unused_parts: parts of the corpus that are in no split, and their numbers of utterances.
        removed: manifests of a former preparation that were removed.
    """

    splits: Mapping[str, Sequence[Entry]]
    selections: Mapping[str, Selection]
    problems: Sequence[Problem]
    changes: Mapping[str, Any]
    unused_parts: Mapping[str, int]
    removed: Sequence[str]

    @property
    def refused(self) -> Counter[str]:
        """kind -> how many utterances, or transcripts and files without one, were refused."""
        return Counter(problem.kind for problem in self.problems if problem.refused)


def prepare(
    utterances: Sequence[Utterance], problems: Sequence[Problem], preparation: Preparation, output: Path
) -> Outcome:
    """Prepare a corpus into the folder `output`; `problems` are those found when it was listed.

    Nothing but the report (`verification.json`, `verification.txt`) appears before everything is made.

    Raises:
        InputError: the splits cannot be made as planned, there is less than asked for, nothing is left of a split, or
            `output` cannot be written.
    """
    cache = output / ".verified.jsonl"
    manifest.make_folder(output)
    splits = assign(sorted(utterances, key=_place), preparation.plan)
    listed = [utterance for split in splits.values() for utterance in split]
    texts = [preparation.normalizer(utterance.text or "") for utterance in listed]
    settings = _verification_settings(preparation)
    verified = verify_all(list(zip(listed, texts, strict=True)), settings, cache, preparation.jobs)
    found = [*problems, *find_duplicates(listed, verified)]
    entries = _accepted(splits, texts, verified, found)
    found += _drop(entries, _audio_in_two_splits(entries))
    found += _drop(entries, _overlaps_of_two_splits(entries))
    found += _overlaps_in_one_split(entries, found)
    try:
        selections, tokenizer = _choose(entries, found, preparation)
        found += _texts_in_two_splits(entries)
    finally:
        described = dataclasses.replace(
            settings, subsampling=preparation.subsampling, fastest_speed=preparation.fastest_speed
        )
        report = verification_report(listed, verified, found, texts, described)
        write_json(output / "verification.json", report)
        write_text(output / "verification.txt", report_text(report))
    everything = [*found, *(problem for result in verified for problem in result.problems)]
    _check_not_empty(splits, entries, selections, everything, output)
    changes = describe_changes(preparation.normalizer, [(u.id, u.text) for u in listed if u.text is not None])
    files: dict[str, Any] = {"normalization.json": changes}
    files["selection.json"] = _selection_record(utterances, splits, entries, selections, everything, preparation)
    if tokenizer is not None:
        files["tokens.json"] = tokenizer.to_dict()
    if "train" in entries:
        files["feature_stats.json"] = manifest.feature_statistics(
            entries["train"], preparation.features, preparation.jobs
        )
    removed = manifest.write(output, entries, files)
    cache.unlink(missing_ok=True)
    return Outcome(entries, selections, everything, changes, files["selection.json"]["unused_parts"], removed)


def _place(utterance: Utterance) -> tuple[str, str, float, str]:
    """An order of utterances that also tells those of one id apart."""
    return utterance.id, str(utterance.audio), utterance.start, utterance.text or ""


def _verification_settings(preparation: Preparation) -> VerificationSettings:
    """What can be checked before tokens are trained: characters if they are fixed, frames if tokens are characters."""
    tokens = _fixed_tokens(preparation)
    characters = preparation.normalizer.characters
    if isinstance(tokens, CharacterTokenizer):
        characters = "".join(tokens.tokens[1:])
    subsampling = preparation.subsampling if _by_character(preparation) else 1
    return VerificationSettings(preparation.features, characters, subsampling=subsampling)


def _by_character(preparation: Preparation) -> bool:
    """Whether a text has a token for each of its characters, so that their number is known before the tokens are."""
    return preparation.tokens == "characters" or isinstance(_fixed_tokens(preparation), CharacterTokenizer)


def _fixed_tokens(preparation: Preparation) -> Tokenizer | None:
    """The token set, if it does not depend on the utterances chosen."""
    if preparation.tokens == "bpe":
        return None
    if preparation.tokens == "characters":
        characters = preparation.normalizer.characters
        return None if characters is None else CharacterTokenizer(characters)
    return read_tokenizer(preparation.tokens)


def _accepted(
    splits: Mapping[str, Sequence[Utterance]],
    texts: Sequence[str],
    verified: Sequence[Verified],
    problems: Iterable[Problem],
) -> dict[str, list[Entry]]:
    """For each split, what nothing speaks against; texts and findings are in the order of all splits in a row."""
    refused = {problem.subject for problem in problems if problem.refused}
    findings = zip(texts, verified, strict=True)
    entries: dict[str, list[Entry]] = {}
    for split, utterances in splits.items():
        entries[split] = [
            Entry(utterance, text, found.measurement, found.file_samples)
            for utterance, (text, found) in zip(utterances, findings, strict=False)
            if found.measurement and found.file_samples and not found.refused and utterance.id not in refused
        ]
    return entries


def _drop(entries: dict[str, list[Entry]], problems: Sequence[Problem]) -> Sequence[Problem]:
    """Take the refused ones out of `entries`; return the problems."""
    refused = {problem.subject for problem in problems if problem.refused}
    for split in entries:
        entries[split] = [entry for entry in entries[split] if entry.id not in refused]
    return problems


def _audio_in_two_splits(entries: Mapping[str, Sequence[Entry]]) -> list[Problem]:
    """Equal samples in two splits: the copy in the later split stays, so that a test set is not changed by train."""
    owner: dict[str, tuple[str, Entry]] = {}
    problems = []
    for split in reversed(list(entries)):
        for entry in entries[split]:
            other, first = owner.setdefault(entry.measurement.digest, (split, entry))
            if other != split:
                detail = f"{entry.utterance.audio}: the samples of {first.id!r} of {other} ({first.utterance.audio})"
                problems.append(Problem(entry.id, "audio-in-two-splits", detail, refused=True))
    return problems


def _stretches(entries: Sequence[Entry]) -> list[Stretch]:
    """Where utterances lie in the corpus's recordings, in order. One is the same by whatever links it is reached."""
    files, begins = zip(*(entry.utterance.original for entry in entries), strict=True) if entries else ((), ())
    return [
        Stretch(path, begin, begin + entry.measurement.seconds, entry.id)
        for entry, begin, path in zip(entries, begins, real_paths(files), strict=True)
    ]


def _overlaps_of_two_splits(entries: Mapping[str, Sequence[Entry]]) -> list[Problem]:
    """Overlapping stretches of a recording in two splits: that of the later split stays, as of equal samples."""
    split_of = {entry.id: split for split, some in entries.items() for entry in some}
    later: list[Stretch] = []
    problems = []
    for some in reversed(list(entries.values())):
        known = Stretches(later)
        for entry, stretch in zip(some, _stretches(some), strict=True):
            other = known.overlapping(stretch)
            if other is None:
                later.append(stretch)
                continue
            detail = f"{entry.utterance.audio}: its {stretch.start:.2f} s to {stretch.end:.2f} s overlap "
            detail += f"{other.name!r} of {split_of[other.name]} ({other.start:.2f} s to {other.end:.2f} s)"
            problems.append(Problem(entry.id, "audio-in-two-splits", detail, refused=True))
    return problems


def _overlaps_in_one_split(entries: Mapping[str, Sequence[Entry]], problems: Iterable[Problem]) -> list[Problem]:
    """Stretches that begin before another of their recording and split has ended. They are kept.

    Those of which `problems` say as much, or that their samples are those of another, are not named again.
    """
    named = {problem.subject for problem in problems if problem.kind in ("overlap", "duplicate-audio")}
    found = []
    for some in entries.values():
        for recording, group in itertools.groupby(sorted(_stretches(some)), key=lambda stretch: stretch.recording):
            stretches = list(group)
            for last, stretch in zip(itertools.accumulate(stretches, later_end), stretches[1:], strict=False):
                if stretch.start < last.end - TOLERANCE and stretch.name not in named:
                    detail = f"{recording}: begins {last.end - stretch.start:.2f} s before {last.name!r} ends"
                    found.append(Problem(stretch.name, "overlap", detail, refused=False))
    return found


def _texts_in_two_splits(entries: Mapping[str, Sequence[Entry]]) -> list[Problem]:
    """For each split but train: how many of its texts train has too. They are kept: short commands recur."""
    known = {entry.text for entry in entries.get("train", ())}
    problems = []
    for split, some in entries.items():
        shared = [entry for entry in some if split != "train" and entry.text in known]
        if shared:
            distinct = sorted({entry.text for entry in shared})
            detail = f"{len(shared)} of {len(some)} utterances of {split} have a text that train has too "
            detail += f"({len(distinct)} distinct, such as {distinct[0]!r})"
            problems.append(Problem(split, "texts-in-train", detail, refused=False))
    return problems


def _choose(
    entries: dict[str, list[Entry]], problems: list[Problem], preparation: Preparation
) -> tuple[dict[str, Selection], Tokenizer | None]:
    """Reduce `entries` to the subsets asked for and to what the tokens can write; add what is refused to `problems`.

    A token set that is trained is trained on the subset of train. One that is fixed comes first, so that as many
    utterances are chosen as were asked for.
    """
    tokenizer = _fixed_tokens(preparation)
    if tokenizer is not None:
        problems += _drop(entries, _check_tokens(entries, tokenizer.encode, preparation))
    elif _by_character(preparation):
        problems += _drop(entries, _check_tokens(entries, _code_points, preparation))
    selections = {}
    for split, some in entries.items():
        candidates = [Candidate(entry.id, entry.utterance.speaker, entry.measurement.seconds) for entry in some]
        try:
            selections[split] = select(candidates, preparation.criteria.get(split, Criteria()), preparation.plan.seed)
        except InputError as error:
            raise InputError(f"{split}: {error}") from error
        chosen = set(selections[split].chosen)
        entries[split] = [entry for entry in some if entry.id in chosen]
    if tokenizer is None and entries.get("train"):
        tokenizer = _train_tokens([entry.text for entry in entries["train"]], preparation)
        problems += _drop(entries, _check_tokens(entries, tokenizer.encode, preparation))
    return selections, tokenizer


def _code_points(text: str) -> list[int]:
    return [ord(character) for character in text]


def _train_tokens(texts: Sequence[str], preparation: Preparation) -> Tokenizer:
    if preparation.tokens == "bpe":
        return SentencePieceTokenizer.train(texts, preparation.vocabulary_size)
    return CharacterTokenizer(sorted({character for text in texts for character in text}))


def _check_tokens(
    entries: Mapping[str, Sequence[Entry]], encode: Callable[[str], Sequence[int]], preparation: Preparation
) -> list[Problem]:
    """Texts that the token set cannot write, or that have more tokens than their audio has frames at its fastest."""
    settings = VerificationSettings(preparation.features, subsampling=preparation.subsampling)
    problems = []
    for split, some in entries.items():
        speed = preparation.fastest_speed if split.startswith("train") else 1.0
        for entry in some:
            audio = entry.utterance.audio
            try:
                needed = minimum_frames(encode(entry.text))
            except InputError as error:
                problems.append(Problem(entry.id, "unknown-characters", f"{audio}: {error}", refused=True))
                continue
            frames = settings.output_frames(entry.measurement.num_samples, speed)
            if frames < needed:
                detail = f"{frames} frames (subsampling {settings.subsampling}, speed {speed:g})"
                detail = f"{audio}: {detail} for {needed} needed by {entry.text!r}"
                problems.append(Problem(entry.id, "infeasible", detail, refused=True))
    return problems


def _check_not_empty(
    splits: Mapping[str, Sequence[Utterance]],
    entries: Mapping[str, Sequence[Entry]],
    selections: Mapping[str, Selection],
    problems: Sequence[Problem],
    output: Path,
) -> None:
    for split, utterances in splits.items():
        if not entries[split]:
            ids = {utterance.id for utterance in utterances}
            counts = Counter(problem.kind for problem in problems if problem.refused and problem.subject in ids)
            counts.update(selections[split].left_out)
            why = ", ".join(f"{kind} {count}" for kind, count in counts.most_common(3))
            raise InputError(
                f"nothing is left of {split}: all of its {len(utterances)} utterances were refused or left out "
                f"({why}); {output / 'verification.txt'} says why"
            )


def _selection_record(
    utterances: Sequence[Utterance],
    splits: Mapping[str, Sequence[Utterance]],
    entries: Mapping[str, Sequence[Entry]],
    selections: Mapping[str, Selection],
    problems: Sequence[Problem],
    preparation: Preparation,
) -> dict[str, Any]:
    """What was chosen, by which rule and what came of it, so that it can be repeated and looked up."""
    refused = {problem.subject for problem in problems if problem.refused}
    plan = preparation.plan
    record: dict[str, Any] = {"corpus": preparation.corpus, "seed": preparation.plan.seed, "splits": {}}
    if listed := preparation.listed:
        record["ids"] = {"file": listed.file, "sha256": listed.sha256, "utterances": len(listed.ids)}
    for split, some in entries.items():
        speakers: defaultdict[str, list[float]] = defaultdict(list)
        for entry in some:
            speakers[entry.utterance.speaker or "(unknown)"].append(entry.measurement.seconds)
        record["splits"][split] = {
            "parts": list(plan.parts.get(split, plan.parts.get("train", ()))),
            "speakers_asked_for": plan.speakers.get(split),
            "criteria": dataclasses.asdict(preparation.criteria.get(split, Criteria())),
            "utterances": len(some),
            "hours": _hours(entry.measurement.seconds for entry in some),
            "refused": sum(utterance.id in refused for utterance in splits[split]),
            "left_out": selections[split].left_out,
            "speakers": {
                speaker: {"utterances": len(seconds), "hours": _hours(seconds)}
                for speaker, seconds in sorted(speakers.items())
            },
        }
    used = {part for parts in plan.parts.values() for part in parts}
    record["unused_parts"] = dict(sorted(Counter(u.part for u in utterances if u.part not in used).items()))
    return record


def _hours(seconds: Iterable[float]) -> float:
    return round(sum(seconds) / 3600, 4)
