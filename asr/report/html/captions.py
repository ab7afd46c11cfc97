"""The sentences of the page that say what is counted."""

from collections.abc import Sequence

from asr.data.features import FeatureConfig
from asr.encoders.patches import Patches
from asr.report.html.choice import Choice
from asr.report.html.records import Gathered
from asr.report.html.words import Breakdown
from asr.report.tables import notes

WORDS = {
    "substitution": ("Another word", "said → written"),
    "deletion": ("Missed", "said"),
    "insertion": ("Invented", "written"),
}
"""Kind of an error -> title of its table, heading of its words."""
VERDICTS = {"difference": "different", "none": "not told apart", "disagreement": "tests disagree"}
"""What stands before a sentence about two systems."""


def title(gathered: Gathered) -> str:
    """The name of the page."""
    names = [run.name for run in gathered.runs]
    if len(names) <= 3:
        return f"{' and '.join([', '.join(names[:-1]), names[-1]] if len(names) > 1 else names)} on {gathered.split}"
    return f"{len(names)} runs on {gathered.split}"


def captions(gathered: Gathered) -> dict[str, str]:
    """What stands below and above the parts of the page."""
    whiskers = "Whiskers are the intervals of the table. " if gathered.comparison.evidence.runs else ""
    places = " ".join(notes([run.scored for run in gathered.runs])[1:])
    return {
        "table": "Word errors are summed over all utterances and divided once by the words of the references; under "
        "each rate stand its counts.",
        "curves": "Of each run's own metrics.csv: first against epochs, then against the time that training took.",
        "curves_figure": "Training loss is the mean over the utterances of an epoch, with augmentation and dropout; "
        "dev loss and dev WER are of the weights that are saved. Wall time is that of training on its machine, with "
        "everything else that ran there. The mark is the last epoch.",
        "costs": f"{whiskers}The axis of error rates begins at 0 unless all are far from it; the others are "
        "logarithmic. Multiply-adds are those of the matrix products and convolutions for a second of audio. "
        f"{places}",
        "types": "Errors of minimal alignments, summed over all utterances, per word of the references. "
        "Numbers in the bars are counts; at the end stands the WER.",
        "words": "From the same alignments. A word beside an error may be aligned with another one: read pairs as what "
        "the alignment says, not as what was heard.",
        "utterances": "The words are those that were scored: substitutions (S), deletions (D) and insertions (I) are "
        "marked, the rest is right.",
        "pictures": "Spectrogram: log-mel features as the models see them, before normalisation; bright is loud. White "
        "lines are where the patches of a model begin, one patch is drawn boldly. Posteriors: a row a token, full "
        "colour is certainty; tokens that nowhere reach 10 % have no row, grey is the blank, ␣ is a space. The words "
        "above are those of the most probable path, where it has them; another decoding may have written others. "
        "Click into a picture to move the sound there.",
    }


def of_words(kinds: int, shown: int) -> str:
    """How many rows of a table of words are shown.

    >>> of_words(3, 3), of_words(30, 12)
    ('3 different ones.', '30 different ones; the 12 most frequent over all runs.')
    """
    return f"{kinds:,} different ones" + ("." if kinds == shown else f"; the {shown} most frequent over all runs.")


def of_breakdown(breakdown: Breakdown, most: int) -> dict[str, str]:
    """Title, anchor, heading of the table, and caption of a breakdown."""
    count = (
        "Errors of a group's utterances are summed and divided once by the words of their references. "
        "The axis begins at 0 unless all rates are far from it."
    )
    if breakdown.by == "speaker":
        number = len(breakdown.groups)
        shown = f"The {most} of {number} speakers" if number > most else f"All {number} speakers"
        caption = f"{shown}, the highest mean of the WERs first. {count}"
        return {"id": "speakers", "title": "By speaker", "heading": "speaker", "caption": caption}
    if breakdown.by == "family":
        caption = f"By family of speakers, the highest mean of the WERs first. {count}"
        return {"id": "families", "title": "By family of voices", "heading": "family", "caption": caption}
    if breakdown.by == "snr":
        caption = f"By the ratio at which speech was mixed with noise, which the manifest's cuts state. {count}"
        return {"id": "snr", "title": "By signal-to-noise ratio", "heading": "ratio", "caption": caption}
    if breakdown.by == "condition":
        caption = (
            "The same utterances with noise added at known ratios, at other speeds and bandwidths, and put together to "
            f"long recordings, as `asr robustness` measured them; intervals are in its table. {count}"
        )
        return {"id": "conditions", "title": "Under noise and other changes", "heading": "audio", "caption": caption}
    of = "duration of the utterance" if breakdown.by == "seconds" else "words of the reference"
    caption = f"By {of}. {count} Groups of few words vary much."
    return {"id": "length", "title": "By utterance length", "heading": "length", "caption": caption}


def of_utterance(choice: Choice, errors: Sequence[tuple[str, int]]) -> str:
    """Speaker, duration, ratio, errors of each run, and why it is here."""
    utterance = choice.utterance
    parts = [
        f"speaker {utterance.speaker}" if utterance.speaker else "",
        f"{utterance.seconds:.2f} s" if utterance.seconds is not None else "",
        f"{utterance.words} words",
        f"mixed at {utterance.snr:g} dB" if utterance.snr is not None else "",
    ]
    counted = ", ".join(f"{name} {number}" for name, number in errors)
    reason = f"{choice.reason[0].upper()}{choice.reason[1:]}."
    return f"{', '.join(part for part in parts if part)}. {reason} Errors: {counted}."


def of_patches(patches: Patches, config: FeatureConfig) -> str:
    """The size of a patch and, where patches overlap, the step to the next."""

    def size(frames: int, mels: int) -> str:
        milliseconds = 1000 * frames * config.hop_length / config.sample_rate
        return f"{milliseconds:g} ms × {mels} mels"

    steps = (patches.subsampling, patches.mel_stride or patches.patch_mels)
    said = size(patches.patch_frames, patches.patch_mels)
    return said if steps == (patches.patch_frames, patches.patch_mels) else f"{said}, every {size(*steps)}"
