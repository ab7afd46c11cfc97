"""MAPSSWE against segments cut by hand, the formulas, and NIST's own program where it is installed."""

import math
import random
import re
import shutil
import statistics
import subprocess

import numpy as np
import pytest

from asr.score.errors import Edit, align_words
from asr.score.matched_pairs import ErrorPositions, mapsswe, normal_test, segment_differences

SCTK = shutil.which("sctk")


def differences(said, first, second):
    """Z of all segments of the given utterances."""
    return segment_differences(*(ErrorPositions.of(align_words(said, heard)) for heard in (first, second))).tolist()


@pytest.mark.parametrize(
    ("said", "first", "second", "expected"),
    [
        ("A B C D E F", "A B C D E F", "A B C D E F", []),
        ("A B C D E F", "X B C D E F", "A B C D E Y", [1, -1]),
        ("A B C D E F", "X B Y D E F", "A B C D E F", [2]),  # one word between two errors
        ("A B C D E F", "X B C Y E F", "A B C D E F", [1, 1]),  # two words
        ("A B C D E F", "X B C D E F", "A B Y D E Z", [0, -1]),  # right by one system only
        ("A B C D E F", "A C D E F", "A B C D E F Y", [1, -1]),  # deletion, insertion at the end
        ("A B C D E F", "Y A B C D E F", "A B C D E F", [1]),
        ("A B C D E F", "A B Y Y C D E F", "A B C D E F", [2]),  # insertions in one gap
        ("A B C D E F", "A X B C Y D E F", "A B C D E F", [1, 1]),
        ("A B C D E F", "A B X C Y D E F", "A B C D E F", [2]),  # one word between two insertions
        ("A B", "", "A B", [2]),
        ("", "X Y", "Z", [1]),
    ],
)
def test_segments_are_parted_by_two_words_that_both_have_right(said, first, second, expected):
    assert differences([said], [first], [second]) == expected


def test_errors_at_the_ends_of_neighbouring_utterances_are_in_segments_of_their_own():
    assert differences(["A B", "C D"], ["A X", "Y D"], ["A B", "C D"]) == [1, 1]


def test_an_example_with_all_kinds_of_segments():
    said = "IT WAS THE BEST OF TIMES IT WAS THE WORST OF TIMES IT WAS"
    first = "ITS THE BEST OF TIMES IT IS THE WORST OF TIMES OR IT WAS"
    second = "IT WAS THE BEST TIMES IT WON THE TEST OF TIMES IT WAS"
    assert differences([said], [first], [second]) == [2, -1, -1, 1]


def test_the_statistic_is_that_of_gillick_and_cox():
    z = [2, -1, -1, 1, 0, 3, 1, 1, -2, 2]
    found = normal_test(np.array(z))
    w = statistics.mean(z) / (statistics.stdev(z) / math.sqrt(10))
    assert (found.segments, found.difference, found.mean) == (10, 6, 0.6)
    assert (found.standard_deviation, found.statistic) == pytest.approx((statistics.stdev(z), w))
    assert found.p == pytest.approx(2 * (1 - statistics.NormalDist().cdf(w)))


def test_for_segments_of_one_error_the_statistic_follows_from_the_counts():
    """n = a + b segments, Z = 1 in a of them and -1 in b: W = (a - b) / sqrt((n^2 - (a - b)^2) / (n - 1))."""
    found = normal_test(np.array([1] * 30 + [-1] * 18))
    assert found.statistic == pytest.approx(12 / math.sqrt((48**2 - 12**2) / 47))


def test_without_any_difference_p_is_one():
    assert normal_test(np.array([], dtype=int)) == normal_test(np.array([], dtype=int))
    assert (normal_test(np.array([], dtype=int)).p, normal_test(np.array([0, 0])).p) == (1.0, 1.0)


@pytest.mark.parametrize("z", [[3], [1, 1, 1]])
def test_segments_that_do_not_vary_have_no_p(z):
    assert (normal_test(np.array(z)).statistic, normal_test(np.array(z)).p) == (None, None)


def test_alignments_with_other_references_are_refused():
    with pytest.raises(ValueError, match="not with the same references"):
        mapsswe(align_words(["A B"], ["A B"]), align_words(["A C"], ["A B"]))
    with pytest.raises(ValueError, match="not with the same references"):
        mapsswe(align_words(["A B"], ["A B"]), align_words(["A B", "C"], ["A B", "C"]))


def corrupted(words, rate, source):
    """Words as a poor recogniser hears them."""
    heard = []
    for word in words:
        chance = source.random()
        if chance < rate / 3:
            continue
        heard.append(source.choice("vwxyz") if chance < 2 * rate / 3 else word)
        if chance > 1 - rate / 3:
            heard.append(source.choice("vwxyz"))
    return heard


def sclite_alignments(sgml):
    """sclite's own alignments by utterance, from its SGML output."""
    kinds = {"C": "hit", "S": "substitution", "D": "deletion", "I": "insertion"}
    found = {}
    for name, path in re.findall(r'<PATH id="\(([^)]*)\)"[^>]*>\n(.*?)\n</PATH>', sgml, flags=re.DOTALL):
        steps = re.findall(r'([CSDI]),(?:"([^"]*)")?,(?:"([^"]*)")?', path)
        found[name] = tuple(Edit(kinds[kind], said, heard) for kind, said, heard in steps)
    return found


@pytest.mark.skipif(SCTK is None, reason="NIST's sctk is not installed")
@pytest.mark.parametrize("rates", [(0.2, 0.24), (0.5, 0.5), (0.02, 0.1)])
def test_nists_program_finds_the_same_segments_and_statistic(tmp_path, rates):
    source = random.Random(repr(rates))
    said = [source.choices("abcdefghij", k=source.randint(4, 30)) for _ in range(120)]
    texts = {
        "ref": said,
        **{f"sys{n}": [corrupted(words, rate, source) for words in said] for n, rate in enumerate(rates)},
    }
    for name, rows in texts.items():
        lines = [f"{' '.join(words)} (s{n % 7}-{n})\n" for n, words in enumerate(rows)]
        (tmp_path / f"{name}.trn").write_text("".join(lines))
    for name in ("sys0", "sys1"):
        command = f"sctk sclite -r ref.trn trn -h {name}.trn trn -i spu_id -o sgml -O . -n {name}"
        subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    sgml = [(tmp_path / f"{name}.sgml").read_text() for name in ("sys0", "sys1")]
    command = ["sctk", "sc_stats", "-p", "-t", "mapsswe", "-v", "-n", "out"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, input="".join(sgml), text=True)
    report = (tmp_path / "out.stats.mapsswe").read_text()
    pattern = r"# segs: (\d+)\).*\(mean: ([-\d.]+)\) \(std dev: ([-\d.]+)\) \(Z Stat: ([-\d.]+)\)"
    segments, mean, deviation, statistic = re.search(pattern, report).groups()

    sides = [sclite_alignments(text) for text in sgml]
    assert sides[0].keys() == sides[1].keys()
    assert len(sides[0]) == 120
    found = mapsswe(*([side[name] for name in sides[0]] for side in sides))
    assert found.segments == int(segments)
    printed = (float(mean), float(deviation), float(statistic))
    assert (found.mean, found.standard_deviation, found.statistic) == pytest.approx(printed, abs=6e-4)
