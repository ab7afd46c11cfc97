from pathlib import Path

import pytest
import torch

from asr.errors import InputError
from asr.training.resume import check_consistency, check_weight_decay, read_resumed

OPTIONS = {
    "run": "runs/a",
    "seed": 1,
    "model": {"encoder": {"class_path": "X", "init_args": {"hidden_size": 64}}},
    "data": {"root": "corpus", "max_batch_seconds": 100.0, "num_workers": 2},
    "training": {"ema_decay": 0.99, "pictures": 2},
    "trainer": {"max_epochs": 10},
}


def changed(**blocks: object) -> dict[str, object]:
    return {**OPTIONS, **blocks}


def test_equal_options_continue() -> None:
    check_consistency(OPTIONS, dict(OPTIONS), Path("last.ckpt"))


@pytest.mark.parametrize(
    "options",
    [
        changed(run="runs/b"),
        changed(trainer={"max_epochs": 20, "devices": 2}),
        changed(data={"root": "elsewhere", "max_batch_seconds": 100.0, "num_workers": 0}),
        changed(training={"ema_decay": 0.99, "pictures": 0}),
    ],
)
def test_paths_trainer_and_workers_may_change(options: dict[str, object]) -> None:
    check_consistency(OPTIONS, options, Path("last.ckpt"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (changed(seed=2), "--seed: 2 now, 1 in the checkpoint"),
        (
            changed(model={"encoder": {"class_path": "X", "init_args": {"hidden_size": 32}}}),
            "--model.encoder.init_args.hidden_size: 32 now, 64 in the checkpoint",
        ),
        (
            changed(data={"root": "corpus", "max_batch_seconds": 50.0, "num_workers": 2}),
            "--data.max_batch_seconds: 50.0 now, 100.0 in the checkpoint",
        ),
        (changed(training={"pictures": 2}), "--training.ema_decay: None now, 0.99 in the checkpoint"),
        (
            changed(trainer={"max_epochs": 10, "precision": "bf16-mixed"}),
            "--trainer.precision: 'bf16-mixed' now, None in the checkpoint",
        ),
        (changed(trainer={"accumulate_grad_batches": 3}), "--trainer.accumulate_grad_batches: 3 now, None in the"),
    ],
)
def test_a_contradicting_option_is_named_with_both_values(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as raised:
        check_consistency(OPTIONS, options, Path("runs/a/checkpoints/last.ckpt"))
    assert words in str(raised.value)
    assert "runs/a/checkpoints/last.ckpt" in str(raised.value)


def test_a_checkpoint_of_weights_alone_points_to_a_warm_start(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "description": {}, "options": OPTIONS, "global_step": 3}, tmp_path / "x.ckpt")
    with pytest.raises(InputError, match=r"x\.ckpt: it cannot be continued, since it keeps no loops, .*--init_from"):
        read_resumed(tmp_path / "x.ckpt")


def test_a_training_whose_weight_decay_was_for_other_parameters_is_refused() -> None:
    model = torch.nn.LSTM(2, 3)
    check_weight_decay([2, 2], model, Path("last.ckpt"))
    with pytest.raises(InputError, match=r"last.ckpt cannot be continued: weight decay was for 3 .* is for 2 now"):
        check_weight_decay([3, 1], model, Path("last.ckpt"))
