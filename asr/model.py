"""Encoder + CTC head, and everything needed to use it on audio, rebuilt from plain data."""

import hashlib
import importlib
import pickle
import sys
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from asr.data.features import FeatureConfig, FeatureStatistics, LogMel
from asr.data.tokens import Tokenizer, tokenizer_from_dict
from asr.encoders.contract import Encoder
from asr.errors import InputError
from asr.files import atomic_writer, read_json, write_json

SECONDS = 10
"""Multiply-adds are those of an utterance of this length, so that what its edges cost is spread as it is in use."""
FORMAT = 1
"""Version of the plain-data description; a file with a higher one is refused."""


OF_THIS_MACHINE = ("source", "sha256", "data_root")
"""What is known of a model where it was trained, and is not exported."""


PRETRAINED = "pretrained"
"""Stands for the model that comes with the package wherever a model is asked for."""
PACKAGED = Path(__file__).parent / PRETRAINED
"""Where that model is."""
MODEL_HELP = "run folder, checkpoint or exported folder, or 'pretrained', which comes with the package"
"""Of the commands that take a model."""


NEEDED = ("description", "state_dict")
"""What a checkpoint must hold to be used."""


class CTCModel(nn.Module):
    """An encoder and a linear layer to V tokens: features (B, T, M) -> log-probabilities (B, T', V) in float32."""

    def __init__(self, encoder: Encoder, num_tokens: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.output_size, num_tokens)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, M), lengths (B,) -> log-probabilities (B, T', V), lengths (B,)."""
        frames, lengths = self.encoder(features, lengths)
        return self.head(frames).float().log_softmax(dim=-1), lengths

    def parameter_count(self) -> int:
        """Trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def multiply_adds(self, num_frames: int) -> int:
        """Multiply-adds for one utterance of `num_frames` feature frames, the head included."""
        output = int(self.encoder.output_lengths(torch.tensor(num_frames)))
        return self.encoder.multiply_adds(num_frames) + output * self.head.weight.numel()

    def multiply_adds_per_second(self, frames_per_second: float) -> int:
        """Multiply-adds for a second of an utterance of `SECONDS`."""
        return round(self.multiply_adds(round(SECONDS * frames_per_second)) / SECONDS)


@dataclass(frozen=True)
class ModelDescription:
    """What turns audio into text beside the weights.

    Args:
        encoder: `Encoder.describe()`.
        features: how log-mel features are computed.
        statistics: their mean and deviation for global normalisation, else None.
        tokens: `Tokenizer.to_dict()`.
        normalizer: identifier of the text normaliser of the transcripts it was trained on.
    """

    encoder: dict[str, Any]
    features: FeatureConfig
    statistics: FeatureStatistics | None
    tokens: dict[str, Any]
    normalizer: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data (str, int, float, bool, None, list, dict)."""
        statistics = None
        if self.statistics is not None:
            statistics = {
                "mean": list(self.statistics.mean),
                "std": list(self.statistics.std),
                "frames": self.statistics.frames,
            }
        return {
            "format": FORMAT,
            "encoder": self.encoder,
            "features": asdict(self.features),
            "statistics": statistics,
            "tokens": self.tokens,
            "normalizer": self.normalizer,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ModelDescription":
        """The inverse of `to_dict`.

        Raises:
            InputError: made by a later version, or not of this form.
        """
        if data.get("format", 0) > FORMAT:
            raise InputError(f"the model has format {data['format']}; this version reads up to {FORMAT}: update asr")
        try:
            statistics = data["statistics"]
            if statistics is not None:
                statistics = FeatureStatistics(
                    tuple(statistics["mean"]), tuple(statistics["std"]), statistics["frames"]
                )
            return cls(
                data["encoder"], FeatureConfig(**data["features"]), statistics, data["tokens"], data["normalizer"]
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"not a model description: {error}") from error

    def build(self) -> CTCModel:
        """A model of this description, with fresh weights."""
        return CTCModel(build_encoder(**self.encoder), len(self.tokens["tokens"]))


def build_encoder(class_path: str, init_args: dict[str, Any]) -> Encoder:
    """Make the encoder that `class_path` names: one of `asr.encoders`, or of a module that is imported already.

    Nothing is imported because a file names it, so that a model from a stranger runs no code of the stranger's choice.

    Raises:
        InputError: no such class, not an encoder, or arguments that it does not take.
    """
    module_name, _, class_name = class_path.rpartition(".")
    if module_name.split(".")[:2] == ["asr", "encoders"]:
        importlib.import_module("asr.encoders")
    module = sys.modules.get(module_name)
    encoder_class = getattr(module, class_name, None)
    if not (isinstance(encoder_class, type) and issubclass(encoder_class, Encoder)):
        raise InputError(f"{class_path!r} is not an encoder of asr.encoders, nor one of a module imported before")
    try:
        return encoder_class(**init_args)
    except TypeError as error:
        raise InputError(f"{class_path} cannot be made from {init_args}: {error}") from error


class LoadedModel(NamedTuple):
    """A trained model, ready to be used (in eval mode), with what belongs to it.

    `metadata` holds what is known of its training: name, seed, training_seconds, step, ... (those of a run folder are
    of the whole run, also if a later checkpoint was not better); and `source`, its file, with that file's `sha256`.
    """

    model: CTCModel
    description: ModelDescription
    tokenizer: Tokenizer
    features: LogMel
    metadata: dict[str, Any]


def model_path(path: Path | str) -> Path:
    """Where a model is: as given, or in the package if "pretrained" is given and no such file or folder is there."""
    return PACKAGED if str(path) == PRETRAINED and not Path(path).exists() else Path(path)


def load_model(path: Path | str, device: str = "cpu") -> LoadedModel:
    """Load an exported folder (model.json), a run folder (its best checkpoint, else its last), a `.ckpt` file, or
    "pretrained", the model that comes with the package.

    Only plain data and tensors are read: nothing in the file is executed.

    Raises:
        InputError: nothing of that kind at `path`, or its weights do not fit its description; the message names both.
    """
    path = model_path(path)
    if (path / "model.json").is_file():
        source, content = path / "model.safetensors", read_json(path / "model.json")
        described, metadata = content.get("description"), content.get("metadata", {})
        weights, sha256 = _read_safetensors(source)
    else:
        source = find_checkpoint(path)
        checkpoint, sha256 = _read_checkpoint(source)
        described, weights = checkpoint["description"], checkpoint_weights(checkpoint)
        metadata = {**checkpoint.get("metadata", {}), "step": checkpoint.get("global_step")}
        if (path / "run.json").is_file():
            metadata |= read_json(path / "run.json")
    try:
        description = ModelDescription.from_dict(described)
        model = description.build()
        features = LogMel(description.features, description.statistics)
        tokenizer = tokenizer_from_dict(description.tokens)
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # whatever a stranger's file holds
        raise InputError(f"{source} describes no model that can be used: {error}") from error
    try:
        model.load_state_dict({name: weight.float() for name, weight in weights.items()})
    except RuntimeError as error:
        raise InputError(f"the weights of {source} do not fit the model it describes: {error}") from error
    model.eval().to(device)
    metadata |= {"source": str(source), "sha256": sha256}
    return LoadedModel(model, description, tokenizer, features, metadata)


def find_checkpoint(path: Path | str) -> Path:
    """The checkpoint that `path` stands for: itself if a file, else best.ckpt or last.ckpt of the run folder.

    Raises:
        InputError: there is none.
    """
    path = Path(path)
    candidates = [path] if path.is_file() else [path / "checkpoints" / name for name in ("best.ckpt", "last.ckpt")]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    if not path.exists():
        raise InputError(f"no model at {path}: there is no such file or folder")
    raise InputError(f"no model in {path}: neither model.json nor checkpoints/best.ckpt or last.ckpt is there")


def read_checkpoint(path: Path | str) -> dict[str, Any]:
    """Read a checkpoint of `asr fit` (tensors and plain data only).

    Raises:
        InputError: the file cannot be read or is not such a checkpoint.
    """
    return _read_checkpoint(path)[0]


def _read_checkpoint(path: Path | str) -> tuple[dict[str, Any], str]:
    """The checkpoint and the SHA-256 of the very bytes it was read from: training may put another one in its place."""
    try:
        with open(path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            damaged = zipfile.ZipFile(file).testzip()  # torch does not look at the checksums
            if damaged is not None:
                raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
            file.seek(0)
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    except pickle.UnpicklingError as error:
        raise InputError(f"{path} holds other things than tensors and plain data, and is not read") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is not a whole checkpoint: {reason}") from error
    if not (isinstance(checkpoint, dict) and all(isinstance(checkpoint.get(key), dict) for key in NEEDED)):
        raise InputError(f"{path} is a checkpoint, but not one of `asr fit`: it describes no recogniser")
    return checkpoint, sha256


def checkpoint_weights(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """The weights of the `CTCModel` in a checkpoint of the recogniser (the averaged ones if weights were averaged)."""
    prefix = "model."
    return {n.removeprefix(prefix): w for n, w in checkpoint["state_dict"].items() if n.startswith(prefix)}


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], str]:
    try:
        content = path.read_bytes()
        return load(content), hashlib.sha256(content).hexdigest()
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot read the weights {path}: {error}") from error


def export_model(loaded: LoadedModel, folder: Path | str, half: bool = False) -> None:
    """Write `model.safetensors` (float32, or float16 when `half`) and `model.json` into `folder`.

    What is known of its training is kept, but for paths of this machine: an export is made to be given away.
    """
    folder = Path(folder)
    dtype = torch.float16 if half else torch.float32
    weights = {n: w.detach().cpu().to(dtype).contiguous() for n, w in loaded.model.state_dict().items()}
    with atomic_writer(folder / "model.safetensors") as file:
        file.write(save(weights))
    metadata = {key: value for key, value in loaded.metadata.items() if key not in OF_THIS_MACHINE}
    write_json(folder / "model.json", {"description": loaded.description.to_dict(), "metadata": metadata})
