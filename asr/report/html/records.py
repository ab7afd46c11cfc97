"""Scored runs and everything that lies beside their scores, gathered once for page, tables and charts."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from lhotse import MonoCut

from asr.data.cuts import read_cuts, speaker_of
from asr.decode.hypotheses import read_hypotheses
from asr.errors import InputError
from asr.report.circumstances import record_of
from asr.report.compare import Comparison
from asr.report.html.conditions import Conditions, read_conditions, side_by_side
from asr.report.rescored import Rescored
from asr.report.runs import ScoredRun
from asr.score.scores import UtteranceScore

SNR = "snr"
"""The field of a cut, or of its supervision, that says at how many dB its speech was mixed with noise."""


class Epoch(NamedTuple):
    """A row of metrics.csv: values after an epoch, None where they were not measured; the time is that of training."""

    epoch: float
    seconds: float | None
    train_loss: float | None
    dev_loss: float | None
    dev_wer: float | None


@dataclass(frozen=True)
class RunRecord:
    """A run, or a foreign system of which only scores and hypotheses are known.

    Args:
        scored: its scores, as they are compared.
        utterances: id -> counts and alignment; empty without hypotheses.
        curve: its epochs; empty without metrics.csv.
        record: its run.json; empty without.
        missing: sentences about what is not there.
        conditions: how it did under noise and other changes of the audio, as far as that was measured.
    """

    scored: ScoredRun
    utterances: Mapping[str, UtteranceScore]
    curve: tuple[Epoch, ...]
    record: Mapping[str, Any]
    missing: tuple[str, ...]
    conditions: Conditions

    @property
    def name(self) -> str:
        """For tables."""
        return self.scored.name

    @property
    def scores(self) -> Mapping[str, Any]:
        """The content of scores.json."""
        return self.scored.scores


@dataclass(frozen=True)
class Utterance:
    """An utterance of the test set; what is not known is None."""

    id: str
    reference: str
    speaker: str | None
    seconds: float | None
    snr: float | None

    @property
    def words(self) -> int:
        """Words of the reference."""
        return len(self.reference.split())


@dataclass(frozen=True)
class Gathered:
    """The runs and the utterances they were scored on.

    Args:
        split: the name of the scores.
        comparison: intervals, and what is said of differences.
        runs: in the order given.
        utterances: in the order of the first run's hypotheses; empty if no run has hypotheses.
        cuts: id -> cut, where a manifest was found.
        missing: sentences about what none of the runs has.
        families: speaker -> family, if some were named.
    """

    split: str
    comparison: Comparison
    runs: tuple[RunRecord, ...]
    utterances: tuple[Utterance, ...]
    cuts: Mapping[str, MonoCut]
    missing: tuple[str, ...]
    families: Mapping[str, str] | None = None

    @property
    def detailed(self) -> tuple[int, ...]:
        """Indices of the runs whose hypotheses are known."""
        return tuple(index for index, run in enumerate(self.runs) if run.utterances)


def gather(
    comparison: Comparison,
    split: str = "test",
    manifest: Path | None = None,
    families: Mapping[str, str] | None = None,
) -> Gathered:
    """Read what lies beside the scores of runs.

    Args:
        comparison: of the runs.
        split: of the scores.
        manifest: the cuts of the test set, where they are not where the scores say.
        families: speaker -> family, for error rates by family.

    Raises:
        InputError: a file is there and cannot be used: a damaged metrics.csv, a manifest without the utterances.
    """
    measured = side_by_side([read_conditions(one.run) for one in comparison.rescored])
    records = tuple(_read_run(*one) for one in zip(comparison.rescored, measured, strict=True))
    cuts, missing = _find_cuts(records, manifest)
    utterances = _utterances(records, cuts)
    if manifest is not None and utterances and not any(utterance.id in cuts for utterance in utterances):
        raise InputError(f"--cuts {manifest} has none of the {len(utterances)} utterances that were scored")
    return Gathered(split, comparison, records, utterances, cuts, missing, families)


def _read_run(rescored: Rescored, conditions: Conditions) -> RunRecord:
    run = rescored.run
    utterances = {one.id: one for one in rescored.scores.utterances} if rescored.scores else {}
    missing = [] if utterances else [f"{rescored.reason}: its errors are counted in the table only"]
    curve: tuple[Epoch, ...] = ()
    if (run.folder / "metrics.csv").is_file():
        curve = read_curve(run.folder / "metrics.csv")
    if not curve:
        missing.append("no metrics.csv with epochs: no learning curve")
    missing += [conditions.missing] if conditions.missing else []
    return RunRecord(run, utterances, curve, record_of(run), tuple(missing), conditions)


def read_curve(path: Path) -> tuple[Epoch, ...]:
    """The epochs of a metrics.csv.

    Raises:
        InputError: a row has no number where there should be one; file and row are named.
    """
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    epochs = []
    for number, row in enumerate(rows, start=1):
        values = [_value(row.get(name), f"{path}, row {number}, {name}") for name in COLUMNS]
        if values[0] is not None:
            epochs.append(Epoch(values[0], *values[1:]))
    return tuple(epochs)


COLUMNS = ("epoch", "seconds", "train_loss", "val_loss", "val_wer")
"""Columns of metrics.csv, in the order of `Epoch`."""


def _value(content: str | None, where: str) -> float | None:
    if not content:
        return None
    try:
        value = float(content)
    except ValueError as error:
        raise InputError(f"{where}: {content!r} is not a number") from error
    return value if math.isfinite(value) else None


def _find_cuts(records: Sequence[RunRecord], given: Path | None) -> tuple[dict[str, MonoCut], tuple[str, ...]]:
    """The cuts of the first manifest that can be read, or why there are none."""
    if given is not None:
        return {cut.id: cut for cut in read_cuts(given, transcribed=False)}, ()
    reasons = []
    for path in dict.fromkeys(path for record in records for path in _manifests(record)):
        try:
            return {cut.id: cut for cut in read_cuts(path, transcribed=False)}, ()
        except InputError as error:  # it is on another machine, or not of cuts: references may be any text
            reasons.append(str(error))
    found = "; ".join(reasons) or "the scores name no manifest of the test set"
    return {}, (f"no audio and no spectrograms: {found} (--cuts FILE names the manifest)",)


def _manifests(record: RunRecord) -> list[Path]:
    """Where the manifest of a run may be: where its scores say, or else in the corpus that it was trained on."""
    if not record.scores.get("manifest"):
        return []
    path = Path(str(record.scores["manifest"]))
    own = Path(str(record.record.get("data_root"))) / path.name
    return [own] if own.is_file() and not path.is_file() else [path]


def _utterances(records: Sequence[RunRecord], cuts: Mapping[str, MonoCut]) -> tuple[Utterance, ...]:
    """What is known of each utterance, from any of the runs or from its cut."""
    merged: dict[str, Utterance] = {}
    for record in records:
        rows = read_hypotheses(record.scored.hypotheses) if record.utterances else []
        seconds = {row.id: row.seconds for row in rows}
        for name, one in record.utterances.items():
            known = merged.get(name) or Utterance(name, one.reference, None, None, None)
            length = seconds.get(name) if known.seconds is None else known.seconds
            merged[name] = replace(known, speaker=known.speaker or one.speaker, seconds=length)
    return tuple(_completed(one, cuts.get(one.id)) for one in merged.values())


def _completed(utterance: Utterance, cut: MonoCut | None) -> Utterance:
    if cut is None:
        return utterance
    seconds = float(cut.duration) if utterance.seconds is None else utterance.seconds
    return replace(utterance, speaker=utterance.speaker or speaker_of(cut), seconds=seconds, snr=snr_of(cut))


def snr_of(cut: MonoCut) -> float | None:
    """The known signal-to-noise ratio of a cut in dB: its own custom field `snr`, or that of its supervision.

    Raises:
        InputError: the field holds no number; the cut is named.
    """
    for custom in (cut.custom, *(supervision.custom for supervision in cut.supervisions)):
        value = (custom or {}).get(SNR)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"cut {cut.id!r}: its field {SNR!r} is {value!r}, and must be a number of dB")
        return float(value)
    return None
