"""`asr lm`: its verbs, and those of n-gram language models, from text to perplexities."""

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asr.errors import InputError
from asr.files import write_json
from asr.lm.building import BuildOptions, build
from asr.lm.model import UNITS, NGramModel
from asr.lm.perplexity import Prediction, predict
from asr.lm.sentences import read_sentences, split
from asr.lm.storage import check_name, read_model, write_model
from asr.text import normalizer

VERBS = {
    "build": ("estimate an n-gram model from text", "asr.lm.command:build_main"),
    "score": ("perplexity, unknown words and bits per character of texts", "asr.lm.command:score_main"),
    "info": ("what an n-gram model is, and was made of", "asr.lm.command:info_main"),
    "train": ("train a network that predicts characters", "asr.lm.neural_command:main"),
    "rescore": ("choose again among N-best texts with such a network", "asr.decode.rescoring:main"),
}
"""verb -> (what it does, where the function `(arguments) -> exit code` is that does it)."""
MOSTLY = 0.9
"""Share of unknown words from which on something else than the words must be wrong."""


def main(arguments: Sequence[str]) -> int:
    """`asr lm VERB`."""
    verb, *rest = arguments or [""]
    if verb not in VERBS:
        _parser().parse_args(arguments)  # which ends here
    module, function = VERBS[verb][1].split(":")
    code: int = getattr(importlib.import_module(module), function)(rest)
    return code


def _parser() -> argparse.ArgumentParser:
    verbs = "\n".join(f"  {name:<8} {does}" for name, (does, _) in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="asr lm",
        description=f"Language models.\n\n{verbs}\n\nasr lm VERB --help explains a verb.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("verb", metavar="VERB", choices=list(VERBS))
    return parser


def build_main(arguments: Sequence[str]) -> int:
    """`asr lm build`."""
    given = _build_parser().parse_args(arguments)
    options = BuildOptions(
        order=given.order,
        unit=given.unit,
        cutoffs=tuple(given.prune),
        threshold=given.threshold,
        vocabulary=given.vocabulary,
        min_count=given.min_count,
        max_words=given.max_words,
        normalizer=given.normalizer,
    )
    check_name(given.output)
    began = time.perf_counter()
    model = build(given.text, options, given.exclude)
    estimated = time.perf_counter()
    write_model(given.output, model)
    print(describe(model))
    unknown, words = model.record.get("unknown", 0), model.record["words"]
    if given.vocabulary and unknown > MOSTLY * words:
        shown = f"{unknown} of {words} {model.unit}s of the text ({unknown / words:.2%})"
        print(f"note: {shown} are not in {given.vocabulary}: are they in different case?", file=sys.stderr)
    print(
        f"{estimated - began:.1f} s to read and estimate, {time.perf_counter() - estimated:.1f} s to write "
        f"{given.output} ({Path(given.output).stat().st_size / 1e6:.1f} MB)"
    )
    return 0


def score_main(arguments: Sequence[str]) -> int:
    """`asr lm score`."""
    given = _score_parser().parse_args(arguments)
    model = read_model(given.model)
    normalize = normalizer(given.normalizer)
    results: dict[str, Any] = {}
    for path in given.text:
        sentences = [split(text, model.unit) for text in map(normalize, read_sentences(path)) if text]
        if not sentences:
            raise InputError(f"{path} holds no sentence")
        prediction = predict(model, sentences)
        results[str(path)] = figures(prediction, model.unit)
        print(f"{path}: {summary(prediction, model.unit)}")
        if prediction.unknown_rate > MOSTLY and other_case_is_known(model, sentences):
            print(f"note: {path} and {given.model} are in different case", file=sys.stderr)
    if given.output:
        write_json(given.output, {"model": given.model, "unit": model.unit, "texts": results})
        print(f"wrote {given.output}")
    return 0


def other_case_is_known(model: NGramModel, sentences: Sequence[Sequence[str]]) -> bool:
    """Whether the model knows most of the words in the other case that it does not know as they are.

    >>> from asr.lm.building import BuildOptions, build_from_units
    >>> model, _ = build_from_units([["A", "CAT"]], BuildOptions(order=1))
    >>> other_case_is_known(model, [["a", "cat"]]), other_case_is_known(model, [["un", "chat"]])
    (True, False)
    """
    strange = {word for sentence in sentences for word in sentence if not model.knows(word)}
    return 2 * sum(model.knows(word.swapcase()) for word in strange) > len(strange)


def info_main(arguments: Sequence[str]) -> int:
    """`asr lm info`."""
    parser = argparse.ArgumentParser(prog="asr lm info", description="What a language model is, and was made of.")
    parser.add_argument("model", help="*.arpa, *.arpa.gz or *.npz")
    given = parser.parse_args(arguments)
    began = time.perf_counter()
    model = read_model(given.model)
    seconds = time.perf_counter() - began
    try:
        print(describe(model))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{given.model} has a record that `asr lm build` does not write: {error!r}") from error
    print(f"opened in {seconds:.1f} s, {Path(given.model).stat().st_size / 1e6:.1f} MB")
    return 0


def describe(model: NGramModel) -> str:
    """The n-grams of a model, and how it was made, as far as that is known."""
    record = model.record if "estimate" in model.record else {}
    counts = ", ".join(f"{count} {n}-grams" for n, count in enumerate(model.counts, start=1))
    unknown = np.exp(model.score(np.zeros(1, dtype=np.int64), np.array([model.unknown]))[0][0])
    lines = [f"{model.unit} model of order {model.order}: {counts}", f"P({model.words[model.unknown]}) {unknown:.3g}"]
    if "sentences" in record:
        names = ", ".join(source["name"] for source in record["texts"])
        lines.append(f"from {record['sentences']} sentences, {record['words']} {model.unit}s, of {names}")
        if unknown_words := record.get("unknown"):
            share = unknown_words / record["words"]
            lines.append(f"of these, {unknown_words} {model.unit}s are unknown ({share:.2%})")
    lines += [
        f"left out {excluded['sentences']} sentences that are in {excluded['path']} "
        f"({excluded['found']} of its {excluded['transcripts']} different transcripts were found)"
        for excluded in record.get("excluded", ())
    ]
    for n, entry in enumerate(record.get("discounts", ()), start=1):
        amounts = " ".join(f"{amount:.3f}" for amount in entry["amounts"])
        told = " ".join(map(str, entry["counts_of_counts"]))
        why = f" (fallback: counts of counts {told} tell none)" if entry["fallback"] else ""
        lines.append(f"discounts of {n}-grams {amounts}{why}")
    if record.get("cutoffs") or record.get("threshold"):
        lines.append(f"pruned: cut-offs {record['cutoffs'] or [0]}, threshold {record['threshold']:g}")
    return "\n".join(lines)


def figures(prediction: Prediction, unit: str) -> dict[str, float | int]:
    """A prediction as plain data."""
    common: dict[str, float | int] = {
        "sentences": prediction.sentences,
        f"{unit}s": prediction.words,
        "unknown": prediction.unknown,
        "unknown_rate": prediction.unknown_rate,
        "log_prob": prediction.log_prob,
        "perplexity": prediction.perplexity,
        "perplexity_known": prediction.perplexity_known,
    }
    return common if unit == "word" else {**common, "bits_per_character": prediction.bits}


def summary(prediction: Prediction, unit: str) -> str:
    """A prediction in a line."""
    text = (
        f"{prediction.sentences} sentences, {prediction.words} {unit}s, {prediction.unknown} unknown "
        f"({prediction.unknown_rate:.2%}); perplexity {prediction.perplexity:.2f}, without the unknown "
        f"{prediction.perplexity_known:.2f}"
    )
    return text if unit == "word" else f"{text}; {prediction.bits:.4f} bits per character"


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asr lm build",
        description="Estimate an interpolated modified Kneser-Ney n-gram model (Chen and Goodman 1998), as KenLM's "
        "lmplz does. Where the counts of counts of an order yield no discounts, as in small texts, these are 0.5, 1 "
        "and 1.5, and it is said. `<unk>` has a probability: an unseen word's, or of the words left out.",
    )
    parser.add_argument(
        "text",
        nargs="+",
        help="text, a sentence a line (.gz: gzipped), or manifests with transcripts (.jsonl, .jsonl.gz)",
    )
    parser.add_argument(
        "-o", "--output", required=True, help="*.arpa, *.arpa.gz, or *.npz, which is smaller and opens faster"
    )
    parser.add_argument("--order", type=int, default=3, help="n of the longest n-grams (default: %(default)s)")
    parser.add_argument(
        "--unit", choices=UNITS, default="word", help="of the n-grams; a space among characters is <space>"
    )
    parser.add_argument(
        "--prune",
        type=int,
        nargs="+",
        default=[],
        metavar="N",
        help="leave out n-grams that occur so often or less, a number for each order, the last for all above: 0 0 1",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.0,
        help="leave out n-grams that lower the perplexity by a smaller part (relative-entropy pruning), such as 1e-7",
    )
    words = parser.add_mutually_exclusive_group()
    words.add_argument(
        "--vocabulary",
        metavar="FILE",
        help="the words, one a line, or a manifest: those of its transcripts; all others are <unk>",
    )
    words.add_argument("--min-count", type=int, default=1, metavar="N", help="words that occur less often are <unk>")
    words.add_argument("--max-words", type=int, metavar="N", help="only the N most frequent are words, others <unk>")
    parser.add_argument(
        "--exclude",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="held-out transcripts (files as for text): equal sentences are left out and counted. Equal means: after "
        "the normaliser, and without regard to case and punctuation",
    )
    _add_normalizer(parser)
    return parser


def _score_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asr lm score",
        description="Perplexity of texts: each word and each sentence's end is predicted from what is before it. "
        "Unknown words are predicted as <unk>; the second perplexity leaves them out. Models of characters: bits per "
        "character too, ends of sentences counting as one.",
    )
    parser.add_argument("model", help="*.arpa, *.arpa.gz or *.npz")
    parser.add_argument("text", nargs="+", help="text or manifests, as for asr lm build")
    parser.add_argument("-o", "--output", help="write the figures to this JSON file")
    _add_normalizer(parser)
    return parser


def _add_normalizer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--normalizer",
        default="verbatim/1",
        help="of the text: english/1, lower/1 or verbatim/1 (default: %(default)s, white space only)",
    )
