"""One picture of a comparison: an utterance as every model hears it, and the word error rate by kind of voice."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from lhotse import MonoCut
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from asr.data.cuts import load_waveform, read_cuts, text_of
from asr.decode.greedy import BLANK_ID, TokenPath
from asr.decode.hypotheses import read_hypotheses
from asr.decode.recognition import seconds_per_frame
from asr.errors import InputError
from asr.files import atomic_writer
from asr.model import LoadedModel
from asr.report.hearing import model_of, posteriors_of
from asr.report.runs import ScoredRun
from asr.score.errors import Alignment, ErrorCounts, align_words
from asr.score.scores import Scores, score

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
"""Okabe and Ito's colours (2008), which people with any colour vision can tell apart; one a model."""
WRONG = "#C00000"
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,
}
LONGEST = 8.0
"""Seconds up to which an utterance is readable in the picture; a longer one is drawn if there is no other."""
MOST_BARS = 16
ALL = "all"
OTHERS = "others"


@dataclass(frozen=True)
class Heard:
    """What one model makes of the utterance: posteriors (T', V), best path, and the words against the reference."""

    name: str
    posteriors: np.ndarray
    path: TokenPath
    tokens: tuple[str, ...]
    seconds_per_frame: float
    alignment: Alignment


def comparison_picture(
    runs: Sequence[ScoredRun], output: Path, utterance: str | None = None, groups: Mapping[str, str] | None = None
) -> None:
    """Draw `comparison_figure` as a PNG file; the same picture is the same bytes.

    Raises:
        InputError: see `comparison_figure`; or the file cannot be written.
    """
    packed = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        # Without the metadata, which name matplotlib's version.
        comparison_figure(runs, utterance, groups).savefig(packed, format="png", dpi=120, metadata={"Software": None})
    with atomic_writer(output) as file:
        file.write(packed.getvalue())


def comparison_figure(
    runs: Sequence[ScoredRun], utterance: str | None = None, groups: Mapping[str, str] | None = None
) -> Figure:
    """An utterance's spectrogram, each model's posteriors and text below it, and bars of WER beside them.

    Args:
        runs: scored on the same utterances.
        utterance: which one is shown; by default one on which the models differ most.
        groups: speaker -> family of voices, for the bars; by default each speaker has its own.

    Raises:
        InputError: hypotheses, models, the manifest or the audio of the runs are gone, or there is no such utterance.
    """
    models = [model_of(run) for run in runs]
    rows = [read_hypotheses(run.hypotheses) for run in runs]
    scores = [score(of_run) for of_run in rows]
    name = utterance or choose_utterance(scores, {row.id: row.seconds for row in rows[0]})
    cut = _find_cut(runs[0], name)
    heard = [_hear(run.name, model, cut) for run, model in zip(runs, models, strict=True)]
    counts = [group_errors(one, groups) for one in scores]
    shown = f"Utterance {name}" + (", on which the models differ most" if utterance is None and len(runs) > 1 else "")
    return _figure(heard, models[0], cut, shown, counts, groups is not None)


def choose_utterance(scores: Sequence[Scores], seconds: Mapping[str, float | None]) -> str:
    """The utterance with the largest difference in word errors between models, of those that are short enough to show.

    Ties go to the one with more words, then to the first by id.
    """
    by_id = [{u.id: u.words for u in system.utterances} for system in scores]

    def order(name: str) -> tuple[int, int, str]:
        counts = [system[name] for system in by_id]
        errors = [count.errors for count in counts]
        return (min(errors) - max(errors), -counts[0].length, name)

    short = [name for name in by_id[0] if (seconds.get(name) or 0.0) <= LONGEST]
    return min(short or by_id[0], key=order)


def read_groups(path: Path | str) -> dict[str, str]:
    """Read speaker -> family from a table with tab-separated columns of these names (among others).

    Raises:
        InputError: the file cannot be read or lacks a column, or a speaker has no family.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            table = csv.DictReader(file, delimiter="\t")
            missing = {"speaker", "family"} - set(table.fieldnames or ())
            if missing:
                raise InputError(f"--groups {path}: no column {', '.join(sorted(missing))} (tab-separated)")
            families = {row["speaker"]: row["family"] for row in table}
    except OSError as error:
        raise InputError(f"--groups {path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"--groups {path} is no table of UTF-8 text: {error}") from error
    alone = next((speaker for speaker, family in families.items() if not family), None)
    if alone is not None:
        raise InputError(f"--groups {path}: the speaker {alone!r} has no family")
    return families


def group_errors(scores: Scores, groups: Mapping[str, str] | None) -> dict[str, ErrorCounts]:
    """Word errors by group of speakers (by speaker without groups), most words first, and of all together at the end.

    Beyond `MOST_BARS` groups, those with the fewest words are counted together.
    """
    counts: dict[str, ErrorCounts] = {}
    for speaker, utterances in scores.speakers.items():
        name = speaker if groups is None else groups.get(speaker, OTHERS)
        counts[name] = sum((u.words for u in utterances), counts.get(name, ErrorCounts()))
    names = sorted(counts, key=lambda name: (-counts[name].length, name))
    if len(names) > MOST_BARS:
        rest = names[MOST_BARS - 1 :]
        counts[f"{len(rest)} others"] = sum((counts[name] for name in rest), ErrorCounts())
        names = [*names[: MOST_BARS - 1], f"{len(rest)} others"]
    return {**{name: counts[name] for name in names}, ALL: scores.words}


def _find_cut(run: ScoredRun, utterance: str) -> MonoCut:
    manifest = run.scores.get("manifest")
    if not manifest:
        raise InputError(f"the scores of {run.path} do not name the manifest that was decoded: no audio to draw")
    for cut in read_cuts(manifest):
        if cut.id == utterance:
            return cut
    raise InputError(f"--utterance {utterance}: there is no such utterance in {manifest}")


def _waveform(cut: MonoCut, loaded: LoadedModel) -> torch.Tensor:
    return torch.from_numpy(load_waveform(cut, loaded.description.features.sample_rate))


def _hear(name: str, loaded: LoadedModel, cut: MonoCut) -> Heard:
    posteriors, path = posteriors_of(loaded, _waveform(cut, loaded))
    alignment = align_words([text_of(cut)], [loaded.tokenizer.decode(path.ids)])[0]
    return Heard(name, posteriors, path, loaded.tokenizer.tokens, seconds_per_frame(loaded), alignment)


def _figure(
    heard: Sequence[Heard],
    model: LoadedModel,
    cut: MonoCut,
    shown: str,
    counts: Sequence[Mapping[str, ErrorCounts]],
    by_family: bool,
) -> Figure:
    figure = Figure(figsize=(14, 3.6 + 1.9 * len(heard)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = np.asarray(figure.subfigures(1, 2, width_ratios=[2.3, 1]))
    axes = left.subplots(1 + len(heard), 1, sharex=True, height_ratios=[1.5, *[1] * len(heard)])
    _draw_spectrogram(axes[0], model, cut)
    for index, (one, ax) in enumerate(zip(heard, axes[1:], strict=True)):
        _draw_posteriors(ax, one, COLORS[index % len(COLORS)])
    axes[-1].set_xlabel("time in seconds")
    left.supxlabel(
        f"{shown}. Top: its spectrogram, pitch upwards, bright is loud. Below: how sure each model is of each letter,\n"
        "moment by moment (grey: sure that there is nothing new to write; ␣ is a space). The letters at the peaks make "
        "the text. Words in red are wrong,\n[words] in brackets were missed.",
        fontsize=8,
        ha="left",
        x=0.02,
    )
    _draw_bars(right.subplots(), [one.name for one in heard], counts, by_family)
    right.legend(loc="outside lower center", frameon=False)
    return figure


def _draw_spectrogram(ax: Axes, loaded: LoadedModel, cut: MonoCut) -> None:
    features = loaded.features.unnormalized(_waveform(cut, loaded)).numpy()
    config = loaded.description.features
    seconds = len(features) * config.hop_length / config.sample_rate
    extent = (0.0, seconds, -0.5, config.num_mels - 0.5)
    low, high = np.percentile(features, [5, 99.5])
    ax.imshow(features.T, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=low, vmax=high)

    def mel(frequency: float) -> float:
        return float(2595 * np.log10(1 + frequency / 700))

    span = (mel(config.upper_frequency) - mel(config.min_frequency)) / (config.num_mels + 1)
    kilohertz = [f for f in (0.25, 0.5, 1, 2, 4, 8) if config.min_frequency < 1000 * f < config.upper_frequency]
    ax.set_yticks([(mel(1000 * f) - mel(config.min_frequency)) / span - 1 for f in kilohertz], map(str, kilohertz))
    ax.set_ylabel("frequency in kHz")
    said = f"said: {text_of(cut)}"
    ax.set_title(said, loc="left", fontweight="bold", fontsize=_font_size(said))


def _font_size(text: str) -> float:
    """Points at which a bold line fits above a panel."""
    return min(11.0, 11.0 * 110 / max(1, len(text)))


def _draw_posteriors(ax: Axes, heard: Heard, color: str) -> None:
    frames = np.arange(len(heard.posteriors)) * heard.seconds_per_frame
    middle = frames + heard.seconds_per_frame / 2
    ax.fill_between(middle, heard.posteriors[:, BLANK_ID], color="#e4e4e4", linewidth=0)
    shown = [i for i in range(1, len(heard.tokens)) if heard.posteriors[:, i].max(initial=0.0) >= 0.05]
    for token in shown:
        ax.plot(middle, heard.posteriors[:, token], color=color, linewidth=1.2)
    for token, start, end, sure in zip(
        heard.path.ids, heard.path.starts, heard.path.ends, heard.path.confidences, strict=True
    ):
        text = heard.tokens[token].replace(" ", "␣").replace("▁", "␣")
        ax.text((start + end) / 2 * heard.seconds_per_frame, sure + 0.03, text, ha="center", fontsize=9)
    ax.set_ylim(0, 1.25)
    ax.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    ax.set_ylabel("certainty")
    _write_words(ax, heard, color)


def _write_words(ax: Axes, heard: Heard, color: str) -> None:
    """The hypothesis above the panel, word by word, errors in red."""
    words = [(f"{heard.name}:", color)]
    for kind, reference, hypothesis in heard.alignment:
        words.append((f"[{reference}]" if kind == "deletion" else hypothesis, "black" if kind == "hit" else WRONG))
    size = _font_size(" ".join(text for text, _ in words))
    before: Annotation | None = None  # each word is placed at the end of the one before
    for text, shade in words:
        before = ax.annotate(
            text,
            (0.0, 1.0) if before is None else (1.0, 0.0),
            xycoords="axes fraction" if before is None else before,
            xytext=(0, 3) if before is None else (size / 2, 0),
            textcoords="offset points",
            color=shade,
            fontsize=size,
            fontweight="bold",
            va="bottom",
            annotation_clip=False,
        )


def _draw_bars(ax: Axes, names: Sequence[str], counts: Sequence[Mapping[str, ErrorCounts]], by_family: bool) -> None:
    groups = list(counts[0])
    height = 0.8 / len(names)
    for index, (name, of_model) in enumerate(zip(names, counts, strict=True)):
        places = [row + (index - (len(names) - 1) / 2) * height for row in range(len(groups))]
        rates = [100 * (of_model[group].rate or 0.0) for group in groups]
        ax.barh(places, rates, height=0.9 * height, color=COLORS[index % len(COLORS)], label=name)
        for place, rate, group in zip(places, rates, groups, strict=True):
            errors = of_model[group]
            text = f" {rate:.1f} % ({errors.errors}/{errors.length})" if errors.length else " no words"
            ax.text(rate, place, text, va="center", fontsize=8)
    ax.set_yticks(range(len(groups)), groups)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.45 * max(1.0, *(100 * (c.rate or 0.0) for of_model in counts for c in of_model.values())))
    ax.set_xlabel("word error rate in % (errors/words said)")
    kind = "family of voices" if by_family else "speaker"
    ax.set_title(f"errors by {kind}\n(shorter bars are better)", loc="left", fontweight="bold")
