"""Flashlight's decoder beside ours, where it is installed."""

import importlib.util

import numpy as np
import pytest
import torchaudio.models.decoder
from small_arpa import ARPA

from asr.data.tokens import CharacterTokenizer
from asr.decode import flashlight
from asr.decode.decoders import BeamDecoder, build_decoder
from asr.decode.options import DecodingOptions
from asr.errors import InputError

TOKENIZER = CharacterTokenizer(" AB")
needed = pytest.mark.skipif(
    importlib.util.find_spec("flashlight") is None, reason="flashlight-text is not installed: nothing to compare with"
)


@needed
@pytest.mark.parametrize("case", ["tokens", "lexicon", "lexicon and model"])
@pytest.mark.parametrize("seed", range(5))
def test_flashlight_and_our_search_give_every_text_the_same_score(tmp_path, case, seed):
    (tmp_path / "lm.arpa").write_text(ARPA)
    (tmp_path / "words").write_text("BA\nA\nAB\n")
    options = {
        "tokens": {},
        "lexicon": {"lexicon": str(tmp_path / "words"), "beta": 0.3},
        "lexicon and model": {"lexicon": "lm", "lm": str(tmp_path / "lm.arpa"), "alpha": 0.7, "beta": 0.4},
    }[case]
    options |= {"beam": 100_000, "beam_threshold": 0.0}
    log_probs = np.log(np.random.default_rng(seed).dirichlet(np.full(4, 0.6), size=6))
    [(theirs, _)] = build_decoder(DecodingOptions("flashlight", **options), TOKENIZER).results([log_probs])
    [ours] = BeamDecoder(DecodingOptions("beam", token_threshold=0.0, **options), TOKENIZER).decode([log_probs])
    assert {t.text: t.total for t in theirs} == pytest.approx({t.text: t.total for t in ours}, abs=1e-4)
    assert {t.text: t.acoustic for t in theirs} == pytest.approx({t.text: t.acoustic for t in ours}, abs=1e-4)


def test_without_the_package_it_is_refused_with_the_way_to_get_it(monkeypatch):
    def missing(name: str) -> None:  # what torchaudio does then
        raise RuntimeError("requires flashlight-text")

    monkeypatch.delitem(torchaudio.models.decoder.__dict__, "ctc_decoder", raising=False)
    monkeypatch.setattr(torchaudio.models.decoder, "__getattr__", missing)
    with pytest.raises(InputError, match="pip install flashlight-text"):
        build_decoder(DecodingOptions("flashlight"), TOKENIZER)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"char_lm": "x"}, r"--char-lm \('x'\) has no part in the result: it needs --decoder beam"),
        ({"blank_skip": 0.99}, r"--blank-skip \(0.99\) has no part in the result: it needs --decoder beam"),
        ({"token_threshold": 1.0}, r"--token-threshold \(1.0\) has no part in the result: it needs --decoder beam"),
        (
            {"lm": "x", "lexicon": "lm", "look_ahead": False},
            r"--look-ahead \(False\) has no part .* needs --decoder beam",
        ),
        ({"lm": "x"}, "needs --lexicon beside --lm"),
    ],
)
def test_what_flashlight_cannot_do_is_refused(options, named):
    with pytest.raises(InputError, match=named):
        flashlight.FlashlightDecoder(DecodingOptions("flashlight", **options), TOKENIZER)
