import math
from pathlib import Path

import numpy as np
import pytest
import torch

from asr.data.features import (
    LOG_FLOOR,
    FeatureConfig,
    FeatureStatistics,
    LogMel,
    StatisticsAccumulator,
)
from asr.errors import InputError

RAW = FeatureConfig(normalization="none")


def waveform(num_samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


def log_mel_by_definition(samples: np.ndarray, frame: int, config: FeatureConfig) -> np.ndarray:
    """One frame in float64: Hann window, explicit DFT of 512 points, triangles on HTK's mel scale, logarithm."""
    size = 2 ** math.ceil(math.log2(config.window_length))
    n = np.arange(config.window_length)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / config.window_length)
    windowed = samples[frame * config.hop_length :][: config.window_length].astype(np.float64) * window
    frequencies = np.arange(size // 2 + 1)
    transform = np.exp(-2j * np.pi * frequencies[:, None] * n / size) @ windowed
    power = np.abs(transform) ** 2

    def mel(hertz: np.ndarray) -> np.ndarray:
        return 2595 * np.log10(1 + hertz / 700)

    edges = np.linspace(mel(config.min_frequency), mel(config.upper_frequency), config.num_mels + 2)
    edges = 700 * (10 ** (edges / 2595) - 1)
    hertz = frequencies * config.sample_rate / size
    bins = []
    for low, peak, high in zip(edges, edges[1:], edges[2:], strict=False):
        triangle = np.minimum((hertz - low) / (peak - low), (high - hertz) / (high - peak)).clip(min=0)
        bins.append(np.log(triangle @ power + LOG_FLOOR))
    return np.array(bins)


@pytest.mark.parametrize(
    "config",
    [
        RAW,
        FeatureConfig(num_mels=40, normalization="none", max_frequency=7000.0),
        FeatureConfig(8000, 23, 200, 80, normalization="none"),
        FeatureConfig(16000, 40, 512, 128, normalization="none"),
    ],
)
def test_features_are_those_of_the_definition(config: FeatureConfig) -> None:
    samples = waveform(4000)
    features = LogMel(config)(samples)
    for frame in (0, 7, len(features) - 1):
        expected = log_mel_by_definition(samples.numpy(), frame, config)
        np.testing.assert_allclose(features[frame], expected, atol=2e-4)


@pytest.mark.parametrize("num_samples", [1, 399, 400, 401, 559, 560, 561, 16000])
def test_there_are_as_many_frames_as_whole_windows(num_samples: int) -> None:
    whole = max(1, len(range(0, num_samples - 399, 160)))
    assert RAW.num_frames(num_samples) == whole
    assert LogMel(RAW)(waveform(num_samples)).shape == (whole, 80)


def test_a_frame_does_not_depend_on_later_samples() -> None:
    log_mel, samples = LogMel(RAW), waveform(8000)
    whole = log_mel(samples)
    for num_samples in (400, 3000, 5999):
        torch.testing.assert_close(log_mel(samples[:num_samples]), whole[: RAW.num_frames(num_samples)])


def test_a_frame_does_not_depend_on_earlier_samples() -> None:
    samples = waveform(8000)
    torch.testing.assert_close(LogMel(RAW)(samples[10 * 160 :]), LogMel(RAW)(samples)[10:])


def test_an_input_shorter_than_a_window_counts_as_followed_by_silence() -> None:
    samples = waveform(300)
    padded = torch.cat([samples, torch.zeros(100)])
    torch.testing.assert_close(LogMel(RAW)(samples), LogMel(RAW)(padded))


def test_silence_is_the_floor_and_finite() -> None:
    torch.testing.assert_close(LogMel(RAW)(torch.zeros(1000)), torch.full((4, 80), math.log(LOG_FLOOR)))


def test_ten_times_the_amplitude_adds_ln_100() -> None:
    samples = 0.05 * waveform(3000).sign()
    louder = LogMel(RAW)(10 * samples) - LogMel(RAW)(samples)
    torch.testing.assert_close(louder, torch.full_like(louder, math.log(100)), atol=2e-3, rtol=0)


def test_statistics_are_those_of_all_frames_at_once() -> None:
    parts = [np.random.default_rng(i).normal(i, 1 + i, (n, 3)).astype(np.float32) for i, n in enumerate([1, 5, 200])]
    accumulator = StatisticsAccumulator(3)
    for part in parts:
        accumulator.add(part)
    together = np.concatenate(parts).astype(np.float64)
    result = accumulator.result()
    assert result.frames == 206
    np.testing.assert_allclose(result.mean, together.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(result.std, together.std(axis=0), rtol=1e-12)


def test_statistics_keep_their_precision_far_from_zero() -> None:
    part = 1e6 + np.random.default_rng(0).normal(0, 1e-3, (1000, 2))
    accumulator = StatisticsAccumulator(2)
    for chunk in np.split(part, 10):
        accumulator.add(chunk)
    np.testing.assert_allclose(accumulator.result().std, part.std(axis=0), rtol=1e-5)


def test_statistics_of_nothing_are_an_error() -> None:
    with pytest.raises(InputError, match="at least one frame"):
        StatisticsAccumulator(3).result()


def test_global_normalisation_gives_the_training_frames_mean_0_and_deviation_1() -> None:
    accumulator, log_mel = StatisticsAccumulator(80), LogMel(RAW)
    training = [waveform(n, seed=n) for n in (4000, 9000)]
    for samples in training:
        accumulator.add(log_mel(samples).numpy())
    normalized = LogMel(FeatureConfig(), accumulator.result())
    frames = torch.cat([normalized(samples) for samples in training])
    torch.testing.assert_close(frames.mean(dim=0), torch.zeros(80), atol=1e-5, rtol=0)
    torch.testing.assert_close(frames.std(dim=0, correction=0), torch.ones(80), atol=1e-4, rtol=0)


def test_utterance_normalisation_gives_each_utterance_mean_0_and_deviation_1() -> None:
    features = LogMel(FeatureConfig(normalization="utterance"))(waveform(5000))
    torch.testing.assert_close(features.mean(dim=0), torch.zeros(80), atol=1e-5, rtol=0)
    torch.testing.assert_close(features.std(dim=0, correction=0), torch.ones(80), atol=1e-4, rtol=0)


@pytest.mark.parametrize("normalization", ["global", "utterance"])
def test_constant_features_stay_finite(normalization: str) -> None:
    statistics = FeatureStatistics((math.log(LOG_FLOOR),) * 80, (0.0,) * 80, 10)
    features = LogMel(FeatureConfig(normalization=normalization), statistics)(torch.zeros(2000))
    assert features.isfinite().all()
    assert features.abs().max() < 1e-3


def test_global_normalisation_needs_statistics_of_as_many_bins() -> None:
    with pytest.raises(InputError, match="needs feature statistics"):
        LogMel(FeatureConfig())
    with pytest.raises(InputError, match="40 mel bins, features.num_mels is 80"):
        LogMel(FeatureConfig(), FeatureStatistics((0.0,) * 40, (1.0,) * 40, 1))


def test_statistics_are_no_part_of_a_module_s_state() -> None:
    assert LogMel(FeatureConfig(), FeatureStatistics((0.0,) * 80, (1.0,) * 80, 1)).state_dict().keys() <= {
        "mel_power.spectrogram.window",
        "mel_power.mel_scale.fb",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_mels": 0}, "features.num_mels must be at least 1, got 0"),
        ({"hop_length": -1}, "features.hop_length"),
        ({"min_frequency": 9000.0}, "min_frequency 9000.0"),
        ({"max_frequency": 8001.0}, "max_frequency 8001.0"),
        ({"min_frequency": -1.0}, "0 <= min < max"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FeatureConfig(**options)


def test_more_mel_bins_than_the_spectrum_resolves_are_refused() -> None:
    with pytest.raises(InputError, match="features.num_mels 200 .* 400"):
        LogMel(FeatureConfig(num_mels=200, normalization="none"))


def test_the_spectrum_says_all_that_matters_before_normalisation() -> None:
    assert FeatureConfig(normalization="utterance").spectrum() == FeatureConfig().spectrum()
    assert FeatureConfig(**FeatureConfig(num_mels=40).spectrum()).num_mels == 40


def test_speech_of_an4_gives_finite_features_of_the_announced_length(corpora: Path) -> None:
    from asr.data.audio import read_audio

    files = sorted((corpora / "an4").rglob("*.flac"))[:5]
    if not files:
        pytest.skip("no FLAC files of AN4 in ASR_CORPORA")
    for path in files:
        samples = torch.from_numpy(read_audio(path).samples[0])
        features = LogMel(RAW)(samples)
        assert features.shape == (RAW.num_frames(len(samples)), 80)
        assert features.isfinite().all()


def test_mel_centres_are_where_the_filters_peak() -> None:
    config = FeatureConfig(num_mels=20, max_frequency=7000.0, window_length=4000)
    filters = LogMel(config, FeatureStatistics((0.0,) * 20, (1.0,) * 20, 1)).mel_power.mel_scale.fb  # (bins, M)
    resolution = 8000 / (len(filters) - 1)
    peaks = filters.argmax(dim=0) * resolution
    np.testing.assert_allclose(peaks.numpy(), config.mel_centres(), atol=resolution)
