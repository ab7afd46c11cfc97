"""The calibration of a decoder's confidences on a development split."""

import itertools
from typing import NamedTuple

import numpy as np

from asr.decode.confidence import Calibration, Evidence, fit
from asr.decode.greedy import timed_words
from asr.decode.options import DecodingOptions
from asr.decode.pool import ReaderPool
from asr.decode.reading import Recognition
from asr.decode.tuning import Task
from asr.score.errors import align_words
from asr.score.reliability import Reliability, reliability


class Calibrated(NamedTuple):
    """A calibration, and what it does to the words that it was found on."""

    calibration: Calibration
    before: Reliability
    after: Reliability


def calibrate(task: Task, readers: ReaderPool, options: DecodingOptions) -> Calibrated | None:
    """Decode the task, and fit a calibration to its words.

    Args:
        task: utterances with references.
        readers: of a beam search without calibration.
        options: its weights and limits.

    Returns:
        None if there are not both right and wrong words to tell apart.
    """
    read = list(itertools.chain.from_iterable(readers.recognitions(task.batches, options)))
    references = [text for batch in task.references for text in batch]
    alignments = align_words(references, [recognition.text for recognition in read])
    evidence = [evidence_of(recognition) for recognition in read]
    before = reliability(alignments, [[word.share for word in words] for words in evidence])
    if before is None:
        return None
    calibration = fit([word for words in evidence for word in words], before.right.tolist())
    if calibration is None:
        return None
    sure = np.array([calibration(word) for words in evidence for word in words])
    return Calibrated(calibration, before, Reliability(sure, before.right))


def evidence_of(recognition: Recognition) -> list[Evidence]:
    """Of each word of a recognition without calibration."""
    posteriors = [word.confidence for word in timed_words(recognition.tokens)]
    shares = [word.confidence for word in recognition.words]
    return [Evidence(share, posterior) for share, posterior in zip(shares, posteriors, strict=True)]
