"""Every file is decoded once, and everything that would spoil training or a score is named before it can."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from asr.data.audio import AudioError, file_samples, read_audio
from asr.data.augmentation import samples_at_speed
from asr.data.features import FeatureConfig
from asr.data.tokens import minimum_frames
from asr.errors import InputError
from data_prep.measure import BANDWIDTH_DROP, LEVEL_FRAME, SILENCE_LEVEL, Measurement, measure
from data_prep.utterance import Problem, Utterance

SUBSAMPLING = 3
"""Feature frames per output frame, unless something else is asked for: those of this package's recurrent models."""


class Kind(NamedTuple):
    """A kind of problem: what it means, whether its utterances are left out, and how its values are written."""

    refused: bool
    meaning: str
    value: str = ""


KINDS = {
    "missing-audio": Kind(True, "there is a transcript and no audio file"),
    "empty-file": Kind(True, "the audio file has zero bytes"),
    "undecodable": Kind(True, "the file is not audio, or is damaged"),
    "truncated": Kind(True, "the file holds less than its header promises"),
    "no-samples": Kind(True, "the utterance begins at or after the end of its file, or the file has no samples"),
    "beyond-end": Kind(True, "the utterance ends after the end of its file"),
    "non-finite": Kind(True, "samples are NaN or infinite"),
    "sample-rate": Kind(
        True, "the sample rate is not the features'; --convert makes copies, --sample-rate changes the features"
    ),
    "channels": Kind(True, "the number of channels is not the one expected; --convert makes copies with their average"),
    "too-short": Kind(True, "the utterance is shorter than any word"),
    "silent": Kind(True, "no 10 ms of the utterance is louder than silence"),
    "missing-text": Kind(True, "there is audio and no transcript"),
    "unreadable-text": Kind(True, "a line of transcripts cannot be read"),
    "bad-row": Kind(True, "a row of a table, or a cut, does not say what is needed of an utterance"),
    "unwritable": Kind(True, "a path, an id or a text is not UTF-8, or has a NUL"),
    "empty-text": Kind(True, "nothing is left of the transcript after normalisation"),
    "unknown-characters": Kind(True, "the normalised transcript has characters outside the token set"),
    "infeasible": Kind(True, "CTC has no path: fewer output frames than tokens and blanks between repeated ones"),
    "duplicate-id": Kind(True, "several utterances have this id, and none can be told to be the right one"),
    "long": Kind(False, "the utterance is so long that it may not fit into memory, or holds several", "{:.1f} s"),
    "leading-silence": Kind(False, "much silence before the first sound", "{:.2f} s"),
    "trailing-silence": Kind(False, "much silence after the last sound", "{:.2f} s"),
    "quiet": Kind(False, "the loudest sample is far below full scale", "{:.4f} of full scale"),
    "clipped": Kind(False, "many samples are at full scale", "{:.2%} of the samples"),
    "narrow-band": Kind(False, "nothing is heard in the upper part of the spectrum", "{:.0f} Hz"),
    "fast-speech": Kind(
        False, "more characters a second than anyone speaks: is it the right transcript?", "{:.1f} characters a second"
    ),
    "slow-speech": Kind(
        False, "very few characters a second: is the transcript complete?", "{:.1f} characters a second"
    ),
    "converted": Kind(False, "the audio is a copy at another sample rate or with its channels averaged"),
    "duplicate-audio": Kind(False, "the same samples as another utterance"),
    "audio-in-two-splits": Kind(
        True, "a split to test on has the same samples, or some of them: stretches of one recording overlap"
    ),
    "texts-in-train": Kind(False, "sentences that are tested on are also trained on"),
    "overlap": Kind(False, "another utterance of the same recording overlaps this one"),
    "incomplete-part": Kind(False, "a part of the corpus has fewer utterances than published"),
}
"""The kinds of problems that are found in a corpus, in the order of the report."""


@dataclass(frozen=True)
class VerificationSettings:
    """What verification compares with.

    Args:
        features: sample rate and frames of the features.
        characters: those of the token set; None accepts all.
        channels: expected in every file.
        subsampling: feature frames per output frame of the model, for the CTC check. Characters are counted as
            tokens; byte-pair pieces are fewer.
        fastest_speed: at which training plays its utterances; they must be feasible for CTC even so.
        min_seconds: shorter utterances are refused.
        long_seconds: longer ones are named.
        edge_silence: seconds of silence at either end from which on it is named.
        quiet_peak: peak (full scale 1.0) below which an utterance is named.
        clipped_share: share of samples at full scale above which it is named.
        bandwidth_share: of half the sample rate, below which the upper frequency is named.
        max_speed: characters a second above which it is named.
        min_speed: characters a second below which it is named.
    """

    features: FeatureConfig = field(default_factory=FeatureConfig)
    characters: str | None = None
    channels: int = 1
    subsampling: int = SUBSAMPLING
    fastest_speed: float = 1.0
    min_seconds: float = 0.1
    long_seconds: float = 40.0
    edge_silence: float = 1.0
    quiet_peak: float = 0.01
    clipped_share: float = 0.001
    bandwidth_share: float = 0.8
    max_speed: float = 25.0
    min_speed: float = 1.0

    def __post_init__(self) -> None:
        for name in ("channels", "subsampling"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 1 <= self.fastest_speed <= 2:
            raise InputError(f"the fastest speed must be from 1 to 2, got {self.fastest_speed}")

    def output_frames(self, num_samples: int, speed: float = 1.0) -> int:
        """Frames that a model yields for N samples played at a speed; for the last, encoders pad what is missing."""
        return -(-self.features.num_frames(samples_at_speed(num_samples, speed)) // self.subsampling)


@dataclass(frozen=True)
class Verified:
    """The findings about one utterance.

    Args:
        id: of the utterance.
        measurement: None if its audio could not be read.
        file_samples: per channel, of the whole file; None if it could not be read.
        problems: what was found.
    """

    id: str
    measurement: Measurement | None
    file_samples: int | None
    problems: tuple[Problem, ...]

    @property
    def refused(self) -> bool:
        """Whether the utterance is left out."""
        return any(problem.refused for problem in self.problems)


def verify_utterance(utterance: Utterance, normalized_text: str, settings: VerificationSettings) -> Verified:
    """Decode and measure one utterance and check it against its transcript.

    Raises nothing for a bad file, in whatever way decoding or measuring it fails: that is a problem of the utterance.
    """
    problems = list(_check_text(utterance, normalized_text, settings))
    try:
        measurement = measure(*read_audio(utterance.audio, utterance.start, utterance.duration))
        whole = utterance.start == 0 and utterance.duration is None
        samples_of_file = measurement.num_samples if whole else file_samples(utterance.audio)
    except AudioError as error:
        problems.append(_problem(utterance, error.kind, str(error)))
        return Verified(utterance.id, None, None, tuple(problems))
    except Exception as error:  # of a decoder or of NumPy, down to a MemoryError for sizes that a header invents
        detail = f"{utterance.audio}: cannot be decoded and measured ({type(error).__name__}: {error})"
        problems.append(_problem(utterance, "undecodable", detail))
        return Verified(utterance.id, None, None, tuple(problems))
    problems += _check_format(utterance, measurement, settings)
    problems += _check_sound(utterance, measurement, settings)
    problems += _check_pair(utterance, normalized_text, measurement, settings)
    return Verified(utterance.id, measurement, samples_of_file, tuple(problems))


def _problem(utterance: Utterance, kind: str, detail: str, value: float | None = None) -> Problem:
    return Problem(utterance.id, kind, detail, KINDS[kind].refused, value)


def _check_text(utterance: Utterance, text: str, settings: VerificationSettings) -> Iterator[Problem]:
    if utterance.text is None:
        yield _problem(utterance, "missing-text", f"{utterance.audio}: no transcript")
    elif not text:
        yield _problem(utterance, "empty-text", f"{utterance.audio}: the transcript {utterance.text!r} has no words")
    elif settings.characters is not None and not set(text) <= set(settings.characters):
        unknown = " ".join(f"{c!r} (U+{ord(c):04X})" for c in sorted(set(text) - set(settings.characters)))
        yield _problem(
            utterance, "unknown-characters", f"{utterance.audio}: {unknown} in {text!r}, from {utterance.text!r}"
        )


def _check_format(utterance: Utterance, found: Measurement, settings: VerificationSettings) -> Iterator[Problem]:
    expected = settings.features.sample_rate
    if found.sample_rate != expected:
        yield _problem(utterance, "sample-rate", f"{utterance.audio}: {found.sample_rate} Hz, expected {expected} Hz")
    if found.channels != settings.channels:
        detail = f"{utterance.audio}: {found.channels} channels, expected {settings.channels}"
        yield _problem(utterance, "channels", detail)
    if utterance.duration is not None and found.seconds < utterance.duration - LEVEL_FRAME:
        end, there = utterance.start + utterance.duration, utterance.start + found.seconds
        yield _problem(utterance, "beyond-end", f"{utterance.audio}: ends at {there:.2f} s, utterance at {end:.2f} s")
    if found.seconds < settings.min_seconds:
        detail = f"{utterance.audio}: {found.seconds:.3f} s, at least {settings.min_seconds:g} s are expected"
        yield _problem(utterance, "too-short", detail)
    if found.seconds > settings.long_seconds:
        detail = f"{utterance.audio}: {found.seconds:.1f} s, more than {settings.long_seconds:g} s"
        yield _problem(utterance, "long", detail, found.seconds)


def _check_sound(utterance: Utterance, found: Measurement, settings: VerificationSettings) -> Iterator[Problem]:
    audio = utterance.audio
    if found.level <= SILENCE_LEVEL:
        detail = f"{audio}: its loudest 10 ms are at {found.level:.0f} dB, silence is {SILENCE_LEVEL:.0f} dB"
        yield _problem(utterance, "silent", detail)
        return
    for kind, seconds in (("leading-silence", found.leading_silence), ("trailing-silence", found.trailing_silence)):
        if seconds > settings.edge_silence:
            detail = f"{audio}: {seconds:.2f} s of {found.seconds:.2f} s, more than {settings.edge_silence:g} s"
            yield _problem(utterance, kind, detail, seconds)
    if found.peak < settings.quiet_peak:
        detail = f"{audio}: peak {found.peak:.4f} of full scale, less than {settings.quiet_peak:g}"
        yield _problem(utterance, "quiet", detail, found.peak)
    if found.clipped > settings.clipped_share:
        detail = f"{audio}: {found.clipped:.2%} of its samples, more than {settings.clipped_share:.2%}"
        yield _problem(utterance, "clipped", detail, found.clipped)
    limit = settings.bandwidth_share * found.sample_rate / 2
    if found.upper_frequency is not None and found.upper_frequency < limit:
        detail = f"{audio}: stops at {found.upper_frequency:.0f} Hz of {found.sample_rate / 2:.0f} Hz"
        detail += f" (limit {limit:.0f} Hz, {BANDWIDTH_DROP:.0f} dB down)"
        yield _problem(utterance, "narrow-band", detail, found.upper_frequency)


def _check_pair(
    utterance: Utterance, text: str, found: Measurement, settings: VerificationSettings
) -> Iterator[Problem]:
    if not text:
        return
    if found.sample_rate == settings.features.sample_rate:
        frames, needed = settings.output_frames(found.num_samples), minimum_frames([ord(c) for c in text])
        if frames < needed:
            detail = f"{frames} frames (subsampling {settings.subsampling}) for {needed} needed by {text!r}"
            yield _problem(utterance, "infeasible", f"{utterance.audio}: {detail}")
    speed = len(text) / found.seconds
    for kind, wrong in (("fast-speech", speed > settings.max_speed), ("slow-speech", speed < settings.min_speed)):
        if wrong:
            detail = f"{len(text)} characters in {found.seconds:.2f} s: {speed:.1f} a second, {text!r}"
            yield _problem(utterance, kind, f"{utterance.audio}: {detail}", speed)


def find_duplicates(utterances: Sequence[Utterance], verified: Sequence[Verified]) -> list[Problem]:
    """Ids and audio that occur more than once, in the order of their first occurrence.

    All utterances of a duplicate id are refused, since nothing tells which is right, and each is a problem of its own;
    of equal audio none is refused.
    """
    by_id: defaultdict[str, list[Utterance]] = defaultdict(list)
    by_audio: defaultdict[str, list[Utterance]] = defaultdict(list)
    for utterance, found in zip(utterances, verified, strict=True):
        by_id[utterance.id].append(utterance)
        if found.measurement is not None:
            by_audio[found.measurement.digest].append(utterance)
    problems = []
    for same in by_id.values():
        for utterance in same if len(same) > 1 else ():
            detail = f"{utterance.audio}: one of {len(same)} utterances with this id, with the text {utterance.text!r}"
            problems.append(_problem(utterance, "duplicate-id", detail))
    for first, *others in by_audio.values():
        for other in (u for u in others if u.id != first.id):
            texts = "the same text" if other.text == first.text else f"other text: {other.text!r}, {first.text!r}"
            detail = f"{other.audio}: the samples of {first.id!r} ({first.audio}), {texts}"
            problems.append(_problem(other, "duplicate-audio", detail))
    return problems
