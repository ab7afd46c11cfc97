"""lhotse cuts: reading manifests, and the audio and text behind a cut."""

from pathlib import Path
from typing import Any

import numpy as np
from lhotse import CutSet, MonoCut
from lhotse.audio import set_current_audio_backend
from lhotse.cut.set import deserialize_cut

from asr.data.audio import read_audio
from asr.errors import InputError
from asr.files import read_jsonl


def read_cuts(path: Path | str, *, transcribed: bool = True) -> CutSet:
    """Read a manifest of lhotse MonoCuts (`*.jsonl` or `*.jsonl.gz`) into memory.

    Relative audio paths are resolved against the manifest's folder. lhotse's own loading (`cut.load_audio()`) is set to
    libsndfile as well, so that both read the same samples.

    Args:
        path: the manifest.
        transcribed: whether each cut must have exactly one supervision with a text; if not, it may have none.

    Raises:
        InputError: the manifest is missing, truncated or empty; a line is not a MonoCut with an audio file; an id
            occurs twice; a supervision is missing or there are several. The message names file, entry and cut.
    """
    path = Path(path)
    set_current_audio_backend("LibsndfileBackend")
    cuts: dict[str, MonoCut] = {}
    for number, row in enumerate(read_jsonl(path), start=1):
        where = f"{path}, entry {number}"
        cut = _parse(row, path.parent, where)
        if cut.id in cuts:
            raise InputError(f"{where}: the id {cut.id!r} occurs twice")
        _check_supervision(cut, transcribed, where)
        cuts[cut.id] = cut
    if not cuts:
        raise InputError(f"{path} holds no cuts")
    return CutSet.from_cuts(cuts.values())


def _parse(row: Any, folder: Path, where: str) -> MonoCut:
    kind = row.get("type") if isinstance(row, dict) else type(row).__name__
    if kind != "MonoCut":
        raise InputError(f"{where}: expected a lhotse MonoCut, found {kind!r}")
    try:
        cut = deserialize_cut(row)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: not a valid MonoCut ({type(error).__name__}: {error})") from error
    where = f"{where} (cut {cut.id!r})"
    if cut.recording is None:
        raise InputError(f"{where}: has no recording, and so no audio")
    if cut.recording.transforms:
        names = ", ".join(type(transform).__name__ for transform in cut.recording.transforms)
        raise InputError(f"{where}: lhotse's lazy transforms ({names}) are not applied here; save the audio with them")
    if not cut.duration > 0 or cut.start < 0:
        raise InputError(f"{where}: start {cut.start} s and duration {cut.duration} s do not make an utterance")
    cut.recording = cut.recording.with_path_prefix(folder)
    if any(source.type != "file" for source in cut.recording.sources):
        raise InputError(f"{where}: its audio must be files, found {[s.type for s in cut.recording.sources]}")
    if not any(cut.channel in source.channels for source in cut.recording.sources):
        raise InputError(f"{where}: no audio file has its channel {cut.channel}")
    return cut


def _check_supervision(cut: MonoCut, transcribed: bool, where: str) -> None:
    texts = [supervision.text for supervision in cut.supervisions]
    if len(texts) > 1 or (transcribed and (not texts or texts[0] is None)):
        found = f"{len(texts)} supervisions" if texts != [None] else "a supervision without text"
        raise InputError(f"{where} (cut {cut.id!r}): expected one supervision with a text, found {found}")


def check_sample_rates(name: str, cuts: CutSet, sample_rate: int) -> None:
    """Refuse cuts whose manifest says another rate than `sample_rate` (Hz).

    Raises:
        InputError: there are some; the first is named.
    """
    other = [cut for cut in cuts if cut.recording.sampling_rate != sample_rate]
    if other:
        raise InputError(
            f"{len(other)} of {len(cuts)} cuts of {name} are not at features.sample_rate {sample_rate} Hz, the first: "
            f"{other[0].id!r} at {other[0].recording.sampling_rate} Hz; convert the audio, or set the option"
        )


def text_of(cut: MonoCut) -> str:
    """The transcript; empty if there is none."""
    return (cut.supervisions[0].text or "") if cut.supervisions else ""


def speaker_of(cut: MonoCut) -> str | None:
    """The speaker's id, if known."""
    return cut.supervisions[0].speaker if cut.supervisions else None


def audio_file(cut: MonoCut) -> Path:
    """The file that holds the cut's channel."""
    return Path(next(s.source for s in cut.recording.sources if cut.channel in s.channels))


def load_waveform(cut: MonoCut, sample_rate: int) -> np.ndarray:
    """The cut's samples (N,), float32.

    Raises:
        InputError: the file cannot be read, is shorter than the manifest says, is not at `sample_rate` (Hz), or has
            channels of which the manifest does not know; the message names the cut and the file.
    """
    path = audio_file(cut)
    try:
        waveform = read_audio(path, start=cut.start, duration=cut.duration)
    except InputError as error:
        raise InputError(f"utterance {cut.id!r}: {error}") from error
    source = next(s for s in cut.recording.sources if cut.channel in s.channels)
    problem = None
    if waveform.sample_rate != sample_rate:
        problem = (
            f"is at {waveform.sample_rate} Hz and the features need {sample_rate} Hz; convert the audio, or set "
            "data.features.sample_rate and prepare the corpus for it"
        )
    elif len(waveform.samples) != len(source.channels):
        problem = f"has {len(waveform.samples)} channels, and its manifest names {len(source.channels)}"
    elif waveform.samples.shape[1] < round(cut.duration * sample_rate) - 1:
        seconds = waveform.samples.shape[1] / sample_rate
        problem = f"holds {seconds:.3f} s from {cut.start} s on, and its manifest says {cut.duration} s"
    if problem:
        raise InputError(f"utterance {cut.id!r}: {path} {problem}")
    return waveform.samples[sorted(source.channels).index(cut.channel)]
