"""What commands beside `asr fit` take from its configurations: features, augmentation, the encoder."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import torch

from asr.config import block_of, construct, full_class_path, read_config, typed_options, typed_where_possible
from asr.data.features import FeatureConfig
from asr.encoders.contract import Encoder
from asr.errors import InputError
from asr.model import build_encoder

if TYPE_CHECKING:
    from asr.data.augmentation import AugmentationConfig


class NoModelError(InputError):
    """A configuration names no encoder: others use it as their base."""


@dataclass(frozen=True)
class Experiment:
    """A configuration of `asr fit`, as far as others ask.

    Args:
        content: its blocks, merged over those of its bases; empty for all defaults.
        path: of its file, for messages.
    """

    content: dict[str, Any]
    path: Path | str

    def features(self, **changes: Any) -> FeatureConfig:
        """`data.features`, with fields of it changed.

        Raises:
            InputError: an option cannot be used; the message names file, key and value.
        """
        return construct(
            FeatureConfig, {**block_of(self.content, "data.features"), **changes}, "data.features", self.path
        )

    def augmentation(self) -> "AugmentationConfig":
        """`data.augmentation`; errors as for `features`."""
        from asr.data.augmentation import AugmentationConfig  # lhotse is slow to import, and few ask

        fields = block_of(self.content, "data.augmentation")
        return construct(AugmentationConfig, fields, "data.augmentation", self.path)

    @property
    def has_model(self) -> bool:
        """Whether there is a `model.encoder`."""
        return bool(block_of(self.content, "model.encoder"))

    def encoder(self, num_features: int) -> Encoder:
        """`model.encoder` for M features, without memory for its weights: it can be asked, not run.

        Raises:
            NoModelError: there is none.
            InputError: it has no class, or cannot be made from its options; the message names the file.
        """
        if not self.has_model:
            raise NoModelError(f"{self.path} describes no model: it has no model.encoder")
        block = block_of(self.content, "model.encoder")
        name = block.get("class_path")
        if not isinstance(name, str):
            raise InputError(f"model.encoder of {self.path} has no class_path: {block!r}")
        name = full_class_path(name)
        arguments = {**(block.get("init_args") or {}), "num_features": num_features}
        types_of = {**dict.fromkeys(arguments, Any), **_argument_types(name)}
        try:
            with torch.device("meta"):
                encoder = build_encoder(name, typed_where_possible(arguments, types_of))
        except (ValueError, TypeError, RuntimeError) as error:  # InputErrors, and what torch says of odd sizes
            raise InputError(f"model.encoder of {self.path}: {' '.join(str(error).split())}") from error
        # After the encoder, which knows the limits of its options and has more to say of a wrong one.
        typed_options(arguments, types_of, "model.encoder.init_args", self.path)
        return encoder


def read_experiment(path: Path | str) -> Experiment:
    """Read a configuration with its bases.

    Raises:
        InputError: see `asr.config.read_config`.
    """
    return Experiment(read_config(path), path)


def _argument_types(class_path: str) -> dict[str, Any]:
    """Argument -> type, of a class that is imported already; of another, which `build_encoder` refuses, nothing."""
    module, _, name = class_path.rpartition(".")
    encoder_class = getattr(sys.modules.get(module), name, None)
    return get_type_hints(encoder_class.__init__) if isinstance(encoder_class, type) else {}
