"""Text normalisation: what each rule yields, that it is stable, and that what may disappear is described."""

import itertools
import unicodedata

import numpy as np
import pytest

from asr.errors import InputError
from asr.text import NORMALIZERS, Normalizer, Rule, describe_changes, normalizer

ENGLISH = normalizer("english/1")


def random_texts(count: int) -> list[str]:
    """Texts over ASCII, Latin, combining marks, punctuation, other scripts and number-like strings; seeded."""
    pools = [
        range(32, 127),
        range(0xA0, 0x250),
        range(0x300, 0x370),
        range(0x2000, 0x2100),
        range(0x370, 0x3000),
        [ord(c) for c in "0123456789.,/-' STNDRHsthnd$%"],
    ]
    random = np.random.default_rng(7)
    texts = []
    for _ in range(count):
        chosen = random.choice(len(pools), size=random.integers(1, 14), p=[0.3, 0.15, 0.05, 0.1, 0.05, 0.35])
        texts.append("".join(chr(pools[pool][random.integers(len(pools[pool]))]) for pool in chosen))
    return texts


@pytest.mark.parametrize("known", NORMALIZERS, ids=lambda known: known.identifier)
def test_normalising_twice_changes_nothing_more(known: Normalizer) -> None:
    for text in random_texts(4000):
        once = known(text)
        assert known(once) == once, ascii(text)


@pytest.mark.parametrize("known", NORMALIZERS, ids=lambda known: known.identifier)
def test_canonically_equivalent_texts_become_equal(known: Normalizer) -> None:
    for text in ["Zoë", "Å 1 Ångström", "naïve façade", "Ǣ ṩ"]:
        assert known(unicodedata.normalize("NFD", text)) == known(unicodedata.normalize("NFC", text))


@pytest.mark.parametrize("known", NORMALIZERS, ids=lambda known: known.identifier)
def test_the_result_is_nfc_with_single_spaces(known: Normalizer) -> None:
    for text in random_texts(1000):
        result = known(text)
        assert unicodedata.is_normalized("NFC", result)
        assert result == " ".join(result.split())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Don’t, don‘t, don't!", "DON'T DON'T DON'T"),
        ("the boys' dog's 'tis", "THE BOYS' DOG'S 'TIS"),
        ("a ' b '' c ''d''", "A B C D"),
        ("well-known—very…dash – minus", "WELL KNOWN VERY DASH MINUS"),
        ("“Quoted” (aside); «guillemets»: end.", "QUOTED ASIDE GUILLEMETS END"),
        ("one,two.three", "ONE TWO THREE"),
        ("and/or", "AND OR"),
        ("Café Ærø Œuvre straße Łódź", "CAFE AERO OEUVRE STRASSE LODZ"),
        ("co\u00adoperate zero\u200bwidth", "COOPERATE ZEROWIDTH"),
        ("  tabs\tand\nlines\u00a0too ", "TABS AND LINES TOO"),
        ("AT&T 5% me@home", "AT AND T FIVE PERCENT ME AT HOME"),
        ("-5 −3 4-2 - 1", "MINUS FIVE MINUS THREE FOUR TWO ONE"),
        ("", ""),
        (" .,;! ", ""),
    ],
)
def test_english_text_becomes_upper_case_words(before: str, after: str) -> None:
    assert ENGLISH(before) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("0 7 10 11 19 20 21 99", "ZERO SEVEN TEN ELEVEN NINETEEN TWENTY TWENTY ONE NINETY NINE"),
        ("100 101 110 999", "ONE HUNDRED ONE HUNDRED ONE ONE HUNDRED TEN NINE HUNDRED NINETY NINE"),
        ("1000 2005", "ONE THOUSAND TWO THOUSAND FIVE"),
        ("1984", "ONE THOUSAND NINE HUNDRED EIGHTY FOUR"),
        ("1,000,001", "ONE MILLION ONE"),
        ("12,345", "TWELVE THOUSAND THREE HUNDRED FORTY FIVE"),
        ("1000000000000", "ONE TRILLION"),
        ("007", "ZERO ZERO SEVEN"),
        ("1234567890123456", "ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE ZERO ONE TWO THREE FOUR FIVE SIX"),
        ("3.14 .5 0.05", "THREE POINT ONE FOUR POINT FIVE ZERO POINT ZERO FIVE"),
        (
            "1,2 1,23 12345,678",
            "ONE TWO ONE TWENTY THREE TWELVE THOUSAND THREE HUNDRED FORTY FIVE SIX HUNDRED SEVENTY EIGHT",
        ),
        ("1st 2nd 3rd 4th 5th 8th 9th", "FIRST SECOND THIRD FOURTH FIFTH EIGHTH NINTH"),
        ("12th 20TH 21st 1,000th", "TWELFTH TWENTIETH TWENTY FIRST ONE THOUSANDTH"),
        ("the 80s, the 1990's", "THE EIGHTIES THE ONE THOUSAND NINE HUNDRED NINETIES"),
        ("100s 1984's 5s 2.5s", "ONE HUNDREDS ONE THOUSAND NINE HUNDRED EIGHTY FOUR'S FIVE S TWO POINT FIVE S"),
        ("A4 mp3s 4x4", "A FOUR MP THREE S FOUR X FOUR"),
        ("10:05", "TEN ZERO FIVE"),
    ],
)
def test_figures_become_words(before: str, after: str) -> None:
    assert ENGLISH(before) == after


def read_number(words: list[str]) -> int:
    """The value of a cardinal's words, by the grammar of English numbers."""
    small = "ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE TEN ELEVEN TWELVE THIRTEEN FOURTEEN FIFTEEN SIXTEEN"
    values = {word: value for value, word in enumerate([*small.split(), "SEVENTEEN", "EIGHTEEN", "NINETEEN"])}
    tens = ["TWENTY", "THIRTY", "FORTY", "FIFTY", "SIXTY", "SEVENTY", "EIGHTY", "NINETY"]
    values |= {word: 10 * value for value, word in enumerate(tens, start=2)}
    scales = {"THOUSAND": 10**3, "MILLION": 10**6, "BILLION": 10**9, "TRILLION": 10**12}
    total = group = 0
    for word in words:
        if word in scales:
            total, group = total + group * scales[word], 0
        elif word == "HUNDRED":
            group *= 100
        else:
            group += values[word]
    return total + group


def test_every_cardinal_reads_back_as_its_value() -> None:
    random = np.random.default_rng(3)
    large = [int(10 ** random.uniform(3, 15)) for _ in range(500)]
    for value in itertools.chain(range(2000), large):
        assert read_number(ENGLISH(str(value)).split()) == value
        assert ENGLISH(f"{value:,}") == ENGLISH(str(value))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("1/2", "/"),
        ("$5", "$"),
        ("[laughter] {um}", "[]{}"),
        ("#1", "#"),
        ("5²", "²"),
        ("Привет", "ПРИВЕТ"),
        ("🙂", "🙂"),
    ],
)
def test_what_english_has_no_rule_for_stays_to_be_named(text: str, left: str) -> None:
    assert ENGLISH.characters is not None
    assert set(left) <= set(ENGLISH(text)) - set(ENGLISH.characters)


def test_english_yields_its_characters_alone_on_ordinary_english() -> None:
    text = "On 5th Avenue, Zoë’s café (est. 1984) sold 1,250 soufflés—that's 3.5% more!"
    assert ENGLISH.characters is not None
    assert set(ENGLISH(text)) <= set(ENGLISH.characters)


def test_english_leaves_librispeech_and_an4_transcripts_as_they_are() -> None:
    for text in ["HE DIDN'T HAVE SENSE ENOUGH TO WIPE IT OFF", "RUBOUT G M E F THREE NINE", "THE BOYS' 'TIS O' CLOCK"]:
        assert ENGLISH(text) == text


def test_lower_keeps_accents_and_digits_of_any_language() -> None:
    lower = normalizer("lower")
    assert lower("«L’été», dit-elle à 7 h.") == "l'été dit elle à 7 h"
    assert lower("ПРИВЕТ, Мир!") == "привет мир"
    assert lower("İstanbul") == unicodedata.normalize("NFC", "İstanbul".lower())


def test_verbatim_changes_composition_and_white_space_only() -> None:
    verbatim = normalizer("verbatim/1")
    assert verbatim("  e\u0301  Don’t,\tSTOP 5! ") == "é Don’t, STOP 5!"


NAMED_SIGNS = {
    "lower/1": {
        "%": "percent",
        "&": "ampersand",
        "@": "at",
        "#": "number",
        "§": "section sign",
        "*": "asterisk",
        "/": "slash",
        "-": "minus",
        ".": "decimal point",
    },
    "english/1": {"§": "section sign", "*": "asterisk", "‰": "per mille"},
}


@pytest.mark.parametrize("known", NORMALIZERS, ids=lambda known: known.identifier)
def test_signs_that_are_read_aloud_and_dropped_are_named_in_the_description(known: Normalizer) -> None:
    for sign, name in NAMED_SIGNS.get(known.identifier, {}).items():
        assert known(f"1{sign}2") == known("1 2"), sign
        assert name in known.description
    assert known.description % {} == known.description  # stands in the help of asr-prepare


def test_lower_drops_exactly_what_unicode_calls_punctuation_but_the_apostrophe() -> None:
    lower = normalizer("lower/1")
    signs = [c for c in map(chr, range(0x30000)) if unicodedata.category(c)[0] in "PS" and lower(f"a{c}a") != "a'a"]
    for sign in signs:
        assert (lower(f"a{sign}a") == "a a") is (unicodedata.category(sign)[0] == "P"), ascii(sign)
    assert {"%", "‰", "§", "€", "+", "°", "−"} < set(signs)


def test_english_says_which_minus_it_drops_and_which_word_it_takes_apart() -> None:
    assert ENGLISH("“-5” -5") == "FIVE MINUS FIVE"
    assert ENGLISH("2nd's") == "SECOND 'S"
    described = {rule.name: rule.description for rule in ENGLISH.rules}
    assert "after white space or nothing, becomes MINUS" in described["signs"]
    assert "'s after an ordinal is a word of its own" in described["numbers"]


def test_a_name_alone_is_its_latest_version() -> None:
    assert normalizer("english") is normalizer("english/1")
    assert normalizer("verbatim").identifier == "verbatim/1"


@pytest.mark.parametrize("identifier", ["englisch", "english/2", "english/", "", "/1"])
def test_an_unknown_normaliser_is_an_error_that_lists_the_known(identifier: str) -> None:
    with pytest.raises(InputError, match=r"english/1, lower/1, verbatim/1") as caught:
        normalizer(identifier)
    assert repr(identifier) in str(caught.value)


def test_changes_are_counted_by_rule_and_shown_before_and_after() -> None:
    texts = [("a", "YES"), ("b", "Yes"), ("c", "no  5"), ("d", "No"), ("e", "maybe")]
    report = describe_changes(ENGLISH, texts, samples=2)
    counts = {rule["rule"]: rule["changed"] for rule in report["rules"] if rule["changed"]}
    assert counts == {"case": 4, "numbers": 1, "whitespace": 1}
    assert (report["texts"], report["changed"], report["identifier"]) == (5, 4, "english/1")
    assert report["samples"] == [
        {"id": "b", "before": "Yes", "after": "YES", "rules": ["case"]},
        {"id": "c", "before": "no  5", "after": "NO FIVE", "rules": ["case", "numbers", "whitespace"]},
    ]


def test_each_rule_is_shown_even_when_an_earlier_one_has_enough_examples() -> None:
    texts = [(str(index), "yes") for index in range(10)] + [("late", "1/2 café")]
    shown = describe_changes(ENGLISH, texts, samples=1)["samples"]
    assert [sample["id"] for sample in shown] == ["0", "late"]


def test_a_rule_sees_the_result_of_the_rule_before() -> None:
    chained = Normalizer(
        "x", 1, "", (Rule("one", "", lambda t: t + "1"), Rule("two", "", lambda t: t.replace("1", "2")))
    )
    assert chained("a") == "a2"
    assert chained.changed_by("a") == ["one", "two"]
