"""Decoders made of options: language models and lexica from files, and what of them is refused or said."""

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ctc_enumeration import alignment_sums
from small_arpa import ARPA
from torchaudio.functional import forced_align

from asr.data.tokens import CharacterTokenizer, SentencePieceTokenizer
from asr.decode.alignment import align, align_in_pieces
from asr.decode.decoders import BeamDecoder, read_lexicon
from asr.decode.flashlight import text_log_prob
from asr.decode.options import (
    DecodingOptions,
    add_decoding_arguments,
    check_tokens,
    decoding_from_dict,
    decoding_of,
    read_decoder,
)
from asr.decode.pool import ReaderPool
from asr.decode.reading import Reader, Reading
from asr.errors import InputError
from asr.files import write_json
from asr.lm.arpa import read_arpa

TOKENIZER = CharacterTokenizer(" AB")
EXACT = {"beam": 10**6, "beam_threshold": 0.0, "token_threshold": 0.0}


@pytest.fixture
def lm(tmp_path) -> str:
    path = tmp_path / "words.arpa"
    path.write_text(ARPA)
    return str(path)


def random_log_probs(seed: int, frames: int) -> np.ndarray:
    return np.log(np.random.default_rng(seed).dirichlet(np.full(4, 0.6), size=frames)).astype(np.float32)


def test_a_decoder_with_an_arpa_file_ranks_texts_as_the_definition_does(lm):
    log_probs = random_log_probs(0, 5).astype(np.float64)
    options = DecodingOptions("beam", lm=lm, alpha=0.6, beta=0.3, unknown_penalty=0.2, **EXACT)
    [texts] = BeamDecoder(options, TOKENIZER).decode([log_probs])
    model = read_arpa(lm)

    def score(text: str) -> float:
        unknown = sum(len(word) for word in text.split() if word not in ("A", "AB", "BA"))
        return 0.6 * text_log_prob(model, text.split()) + 0.3 * len(text.split()) - 0.2 * unknown

    expected = {text: s + score(text) for text, s in alignment_sums(log_probs, TOKENIZER.tokens).items()}
    assert {entry.text: entry.total for entry in texts} == pytest.approx(expected, abs=1e-6)
    assert texts[0].total == max(entry.total for entry in texts)


def test_other_weights_of_the_same_decoder_are_those_of_a_new_one(lm):
    log_probs = [random_log_probs(seed, 20) for seed in range(3)]
    first = DecodingOptions("beam", lm=lm, look_ahead=True, beam=5)
    second = DecodingOptions("beam", lm=lm, look_ahead=True, beam=7, alpha=2.0, beta=-1.0, unknown_penalty=3.0)
    reader = Reader(Reading(TOKENIZER.to_dict(), 0.03, first))
    reader.texts(log_probs, first)
    changed = reader.texts(log_probs, second)
    assert changed == [texts[0].text for texts in BeamDecoder(second, TOKENIZER).decode(log_probs)]
    assert changed != reader.texts(log_probs, first)


def test_byte_pair_tokens_spell_the_words_of_a_model(tmp_path):
    tokenizer = SentencePieceTokenizer.train(["ABBA BAB AB A"] * 5, 8)
    (tmp_path / "words").write_text("ABBA\nBAB\n")
    decoder = BeamDecoder(DecodingOptions("beam", lexicon=str(tmp_path / "words")), tokenizer)
    rng = np.random.default_rng(0)
    log_probs = [np.log(rng.dirichlet(np.ones(len(tokenizer.tokens)), size=30)) for _ in range(3)]
    for texts in decoder.decode(log_probs):
        assert texts[0].text
        assert {word for entry in texts for word in entry.text.split()} <= {"ABBA", "BAB"}


def test_words_have_times_and_confidences_and_texts_their_scores():
    sure = np.full((6, 4), -8.0, dtype=np.float32)
    sure[range(6), [2, 0, 1, 3, 3, 0]] = 0.0
    [found] = Reader(Reading(TOKENIZER.to_dict(), 0.5, DecodingOptions("beam"), nbest=3)).read([sure])
    assert found.text == "A B"
    assert [(word.text, word.start, word.end) for word in found.words] == [("A", 0.0, 0.5), ("B", 1.5, 2.5)]
    assert all(0.9 < word.confidence <= 1 for word in found.words)
    assert len(found.alternatives) == 3
    assert found.alternatives[0].text == "A B"


def test_an_alignment_is_the_most_probable_of_all_paths():
    log_probs = random_log_probs(3, 6)
    path = align(log_probs, (2, 2, 3))
    frames = np.zeros(6, dtype=int)
    for token, start, end in zip(path.ids, path.starts, path.ends, strict=True):
        frames[start:end] = token
    best = max(
        sum(row[token] for row, token in zip(log_probs, candidate, strict=True))
        for candidate in np.ndindex(*[4] * 6)
        if [t for i, t in enumerate(candidate) if t and (i == 0 or candidate[i - 1] != t)] == [2, 2, 3]
    )
    assert log_probs[range(6), frames].sum() == pytest.approx(best)


def peaks(frames: int, seed: int) -> tuple[np.ndarray, tuple[int, ...], np.ndarray]:
    """Log-probabilities (T, 4) of sure tokens at random frames, the tokens, and those frames."""
    rng = np.random.default_rng(seed)
    seen = np.cumsum(rng.integers(2, 12, frames // 8))
    seen = seen[seen < frames]
    tokens = rng.integers(2, 4, len(seen))
    tokens[4::5] = 1  # spaces, never two together
    log_probs = np.log(rng.dirichlet(np.full(4, 0.2), size=frames) * 0.05 + 1e-4)
    log_probs[:, 0] = -0.1
    log_probs[seen, 0] = -3.0
    log_probs[seen, tokens] = -0.2
    return log_probs.astype(np.float32), tuple(tokens.tolist()), seen


def test_what_torchaudio_cannot_align_is_refused():
    with pytest.raises(InputError, match="60000 frames and 18100 tokens are too many to be aligned in one piece"):
        align(np.zeros((60000, 2), dtype=np.float32), (1,) * 18100)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_an_alignment_in_pieces_is_that_of_the_whole(seed, early):
    log_probs, tokens, seen = peaks(3000, seed)
    early = np.concatenate([seen[:3] // 2, seen[:-3]]) if early else seen
    assert align_in_pieces(log_probs, tokens, early, size=200) == align(log_probs, tokens)


def test_a_long_recording_is_aligned_in_pieces_and_the_words_stay_where_they_are(monkeypatch):
    log_probs, _, _ = peaks(3000, seed=9)
    reader = Reader(Reading(TOKENIZER.to_dict(), 0.03, DecodingOptions("beam", beam=10)))
    [whole] = reader.read([log_probs])
    pieces = []

    def noted(frames, labels):
        pieces.append(frames.shape[1])
        return forced_align(frames, labels)

    monkeypatch.setattr("torchaudio.functional.forced_align", noted)
    monkeypatch.setattr("asr.decode.alignment.PIECE_FRAMES", 200)
    assert reader.read([log_probs]) == [whole]
    assert len(pieces) > 10
    assert max(pieces) < 1500  # the last one is the longest


def test_processes_decode_as_one_does_and_one_that_is_killed_is_told(lm):
    reading = Reading(TOKENIZER.to_dict(), 0.03, DecodingOptions("beam", lm=lm, beam=10), nbest=2)
    batches = [[random_log_probs(3 * batch + place, 15) for place in range(3)] for batch in range(4)]
    found = []
    for processes in (0, 2):
        pool = ReaderPool(reading, processes)
        try:
            for number, batch in enumerate(batches):
                pool.submit([f"{number}-{place}" for place in range(3)], batch)
            texts = list(pool.texts(batches, reading.options))
            found.append((pool.finish(), texts))
            if pool.pool is not None:
                assert_death_is_told(pool)
        finally:
            pool.close()
    assert found[0] == found[1]
    assert len(found[0][0]) == 12


def assert_death_is_told(pool: ReaderPool) -> None:
    for process in list(pool.pool._processes.values()):
        process.kill()
        process.join()
    with pytest.raises(InputError, match="one of 2 decoding processes was killed"):
        list(pool.texts([[random_log_probs(0, 5)]], pool.reader.reading.options))


def test_a_decoder_json_gives_its_options_back_and_names_a_changed_file(tmp_path, lm):
    options = DecodingOptions("beam", lm=lm, alpha=0.7, lexicon="lm", beam=17)
    write_json(tmp_path / "decoder.json", {"options": options.to_dict()})
    assert read_decoder(tmp_path / "decoder.json") == options
    (tmp_path / "elsewhere").mkdir()
    for name in ("decoder.json", "words.arpa"):
        (tmp_path / "elsewhere" / name).write_bytes((tmp_path / name).read_bytes())
    Path(lm).write_text(ARPA.replace("-0.5 A", "-0.4 A"))
    moved = tmp_path / "elsewhere" / "words.arpa"
    assert read_decoder(tmp_path / "elsewhere" / "decoder.json") == replace(options, lm=str(moved))
    with pytest.raises(InputError, match="words.arpa is not the file that it was"):
        read_decoder(tmp_path / "decoder.json")
    Path(lm).unlink()
    with pytest.raises(InputError, match="there is no file .*words.arpa"):
        read_decoder(tmp_path / "decoder.json")


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (None, "FILE holds no options"),
        ([], "FILE holds no options"),
        ({"beams": 3}, "FILE has options that no decoder has: beams"),
        ({"beam": "many"}, "FILE: beam must be a whole number, got 'many'"),
        ({"beam": 2.5}, "FILE: beam must be a whole number, got 2.5"),
        ({"alpha": None}, "FILE: alpha must be a number, got None"),
        ({"char_alpha": "0.5"}, "FILE: char_alpha must be a number, got '0.5'"),
        ({"beta": True}, "FILE: beta must be a number, got True"),
        ({"alpha": -(10**300)}, "--alpha must be a number of at least 0, got -10"),
        ({"char_alpha": 10**400}, "FILE: char_alpha must be a number, got 10"),
        ({"look_ahead": 1}, "FILE: look_ahead must be true or false, got 1"),
        ({"decoder": None}, "FILE: decoder must be a text, got None"),
        ({"lm": 3}, "FILE: lm must be a file with its SHA-256, or null, got 3"),
    ],
)
def test_what_is_no_decoder_json_is_refused(data, named):
    with pytest.raises(InputError, match=named):
        decoding_from_dict(data, "FILE")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"decoder": "bean"}, "--decoder must be one of greedy, beam, flashlight, got 'bean'"),
        ({"lm": "x"}, r"--lm \('x'\) has no part in the result: it needs --decoder beam"),
        ({"decoder": "beam", "lexicon": "lm"}, "the words of the language model: give --lm"),
        ({"decoder": "beam", "alpha": -1.0}, "--alpha must be a number of at least 0, got -1.0"),
        ({"decoder": "beam", "alpha": math.nan}, "--alpha must be a number of at least 0, got nan"),
        ({"decoder": "beam", "char_alpha": math.nan}, "--char-alpha must be a number of at least 0, got nan"),
        ({"decoder": "beam", "beam": 0}, "--beam must be a number of at least 1, got 0"),
        ({"beam": 5}, r"--beam \(5\) has no part in the result: it needs --decoder beam"),
        ({"decoder": "beam", "alpha": 0.9}, r"--alpha \(0.9\) has no part in the result: it needs --lm"),
        ({"decoder": "beam", "lexicon": "x", "look_ahead": False}, r"--look-ahead \(False\) .* it needs --lm"),
        ({"decoder": "beam", "char_lm": "x", "beta": 2.0}, r"--beta \(2.0\) .* it needs --lm or --lexicon"),
        (
            {"decoder": "beam", "lexicon": "x", "unknown_penalty": 2.0},
            r"--unknown-penalty \(2.0\) .* it needs --lm, and",
        ),
        (
            {"decoder": "beam", "lm": "x", "lexicon": "lm", "unknown_penalty": 2.0},
            r"--unknown-penalty \(2.0\) has no part in the result: .* words that it does not know \(no --lexicon lm\)",
        ),
        ({"decoder": "beam", "lm": "x", "char_alpha": 3.0}, r"--char-alpha \(3.0\) .* it needs --char-lm"),
    ],
)
def test_impossible_options_are_refused(options, named):
    with pytest.raises(InputError, match=named):
        DecodingOptions(**options)


def arguments(*given: str) -> argparse.Namespace:
    """A command line with options of decoding."""
    parser = argparse.ArgumentParser()
    add_decoding_arguments(parser)
    return parser.parse_args(given)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--decoder", "beam", "--alpha", "0.5"], r"--alpha \(0.5\) has no part in the result: it needs --lm"),
        (["--decoder", "beam", "--look-ahead"], r"--look-ahead \(True\) has no part in the result: it needs --lm"),
        (["--lm", "x", "--char-alpha", "0.5"], r"--char-alpha \(0.5\) has no part in the result: it needs --char-lm"),
        (["--char-lm", "x", "--beta", "1"], r"--beta \(1.0\) has no part in the result: it needs --lm or --lexicon"),
        (["--beam", "100"], r"--beam \(100\) has no part in the result: it needs --decoder beam"),
    ],
)
def test_an_option_without_a_part_is_refused_on_the_command_line_also_if_it_is_the_default(given, named):
    with pytest.raises(InputError, match=named):
        decoding_of(arguments(*given))


def test_an_option_without_a_part_is_refused_beside_a_decoder_json_too_and_one_in_it_is_passed_over(tmp_path, lm):
    tuned = DecodingOptions("beam", lm=lm, alpha=0.7, unknown_penalty=3.0, look_ahead=False, token_threshold=4.0)
    content = tuned.to_dict() | {"char_alpha": 0.9}  # as was written when nothing was refused
    write_json(tmp_path / "decoder.json", {"options": content})
    config = str(tmp_path / "decoder.json")
    assert decoding_of(arguments("--decoder-config", config)) == tuned
    with pytest.raises(InputError, match=r"--char-alpha \(0.5\) has no part in the result: it needs --char-lm"):
        decoding_of(arguments("--decoder-config", config, "--char-alpha", "0.5"))
    flashlight = ["--decoder-config", config, "--decoder", "flashlight", "--lexicon", "lm"]
    assert decoding_of(arguments(*flashlight)) == DecodingOptions("flashlight", lm=lm, lexicon="lm", alpha=0.7)
    with pytest.raises(InputError, match=r"--blank-skip \(0.9\) has no part in the result: it needs --decoder beam"):
        decoding_of(arguments(*flashlight, "--blank-skip", "0.9"))


def test_a_language_model_in_a_decoder_json_is_not_passed_over(tmp_path, lm):
    write_json(tmp_path / "decoder.json", {"options": DecodingOptions("beam", char_lm=lm).to_dict()})
    with pytest.raises(InputError, match="--char-lm .* has no part in the result: it needs --decoder beam"):
        decoding_of(arguments("--decoder-config", str(tmp_path / "decoder.json"), "--decoder", "flashlight"))


def test_a_decoder_json_that_holds_a_list_or_is_given_for_greedy_decoding_is_refused(tmp_path):
    config = tmp_path / "decoder.json"
    config.write_text("[1, 2]")
    for refuse in (lambda: read_decoder(config), lambda: check_tokens(config, "digest")):
        with pytest.raises(InputError, match=r"decoder.json holds no options of a decoder: .* got \[1, 2\]"):
            refuse()
    with pytest.raises(InputError, match=r"--decoder-config \(.*decoder.json\) has no part .* --decoder is greedy"):
        decoding_of(arguments("--decoder", "greedy", "--decoder-config", str(config)))


def test_a_missing_or_empty_model_is_named(tmp_path):
    with pytest.raises(InputError, match="gone.arpa"):
        BeamDecoder(DecodingOptions("beam", lm=str(tmp_path / "gone.arpa")), TOKENIZER)
    (tmp_path / "empty.arpa").write_text("")
    with pytest.raises(InputError, match="empty.arpa"):
        BeamDecoder(DecodingOptions("beam", lm=str(tmp_path / "empty.arpa")), TOKENIZER)


def test_a_model_in_the_other_case_is_refused(tmp_path):
    (tmp_path / "lower.arpa").write_text(ARPA.replace(" AB", " ab").replace(" A", " a").replace(" BA", " ba"))
    with pytest.raises(InputError, match=r"none of the 3 words of .*lower.arpa .* can be written .* in the other case"):
        BeamDecoder(DecodingOptions("beam", lm=str(tmp_path / "lower.arpa")), TOKENIZER)


def test_a_model_of_characters_is_used_for_tokens_that_are_characters_and_for_nothing_else(tmp_path):
    path = tmp_path / "characters.arpa"
    path.write_text(ARPA.replace(" AB", " B").replace(" BA", " <space>"))
    assert read_arpa(path).unit == "character"
    BeamDecoder(DecodingOptions("beam", char_lm=str(path)), TOKENIZER, quiet=True)
    with pytest.raises(
        InputError, match="characters.arpa is a model of characters, not of words: give it as --char-lm"
    ):
        BeamDecoder(DecodingOptions("beam", lm=str(path)), TOKENIZER)
    pairs = SentencePieceTokenizer.train(["ABBA BAB AB A"] * 5, 8)
    with pytest.raises(InputError, match=r"cannot be used: the acoustic model's tokens are byte pairs \(.*\);"):
        BeamDecoder(DecodingOptions("beam", char_lm=str(path)), pairs)


def test_words_that_the_tokens_cannot_spell_are_counted_and_named(tmp_path, lm, capsys):
    (tmp_path / "words").write_text("AB 1 2\nÄB\nB-A\n\nAB\nB\n")
    BeamDecoder(DecodingOptions("beam", lexicon=str(tmp_path / "words"), lm=lm), TOKENIZER)
    said = capsys.readouterr().err
    assert "2 of 4 words of" in said
    assert "ÄB, B-A" in said
    assert "does not know 1 of the 2 words" in said


def test_the_byte_order_mark_of_a_lexicon_is_not_part_of_its_first_word(tmp_path):
    (tmp_path / "words").write_bytes("\ufeffAB 1 2\nB\n".encode())
    assert read_lexicon(str(tmp_path / "words")) == ["AB", "B"]


@pytest.mark.parametrize(("content", "named"), [(None, "cannot read the lexicon"), ("\n", "holds no word")])
def test_a_lexicon_that_cannot_be_used_is_named(tmp_path, content, named):
    if content is not None:
        (tmp_path / "words").write_text(content)
    with pytest.raises(InputError, match=named):
        read_lexicon(str(tmp_path / "words"))


def test_a_lexicon_that_the_model_does_not_know_at_all_is_refused(tmp_path, lm):
    (tmp_path / "words").write_text("BBB\nBB\n")
    with pytest.raises(InputError, match="knows none of the 2 words"):
        BeamDecoder(DecodingOptions("beam", lexicon=str(tmp_path / "words"), lm=lm), TOKENIZER)


def test_scores_say_only_what_has_a_part_in_them(lm):
    assert DecodingOptions().to_record() == "greedy"
    record = DecodingOptions("beam", lm=lm, alpha=0.7).to_record()
    assert (record["alpha"], record["lm"]["path"], len(record["lm"]["sha256"])) == (0.7, lm, 64)
    assert "char_alpha" not in record
    assert {"lexicon", "char_lm", "confidence"}.isdisjoint(record)
    json.dumps(record)


def test_a_negative_number_of_processes_is_refused():
    with pytest.raises(InputError, match="--decode-workers must be a number of at least 0, got -1"):
        ReaderPool(Reading(TOKENIZER.to_dict(), 0.03), -1)


def test_greedy_reading_gives_the_best_path():
    log_probs = [torch.randn(9, 4).log_softmax(-1).numpy(), np.zeros((0, 4), np.float32)]
    first, second = Reader(Reading(TOKENIZER.to_dict(), 0.1)).read(log_probs)
    best = [t for i, t in enumerate(log_probs[0].argmax(1)) if i == 0 or log_probs[0][i - 1].argmax() != t]
    assert [token.text for token in first.tokens] == [TOKENIZER.tokens[t] for t in best if t]
    assert (second.text, second.words) == ("", ())
