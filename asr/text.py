"""Named, versioned text normalisation.

A word error rate means something only together with the normaliser that made its texts, so every prepared corpus and
every score states one as `name/version`. A version never changes what it yields: a different rule is a new version.

What a normaliser has no rule for, it leaves as it is; verification names the utterance and the character if that is
none of the token set. But what Unicode calls punctuation, english and lower drop, and some of that is read aloud:
§ * † ‰ and the full-width ％ ＆ ＠; of lower also % & @ # / and the keyboard's minus. How many texts of a corpus that
changed is in its `normalization.json`, with examples.

>>> normalizer("english")("R&D: 5 %, 5‰ of § 5, “-5” or -5")
'R AND D FIVE PERCENT FIVE OF FIVE FIVE OR MINUS FIVE'
>>> normalizer("lower")("R&D: 5 %, 5‰ of § 5, “-5” or −5 €")
'r d 5 5 of 5 5 or −5 €'
"""

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from asr.errors import InputError
from asr.number_words import NUMBER, spell


class Rule(NamedTuple):
    """One step of a normaliser, applied to the result of the step before."""

    name: str
    description: str
    apply: Callable[[str], str]


@dataclass(frozen=True)
class Normalizer:
    """A fixed sequence of rules, text -> text. Applying it twice changes nothing more.

    Args:
        name: of the family, for example "english".
        version: counts the changes of what it yields, from 1.
        description: what kind of text it is for and what it yields.
        rules: in the order of application.
        characters: every character of a fully normalised text, sorted, or None if that depends on the corpus.

    >>> normalizer("english")("“It’s 5 o’clock,” said Zoë—twenty-one times.")
    "IT'S FIVE O'CLOCK SAID ZOE TWENTY ONE TIMES"
    """

    name: str
    version: int
    description: str
    rules: tuple[Rule, ...]
    characters: str | None = None

    @property
    def identifier(self) -> str:
        """`name/version`, as `normalizer` takes it."""
        return f"{self.name}/{self.version}"

    def __call__(self, text: str) -> str:
        return functools.reduce(lambda result, rule: rule.apply(result), self.rules, text)

    def changed_by(self, text: str) -> list[str]:
        """Names of the rules that change `text`, in their order.

        >>> normalizer("verbatim").changed_by("two  words")
        ['whitespace']
        """
        names = []
        for rule in self.rules:
            before, text = text, rule.apply(text)
            if text != before:
                names.append(rule.name)
        return names

    def to_dict(self) -> dict[str, Any]:
        """Name, version, description and rules as plain data."""
        return {
            "name": self.name,
            "version": self.version,
            "identifier": self.identifier,
            "description": self.description,
            "characters": self.characters,
            "rules": [{"rule": rule.name, "description": rule.description} for rule in self.rules],
        }


def normalizer(identifier: str) -> Normalizer:
    """The normaliser `name/version`, or the latest version of `name`.

    >>> normalizer("english").identifier
    'english/1'

    Raises:
        InputError: there is no such normaliser; the message lists those there are.
    """
    name, slash, version = identifier.partition("/")
    versions = {str(known.version): known for known in NORMALIZERS if known.name == name}
    if versions and not slash:
        return max(versions.values(), key=lambda known: known.version)
    if version not in versions:
        known = ", ".join(known.identifier for known in NORMALIZERS)
        raise InputError(f"no text normaliser {identifier!r}; there are {known}")
    return versions[version]


def describe_changes(normalizer: Normalizer, texts: Iterable[tuple[str, str]], samples: int = 5) -> dict[str, Any]:
    """What a normaliser did to a corpus: how many texts each rule changed, and examples before and after.

    Args:
        normalizer: the normaliser.
        texts: pairs of utterance id and text as the corpus has it.
        samples: examples shown for each rule, the first that it changes.

    Returns:
        The normaliser's plain data with "texts", "changed", in each rule "changed", and "samples".
    """
    texts_of_rule: Counter[str] = Counter()
    total = changed = 0
    shown = []
    for utterance, before in texts:
        rules = normalizer.changed_by(before)
        total += 1
        changed += bool(rules)
        if any(texts_of_rule[rule] < samples for rule in rules):
            shown.append({"id": utterance, "before": before, "after": normalizer(before), "rules": rules})
        texts_of_rule.update(rules)
    data = normalizer.to_dict()
    for rule in data["rules"]:
        rule["changed"] = texts_of_rule[rule["rule"]]
    return {**data, "texts": total, "changed": changed, "samples": shown}


# ---- rules -----------------------------------------------------------------------------------------------------------

_APOSTROPHES = str.maketrans(dict.fromkeys("’‘‛`´ʼʻʹ＇", "'"))
_LATIN = str.maketrans(
    {"Æ": "AE", "Œ": "OE", "Ø": "O", "Đ": "D", "Ð": "D", "Þ": "TH", "Ł": "L", "ẞ": "SS", "ı": "I", "Ŋ": "NG"}
)
_SPOKEN_SIGNS = {"&": " AND ", "%": " PERCENT ", "@": " AT "}
_KEPT_PUNCTUATION = frozenset("'/#[]{}\\")
_LETTERS_SLASH = re.compile(r"(?<=[^\W\d_])/(?=[^\W\d_])")
_MINUS = re.compile(r"(?:(?<=\s)|^)[-\N{MINUS SIGN}](?=\.?[0-9])")
_LOOSE_APOSTROPHE = re.compile(r"''+|(?<![^\W\d_])'(?![^\W\d_])")


def _compose(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _collapse(text: str) -> str:
    return " ".join(text.split())


def _drop_invisible(text: str) -> str:
    return "".join(c for c in text if unicodedata.category(c) != "Cf")


def _strip_diacritics(text: str) -> str:
    result: list[str] = []
    on_latin = False
    for character in unicodedata.normalize("NFD", text).translate(_LATIN):
        if unicodedata.category(character) != "Mn":
            on_latin = character.isascii() and character.isalpha()
        elif on_latin:
            continue
        result.append(character)
    return _compose("".join(result))


def _spell_signs(text: str) -> str:
    return "".join(_SPOKEN_SIGNS.get(c, c) for c in _MINUS.sub(" MINUS ", text))


def _spell_numbers(text: str) -> str:
    return NUMBER.sub(lambda match: f" {spell(match.group())} ", text)


def _drop_punctuation(text: str) -> str:
    text = _LETTERS_SLASH.sub(" ", text)
    spaced = "".join(
        " " if c == "\N{MINUS SIGN}" or (unicodedata.category(c)[0] == "P" and c not in _KEPT_PUNCTUATION) else c
        for c in text
    )
    return _LOOSE_APOSTROPHE.sub(" ", spaced)


def _drop_all_punctuation(text: str) -> str:
    spaced = "".join(" " if unicodedata.category(c)[0] == "P" and c != "'" else c for c in text)
    return _LOOSE_APOSTROPHE.sub(" ", spaced)


_NFC = Rule("nfc", "Unicode normalisation form C", _compose)
_WHITESPACE = Rule("whitespace", "runs of white space become one space; none at either end", _collapse)
_INVISIBLE = Rule("invisible", "soft hyphens, zero-width and other format characters are removed", _drop_invisible)
_STRAIGHT = Rule("apostrophes", "typographic apostrophes become '", lambda text: text.translate(_APOSTROPHES))

VERBATIM_1 = Normalizer(
    "verbatim",
    1,
    "transcripts that are normalised already: case, digits and punctuation stay and become tokens",
    (_NFC, _WHITESPACE),
)

LOWER_1 = Normalizer(
    "lower",
    1,
    "any language with letters: lower case; digits, accents and symbols (of currencies, plus, degrees) stay and become "
    "tokens; whatever Unicode calls punctuation is dropped but for an apostrophe beside a letter, and with it signs "
    "that are read aloud: percent, ampersand, at, number and section sign, asterisk, slash, hyphen as minus, decimal "
    "point",
    (
        _NFC,
        _INVISIBLE,
        Rule("case", "letters become lower case", lambda text: _compose(text.lower())),
        _STRAIGHT,
        Rule(
            "punctuation",
            "all that Unicode calls so becomes a space but an apostrophe beside a letter: - / . in numbers, "
            "& % @ # § * † ‰ and brackets too",
            _drop_all_punctuation,
        ),
        _WHITESPACE,
    ),
)

ENGLISH_1 = Normalizer(
    "english",
    1,
    "English in LibriSpeech's alphabet: A-Z, apostrophe and space; numbers, ampersand, percent and at sign in words; "
    "what has no single reading (number sign, square brackets, currencies) stays, for verification to name; other "
    "punctuation is dropped, and with it section sign, asterisk, per mille, and a minus after anything but white space",
    (
        _NFC,
        _INVISIBLE,
        _STRAIGHT,
        Rule("case", "letters become upper case", lambda text: _compose(text.upper()).translate(_APOSTROPHES)),
        Rule(
            "diacritics", "accents on Latin letters are removed; Æ, Œ, Ø, ß ... become AE, OE, O, SS", _strip_diacritics
        ),
        Rule(
            "signs",
            "& % @ become AND, PERCENT, AT; a minus before a number, and after white space or nothing, becomes MINUS",
            _spell_signs,
        ),
        Rule(
            "numbers",
            "figures become words: cardinals without AND (years too), ordinals, decimals digit by digit after POINT; "
            "leading zeros and more than 15 digits are read digit by digit; 's after an ordinal is a word of its own",
            _spell_numbers,
        ),
        Rule(
            "punctuation",
            "what Unicode calls so becomes a space, also hyphens, dashes, a minus that is not MINUS yet, and signs "
            "with a name (§ * † ‰ ％), but for an apostrophe beside a letter. What has no single reading stays, for "
            "verification to name: / but between letters, \\, #, currency and other symbols, and brackets [] {}, "
            "which mostly mark sounds that are not speech",
            _drop_punctuation,
        ),
        _WHITESPACE,
    ),
    characters=" 'ABCDEFGHIJKLMNOPQRSTUVWXYZ",
)

NORMALIZERS = (ENGLISH_1, LOWER_1, VERBATIM_1)
"""All normalisers, every version that was ever published."""
