import json

import pytest

from asr.data.tokens import (
    BLANK,
    CharacterTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    minimum_frames,
    tokenizer_from_dict,
)
from asr.errors import InputError

TEXTS = ["THE CAT SAT ON THE MAT", "THE DOG'S BONE", "A CAT AND A DOG", "IT'S THE BONE THAT THE DOG SAT ON"]


@pytest.fixture(scope="module")
def byte_pairs() -> SentencePieceTokenizer:
    return SentencePieceTokenizer.train(TEXTS, vocabulary_size=30)


@pytest.fixture(params=["characters", "byte pairs"])
def tokenizer(request: pytest.FixtureRequest, byte_pairs: SentencePieceTokenizer) -> Tokenizer:
    return byte_pairs if request.param == "byte pairs" else CharacterTokenizer(sorted(set("".join(TEXTS))))


def test_texts_survive_encoding_and_decoding(tokenizer: Tokenizer) -> None:
    for text in [*TEXTS, "A", "", "TEN DOGS"]:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_no_text_has_blanks_and_every_id_has_a_token(tokenizer: Tokenizer) -> None:
    ids = {i for text in TEXTS for i in tokenizer.encode(text)}
    assert tokenizer.tokens[0] == BLANK
    assert min(ids) >= 1
    assert max(ids) < len(tokenizer.tokens)
    assert len(set(tokenizer.tokens)) == len(tokenizer.tokens)


def test_the_same_tokenizer_comes_back_from_json(tokenizer: Tokenizer) -> None:
    again = tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert type(again) is type(tokenizer)
    assert again.tokens == tokenizer.tokens
    assert [again.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]


def test_unknown_characters_are_named(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match=r"\['É', '€'\] of 'CATÉ €'"):
        tokenizer.encode("CATÉ €")


def test_byte_pairs_make_shorter_targets_than_characters(byte_pairs: SentencePieceTokenizer) -> None:
    assert len(byte_pairs.tokens) == 30
    assert all(len(byte_pairs.encode(text)) < len(text) for text in TEXTS)


def test_training_is_deterministic(byte_pairs: SentencePieceTokenizer) -> None:
    assert SentencePieceTokenizer.train(TEXTS, vocabulary_size=30).to_dict() == byte_pairs.to_dict()


def test_a_text_of_any_length_is_trained_on() -> None:
    long = "AB " * 3000 + "Z"  # beyond sentencepiece's usual limit of 4192 bytes
    assert SentencePieceTokenizer.train([long, "AB"], vocabulary_size=7).encode("Z")


def test_a_vocabulary_that_the_texts_cannot_fill_is_refused() -> None:
    with pytest.raises(InputError, match=r"cannot train 5000 byte-pair tokens on 4 texts: Vocabulary size .*<= \d+"):
        SentencePieceTokenizer.train(TEXTS, vocabulary_size=5000)


def test_a_sentencepiece_model_of_another_layout_is_refused() -> None:
    import io

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, model_type="bpe", vocab_size=30, unk_id=1, bos_id=0,
        minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    with pytest.raises(InputError, match="unknown piece at id 0, not 1"):
        SentencePieceTokenizer(model.getvalue())


@pytest.mark.parametrize("characters", ["ABA", ["A", "BC"], ["A", ""]])
def test_a_character_set_needs_single_distinct_characters(characters: str | list[str]) -> None:
    with pytest.raises(InputError, match="single, distinct characters"):
        CharacterTokenizer(characters)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"kind": "words", "tokens": [BLANK, "A"]},
        {"kind": "characters", "tokens": ["A", "B"]},
        {"kind": "characters", "tokens": None},
        {"kind": "characters"},
        {"kind": "characters", "tokens": 3},
        {"kind": "characters", "tokens": []},
        {"kind": "characters", "tokens": [BLANK, 3]},
        {"kind": "characters", "tokens": BLANK},
        {"kind": ["characters"], "tokens": [BLANK]},
        ["characters"],
        "characters",
        None,
        {"kind": "sentencepiece", "model": 3},
        {"kind": "sentencepiece", "model": "é"},
        {"kind": "sentencepiece"},
        {"kind": "sentencepiece", "model": "AAAA"},
        {"kind": "sentencepiece", "model": "not base64!"},
    ],
)
def test_what_is_not_a_token_set_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(InputError, match="token set"):
        tokenizer_from_dict(data)


@pytest.mark.parametrize(("ids", "frames"), [([], 0), ([3], 1), ([1, 2, 3], 3), ([1, 1], 3), ([1, 1, 1, 2, 1], 7)])
def test_minimum_frames_is_the_shortest_alignment(ids: list[int], frames: int) -> None:
    import torch

    assert minimum_frames(ids) == frames

    def loss(num_frames: int) -> float:
        log_probs = torch.zeros(num_frames, 1, 4).log_softmax(-1)
        lengths = torch.tensor([num_frames]), torch.tensor([len(ids)])
        return float(torch.nn.functional.ctc_loss(log_probs, torch.tensor([ids]), *lengths))

    if ids:
        assert loss(frames) < float("inf")
        assert frames == 1 or loss(frames - 1) == float("inf")
