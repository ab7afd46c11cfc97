import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from asr.cli import main
from asr.data.features import FeatureConfig, FeatureStatistics
from asr.data.tokens import CharacterTokenizer
from asr.encoders import StackedRNNEncoder
from asr.errors import InputError
from asr.model import CTCModel, LoadedModel, ModelDescription, build_encoder, export_model, load_model, read_checkpoint


def make_description() -> ModelDescription:
    encoder = StackedRNNEncoder(num_features=20, hidden_size=8, num_layers=1)
    statistics = FeatureStatistics(mean=tuple(range(20)), std=(2.0,) * 20, frames=100)
    return ModelDescription(
        encoder.describe(), FeatureConfig(num_mels=20), statistics, CharacterTokenizer(" AB").to_dict(), "english/1"
    )


def write_checkpoint(path: Path, model: CTCModel, description: ModelDescription) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {f"model.{name}": weight for name, weight in model.state_dict().items()}
    torch.save({"state_dict": state, "description": description.to_dict()}, path)
    return path


def same_function(first: CTCModel, second: CTCModel, tolerance: float = 0.0) -> bool:
    features, lengths = torch.randn(2, 30, 20), torch.tensor([30, 17])
    with torch.no_grad():
        difference = first.eval()(features, lengths)[0] - second.eval()(features, lengths)[0]
    return float(difference.abs().max()) <= tolerance


def test_a_description_survives_json() -> None:
    description = make_description()
    assert ModelDescription.from_dict(json.loads(json.dumps(description.to_dict()))) == description


def test_log_probs_are_normalised_and_in_float32() -> None:
    model = make_description().build()
    log_probs, _ = model(torch.randn(1, 9, 20), torch.tensor([9]))
    assert log_probs.dtype == torch.float32
    assert torch.allclose(log_probs.exp().sum(-1), torch.ones(log_probs.shape[:2]))


def test_the_head_is_counted_in_parameters_and_multiply_adds() -> None:
    model = make_description().build()
    head = model.head.weight.numel()
    encoder = sum(p.numel() for p in model.encoder.parameters())
    assert model.parameter_count() == encoder + head + 4
    frames = int(model.encoder.output_lengths(torch.tensor(100)))
    assert model.multiply_adds(100) == model.encoder.multiply_adds(100) + frames * head


def test_a_checkpoint_alone_rebuilds_its_model(tmp_path: Path) -> None:
    description = make_description()
    model = description.build()
    loaded = load_model(write_checkpoint(tmp_path / "a.ckpt", model, description))
    assert same_function(model, loaded.model)
    assert loaded.description == description
    assert loaded.tokenizer.tokens == ("<blank>", " ", "A", "B")
    assert not loaded.model.training


def test_a_run_folder_stands_for_its_best_checkpoint_or_else_its_last(tmp_path: Path) -> None:
    description = make_description()
    best, last = description.build(), description.build()
    write_checkpoint(tmp_path / "checkpoints" / "last.ckpt", last, description)
    assert same_function(load_model(tmp_path).model, last)
    write_checkpoint(tmp_path / "checkpoints" / "best.ckpt", best, description)
    assert same_function(load_model(tmp_path).model, best)


@pytest.mark.parametrize(("half", "tolerance"), [(False, 0.0), (True, 2e-3)])
def test_an_export_computes_what_the_model_did(tmp_path: Path, half: bool, tolerance: float) -> None:
    description = make_description()
    checkpoint = write_checkpoint(tmp_path / "a.ckpt", description.build(), description)
    assert main(["export", str(checkpoint), "-o", str(tmp_path / "out"), *["--half"] * half]) == 0
    exported = load_model(tmp_path / "out")
    assert same_function(load_model(checkpoint).model, exported.model, tolerance)
    assert exported.description == description


def test_metadata_travels_with_an_export_but_for_paths_of_the_machine(tmp_path: Path) -> None:
    description = make_description()
    loaded = load_model(write_checkpoint(tmp_path / "a.ckpt", description.build(), description))
    known = {"name": "demo", "source": "a.ckpt", "sha256": "0", "data_root": "/home/somebody/data"}
    export_model(LoadedModel(*loaded[:4], known), tmp_path / "out")
    metadata = load_model(tmp_path / "out").metadata
    weights = tmp_path / "out" / "model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert metadata == {"name": "demo", "source": str(weights), "sha256": digest}


def test_missing_models_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model at .*nowhere: there is no such file"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(InputError, match="neither model.json nor checkpoints/best.ckpt"):
        load_model(tmp_path)


def test_a_folder_in_a_checkpoints_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the checkpoint .*: Is a directory"):
        read_checkpoint(tmp_path)


def test_files_that_are_no_checkpoints_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(InputError, match=r"text\.ckpt is not a whole checkpoint"):
        load_model(tmp_path / "text.ckpt")
    for content in ({"state_dict": {}}, {"state_dict": None, "description": {}}, {"description": "x"}, [1]):
        torch.save(content, tmp_path / "other.ckpt")
        with pytest.raises(InputError, match=r"other\.ckpt is a checkpoint, but not one of `asr fit`"):
            load_model(tmp_path / "other.ckpt")


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def with_other_bits(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(255 - byte for byte in content[middle : middle + 9]) + content[middle + 9 :]


@pytest.mark.parametrize(
    "damage", [truncated, with_other_bits, lambda content: b"", lambda content: b"PK\3\4" + bytes(99)]
)
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    description = make_description()
    path = write_checkpoint(tmp_path / "bad.ckpt", description.build(), description)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"bad\.ckpt is not a whole checkpoint: .*(zip|checksum)"):
        load_model(path)


def test_a_checkpoint_with_code_in_it_is_not_read(tmp_path: Path) -> None:
    torch.save({"description": {}, "state_dict": {}, "more": Path.cwd}, tmp_path / "code.ckpt")
    with pytest.raises(InputError, match=r"code\.ckpt holds other things than tensors and plain data"):
        load_model(tmp_path / "code.ckpt")


@pytest.mark.parametrize("change", [{"encoder": {}}, {"encoder": 3}, {"tokens": {"kind": "x"}}, {"statistics": [1]}])
def test_a_description_of_no_model_is_refused_by_file(tmp_path: Path, change: dict[str, Any]) -> None:
    description = make_description()
    state = {f"model.{name}": weight for name, weight in description.build().state_dict().items()}
    torch.save({"state_dict": state, "description": description.to_dict() | change}, tmp_path / "odd.ckpt")
    with pytest.raises(InputError, match=r"odd\.ckpt describes no model that can be used"):
        load_model(tmp_path / "odd.ckpt")


def test_weights_of_another_model_are_refused_by_name(tmp_path: Path) -> None:
    description = make_description()
    other = CTCModel(StackedRNNEncoder(num_features=20, hidden_size=9, num_layers=1), 4)
    path = write_checkpoint(tmp_path / "other.ckpt", other, description)
    with pytest.raises(InputError, match=r"other\.ckpt do not fit the model it describes"):
        load_model(path)


def test_truncated_safetensors_are_refused_by_name(tmp_path: Path) -> None:
    description = make_description()
    export_model(load_model(write_checkpoint(tmp_path / "a.ckpt", description.build(), description)), tmp_path / "out")
    weights = tmp_path / "out" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load_model(tmp_path / "out")


def test_a_class_path_never_imports_a_module() -> None:
    for class_path in ("os.system", "antigravity.Encoder", "asr.encoders.Nothing", "asr.model.CTCModel"):
        with pytest.raises(InputError, match="is not an encoder"):
            build_encoder(class_path, {})


def test_encoder_arguments_that_do_not_exist_are_named() -> None:
    with pytest.raises(InputError, match="hiden_size"):
        build_encoder("asr.encoders.StackedRNNEncoder", {"num_features": 20, "hiden_size": 3})


def test_a_description_of_a_later_format_asks_for_an_update() -> None:
    with pytest.raises(InputError, match="format 99; this version reads up to 1"):
        ModelDescription.from_dict({**make_description().to_dict(), "format": 99})


def test_a_description_without_tokens_is_refused() -> None:
    data = make_description().to_dict()
    del data["tokens"]
    with pytest.raises(InputError, match="tokens"):
        ModelDescription.from_dict(data)
