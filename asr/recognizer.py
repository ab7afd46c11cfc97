"""The LightningModule: encoder + CTC head + optimiser + corpus-level WER."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from asr.data.batch import Batch
from asr.data.features import FeatureConfig, FeatureStatistics
from asr.data.tokens import tokenizer_from_dict
from asr.decode.greedy import greedy_decode
from asr.encoders.contract import Encoder
from asr.errors import InputError
from asr.model import CTCModel, ModelDescription
from asr.randomness import derive_seed
from asr.score.errors import ErrorCounts, character_errors, word_errors


@dataclass(frozen=True)
class OptimizationConfig:
    """AdamW with warm-up and decay.

    Args:
        learning_rate: the peak, reached at the end of warm-up.
        weight_decay: decoupled, on matrices only (biases, peepholes and norms are left alone, in whatever shape a
            module keeps them).
        betas: AdamW's.
        warmup_fraction: share of all steps in which the rate rises linearly from `learning_rate / 100`.
        schedule: what follows: "cosine" or "linear" decay to `final_fraction`, or "constant".
        final_fraction: the last rate as a share of the peak.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_fraction: float = 0.1
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    final_fraction: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"model.optimization.learning_rate must be positive, got {self.learning_rate}")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"model.optimization.weight_decay must be at least 0, got {self.weight_decay}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(f"model.optimization.betas must lie in [0, 1), got {self.betas}")
        for name in ("warmup_fraction", "final_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"model.optimization.{name} must lie in [0, 1], got {getattr(self, name)}")


def learning_rate_factor(optimization: OptimizationConfig, total_steps: int) -> Callable[[int], float]:
    """The learning rate at a step, as a share of the peak: a function of the step alone.

    >>> factor = learning_rate_factor(OptimizationConfig(schedule="linear", final_fraction=0.0), total_steps=100)
    >>> factor(0), factor(10), factor(55), factor(100)
    (0.01, 1.0, 0.5, 0.0)
    """
    warmup = round(optimization.warmup_fraction * total_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return 0.01 + 0.99 * step / warmup
        progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
        shape = {
            "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
            "linear": 1 - progress,
            "constant": 1.0,
        }[optimization.schedule]
        return optimization.final_fraction + (1 - optimization.final_fraction) * shape

    return factor


def divide_by_weight_decay(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """A module's parameters that weight decay is for, which are its matrices, and the others.

    Grids keep the biases and peepholes of all their directions as one matrix: those are told by their names.
    """
    decayed, others = [], []
    for name, parameter in module.named_parameters():
        is_matrix = parameter.ndim > 1 and not name.rpartition(".")[2].startswith(("bias", "peephole"))
        (decayed if is_matrix else others).append(parameter)
    return decayed, others


class NonFiniteLoss(InputError):
    """The CTC loss of some utterances is infinite or not a number; the message names them."""


class _Evaluated(NamedTuple):
    """What validation keeps of one utterance."""

    utterance_id: str
    loss: float
    tokens: int
    words: ErrorCounts
    characters: ErrorCounts


class Recognizer(LightningModule):
    """Trains a `CTCModel`: CTC loss in float32, AdamW, validation by corpus-level WER of greedy decoding.

    Dropout and everything else that draws from torch's generator in a training step is a function of (seed, epoch,
    step, rank): a resumed run continues exactly as an uninterrupted one.

    Args:
        encoder: the architecture, any of `asr.encoders`.
        features: how features are computed (set from the data).
        statistics: their mean and deviation, for global normalisation (set from the data).
        tokens: the token set, `Tokenizer.to_dict()` (set from the data).
        normalizer: the text normaliser of the transcripts (set from the data).
        optimization: learning rate, schedule, weight decay.
        seed: of dropout; `--seed` sets it together with the data's and the initial weights'.
    """

    def __init__(
        self,
        encoder: Encoder,
        features: FeatureConfig,
        statistics: FeatureStatistics | None,
        tokens: dict[str, Any],
        normalizer: str,
        optimization: OptimizationConfig = OptimizationConfig(),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.description = ModelDescription(encoder.describe(), features, statistics, tokens, normalizer)
        self.tokenizer = tokenizer_from_dict(tokens)
        self.model = CTCModel(encoder, len(self.tokenizer.tokens))
        self.optimization = optimization
        self.seed = seed
        self.validated_epoch = -1
        self.validated: dict[str, float] = {}  # metrics of the last validation
        self._evaluated: list[_Evaluated] = []

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, M), lengths (B,) -> log-probabilities (B, T', V), lengths (B,)."""
        return self.model(features, lengths)

    def utterance_losses(self, batch: Batch) -> Tensor:
        """CTC loss of each utterance (B,), in nats, float32.

        Raises:
            NonFiniteLoss: naming the utterances.
        """
        log_probs, lengths = self(batch.features, batch.feature_lengths)
        with torch.autocast(device_type=self.device.type, enabled=False):
            losses = torch.nn.functional.ctc_loss(
                log_probs.float().transpose(0, 1), batch.tokens, lengths, batch.token_lengths, reduction="none"
            )
        if not torch.isfinite(losses).all():
            self._refuse(batch, lengths, losses)
        return losses

    def _refuse(self, batch: Batch, lengths: Tensor, losses: Tensor) -> None:
        bad = [
            f"{utterance_id} (loss {loss}, {int(length)} frames, {int(tokens)} tokens)"
            for utterance_id, loss, length, tokens in zip(
                batch.utterance_ids, losses.tolist(), lengths, batch.token_lengths, strict=True
            )
            if not math.isfinite(loss)
        ]
        raise NonFiniteLoss(
            f"the CTC loss is not finite at step {self.global_step} for {'; '.join(bad)}. An infinite loss means fewer "
            "frames than tokens (a smaller model.encoder stride helps), NaN an unstable model (lower "
            "model.optimization.learning_rate) or broken audio"
        )

    def batch_loss(self, batch: Batch) -> Tensor:
        """The loss that training minimises: summed over the batch, divided by its number of tokens."""
        return self.utterance_losses(batch).sum() / batch.token_lengths.sum().clamp(min=1)

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.trainer.datamodule.check_feasible(self.model.encoder.output_lengths)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        torch.manual_seed(derive_seed(self.seed, "step", self.current_epoch, batch_idx, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.batch_loss(batch)
        size = len(batch.utterance_ids)
        self.log("train_loss_step", loss, prog_bar=True, batch_size=size)
        self.log("learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"], batch_size=size)
        return loss

    def on_train_start(self) -> None:
        # Lightning forgets them on a resume, and what is decided at the end of the epoch would be decided without them.
        self.trainer.callback_metrics.update({name: torch.tensor(value) for name, value in self.validated.items()})

    def on_validation_epoch_start(self) -> None:
        self._evaluated = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        log_probs, lengths = self(batch.features, batch.feature_lengths)
        losses = torch.nn.functional.ctc_loss(
            log_probs.transpose(0, 1), batch.tokens, lengths, batch.token_lengths, reduction="none"
        )
        for index, ids in enumerate(greedy_decode(log_probs, lengths)):
            reference, hypothesis = batch.texts[index], self.tokenizer.decode(ids)
            self._evaluated.append(
                _Evaluated(
                    batch.utterance_ids[index],
                    float(losses[index]),
                    int(batch.token_lengths[index]),
                    word_errors(reference, hypothesis),
                    character_errors(reference, hypothesis),
                )
            )

    def on_validation_epoch_end(self) -> None:
        self.validated_epoch = self.current_epoch
        once = self._gather_once()
        words = sum((row.words for row in once), ErrorCounts())
        characters = sum((row.characters for row in once), ErrorCounts())
        tokens = sum(row.tokens for row in once)
        metrics = {
            "val_loss": sum(row.loss for row in once) / max(1, tokens),
            "val_wer": words.rate,
            "val_cer": characters.rate,
        }
        self.validated = {name: float("nan") if value is None else value for name, value in metrics.items()}
        # Every process computed the same numbers from the same rows: nothing is left to be averaged.
        self.log_dict(self.validated, prog_bar=True, sync_dist=False)

    def _gather_once(self) -> list[_Evaluated]:
        """The rows of all processes, each utterance once (processes repeat batches so that all have as many)."""
        rows = self._evaluated
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            gathered: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(gathered, rows)
            rows = [row for part in gathered for row in part]
        return sorted({row.utterance_id: row for row in rows}.values())

    def total_steps(self) -> int:
        """Optimiser steps of the whole training, for the schedule: max_steps or max_epochs, whichever ends first."""
        trainer = self.trainer
        limits = [trainer.max_steps] if trainer.max_steps > 0 else []
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            batches, limit = trainer.datamodule.batches_per_epoch(trainer.world_size), trainer.limit_train_batches
            batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
            limits.append(trainer.max_epochs * math.ceil(batches / trainer.accumulate_grad_batches))
        if not limits:
            raise InputError("the schedule needs trainer.max_epochs or trainer.max_steps, and neither is set")
        return max(1, min(limits))

    def configure_optimizers(self) -> dict[str, Any]:
        decayed, left_alone = divide_by_weight_decay(self)
        options = self.optimization
        on_cpu = all(p.device.type == "cpu" for p in self.parameters())
        optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": options.weight_decay}, {"params": left_alone, "weight_decay": 0.0}],
            lr=options.learning_rate,
            betas=options.betas,
            fused=on_cpu or None,
        )
        if on_cpu:  # no gradient is scaled there, so that Lightning may clip them
            optimizer._step_supports_amp_scaling = False
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate_factor(options, self.total_steps()))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["description"] = self.description.to_dict()
        checkpoint["validated"] = {"epoch": self.validated_epoch, "metrics": self.validated}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        kept = checkpoint.get("validated", {"epoch": -1, "metrics": {}})
        self.validated_epoch, self.validated = kept["epoch"], kept["metrics"]
