import itertools
import math
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor, nn

from asr.data.batch import Batch
from asr.data.features import FeatureConfig
from asr.data.tokens import CharacterTokenizer
from asr.encoders.contract import Encoder
from asr.errors import InputError
from asr.recognizer import NonFiniteLoss, OptimizationConfig, Recognizer, learning_rate_factor


class PassThrough(Encoder):
    """Frames are the features, times a learnt number: the head's input is what a test puts in."""

    def __init__(self, num_features: int, subsampling: int = 1) -> None:
        super().__init__()
        self.num_features = self.output_size = num_features
        self.subsampling = subsampling
        self.streamable = True
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return self.scale * features[:, :: self.subsampling], self.output_lengths(lengths)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return -(-lengths // self.subsampling)

    def multiply_adds(self, num_frames: int) -> int:
        return num_frames


def make_recognizer(characters: str = "AB", **options: Any) -> Recognizer:
    tokens = CharacterTokenizer(characters)
    recognizer = Recognizer(
        PassThrough(len(tokens.tokens), **options), FeatureConfig(), None, tokens.to_dict(), "verbatim/1"
    )
    with torch.no_grad():  # the features are the logits
        recognizer.model.head.weight.copy_(torch.eye(len(tokens.tokens)))
        recognizer.model.head.bias.zero_()
    return recognizer


def make_batch(features: Tensor, texts: list[str], lengths: list[int], characters: str = "AB") -> Batch:
    ids = [CharacterTokenizer(characters).encode(text) for text in texts]
    tokens = torch.zeros(len(ids), max(1, *map(len, ids)), dtype=torch.int64)
    for row, one in zip(tokens, ids, strict=True):
        row[: len(one)] = torch.tensor(one, dtype=torch.int64)
    return Batch(
        features=features,
        feature_lengths=torch.tensor(lengths),
        tokens=tokens,
        token_lengths=torch.tensor([len(one) for one in ids]),
        utterance_ids=tuple(f"utterance-{i}" for i in range(len(texts))),
        texts=tuple(texts),
        speakers=(None,) * len(texts),
        seconds=(1.0,) * len(texts),
    )


def negative_log_likelihood_by_definition(log_probs: Tensor, target: list[int]) -> float:
    """Graves et al. 2006, equation 3: the sum over all paths that collapse to the target."""
    total = 0.0
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        collapsed = [token for token, _ in itertools.groupby(path) if token != 0]
        if collapsed == target:
            total += math.exp(sum(float(log_probs[t, token]) for t, token in enumerate(path)))
    return -math.log(total)


def test_the_loss_is_the_sum_over_all_paths_of_each_utterance() -> None:
    recognizer = make_recognizer()
    features = torch.randn(2, 5, 3)
    batch = make_batch(features, ["AB", "AA"], [4, 5])
    losses = recognizer.utterance_losses(batch).detach()
    for loss, row, length, target in zip(losses, features, [4, 5], [[1, 2], [1, 1]], strict=True):
        expected = negative_log_likelihood_by_definition(row[:length].log_softmax(-1), target)
        assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(recognizer.batch_loss(batch).detach()) == pytest.approx(float(losses.sum()) / 4)


def test_the_loss_is_computed_in_float32_under_bfloat16_autocast() -> None:
    recognizer = make_recognizer()
    batch = make_batch(torch.randn(1, 6, 3), ["AB"], [6])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = recognizer.utterance_losses(batch)
    assert losses.dtype == torch.float32
    assert losses.tolist() == pytest.approx(recognizer.utterance_losses(batch).tolist(), rel=0.02)


def test_an_infeasible_utterance_is_named_and_the_others_are_not() -> None:
    recognizer = make_recognizer()
    with pytest.raises(NonFiniteLoss, match=r"utterance-1 \(loss inf, 2 frames, 2 tokens\)") as raised:
        recognizer.utterance_losses(make_batch(torch.randn(2, 5, 3), ["AB", "AA"], [5, 2]))
    assert "utterance-0" not in str(raised.value)


def test_a_nan_in_the_features_is_named() -> None:
    features = torch.randn(2, 5, 3)
    features[0, 1] = float("nan")
    with pytest.raises(NonFiniteLoss, match="utterance-0 "):
        make_recognizer().utterance_losses(make_batch(features, ["A", "B"], [5, 5]))


def one_hot_frames(hypothesis: str, frames: int) -> Tensor:
    """Logits (T, 3) whose greedy path reads `hypothesis`, blanks between."""
    logits = torch.zeros(frames, 3)
    logits[:, 0] = 5.0
    for index, token in enumerate(CharacterTokenizer("AB").encode(hypothesis)):
        logits[2 * index, token] = 10.0
    return logits


def test_validation_sums_errors_over_the_corpus_and_counts_a_repeated_utterance_once() -> None:
    recognizer = make_recognizer("AB")
    logged: dict[str, float] = {}
    recognizer.log_dict = lambda metrics, **_: logged.update(metrics)  # type: ignore[method-assign]
    features = torch.stack([one_hot_frames("A", 8), one_hot_frames("BAB", 8)])
    batch = make_batch(features, ["B", "BAB"], [8, 8])
    recognizer.on_validation_epoch_start()
    with torch.no_grad():
        recognizer.validation_step(batch, 0)
        recognizer.validation_step(batch, 1)
    recognizer.on_validation_epoch_end()
    assert logged["val_wer"] == 1 / 2  # one word each, one of them wrong
    assert logged["val_cer"] == 1 / 4
    assert logged["val_loss"] == pytest.approx(recognizer.batch_loss(batch).item(), rel=1e-6)


def test_warm_up_is_linear_and_cosine_decay_ends_at_the_final_fraction() -> None:
    factor = learning_rate_factor(OptimizationConfig(warmup_fraction=0.2, final_fraction=0.1), total_steps=50)
    rates = [factor(step) for step in range(61)]
    assert rates[0] == 0.01
    assert rates[5] == pytest.approx(0.505)
    assert max(rates) == rates[10] == 1.0
    assert rates[30] == pytest.approx(0.55)
    assert rates[50] == rates[60] == pytest.approx(0.1)


def test_a_constant_schedule_without_warm_up_stays_at_the_peak() -> None:
    factor = learning_rate_factor(OptimizationConfig(warmup_fraction=0.0, schedule="constant"), total_steps=10)
    assert {factor(step) for step in range(20)} == {1.0}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"learning_rate": 0.0}, r"learning_rate must be positive, got 0\.0"),
        ({"warmup_fraction": 1.5}, r"warmup_fraction must lie in \[0, 1\], got 1\.5"),
        ({"final_fraction": -0.1}, r"final_fraction must lie in \[0, 1\], got -0\.1"),
        ({"learning_rate": math.nan}, r"learning_rate must be positive, got nan"),
        ({"learning_rate": math.inf}, r"learning_rate must be positive, got inf"),
        ({"weight_decay": -1.0}, r"weight_decay must be at least 0, got -1\.0"),
        ({"weight_decay": math.nan}, r"weight_decay must be at least 0, got nan"),
        ({"betas": (0.9, 1.0)}, r"betas must lie in \[0, 1\), got \(0\.9, 1\.0\)"),
        ({"betas": (-0.1, 0.9)}, r"betas must lie in \[0, 1\), got \(-0\.1, 0\.9\)"),
    ],
)
def test_impossible_optimisation_options_are_named(options: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        OptimizationConfig(**options)


def test_weight_decay_is_applied_to_matrices_only() -> None:
    recognizer = make_recognizer()
    recognizer.trainer = Trainer(max_steps=10, logger=False, enable_progress_bar=False, accelerator="cpu")
    decayed, rest = recognizer.configure_optimizers()["optimizer"].param_groups
    assert decayed["weight_decay"] == 0.01
    assert rest["weight_decay"] == 0
    assert [p.ndim for p in decayed["params"]] == [2]
    assert {p.ndim for p in rest["params"]} == {0, 1}


def test_a_training_without_an_end_is_refused_because_the_schedule_needs_one() -> None:
    recognizer = make_recognizer()
    recognizer.trainer = Trainer(max_epochs=-1, logger=False, enable_progress_bar=False, accelerator="cpu")
    with pytest.raises(InputError, match="max_epochs or trainer.max_steps"):
        recognizer.total_steps()


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"max_epochs": 3}, 30),
        ({"max_epochs": 3, "max_steps": 12}, 12),
        ({"max_epochs": 3, "max_steps": 1000}, 30),
        ({"max_epochs": 3, "limit_train_batches": 4}, 12),
        ({"max_epochs": 3, "limit_train_batches": 0.5}, 15),
        ({"max_epochs": 3, "accumulate_grad_batches": 4}, 9),
    ],
)
def test_the_schedule_ends_with_the_training(options: dict[str, Any], steps: int) -> None:
    class TenBatches(LightningDataModule):
        def batches_per_epoch(self, world_size: int) -> int:
            return 10

    recognizer = make_recognizer()
    trainer = Trainer(**options, logger=False, enable_progress_bar=False, accelerator="cpu")
    trainer._data_connector.attach_datamodule(recognizer, TenBatches())
    recognizer.trainer = trainer
    assert recognizer.total_steps() == steps


def test_dropout_of_a_step_depends_on_seed_epoch_and_step_alone() -> None:
    recognizer = make_recognizer()
    recognizer.trainer = Trainer(max_steps=10, logger=False, enable_progress_bar=False, accelerator="cpu")
    batch = make_batch(torch.randn(1, 5, 3), ["A"], [5])

    def draw(step: int) -> Tensor:
        recognizer.on_train_batch_start(batch, step)
        return torch.rand(4)

    first = draw(7)
    torch.rand(100)
    assert torch.equal(draw(7), first)
    assert not torch.equal(draw(8), first)
