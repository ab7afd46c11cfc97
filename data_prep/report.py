"""`asr-prepare report`: what is in a corpus, as numbers and pictures, and what augmentation makes of it."""

import argparse
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from asr.data.audio import read_audio
from asr.data.augmentation import Augmentation, AugmentationConfig
from asr.data.features import FeatureConfig, LogMel
from asr.errors import InputError
from asr.experiment import read_experiment
from asr.files import atomic_writer, write_text
from asr.randomness import generator
from data_prep import cuts
from data_prep.figures import Example, augmentation_figure, corpus_figure, png
from data_prep.utterance import Problem, Utterance

SUMMARY = "not a corpus: hours, speakers, durations, characters and an augmented batch of any cuts, as pictures"

ORDER = ("train", "dev", "test")


@dataclass(frozen=True)
class PartSummary:
    """One manifest in numbers.

    Args:
        name: of the part.
        seconds: durations of its utterances.
        seconds_of_speaker: durations by speaker; "(unknown)" where none is given.
        characters: how often each occurs in the transcripts.
        words: likewise.
        speeds: characters a second of each utterance that has a transcript.
    """

    name: str
    seconds: tuple[float, ...]
    seconds_of_speaker: Mapping[str, float]
    characters: Counter[str]
    words: Counter[str]
    speeds: tuple[float, ...]

    @property
    def hours(self) -> float:
        """Duration of all utterances."""
        return sum(self.seconds) / 3600


def summarise(name: str, utterances: Sequence[Utterance]) -> PartSummary:
    """Count what is in the utterances of a part; each must have a duration."""
    speakers: defaultdict[str, float] = defaultdict(float)
    characters: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for utterance in utterances:
        speakers[utterance.speaker or "(unknown)"] += utterance.duration or 0.0
        characters.update(utterance.text or "")
        words.update((utterance.text or "").split())
    speeds = tuple(len(u.text) / u.duration for u in utterances if u.text and u.duration)
    seconds = tuple(u.duration or 0.0 for u in utterances)
    return PartSummary(name, seconds, dict(sorted(speakers.items())), characters, words, speeds)


def main(arguments: Sequence[str]) -> int:
    """Run `asr-prepare report`. Returns 0, or 1 if cuts could not be read.

    Raises:
        InputError: nothing can be read, or the report cannot be written.
    """
    options = _parser().parse_args(arguments)
    utterances, problems = cuts.read(options)
    features, augmentation = _configuration(options.config)
    parts: defaultdict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        parts[utterance.part].append(utterance)
    names = sorted(parts, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    summaries = [summarise(name, parts[name]) for name in names]
    if not summaries:
        raise InputError(f"no cut can be used; the first: {problems[0].detail}")
    _write(options.output / "corpus.png", png(corpus_figure(summaries)))
    batch = choose_batch(parts[names[0]], options.batch_size, options.seed)
    examples = augmented_batch(batch, features, augmentation, options.seed, options.epoch)
    _write(options.output / "augmentation.png", png(augmentation_figure(examples)))
    text = markdown(summaries, problems, names[0], augmentation)
    write_text(options.output / "report.md", text)
    print(text, end="")
    print(f"\nwritten to {options.output}: report.md, corpus.png, augmentation.png")
    return 1 if any(problem.refused for problem in problems) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="asr-prepare report", description="Numbers and pictures of any cuts.")
    cuts.add_arguments(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the folder to write")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="take features and augmentation from a configuration of `asr fit`"
    )
    parser.add_argument("--batch-size", type=int, default=4, metavar="N", help="utterances shown (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the utterances and their augmentation")
    parser.add_argument("--epoch", type=int, default=0, help="whose augmentation is shown (default %(default)s)")
    return parser


def _configuration(path: Path | None) -> tuple[FeatureConfig | None, AugmentationConfig]:
    """Features, None if no configuration says which, and augmentation."""
    if path is None:
        return None, AugmentationConfig()
    experiment = read_experiment(path)
    return experiment.features(), experiment.augmentation()


def choose_batch(utterances: Sequence[Utterance], size: int, seed: int) -> list[Utterance]:
    """Draw utterances of neighbouring durations, as batches have them.

    Raises:
        InputError: `size` is less than 1.
    """
    if size < 1:
        raise InputError(f"--batch-size must be at least 1, got {size}")
    ordered = sorted(utterances, key=lambda u: (u.duration or 0.0, u.id))
    first = int(generator(seed, "report batch").integers(max(1, len(ordered) - size + 1)))
    return ordered[first : first + size]


def augmented_batch(
    utterances: Sequence[Utterance],
    features: FeatureConfig | None,
    augmentation: AugmentationConfig,
    seed: int,
    epoch: int,
) -> list[Example]:
    """Features of utterances without and with augmentation, as training has them in an epoch.

    Args:
        utterances: those to show.
        features: their configuration; None is the default at the audio's own sample rate. They are normalised by the
            utterance, so that they can be compared.
        augmentation: what is varied.
        seed: of the run.
        epoch: counted from 0.

    Raises:
        InputError: a file cannot be read, or its sample rate is not that of `features`.
    """
    examples = []
    for utterance in tqdm(utterances, desc="augmenting", unit=" files", disable=None):
        samples, rate = read_audio(utterance.audio, utterance.start, utterance.duration)
        config = replace(features or FeatureConfig(sample_rate=rate), normalization="utterance")
        if rate != config.sample_rate:
            raise InputError(f"{utterance.audio} is at {rate} Hz, and the features need {config.sample_rate} Hz")
        log_mel, augment = LogMel(config), Augmentation(augmentation, seed, config)
        waveform = torch.from_numpy(samples.mean(axis=0))
        with torch.no_grad():
            before = log_mel(waveform)
            after = log_mel.unnormalized(augment.waveform(waveform, epoch, utterance.id))
            after = log_mel.normalize(augment.warped(after, epoch, utterance.id))
            after = augment.features(after, epoch, utterance.id, torch.zeros(config.num_mels))
        examples.append(
            Example(
                utterance.id,
                utterance.text or "",
                before.numpy(),
                after.numpy(),
                frames_per_second=rate / config.hop_length,
                lower_frequency=config.min_frequency,
                upper_frequency=config.upper_frequency,
                speed=augment.speed(epoch, utterance.id),
            )
        )
    return examples


def _write(path: Path, content: bytes) -> None:
    with atomic_writer(path) as file:
        file.write(content)


def markdown(
    summaries: Sequence[PartSummary], problems: Sequence[Problem], shown: str, augmentation: AugmentationConfig
) -> str:
    """The report as text: a table of the parts, what could not be read, and the pictures."""
    lines = [
        "# Corpus report",
        "",
        "| part | utterances | hours | speakers | shortest s | median s | longest s | words | distinct | not in "
        f"{summaries[0].name} |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [_row(summary, summaries[0]) for summary in summaries]
    alphabet = sorted({character for summary in summaries for character in summary.characters})
    lines += ["", f"{len(alphabet)} characters: `{''.join(alphabet)}`", ""]
    if problems:
        lines += [f"{len(problems)} cuts or supervisions to look at:", ""]
        lines += [f"- {problem.subject}: {problem.kind}, {problem.detail}" for problem in problems]
        lines.append("")
    lines += [
        "![hours, speakers, durations, characters](corpus.png)",
        "",
        f"A batch of {shown} before and after augmentation (speed {_list(augmentation.speed_factors)}, "
        f"{augmentation.frequency_masks} masks of up to {augmentation.frequency_mask_bins} mel bins, "
        f"{augmentation.time_masks} of up to {augmentation.time_mask_frames} frames or "
        f"{augmentation.time_mask_fraction:.0%} of the utterance"
        + (f", noise at {_list(augmentation.noise_snr)} dB" if augmentation.noise else "")
        + "):",
        "",
        "![spectrograms before and after augmentation](augmentation.png)",
    ]
    return "\n".join(lines) + "\n"


def _row(summary: PartSummary, first: PartSummary) -> str:
    seconds = np.array(summary.seconds)
    words = sum(summary.words.values())
    new = sum(count for word, count in summary.words.items() if word not in first.words)
    share = f"{new / words:.1%}" if words else "-"
    speakers = len(set(summary.seconds_of_speaker) - {"(unknown)"})
    return (
        f"| {summary.name} | {len(seconds)} | {summary.hours:.2f} | {speakers} | {seconds.min():.2f} | "
        f"{np.median(seconds):.2f} | {seconds.max():.2f} | {words} | {len(summary.words)} | {share} |"
    )


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
