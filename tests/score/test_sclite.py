"""What `asr sclite` writes, and what NIST's sclite makes of it where it is installed."""

import random
import string
from dataclasses import replace

import pytest

from asr.decode.hypotheses import Hypothesis, write_hypotheses
from asr.errors import InputError
from asr.score.errors import ErrorCounts, word_errors
from asr.score.foreign import read_texts
from asr.score.formats import escape
from asr.score.sclite import main, run_sclite, sclite_program, write_sclite_files
from asr.score.scores import score

PROGRAM = sclite_program()
needs_sclite = pytest.mark.skipif(PROGRAM is None, reason="sclite is not installed (Debian's package sctk)")
HAND_COUNTED = [
    Hypothesis("anna-1", "the cat sat", "the cat sat", "anna", 1.0),
    Hypothesis("anna-2", "the Cat sat down", "the cat sat", "anna", 1.2),  # 1 substitution, 1 insertion
    Hypothesis("bo-1", "on mat", "on the mat", "bo", 1.5),  # 1 deletion
    Hypothesis("bo-2", "", "nothing heard", "bo", 2.0),  # 2 deletions
    Hypothesis("bo-3", "um", "", "bo", 0.5),  # 1 insertion
    Hypothesis("bo-4", "{ a @ (b) c;d 50% e/f \\ * < <x>", "{ a @ (b) c;e 50% e/f \\ *", "bo", 3.0),  # 1 and 2
    Hypothesis("zoë (2)", "你 吗 É", "你 好 É", None, None),  # 1 substitution
]
COUNTS = ErrorCounts(hits=3 + 2 + 2 + 0 + 0 + 8 + 2, substitutions=3, deletions=3, insertions=4)


def cheapest(reference, hypothesis, substitution=4, gap=3):
    """The least cost of an alignment, by its definition as a recursion over prefixes."""
    row = [gap * j for j in range(len(hypothesis) + 1)]
    for i, left in enumerate(reference, start=1):
        above, row = row, [gap * i]
        for j, right in enumerate(hypothesis, start=1):
            match = above[j - 1] + (0 if left == right else substitution)
            row.append(min(match, above[j] + gap, row[j - 1] + gap))
    return row[-1]


def counted_by_sclite(tmp_path, rows):
    write_sclite_files(tmp_path, rows)
    return run_sclite(PROGRAM, tmp_path), run_sclite(PROGRAM, tmp_path, timed=True)


@pytest.mark.parametrize("counted", [lambda rows, _: (score(rows).words,) * 2, None], ids=["here", "sclite"])
def test_hand_counted_cases_are_counted_alike(tmp_path, counted):
    if counted is None and PROGRAM is None:
        pytest.skip("sclite is not installed (Debian's package sctk)")
    count = counted or (lambda rows, folder: counted_by_sclite(folder, rows))
    assert count(HAND_COUNTED, tmp_path) == (COUNTS, COUNTS)


@needs_sclite
def test_sclite_finds_the_cheapest_alignments_by_its_weights_in_the_exported_files(tmp_path):
    draw = random.Random(5)
    words = ["a", "b", "c", "(", "x{y", "%", "é"]
    texts = [[" ".join(draw.choices(words, k=draw.randint(0, 9))) for _ in range(2)] for _ in range(300)]
    rows = [Hypothesis(f"s{n % 3}-{n:03d}", heard, said, f"s{n % 3}", 2.0) for n, (said, heard) in enumerate(texts)]
    trn, ctm = counted_by_sclite(tmp_path, rows)
    assert trn.length == ctm.length == sum(len(said.split()) for said, _ in texts)
    cost = sum(cheapest(said.split(), heard.split()) for said, heard in texts)
    for counts in (trn, ctm):
        assert 4 * counts.substitutions + 3 * (counts.deletions + counts.insertions) == cost
        assert counts.errors >= score(rows).words.errors


@needs_sclite
def test_sclite_prefers_shifted_words_to_many_substitutions_and_then_counts_more_errors(tmp_path):
    row = Hypothesis("s-1", "D E F P Q", "P Q A B C", "s", 1.0)
    assert word_errors(row.reference, row.hypothesis) == ErrorCounts(substitutions=5)
    shifted = ErrorCounts(hits=2, deletions=3, insertions=3)
    assert counted_by_sclite(tmp_path, [row]) == (shifted, shifted)


@needs_sclite
def test_no_character_is_a_sign_in_the_exported_files(tmp_path):
    words = [form.format(c) for c in string.punctuation for form in ("{}", "{}a", "a{}", "a{}b")]
    rows = [Hypothesis(f"same-{n:03d}", f"w {w} v", f"w {w} v", "s") for n, w in enumerate(words)]
    rows += [Hypothesis(f"first-{n:03d}", f"{w} v", f"{w} v", "s") for n, w in enumerate(words)]
    rows += [Hypothesis(f"other-{n:03d}", f"w {w} v", "w a v", "s") for n, w in enumerate(words)]
    rows += [Hypothesis(f"longer-{n:03d}", f"w {w} v", "w v", "s") for n, w in enumerate(words)]
    expected = ErrorCounts(hits=len(words) * (3 + 2 + 2 + 2), substitutions=len(words), insertions=len(words))
    assert counted_by_sclite(tmp_path, rows) == (expected, expected)


@needs_sclite
def test_each_way_of_scoring_reads_its_own_files(tmp_path):
    write_sclite_files(tmp_path, HAND_COUNTED)
    (tmp_path / "hyp.trn").write_text("".join(f"({escape(row.id)})\n" for row in HAND_COUNTED))
    assert run_sclite(PROGRAM, tmp_path, timed=True) == COUNTS
    assert run_sclite(PROGRAM, tmp_path).deletions == COUNTS.length


@needs_sclite
@pytest.mark.parametrize("timed", [False, True])
def test_signs_of_other_systems_are_the_words_here_that_they_are_for_sclite(tmp_path, timed):
    write_sclite_files(tmp_path, [Hypothesis("s-1", "", "a b c", "s", 5.0)])
    words = ["a", "(uh)", "b", "<sil>", "(c)"]
    (tmp_path / "hyp.trn").write_text(f"{' '.join(words)} (s-1)\n")
    (tmp_path / "hyp.ctm").write_text("".join(f"s-1 1 {n} 1 {word}\n" for n, word in enumerate(words)))
    texts = read_texts(tmp_path / ("hyp.ctm" if timed else "hyp.trn"))
    expected = ErrorCounts(hits=2, substitutions=1, insertions=2)
    assert word_errors("a b c", texts["s-1"]) == run_sclite(PROGRAM, tmp_path, timed) == expected


@needs_sclite
def test_known_times_and_confidences_leave_the_counts_as_they_are(tmp_path):
    rows = [
        replace(row, times=tuple((n / 8, n / 8) for n in range(words)), confidences=(0.5,) * words)
        for row in HAND_COUNTED
        for words in [len(row.hypothesis.split())]
    ]
    assert counted_by_sclite(tmp_path, rows) == (COUNTS, COUNTS)


def test_the_command_writes_four_files_and_prints_how_to_score_them(tmp_path, capsys):
    run = tmp_path / "run"
    write_hypotheses(run / "hypotheses-dev.jsonl", HAND_COUNTED)
    assert main([str(run), "--split", "dev", "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["hyp.ctm", "hyp.trn", "ref.stm", "ref.trn"]
    assert f"-r {tmp_path}/out/ref.trn trn -h {tmp_path}/out/hyp.trn trn -i spu_id -s -e utf-8" in printed
    assert f"-r {tmp_path}/out/ref.stm stm -h {tmp_path}/out/hyp.ctm ctm -s -e utf-8" in printed
    assert "note: the times of words in hyp.ctm are not known for 6 utterances" in printed
    assert "note: 1 utterances have no known duration and were given a second a word" in printed
    assert "here:    43.48 % (10/23), 3 substitutions, 3 deletions, 4 insertions" in printed


@needs_sclite
def test_the_command_runs_sclite_where_it_is_asked_to(tmp_path, capsys):
    write_hypotheses(tmp_path / "h.jsonl", HAND_COUNTED)
    assert main([str(tmp_path / "h.jsonl"), "-o", str(tmp_path / "out"), "--run"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("sclite: ")]
    assert lines == [
        f"sclite:  43.48 % (10/23), 3 substitutions, 3 deletions, 4 insertions   ({form})"
        for form in ("TRN", "STM, CTM")
    ]


def test_hypotheses_without_references_are_refused(tmp_path):
    write_hypotheses(tmp_path / "h.jsonl", [Hypothesis("lonely", "A")])
    with pytest.raises(InputError, match="1 of 1 utterances have no reference: lonely"):
        main([str(tmp_path / "h.jsonl"), "-o", str(tmp_path)])
