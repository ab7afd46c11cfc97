"""Long recordings, window by window, give what they give in one piece if the model looks no further than a window."""

import numpy as np
import pytest
import torch
from tone_corpus import tone_waveform
from tone_reader import tone_reader

from asr.data.features import FeatureConfig, LogMel
from asr.decode import windows as module
from asr.decode.recognition import compute_log_probs, recognize
from asr.decode.windows import LONGEST_PIECE_SECONDS, long_features, windowed_log_probs, windows
from asr.encoders import StackedRNNEncoder
from asr.model import CTCModel

TEXT = " ".join(["ABC", "CAB", "B A", "AACC", "BABA"] * 50)
"""More than two minutes in the tone language."""


@pytest.fixture(scope="module")
def recording() -> torch.Tensor:
    return torch.from_numpy(tone_waveform(TEXT))


def frames_of(recording: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features, and log-probabilities in one piece."""
    loaded = tone_reader()
    features = loaded.features(recording)
    return features, loaded.model(features[None], torch.tensor([len(features)]))[0][0].detach()


@pytest.mark.parametrize(("frames", "size", "context"), [(1, 5, 2), (10, 10, 3), (11, 10, 3), (97, 10, 4), (30, 1, 0)])
def test_windows_keep_every_frame_once_and_see_the_context_that_there_is(frames, size, context):
    plan = windows(frames, size, context)
    assert [frame for w in plan for frame in range(w.first, w.last)] == list(range(frames))
    assert all(w.last - w.first <= size for w in plan)
    assert all(w.start == max(0, w.first - context) and w.end == min(frames, w.last + context) for w in plan)


def test_features_in_pieces_are_those_of_the_whole():
    waveform = torch.from_numpy(np.random.default_rng(0).standard_normal(16000 * 3 + 77).astype(np.float32))
    for normalization in ("none", "utterance"):
        features = LogMel(FeatureConfig(normalization=normalization))
        torch.testing.assert_close(long_features(features, waveform, piece_frames=37), features(waveform))


def test_log_probs_in_windows_are_those_of_the_whole(recording):
    features, whole = frames_of(recording)
    pieces = windowed_log_probs(tone_reader().model, features, 0.02, window_seconds=1.7, context_seconds=0.1)
    torch.testing.assert_close(pieces, whole)


def test_without_context_the_joints_are_wrong(recording):
    features, whole = frames_of(recording)
    pieces = windowed_log_probs(tone_reader().model, features, 0.02, window_seconds=1.7, context_seconds=0)
    assert pieces.shape == whole.shape
    assert not torch.allclose(pieces, whole)


@pytest.mark.parametrize("stride", [2, 3])
def test_frames_are_counted_right_where_windows_end_within_a_stack_of_frames(stride):
    encoder = StackedRNNEncoder(num_features=8, hidden_size=4, num_layers=1, stacked_frames=3, frame_stride=stride)
    model = CTCModel(encoder, 5).eval()
    for length in (100, 101, 103):
        features = torch.randn(length, 8)
        whole, _ = model(features[None], torch.tensor([length]))
        pieces = windowed_log_probs(model, features, stride / 100, window_seconds=0.2, context_seconds=10)
        torch.testing.assert_close(pieces, whole[0])


def test_no_word_of_a_long_recording_is_lost_and_short_ones_beside_it_are_not_changed(recording):
    assert len(recording) > 2 * LONGEST_PIECE_SECONDS * 16000
    short = torch.from_numpy(tone_waveform("ABC A"))
    together = recognize(tone_reader(), [short, recording, short], ["one", "long", "two"])
    assert [found.text for found in together] == ["ABC A", TEXT, "ABC A"]
    log_probs, lengths = compute_log_probs(tone_reader(), [short, recording])
    alone, _ = compute_log_probs(tone_reader(), [short])
    torch.testing.assert_close(log_probs[0, : lengths[0]], alone[0])


def test_no_more_than_a_few_windows_are_computed_at_once(recording, monkeypatch):
    seen = []
    loaded = tone_reader()
    forward = loaded.model.forward
    monkeypatch.setattr(loaded.model, "forward", lambda f, n: seen.append(f.shape) or forward(f, n))
    compute_log_probs(loaded, [recording])
    most = module.WINDOW_SECONDS + 2 * module.CONTEXT_SECONDS
    assert len(seen) > 1
    assert all(shape[0] <= module.WINDOWS_AT_ONCE and shape[1] <= 100 * most + 2 for shape in seen)
