"""Numbers in figures -> English words, as American usage reads them aloud without "and"."""

import re
from collections.abc import Callable

_DIGITS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
_TEENS = ("THIRTEEN", "FOURTEEN", "FIFTEEN", "SIXTEEN", "SEVENTEEN", "EIGHTEEN", "NINETEEN")
_UNITS = (*_DIGITS, "TEN", "ELEVEN", "TWELVE", *_TEENS)
_TENS = ("", "", "TWENTY", "THIRTY", "FORTY", "FIFTY", "SIXTY", "SEVENTY", "EIGHTY", "NINETY")
_GROUPS = ("", "THOUSAND", "MILLION", "BILLION", "TRILLION")
_IRREGULAR_ORDINALS = {
    "ONE": "FIRST",
    "TWO": "SECOND",
    "THREE": "THIRD",
    "FIVE": "FIFTH",
    "EIGHT": "EIGHTH",
    "NINE": "NINTH",
    "TWELVE": "TWELFTH",
}

MAX_DIGITS = 3 * len(_GROUPS)
"""Longer numbers are read digit by digit, as account and telephone numbers are."""

NUMBER = re.compile(r"[0-9]+(?:[.,/][0-9]+)*(?:(?:ST|ND|RD|TH|'?S)\b)?|\.[0-9]+", re.IGNORECASE)
"""A number as it stands in a text, with what belongs to it: `1,234.5`, `3/4`, `22nd`, `80s`, `.5`."""

_GROUPED = re.compile(r"(?<![0-9.])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])")
_PARTS = re.compile(r"([.,/]?)([0-9]+)")


def cardinal(digits: str) -> str:
    """Words of a whole number written in figures.

    Numbers with a leading zero, or with more than `MAX_DIGITS` digits, are read digit by digit.

    >>> cardinal("1984"), cardinal("40"), cardinal("007")
    ('ONE THOUSAND NINE HUNDRED EIGHTY FOUR', 'FORTY', 'ZERO ZERO SEVEN')
    """
    if len(digits) > MAX_DIGITS or (digits.startswith("0") and len(digits) > 1):
        return " ".join(_DIGITS[int(digit)] for digit in digits)
    value, words = int(digits), []
    for index in reversed(range(len(_GROUPS))):
        group = value // 1000**index % 1000
        if group:
            words += [*_below_thousand(group), _GROUPS[index]]
    return " ".join(filter(None, words)) or "ZERO"


def _below_thousand(value: int) -> list[str]:
    words = [_UNITS[value // 100], "HUNDRED"] if value >= 100 else []
    rest = value % 100
    if rest >= 20:
        words.append(_TENS[rest // 10])
        rest %= 10
    return words + ([_UNITS[rest]] if rest else [])


def ordinal(digits: str) -> str:
    """Words of an ordinal number.

    >>> ordinal("1"), ordinal("22"), ordinal("30"), ordinal("100")
    ('FIRST', 'TWENTY SECOND', 'THIRTIETH', 'ONE HUNDREDTH')
    """
    *words, last = cardinal(digits).split()
    if last in _IRREGULAR_ORDINALS:
        return " ".join([*words, _IRREGULAR_ORDINALS[last]])
    return " ".join([*words, last[:-1] + "IETH" if last.endswith("Y") else last + "TH"])


def plural(digits: str) -> str:
    """Words of a number with a plural s.

    >>> plural("80"), plural("6"), plural("1000")
    ('EIGHTIES', 'SIXES', 'ONE THOUSANDS')
    """
    *words, last = cardinal(digits).split()
    if last.endswith("Y"):
        return " ".join([*words, last[:-1] + "IES"])
    return " ".join([*words, last + ("ES" if last.endswith("X") else "S")])


def spell(number: str) -> str:
    """Words of what `NUMBER` matches.

    Commas between groups of three are dropped and otherwise separate numbers; a point is read POINT and the digits
    after it one by one; a slash between numbers has no single reading (a half, the first of February) and stays.

    >>> spell("1,234"), spell("3.14"), spell(".5"), spell("1,2")
    ('ONE THOUSAND TWO HUNDRED THIRTY FOUR', 'THREE POINT ONE FOUR', 'POINT FIVE', 'ONE TWO')
    >>> spell("3rd"), spell("80s"), spell("1/2"), spell("2.5s"), spell("4's")
    ('THIRD', 'EIGHTIES', 'ONE / TWO', 'TWO POINT FIVE S', "FOUR'S")
    """
    figures = number.upper().rstrip("STNDRH'")
    suffix = number.upper()[len(figures) :]
    parts = _PARTS.findall(_GROUPED.sub(lambda match: match.group().replace(",", ""), figures))
    words: list[str] = []
    for separator, digits in parts[:-1]:
        words += _read(separator, digits, cardinal)
    separator, digits = parts[-1]
    if separator == "." or (suffix in ("S", "'S") and not digits.endswith("0")):
        space = " " if suffix and suffix != "'S" else ""
        return " ".join([*words, *_read(separator, digits, cardinal)]) + space + suffix
    return " ".join([*words, *_read(separator, digits, _READERS.get(suffix, ordinal))])


_READERS: dict[str, Callable[[str], str]] = {"": cardinal, "S": plural, "'S": plural}


def _read(separator: str, digits: str, whole: Callable[[str], str]) -> list[str]:
    if separator == ".":
        return ["POINT", *(_DIGITS[int(digit)] for digit in digits)]
    return [*(["/"] if separator == "/" else []), whole(digits)]
