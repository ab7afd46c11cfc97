"""Lightning's trainer: with which options, and which it is refused."""

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from asr.errors import InputError

TRAINER_DEFAULTS: dict[str, Any] = {
    "max_epochs": 30,
    "gradient_clip_val": 1.0,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 10,
    "enable_model_summary": False,
    "reload_dataloaders_every_n_epochs": 1,  # the plan of batches is a function of the epoch
    "use_distributed_sampler": False,  # the plan is divided over processes by the datamodule
}
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
"""Those that train: with others, features and weights are of different types."""


def make_trainer(config: dict[str, Any]) -> Trainer:
    """Lightning's trainer with these options.

    Raises:
        InputError: they cannot be used, or nothing can be trained with them; the message names option and value.
    """
    for name in ("max_steps", "max_epochs", "limit_train_batches"):
        if config.get(name) == 0:
            raise InputError(f"trainer.{name} is 0, with which nothing is trained")
    try:
        trainer = Trainer(**config)
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise unusable(error) from error
    if trainer.precision not in PRECISIONS:
        raise InputError(f"trainer.precision must be one of {', '.join(PRECISIONS)}, got {trainer.precision}")
    return trainer


def unusable(error: Exception) -> InputError:
    """The error of options with which Lightning does not train."""
    return InputError(f"these --trainer options cannot be used: {error}")
