"""Which options of decoding have a part in the result, and which would change nothing."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from asr.errors import InputError

MODELS = ("lm", "char_lm", "lexicon")
"""Options that name what a search uses beside the acoustic model."""
MODEL_WORDS = "lm"
"""Names, in the place of a lexicon's file, the words of the language model."""
LIMITS = ("beam", "beam_threshold", "token_threshold", "top_tokens", "blank_skip")
WEIGHTS = ("alpha", "beta", "unknown_penalty", "look_ahead", "char_alpha")


class Part(NamedTuple):
    """Options that have a part in the result only beside something else.

    Args:
        names: of the options.
        needs: what they need, for messages.
        there: whether it is among all options.
    """

    names: tuple[str, ...]
    needs: str
    there: Callable[[Mapping[str, Any]], Any]


PARTS = (
    Part(MODELS + WEIGHTS + LIMITS, "--decoder beam", lambda values: values["decoder"] != "greedy"),
    Part(  # flashlight has none of these
        ("char_lm", "char_alpha", "unknown_penalty", "look_ahead", "token_threshold", "blank_skip"),
        "--decoder beam",
        lambda values: values["decoder"] == "beam",
    ),
    Part(("alpha", "look_ahead"), "--lm", lambda values: values["lm"]),
    Part(("beta",), "--lm or --lexicon", lambda values: values["lm"] or values["lexicon"]),
    Part(
        ("unknown_penalty",),
        f"--lm, and words that it does not know (no --lexicon {MODEL_WORDS})",
        lambda values: values["lm"] and values["lexicon"] != MODEL_WORDS,
    ),
    Part(("char_alpha",), "--char-lm", lambda values: values["char_lm"]),
)


def idle(values: Mapping[str, Any]) -> dict[str, str]:
    """The options that have no part in the result, each with what it would need.

    Args:
        values: of the options, by name.

    >>> idle({"decoder": "beam", "lm": "3gram.npz", "lexicon": None, "char_lm": None})
    {'char_alpha': '--char-lm'}
    """
    missing = [part for part in PARTS if not part.there(values)]
    return {name: part.needs for part in reversed(missing) for name in part.names}


def refuse_idle(values: Mapping[str, Any], given: Iterable[str]) -> None:
    """Refuse options that somebody gave and that have no part in the result.

    Raises:
        InputError: there is one; it is named with what it needs.
    """
    needs = idle(values)
    for name in given:
        if name in needs:
            raise InputError(f"{dashed(name)} ({values[name]!r}) has no part in the result: it needs {needs[name]}")


def dashed(name: str) -> str:
    """An option as the command line has it.

    >>> dashed("char_alpha")
    '--char-alpha'
    """
    return f"--{name.replace('_', '-')}"
