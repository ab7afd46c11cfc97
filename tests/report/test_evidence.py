"""What a comparison says of its runs follows from their utterances, by the tests of asr.score."""

import json
import random
import re
from dataclasses import replace

import numpy as np
import pytest

from asr.decode.hypotheses import Hypothesis, read_hypotheses, write_hypotheses
from asr.errors import InputError
from asr.files import write_json, write_text
from asr.report.compare import compared, main
from asr.report.evidence import Pair, Settings, judged
from asr.report.runs import read_runs
from asr.report.statements import statement
from asr.score.errors import align_words
from asr.score.matched_pairs import MatchedPairs, normal_test
from asr.score.scores import score
from asr.score.seeds import seed_difference, variation
from asr.score.uncertainty import PairedDifference, Resampling, blocks_of, interval, mapsswe, paired

SAID = [random.Random(n).choices("ABCDEFGH", k=4 + n % 9) for n in range(60)]


def heard(rate, salt, said=SAID):
    """Utterances of ten speakers in which words are misheard at a rate."""
    source = random.Random(salt)
    rows = []
    for n, words in enumerate(said):
        text = " ".join("X" if source.random() < rate else word for word in words)
        rows.append(Hypothesis(f"u{n:02}", text, " ".join(words), f"s{n % 10}"))
    return rows


@pytest.fixture
def make(tmp_path):
    def run(name, rows, config=None, **changes):
        scores = score(rows, "verbatim/1")
        write_hypotheses(tmp_path / name / "hypotheses.jsonl", rows)
        write_json(tmp_path / name / "scores.json", {**scores.to_dict(), **changes})
        if config is not None:
            write_text(tmp_path / name / "config.yaml", json.dumps(config))  # JSON is YAML
        return tmp_path / name

    return run


@pytest.fixture
def compare(make, capsys):
    def printed(*arguments):
        assert main([*map(str, arguments)]) == 0
        return capsys.readouterr().out

    return printed


def errors_of(rows):
    return [one.words.errors for one in score(rows).utterances]


LENGTHS = [len(words) for words in SAID]
SPEAKERS = [f"s{n % 10}" for n in range(60)]


def test_intervals_and_differences_are_those_of_the_score_room(make):
    good, bad = heard(0.1, 1), heard(0.4, 2)
    found = compared(read_runs([make("good", good), make("bad", bad)]), settings=Settings(draws=300, seed=5)).evidence
    blocks = blocks_of(SPEAKERS)
    assert found.runs[0].words == interval(errors_of(good), LENGTHS, blocks, 300, 5)
    [pair] = found.pairs
    assert pair.words == paired(errors_of(good), errors_of(bad), LENGTHS, blocks, 300, 5)
    texts = [[" ".join(words) for words in SAID], [row.hypothesis for row in good], [row.hypothesis for row in bad]]
    assert pair.mapsswe == mapsswe(align_words(texts[0], texts[1]), align_words(texts[0], texts[2]))
    assert pair.corrected == {"bootstrap": pair.words.p, "MAPSSWE": pair.mapsswe.p}
    assert found.blocks == (10, "speakers")
    characters = [one.characters for one in score(bad).utterances]
    errors, lengths = [one.errors for one in characters], [one.length for one in characters]
    assert found.runs[1].characters == interval(errors, lengths, blocks, 300, 5)


def test_a_pair_of_runs_says_in_how_many_utterances_each_makes_fewer_errors(make, compare):
    good, bad = heard(0.1, 1), heard(0.3, 2)
    errors = list(zip(errors_of(good), errors_of(bad), strict=True))
    fewer, more = sum(a < b for a, b in errors), sum(a > b for a, b in errors)
    assert 0 < more < fewer
    for runs in ((make("good", good), make("bad", bad)), (make("bad", bad), make("good", good))):
        assert f"; fewer in {fewer} of 60 utterances, more in {more})" in compare(*runs, "--draws", "100")


def test_a_clear_difference_is_stated_with_the_better_system_first(make, compare):
    printed = compare(make("bad", heard(0.5, 1)), make("good", heard(0.05, 2)), "--draws", "500")
    statement = next(line for line in printed.splitlines() if line.endswith(": a difference."))
    assert re.match(
        r"good makes \d+\.\d\d points fewer errors than bad \(95 % \d+\.\d\d to \d+\.\d\d; bootstrap p = 0.00",
        statement,
    )
    assert "Intervals: percentile bootstrap over 10 speakers, 500 draws, seed 0. 10 speakers are few" in printed
    assert "What another seed would give is in no interval of bad and good" in printed


def test_systems_that_hardly_differ_are_not_told_apart(make, compare):
    rows = heard(0.3, 1)
    other = [*rows[:-1], Hypothesis(rows[-1].id, "X", rows[-1].reference, rows[-1].speaker)]
    printed = compare(make("a", rows), make("b", other))
    assert "No difference can be told: a makes" in printed
    assert ": a difference" not in printed
    assert "No difference can be told: a and c make equally many errors" in compare(make("a", rows), make("c", rows))


def difference(p, blocks=50, draws=1000, upper=-0.01):
    return PairedDifference(-0.1, -0.2, upper, 0.95, blocks, draws, 0.99, p, blocks)


def pair_of(p_bootstrap, p_mapsswe, blocks=50, segments=40, draws=1000, upper=-0.01):
    test = MatchedPairs(segments, 5, 0.1, 1.0, 2.0, p_mapsswe)
    found = difference(p_bootstrap, blocks, draws, upper)
    return Pair("a", "b", found, found, test, None)


def test_a_verdict_needs_all_tests_and_p_values_corrected_for_the_number_of_pairs():
    alone = judged([pair_of(0.02, 0.03)], 0.05)
    assert [pair.verdict for pair in alone] == ["difference"]
    pairs = judged([pair_of(0.02, 0.03), pair_of(0.6, 0.7), pair_of(0.001, 0.9), pair_of(0.01, None)], 0.05)
    assert [pair.verdict for pair in pairs] == ["disagreement", "none", "disagreement", "difference"]
    assert pairs[0].corrected == {"bootstrap": pytest.approx(0.04), "MAPSSWE": pytest.approx(0.09)}


def test_a_p_value_of_exactly_one_minus_the_level_does_not_reject():
    assert Settings(level=0.95).alpha == 0.05
    for p in (0.05, 2 * (1 + 4) / (1 + 199)):  # five of 199 draws on the rarer side
        assert judged([pair_of(p, 0.01)], Settings(level=0.95).alpha)[0].verdict == "disagreement"


@pytest.mark.parametrize(
    ("speakers", "pairs", "has_vote"),
    [(5, 1, False), (6, 1, True), (6, 3, False), (7, 3, True), (1, 1, False)],  # 2^-4, 2^-5, 3 2^-5, 3 2^-6
)
def test_the_bootstrap_has_a_vote_where_its_smallest_p_could_reject(speakers, pairs, has_vote):
    least = 2.0 ** (1 - speakers) if speakers > 1 else None
    found = judged([pair_of(least, 0.001, speakers)] * pairs, 0.05)
    assert [("bootstrap" in pair.abstaining) for pair in found] == [not has_vote] * pairs
    assert [pair.verdict for pair in found] == ["difference"] * pairs


@pytest.mark.parametrize(("upper", "said"), [(-0.01, "difference"), (0.0, "disagreement"), (0.02, "disagreement")])
def test_few_speakers_who_do_not_agree_are_a_vote_against(upper, said):
    """They can give no p below 2^-3; but where their interval, too narrow as it is, contains 0, they are not alike."""
    found = judged([pair_of(0.3, 0.001, 4, upper=upper)], 0.05)[0]
    assert (found.verdict, found.abstaining) == (said, ("bootstrap",) if upper < 0 else ())
    assert judged([pair_of(0.3, 0.3, 4, upper=upper)], 0.05)[0].verdict == "none"


def test_too_few_draws_cannot_veto_either():
    assert judged([pair_of(2 / 101, 0.001, draws=100)] * 3, 0.05)[0].abstaining == ("bootstrap",)
    assert judged([pair_of(2 / 101, 0.001, draws=100)] * 2, 0.05)[0].abstaining == ()
    assert judged([pair_of(2 / 40, 0.001, draws=39)], 0.05)[0].abstaining == ("bootstrap",)  # 0.05 rejects nothing


def test_mapsswe_by_itself_needs_as_many_segments_as_its_distribution():
    assert judged([pair_of(None, 0.001, 1, segments=29)], 0.05)[0].verdict == "none"
    assert judged([pair_of(None, 0.001, 1, segments=30)], 0.05)[0].verdict == "difference"
    beside = judged([pair_of(0.001, 0.001, segments=29)], 0.05)[0]  # the bootstrap sees it too
    assert (beside.abstaining, beside.verdict) == ((), "difference")


def test_of_few_speakers_mapsswe_decides_and_it_is_said_why(make, compare):
    few = [[replace(row, speaker=f"s{n % 5}") for n, row in enumerate(heard(*of))] for of in ((0.0, 1), (0.9, 2))]
    runs = make("few", few[0]), make("poor", few[1])
    printed = compare(*runs)
    everywhere = "MAPSSWE p < 0.0001; fewer in 60 of 60 utterances, more in 0): a difference"
    assert f"bootstrap p = 0.0625, without a vote; {everywhere}, by MAPSSWE alone." in printed
    few_speakers = "Where its interval is on one side of 0 the bootstrap has no vote: 5 speakers cannot give a p below"
    assert f"{few_speakers} 0.0625; --blocks utterances" in printed
    assert "A difference without the bootstrap's vote is one on these speakers; others may show none." in printed
    assert f"{everywhere}.\n" in compare(*runs, "--blocks", "utterances")
    three = compare(*runs, make("third", few[1]), "--draws", "200")
    assert "below 0.0625 (0.1875 corrected for 3 comparisons); --blocks utterances" in three


def test_speakers_of_unequal_size_count_as_few_and_it_is_said(make, compare):
    """Of 60 utterances 56 are of three speakers: however the others vote, agreement of three is no proof."""
    size = [f"s{n % 3}" if n < 56 else f"s{n}" for n in range(60)]
    rows = [
        [replace(row, speaker=name) for row, name in zip(heard(*of), size, strict=True)] for of in ((0, 1), (0.9, 2))
    ]
    words = np.zeros(60)
    np.add.at(words, [int(name[1:]) for name in size], LENGTHS)
    equal = words.sum() ** 2 / (words**2).sum()
    assert 3 < equal < 4
    printed = compare(make("few", rows[0]), make("poor", rows[1]))
    counting = f"7 speakers of such unequal size that they count as {equal:.1f}"
    assert "bootstrap p = 0.1250, without a vote; MAPSSWE p < 0.0001" in printed
    assert f"the bootstrap has no vote: {counting} cannot give a p below 0.125;" in printed
    assert f"10,000 draws, seed 0. {counting} are few: such intervals are too narrow" in printed
    assert compared(read_runs([make("a", rows[0])])).to_dict()["settings"]["equal_blocks"] == pytest.approx(equal)


def test_with_one_test_for_and_one_against_it_is_said_which_sees_a_difference(make):
    pairs = [pair_of(0.01, 0.2), pair_of(0.2, 0.01)]
    base = compared(read_runs([make("a", heard(0.1, 1)), make("b", heard(0.2, 2))]), settings=Settings(draws=100))
    for pair, name in zip(pairs, ("the bootstrap", "MAPSSWE"), strict=True):
        said = statement(judged([pair], 0.05)[0], base.evidence)
        assert said.startswith(f"No difference can be told, for the tests disagree (only {name} sees one): a makes 10.")


CONFIG = {"seed": 0, "run": "r", "model": {"encoder": {"class_path": "E"}}, "data": {"root": "d", "num_workers": 2}}


def seeds(make, name, rates, changed=CONFIG, first=0):
    return [
        make(f"{name}-seed{n}", heard(rate, f"{name}{n}"), {**changed, "seed": n, "run": f"{name}{n}"}, seed=n)
        for n, rate in enumerate(rates, start=first)
    ]


def test_runs_whose_configurations_differ_in_the_seed_alone_are_compared_by_their_mean(make):
    other = {**CONFIG, "model": {"encoder": {"class_path": "F"}}}
    paths = [*seeds(make, "grid", [0.1, 0.13, 0.08]), *seeds(make, "lstm", [0.4, 0.45], other)]
    found = compared(read_runs(paths), settings=Settings(draws=300))
    grid, lstm = found.evidence.systems
    assert (grid.name, lstm.name) == ("grid", "lstm")
    assert grid.runs == ("grid-seed0", "grid-seed1", "grid-seed2")
    rates = [[run.scores["wer"] for run in found.runs if run.name.startswith(name)] for name in ("grid", "lstm")]
    assert grid.word_seeds == variation(rates[0])
    [pair] = found.evidence.pairs
    assert pair.seeds == seed_difference(*rates)
    assert pair.mapsswe is None
    assert pair.words.difference == pytest.approx(np.mean(rates[0]) - np.mean(rates[1]))
    assert found.statements[0].startswith(
        f"grid: {100 * np.mean(rates[0]):.2f} % on average over 3 seeds (grid-seed0, "
    )
    assert "over speakers 95 %" in found.statements[2]
    assert "over seeds 95 %" in found.statements[2]


def test_runs_of_other_options_of_equal_seeds_or_on_their_own_are_not_put_together(make):
    apart = [
        make("a", heard(0.1, 1), CONFIG, seed=0),
        make("b", heard(0.1, 2), {**CONFIG, "data": {"root": "d", "max_batch_seconds": 60}}, seed=1),
        make("c", heard(0.1, 3), CONFIG, seed=0),
        make("d", heard(0.1, 4), None, seed=2),
    ]
    assert [len(rates.runs) for rates in compared(read_runs(apart)).evidence.systems] == [1, 1, 1, 1]
    together = seeds(make, "lstm", [0.1, 0.2])
    assert [len(rates.runs) for rates in compared(read_runs(together)).evidence.systems] == [2]
    assert len(compared(read_runs(together), each=True).evidence.pairs) == 1


def test_seeds_can_be_put_together_by_hand(make, compare):
    paths = [make("one", heard(0.1, 1)), make("two", heard(0.12, 2)), make("other", heard(0.5, 3))]
    printed = compare(paths[2], "--seeds-of", f"mine={paths[0]},{paths[1]}", "--draws", "200")
    assert [line.split("  ")[0] for line in printed.splitlines()[1:5]] == ["other", "one", "two", "mine, mean of 2"]
    assert "mine makes" in printed
    assert "What another seed would give is in no interval of other" in printed


def test_an_interval_over_seeds_is_not_shown_below_zero(make, compare):
    printed = compare(*seeds(make, "grid", [0.05, 0.5]), "--draws", "100")
    lines = [line for line in printed.splitlines() if "mean of 2" in line or "interval over seeds" in line]
    assert len(lines) == 2
    assert all(" 0.00 to " in line and "-" not in line.replace("grid-seed", "") for line in lines)


def test_beside_several_seeds_it_is_said_what_a_single_run_cannot_tell(make, compare):
    runs = seeds(make, "grid", [0.1, 0.12, 0.14])
    single = make("lstm", heard(0.5, 9))
    printed = compare(*runs, single, "--draws", "200")
    assert (
        "no interval of lstm: one run each.\nVerdicts on lstm beside the mean of several seeds know nothing" in printed
    )
    assert "Welch" not in printed
    [pair] = compared(read_runs([*runs, single]), settings=Settings(draws=200)).evidence.pairs
    assert (pair.seeds, pair.mapsswe) == (None, None)
    assert pair.corrected == {"bootstrap": pair.words.p}
    assert "Verdicts on" not in compare(single, make("other", heard(0.2, 3)), "--draws", "200")


def test_runs_of_a_repeated_seed_are_not_put_together_and_it_is_said(make, compare):
    runs = seeds(make, "grid", [0.1, 0.13])
    again = make("again", heard(0.2, 7), CONFIG, seed=0)
    printed = compare(*runs, again, "--draws", "200")
    assert (
        "grid-seed0 and again have the same seed (0): grid-seed0, grid-seed1 and again are not put together; "
        "--seeds-of NAME=RUN,RUN names those that belong together.\n" in printed
    )
    assert "(0): not put together.\n" in compare(runs[0], again, "--draws", "200")
    assert "not put together" not in compare(*runs, again, "--draws", "200", "--each")
    assert "not put together" not in compare(again, "--seeds-of", f"grid={runs[0]},{runs[1]}", "--draws", "200")


def test_an_unfinished_training_is_no_seed_of_a_model_unless_it_is_told_to_be(make, compare):
    runs = seeds(make, "grid", [0.1, 0.13, 0.2])
    write_json(runs[2] / "run.json", {"finished": False, "epochs": 3})
    printed = compare(*runs, "--draws", "200")
    assert "grid, mean of 2 " in printed
    assert "grid-seed2: not put together with runs of the same configuration, for the training is not fin" in printed
    assert "grid-seed2: training not finished, 3 epochs." in printed
    printed = compare("--seeds-of", f"grid={','.join(map(str, runs))}", "--draws", "200")
    assert "grid, mean of 3 " in printed
    assert "grid-seed2: training not finished, 3 epochs." in printed


def test_what_differs_beside_the_seed_of_runs_that_were_put_together_by_hand_is_said(make, compare):
    wide = {**CONFIG, "model": {"encoder": {"class_path": "E", "size": 3}}, "seed": 1}
    runs = [make("a", heard(0.1, 1), CONFIG, seed=0), make("b", heard(0.1, 2), wide, seed=1, decoding="greedy")]
    printed = compare("--seeds-of", f"m={runs[0]},{runs[1]}", "--draws", "100")
    assert (
        "The runs of m differ beside the seed: decoding.decoder (null, greedy), model.encoder.size (null, 3)."
        in printed
    )
    alike = seeds(make, "grid", [0.1, 0.13])
    assert "beside the seed" not in compare("--seeds-of", f"m={alike[0]},{alike[1]}", "--draws", "100")
    bare = make("bare", heard(0.1, 3))
    printed = compare("--seeds-of", f"m={runs[0]},{bare}", "--draws", "100")
    assert "the runs of m differ beside the seed is not known: bare without a config.yaml." in printed
    again = make("again", heard(0.1, 4), seed=1)
    with pytest.raises(InputError, match=r"--seeds-of m: b and again have the same seed \(1\)"):
        main(["--seeds-of", f"m={runs[1]},{again}"])


def test_systems_stand_in_the_order_of_their_first_runs(make):
    runs = read_runs([make("b", heard(0.1, 1)), *seeds(make, "grid", [0.1, 0.2]), make("c", heard(0.1, 4))])
    found = compared(runs, {"mine": [runs[3], runs[1]]}, Settings(draws=100)).evidence
    assert [system.name for system in found.systems] == ["b", "mine", "grid-seed1"]


def test_runs_that_were_decoded_differently_are_no_seeds_of_one_model(make):
    runs = [
        make(f"grid-seed{n}", heard(0.1, n), {**CONFIG, "seed": n}, seed=n, decoding=decoding)
        for n, decoding in enumerate(["greedy", {"decoder": "beam"}])
    ]
    assert [len(system.runs) for system in compared(read_runs(runs)).evidence.systems] == [1, 1]


def test_a_value_in_the_place_of_options_is_refused_by_file(make):
    with pytest.raises(InputError, match=r"a/config.yaml: data must be a block of options, not 3"):
        main([str(make("a", heard(0.1, 1), {**CONFIG, "data": 3}, seed=0))])


@pytest.mark.parametrize("text", ["mine", "=a,b", "mine="])
def test_groups_that_name_no_runs_are_refused(text):
    with pytest.raises(InputError, match="expected a new NAME=RUN,RUN"):
        main(["--seeds-of", text])


def test_a_run_in_two_groups_and_one_given_twice_are_refused(make):
    a, b = make("a", heard(0.1, 1)), make("b", heard(0.1, 2))
    with pytest.raises(InputError, match="in two groups"):
        main(["--seeds-of", f"m={a},{b}", "--seeds-of", f"n={a},{b}"])
    with pytest.raises(InputError, match="a was given twice"):
        main([str(a), str(b), str(a)])
    with pytest.raises(InputError, match=r"called 'b': give another name, --seeds-of NAME=RUN,RUN"):
        main([str(b), "--seeds-of", f"b={a}"])
    with pytest.raises(InputError, match="no run to compare"):
        main([])


def test_many_systems_are_compared_with_the_first_and_all_pairs_on_demand(make):
    runs = read_runs([make(f"r{n}", heard(0.1 + n / 20, n)) for n in range(6)])
    few = compared(runs, settings=Settings(draws=100))
    assert [(pair.first, pair.second) for pair in few.evidence.pairs] == [("r0", f"r{n}") for n in range(1, 6)]
    assert any("corrected for 5 comparisons (Holm)" in note for note in few.notes)
    assert len(compared(runs, settings=Settings(draws=100, pairs="all")).evidence.pairs) == 15
    assert len(compared(runs[:5], settings=Settings(draws=100)).evidence.pairs) == 10


def test_blocks_are_stated(make, compare):
    a, b = make("a", heard(0.1, 1)), make("b", heard(0.2, 2))
    assert "percentile bootstrap over 60 utterances, 10,000 draws, seed 0.\n" in compare(a, b, "--blocks", "utterances")
    unknown = [
        Hypothesis(row.id, row.hypothesis, row.reference, None if n < 3 else row.speaker)
        for n, row in enumerate(heard(0.1, 1))
    ]
    printed = compare(make("c", unknown))
    assert (
        "over 60 utterances, 10,000 draws, seed 0; over utterances and not speakers, for the speaker of 3 is not known."
        in printed
    )
    assert "over 10 speakers" in compare(make("d", unknown), b)  # b knows them
    one = [Hypothesis(row.id, row.hypothesis, row.reference, "s") for row in heard(0.1, 1)]
    assert "for there is one speaker only" in compare(make("e", one))


def test_speakers_that_runs_name_differently_are_not_drawn_whatever_the_order_of_runs(make, compare):
    rows = heard(0.2, 2)
    rows[7] = replace(rows[7], speaker="t")
    a, b, unknown = make("a", heard(0.1, 1)), make("b", rows), [replace(row, speaker=None) for row in heard(0.3, 3)]
    c = make("c", unknown)
    said = "over 60 utterances, 10,000 draws, seed 0; over utterances and not speakers, for the runs name different "
    assert f"{said}speakers of 1 (u07: s7, t)." in compare(a, b)
    found = [json.loads(compare(*runs, "--json")) for runs in ((a, b, c), (c, b, a))]
    intervals = [{run["name"]: run["wer_interval"] for run in one["runs"]} for one in found]
    assert intervals[0] == intervals[1]
    assert found[0]["settings"] == found[1]["settings"]
    assert "over 10 speakers" in compare(a, c)


def test_the_order_of_rows_changes_nothing(make):
    rows = heard(0.2, 2)
    runs = [make("a", heard(0.1, 1)), make("b", rows), make("reversed", rows)]
    file = runs[2] / "hypotheses.jsonl"
    write_text(file, "".join(f"{line}\n" for line in reversed(file.read_text().splitlines())))
    assert read_hypotheses(file)[0].id == rows[-1].id
    found = compared(read_runs(runs), settings=Settings(draws=300)).evidence
    first, second, same = found.pairs  # a and b, a and reversed, b and reversed
    assert (first.words, first.characters, first.mapsswe) == (second.words, second.characters, second.mapsswe)
    assert same.mapsswe.difference == same.mapsswe.standard_deviation == 0
    assert (same.words.lower, same.words.upper) == (0, 0)


def test_characters_are_compared_by_their_own_errors(make):
    good, bad = heard(0.1, 1), heard(0.4, 2)
    runs = [make("good", good), make("bad", bad)]
    [pair] = compared(read_runs(runs), settings=Settings(draws=300, seed=5)).evidence.pairs
    counts = [[one.characters for one in score(rows).utterances] for rows in (good, bad)]
    errors = [[one.errors for one in side] for side in counts]
    lengths = [one.length for one in counts[0]]
    assert pair.characters == paired(*errors, lengths, blocks_of(SPEAKERS), 300, 5)
    assert pair.characters.difference != pair.words.difference


def test_the_variation_of_the_cer_over_seeds_is_that_of_characters(make):
    runs = read_runs(seeds(make, "grid", [0.1, 0.3]))
    [rates] = compared(runs, settings=Settings(draws=100)).evidence.systems
    assert rates.character_seeds == variation([run.scores["cer"] for run in runs])
    assert rates.character_seeds != rates.word_seeds


def test_two_systems_that_hear_the_same_differ_by_zero_without_a_sign(make, compare):
    rows = heard(0.2, 1)
    printed = compare(make("a", rows), make("b", rows), "--draws", "100")
    assert "(95 % 0.00 to 0.00; bootstrap p = 1.0000" in printed
    assert "-0.00" not in printed


def test_of_a_run_without_errors_it_is_said_that_its_interval_says_nothing(make, compare):
    printed = compare(make("right", heard(0.0, 1)), make("wrong", heard(0.2, 1)), "--draws", "100")
    assert "The interval of right says nothing: there is no error to draw" in printed
    assert "says nothing" not in compare(make("a", heard(0.1, 1)), "--draws", "100")


def test_a_group_of_one_run_has_one_name_in_table_and_sentences(make, compare):
    a, b = make("a", heard(0.1, 1)), make("b", heard(0.4, 2))
    printed = compare(b, "--seeds-of", f"mine={a}", "--draws", "200")
    assert [line.split()[0] for line in printed.splitlines()[1:3]] == ["b", "mine"]
    assert "mine makes" in printed
    assert "a makes" not in printed


def test_a_run_given_by_two_ways_to_its_folder_is_one(make, compare, monkeypatch, tmp_path):
    a, b = make("a", heard(0.1, 1)), make("b", heard(0.4, 2))
    monkeypatch.chdir(tmp_path)
    assert compare("a", "b", "--seeds-of", f"m={a},{b}", "--draws", "100").count("\na ") == 1
    with pytest.raises(InputError, match="in two groups, or twice in one"):
        main(["--seeds-of", f"m=a,{a}"])


def test_the_name_of_a_folder_ends_no_line(make, compare):
    printed = compare(make("two\nlines", heard(0.1, 1)), make("b", heard(0.4, 2)), "--draws", "100")
    assert printed.splitlines()[1].startswith("two lines  ")
    assert "two lines makes" in printed


def test_a_single_utterance_has_no_interval(make, compare):
    said = "A B C D E F G H I"
    right, wrong = (Hypothesis("u", text, said, "s") for text in (said, "X B C X E F X H I"))
    printed = compare(make("a", [right]), make("b", [wrong]))
    assert "There are no intervals: one utterance does not say" in printed
    assert ": a difference" not in printed
    mixed = Hypothesis("u", "X Y B C X E F X Y H I", said, "s")  # Z is 2, 1, 2: W of 5 is far out in a normal tail
    printed = compare(make("a", [right]), make("c", [mixed]))
    assert "told, for there is too little to test: a makes 55.56" in printed
    assert "MAPSSWE p < 0.0001 from 3 segments only, without a vote" in printed
    assert "has no vote by itself with fewer than 30 segments: a and c." in printed


def test_the_level_changes_intervals_and_verdicts_as_it_says(make, compare):
    a, b = make("a", heard(0.1, 1)), make("b", heard(0.4, 2))
    printed = compare(a, b, "--level", "90")
    assert "90 % interval" in printed
    assert "(90 % " in printed
    assert "rejects that there is none at 10 %" in printed


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--level", "100"], "at least 50 and below 100, got 100"),
        (["--level", "much"], "at least 50 and below 100, got much"),
        (["--draws", "5"], "at least 100, since fewer give no interval, and at most 1,000,000, got 5"),
        (["--draws", "1e4"], "at least 100, since fewer give no interval, and at most 1,000,000, got 1e4"),
        (["--draws", "1000000000000"], "at most 1,000,000, got 1000000000000"),
        (["--draws", "9" * 5000], "at most 1,000,000, got 999"),
        (["--common", "--picture", "x.png"], "does not go with --common"),
        (["--groups", "families.tsv"], "--groups and --utterance are of --picture"),
        (["--utterance", "u1"], "--groups and --utterance are of --picture"),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(options, named, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["a", *options])
    assert named in capsys.readouterr().err


def test_the_same_seed_prints_the_same_bytes_and_another_one_other_intervals(make, compare):
    runs = make("a", heard(0.1, 1)), make("b", heard(0.2, 2))
    assert compare(*runs, "--json") == compare(*runs, "--json")
    other, same = (json.loads(compare(*runs, "--json", "--seed", seed))["runs"][0] for seed in ("1", "0"))
    assert other["wer_interval"]["lower"] != same["wer_interval"]["lower"]
    assert other["wer"] == same["wer"]


@pytest.mark.parametrize(("speakers", "allowed"), [(4, 0.2), (8, 0.12), (20, 0.08)])
def test_how_often_equal_systems_are_called_different_when_speakers_like_them_differently(speakers, allowed):
    """Utterances of 25 words with 60 % errors; a speaker's rates differ by 2.5 points (standard deviation), on average
    by none. MAPSSWE, which knows no speakers, calls 34, 24 and 13 % of such pairs different."""
    random = np.random.default_rng(1)
    of_utterance = np.repeat(np.arange(speakers), 440 // speakers)
    blocks = blocks_of([str(speaker) for speaker in of_utterance])
    by_mapsswe = stated = 0
    for _ in range(1000):
        taste = random.normal(0, 0.025, speakers)[of_utterance] / 2
        errors = [random.binomial(25, 0.6 + sign * taste) for sign in (1, -1)]
        words = Resampling.of(errors, np.full(of_utterance.size, 25), blocks, 400, 0).difference(0, 1)
        test = normal_test(errors[0] - errors[1])
        [pair] = judged([Pair("a", "b", words, words, test, None)], 0.05)
        by_mapsswe += test.p < 0.05
        stated += pair.verdict == "difference"
    assert stated <= 1000 * allowed < by_mapsswe
