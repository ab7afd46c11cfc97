"""Recognition with a model that knows the tone language: text, times and batches are what they must be."""

import pytest
import torch
from tone_corpus import tone_waveform
from tone_reader import tone_reader

from asr.decode.recognition import compute_log_probs, recognize, seconds_per_frame
from asr.errors import InputError

TEXTS = ["ABC", "A", "AA BB CC", "C B A", "CAB"]


def waveforms(texts: list[str]) -> list[torch.Tensor]:
    return [torch.from_numpy(tone_waveform(text)) for text in texts]


def test_every_text_of_the_tone_language_is_read():
    assert [r.text for r in recognize(tone_reader(), waveforms(TEXTS), TEXTS)] == TEXTS


def test_a_frame_lasts_as_long_as_the_features_that_it_stands_for():
    assert seconds_per_frame(tone_reader()) == pytest.approx(2 * 160 / 16000)


def test_a_tone_is_seen_within_its_time():
    tokens = recognize(tone_reader(), waveforms(["AB C"]), ["u"])[0].tokens
    for index, token in enumerate(tokens):
        begin = 0.03 + 0.12 * index  # 30 ms of silence first, then 120 ms a character
        assert begin - 0.03 <= token.start < token.end <= begin + 0.12 + 0.03
        assert token.text == "AB C"[index]
    words = recognize(tone_reader(), waveforms(["AB C"]), ["u"])[0].words
    assert [(w.text, w.start, w.end) for w in words] == [
        ("AB", tokens[0].start, tokens[1].end),
        ("C", tokens[3].start, tokens[3].end),
    ]


def test_confidences_are_the_posteriors_of_the_model():
    sharp = recognize(tone_reader(sharpness=3.0), waveforms(["A"]), ["u"])[0]
    e = torch.tensor([3.0, 0.0, 0.0, 0.0, 0.0]).softmax(dim=0)[0]
    assert sharp.words[0].confidence == pytest.approx(float(e), rel=1e-5)


def test_a_batch_gives_what_each_utterance_gives_alone():
    model, batch = tone_reader(), waveforms(TEXTS)
    log_probs, lengths = compute_log_probs(model, batch)
    for index, waveform in enumerate(batch):
        alone, length = compute_log_probs(model, [waveform])
        assert int(length[0]) == int(lengths[index])
        torch.testing.assert_close(log_probs[index, : int(length[0])], alone[0], rtol=0, atol=1e-6)


def test_nothing_but_silence_is_an_empty_text():
    result = recognize(tone_reader(), [torch.zeros(800)], ["u"])[0]
    assert (result.text, result.words, result.tokens) == ("", (), ())


def test_no_waveforms_give_no_results():
    assert recognize(tone_reader(), [], []) == []


def test_a_model_that_gives_nan_is_refused_with_the_utterances():
    model = tone_reader()
    with torch.no_grad():
        model.model.head.bias[2] = float("nan")
    with pytest.raises(InputError, match="NaN for one, two: its weights or feature statistics are broken"):
        recognize(model, waveforms(["A", "B"]), ["one", "two"])


def test_audio_whose_features_are_not_finite_is_not_blamed_on_the_model():
    model = tone_reader()
    model.model.encoder.register_forward_hook(  # as any weighted sum of features does
        lambda _, given, found: (found[0] + 0 * given[0].sum(dim=(1, 2))[:, None, None], found[1])
    )
    good, loud = waveforms(["A", "B"])
    assert [found.text for found in recognize(model, [good, loud], ["one", "two"])] == ["A", "B"]
    with pytest.raises(InputError, match=r"the features of two are not finite: its samples reach 3e\+38, and full"):
        recognize(model, [good, loud / loud.abs().max() * 3e38], ["one", "two"])
