"""What a corpus is to preparation: a list of utterances, and of the problems found while listing them."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Utterance:
    """One transcribed stretch of audio, as the corpus has it.

    Args:
        id: unique in the corpus.
        audio: the audio file.
        text: the transcript as it stands in the corpus, before normalisation; None if the corpus has none.
        speaker: the speaker's id; None if unknown.
        part: the corpus's own name for the part it belongs to (train-clean-5, an4 train, ...).
        start: where it begins in the file, in seconds.
        duration: in seconds; None to the end of the file.
        source: of a copy that was made here: the file that it was made of, and where it began there, in seconds.
    """

    id: str
    audio: Path
    text: str | None
    speaker: str | None
    part: str
    start: float = 0.0
    duration: float | None = None
    source: tuple[Path, float] | None = None

    @property
    def original(self) -> tuple[Path, float]:
        """The corpus's own file, and where the utterance begins in it, in seconds."""
        return self.source or (self.audio, self.start)


@dataclass(frozen=True)
class Problem:
    """Something that keeps an utterance out, or that its user should know.

    Args:
        subject: utterance id, or the file or line if there is no utterance.
        kind: a short fixed word: "missing-audio", "truncated", "empty-text", ...
        detail: one sentence with the value, the limit and the file.
        refused: whether the utterance is left out because of it.
        value: what was measured, where the kind has a value; None elsewhere.
        utterance: the id that the utterance would have, where the subject is another; None elsewhere.
    """

    subject: str
    kind: str
    detail: str
    refused: bool
    value: float | None = None
    utterance: str | None = None
