"""From texts to a model: what `asr lm build` does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.errors import InputError
from asr.lm.counts import SPECIAL, UNKNOWN_INDEX, count_ngrams, vocabulary_of, with_special
from asr.lm.kneser_ney import Discounts, estimate
from asr.lm.model import SPACE, NGramModel, Unit
from asr.lm.pruning import assemble
from asr.lm.sentences import digest_of, is_manifest, read_sentences, split, without_held_out
from asr.text import Normalizer, normalizer


@dataclass(frozen=True)
class BuildOptions:
    """How a model is estimated.

    Args:
        order: n of the longest n-grams.
        unit: "word" or "character".
        cutoffs: n-grams of order n that occur `cutoffs[n - 1]` times or less are left out; the last number holds for
            the orders above too.
        threshold: n-grams that lower the perplexity by a smaller part than this are left out.
        vocabulary: a file with a word a line (its first field), or a manifest, of whose transcripts all words are
            known; other words count as `<unk>`. They are normalised as the text is. Of characters: those of these
            words, and with a list, of characters or words, the space.
        min_count: words that occur less often count as `<unk>`.
        max_words: only the most frequent are words.
        normalizer: of the text.

    Raises:
        InputError: an option is out of range.
    """

    order: int = 3
    unit: Unit = "word"
    cutoffs: tuple[int, ...] = ()
    threshold: float = 0.0
    vocabulary: str | None = None
    min_count: int = 1
    max_words: int | None = None
    normalizer: str = "verbatim/1"

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 20:
            raise InputError(f"order {self.order}: must be from 1 to 20")
        if not 0 <= self.threshold < 1:
            raise InputError(f"threshold {self.threshold}: must be at least 0 and less than 1")
        if self.min_count < 1 or (self.max_words is not None and self.max_words < 1):
            raise InputError(f"min_count {self.min_count} and max_words {self.max_words} must be at least 1")
        if len(self.cutoffs) > self.order:
            raise InputError(f"{len(self.cutoffs)} cut-offs for a model of order {self.order}")


def build(texts: Sequence[Path | str], options: BuildOptions, exclude: Sequence[Path | str] = ()) -> NGramModel:
    """Estimate a model from files.

    Args:
        texts: files as `asr.lm.sentences.read_sentences` takes them.
        options: how.
        exclude: files of held-out transcripts: sentences that are equal to one of these are left out.

    Returns:
        The model; its `record` says what it was made of, what was left out, and the discounts.

    Raises:
        InputError: a file or an option cannot be used, or no text is left.
    """
    normalize = normalizer(options.normalizer)
    sentences: list[str] = []
    sources = []
    for path in texts:
        given = read_sentences(path)
        found = [text for text in map(normalize, given) if text]
        sources.append({"name": Path(path).name, "sha256": digest_of(given), "sentences": len(found)})
        sentences += found
    kept, exclusions = without_held_out(sentences, exclude, normalize)
    if not sentences:
        raise InputError(f"no text for a language model: there is no sentence in {', '.join(map(str, texts))}")
    if not kept:
        raise InputError(f"no text for a language model: {len(sentences)} sentences read, all of them left out")
    units = [split(sentence, options.unit) for sentence in kept]
    model, discounts = build_from_units(units, options)
    model.record.update(
        normalizer=normalize.identifier,
        texts=sources,
        excluded=[{**e._asdict(), "path": Path(e.path).name} for e in exclusions],
        sentences=len(units),
        words=sum(map(len, units)),
        discounts=[entry._asdict() for entry in discounts],
    )
    return model


def build_from_units(sentences: Sequence[Sequence[str]], options: BuildOptions) -> tuple[NGramModel, list[Discounts]]:
    """Estimate a model from sentences that are split into words (or characters) already.

    Raises:
        InputError: there are no sentences, or an option cannot be used.
    """
    words = with_special(_vocabulary(sentences, options))
    counts = count_ngrams(sentences, words, options.order)
    unknown = int(counts[0].occurrences[UNKNOWN_INDEX])
    levels, discounts = estimate(counts, options.cutoffs)
    del counts  # whose memory the assembly needs
    record: dict[str, Any] = {
        "estimate": "interpolated modified Kneser-Ney",
        "unit": options.unit,
        "order": options.order,
        "cutoffs": list(options.cutoffs),
        "threshold": options.threshold,
    }
    if unknown:
        record["unknown"] = unknown
    return NGramModel(words, assemble(levels, options.threshold), record), discounts


def _vocabulary(sentences: Sequence[Sequence[str]], options: BuildOptions) -> list[str]:
    if options.vocabulary is None:
        return vocabulary_of(sentences, options.min_count, options.max_words)
    normalize = normalizer(options.normalizer)
    lines = read_sentences(options.vocabulary)
    if is_manifest(options.vocabulary):
        units = {unit for line in lines for unit in split(normalize(line), options.unit)}
    else:
        units = {unit for line in lines for unit in _listed(line.split()[0], options.unit, normalize)}
        units |= {SPACE} if options.unit == "character" else set()
    if not units:
        raise InputError(f"{options.vocabulary} has no words")
    return sorted(units)


def _listed(entry: str, unit: Unit, normalize: Normalizer) -> list[str]:
    """The units of an entry of a list, normalised as the text is: as it stands if nothing is left then, such as `'`."""
    return [entry] if entry in (*SPECIAL, SPACE) else split(normalize(entry) or entry, unit)
