"""What the callbacks of `asr fit` do, seen from a training of a few steps."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import short_training
import torch
from lightning.pytorch import Trainer
from short_training import last
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from asr.data.audio import read_audio
from asr.data.batch import Batch
from asr.errors import InputError
from asr.files import read_jsonl
from asr.model import checkpoint_weights, load_model
from asr.recognizer import Recognizer
from asr.training import callbacks, pictures
from asr.training.callbacks import DataWait, ProgressBar
from asr.training.command import EmaWeights


def fit(config: Path, *options: str) -> int:
    return short_training.fit(config, "--trainer.max_epochs", "1", "--data.num_workers", "0", *options)


def weights_after_each_step(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """The weights that the optimiser has made, of a training that follows."""
    made: list[dict[str, torch.Tensor]] = []

    def note(self: Recognizer, outputs: Any, batch: Batch, batch_idx: int) -> None:
        made.append({name: value.detach().clone() for name, value in self.model.state_dict().items()})

    monkeypatch.setattr(Recognizer, "on_train_batch_end", note)
    return made


def test_saved_weights_are_the_moving_average_by_its_definition(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = weights_after_each_step(monkeypatch)
    assert fit(config, "--training.ema_decay", "0.4") == 0
    average = made[0]
    for n, weights in enumerate(made[1:], start=1):
        decay = min(0.4, (1 + n) / (10 + n))
        average = {name: decay * average[name] + (1 - decay) * weights[name] for name in average}
    saved = checkpoint_weights(last(tmp_path / "run"))
    torch.testing.assert_close(saved, average)
    assert not torch.allclose(saved["head.weight"], made[-1]["head.weight"], rtol=1e-3)
    assert len(made) > 5  # of which the last ones have the decay that was asked for


def test_a_training_without_averaging_saves_the_trained_weights(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = weights_after_each_step(monkeypatch)
    assert fit(config, "--training.ema_decay", "null") == 0
    torch.testing.assert_close(checkpoint_weights(last(tmp_path / "run")), made[-1], rtol=0, atol=0)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5])
def test_an_impossible_decay_is_refused(decay: float) -> None:
    with pytest.raises(InputError, match="ema_decay must lie between 0 and 1"):
        EmaWeights(decay)


def test_the_largest_batch_is_tried_before_the_first_step_and_leaves_no_trace(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[int, int]] = []
    batch_loss = Recognizer.batch_loss

    def note(self: Recognizer, batch: Batch) -> torch.Tensor:
        if self.global_step == 0:
            assert all(parameter.grad is None for parameter in self.parameters())
        tried.append((self.global_step, batch.features.shape[0] * batch.features.shape[1]))
        return batch_loss(self, batch)

    monkeypatch.setattr(Recognizer, "batch_loss", note)
    assert fit(config) == 0
    steps = last(tmp_path / "run")["global_step"]
    trials, trained = tried[:-steps], tried[-steps:]
    assert {step for step, _ in trials} == {0}
    assert max(frames for _, frames in trials) == max(frames for _, frames in trained)


def test_a_largest_batch_that_does_not_fit_stops_with_what_to_change(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(self: Recognizer, batch: Batch) -> torch.Tensor:
        raise torch.OutOfMemoryError("tried to allocate 80 GiB")

    monkeypatch.setattr(Recognizer, "batch_loss", full)
    assert fit(config) == 1
    error = capfd.readouterr().err
    assert "the largest training batch, " in error
    assert "lower --data.max_batch_seconds (now 5" in error
    assert not (tmp_path / "run" / "run.json").exists()


def test_gradients_are_clipped_to_norm_1_before_each_step(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[tuple[float, float]] = []
    clip = Recognizer.configure_gradient_clipping

    def norm(self: Recognizer) -> float:
        return float(torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in self.parameters()])))

    def note(self: Recognizer, *arguments: Any, **options: Any) -> None:
        before = norm(self)
        clip(self, *arguments, **options)
        norms.append((before, norm(self)))

    monkeypatch.setattr(Recognizer, "configure_gradient_clipping", note)
    assert fit(config) == 0
    assert any(before > 1.1 for before, _ in norms)
    for before, after in norms:
        assert after == pytest.approx(min(1.0, before), rel=1e-4)


def test_waiting_is_a_share_of_the_time_and_speed_is_utterances_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 104.0, 110.0])
    monkeypatch.setattr(callbacks.time, "perf_counter", lambda: next(clock))
    logged: list[tuple[str, float]] = []
    module = SimpleNamespace(log=lambda name, value, **options: logged.append((name, value)))
    trainer = SimpleNamespace(train_dataloader=SimpleNamespace(waited=1.0))
    wait = DataWait()
    wait.on_train_epoch_start(trainer, module)
    wait.on_train_batch_end(trainer, module, None, SimpleNamespace(utterance_ids=("a", "b")), 0)
    trainer.train_dataloader.waited = 7.0
    wait.on_train_batch_end(trainer, module, None, SimpleNamespace(utterance_ids=("c", "d", "e")), 1)
    names = ("data_wait", "utterances_per_second")
    assert logged == [*zip(names, (1 / 4, 2 / 4), strict=True), *zip(names, (7 / 10, 5 / 10), strict=True)]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_progress_bar_is_drawn_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{stream}", SimpleNamespace(isatty=lambda: terminal))
    assert ProgressBar().is_enabled == terminal


@pytest.mark.parametrize("wanted", [True, False])
def test_the_progress_bar_can_be_switched_off(config: Path, monkeypatch: pytest.MonkeyPatch, wanted: bool) -> None:
    bars: list[bool] = []
    monkeypatch.setattr(
        Trainer, "fit", lambda self, *a, **k: bars.append(any(isinstance(c, ProgressBar) for c in self.callbacks))
    )
    fit(config, "--trainer.enable_progress_bar", str(wanted).lower())
    assert bars == [wanted]


def test_the_progress_bar_shows_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {"v_num": 0, "train_loss_step": 1.5}
    monkeypatch.setattr(callbacks.TQDMProgressBar, "get_metrics", lambda self, trainer, module: dict(shown))
    assert ProgressBar().get_metrics(SimpleNamespace(), SimpleNamespace()) == {"train_loss_step": 1.5}


def test_a_checkpoint_every_few_steps_survives_a_sudden_end(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_at_the_sixth(self: Recognizer, batch: Batch, batch_idx: int) -> None:
        if self.global_step == 5:
            raise InputError("a sudden end")

    monkeypatch.setattr(Recognizer, "on_train_batch_start", fail_at_the_sixth)
    assert fit(config, "--training.checkpoint_every_n_steps", "2") == 1
    assert last(tmp_path / "run")["global_step"] == 4


def test_the_first_dev_utterances_are_drawn_as_the_averaged_model_hears_them(
    config: Path, tmp_path: Path, tone_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[torch.Tensor, str]] = []
    draw = pictures.posterior_figure

    def note(features: torch.Tensor, log_probs: torch.Tensor, tokens: Any, title: str, seconds: float) -> Any:
        drawn.append((log_probs, title))
        return draw(features, log_probs, tokens, title, seconds)

    monkeypatch.setattr(pictures, "posterior_figure", note)
    assert fit(config, "--training.pictures", "1", "--training.ema_decay", "0.4") == 0
    [(log_probs, title)] = drawn
    name, reference, _ = title.splitlines()
    model = load_model(tmp_path / "run" / "checkpoints" / "last.ckpt")
    [cut] = [cut for cut in read_jsonl(tone_root / "dev.jsonl.gz") if cut["id"] == name]
    assert reference == f"reference: {cut['supervisions'][0]['text']}"
    samples = read_audio(tone_root / cut["recording"]["sources"][0]["source"]).samples[0]
    features = model.features(torch.from_numpy(samples))
    with torch.no_grad():
        expected, _ = model.model(features[None], torch.tensor([len(features)]))
    torch.testing.assert_close(log_probs, expected[0], rtol=1e-3, atol=1e-4)
    [file] = (tmp_path / "run").glob("events.out.tfevents.*")
    events = EventAccumulator(str(file))
    events.Reload()
    assert events.Tags()["images"] == [f"dev/{name}"]


def test_bfloat16_computes_in_bfloat16_and_the_loss_in_float32(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dtypes: list[tuple[torch.dtype, torch.dtype]] = []
    batch_loss = Recognizer.batch_loss

    def note(self: Recognizer, batch: Batch) -> torch.Tensor:
        loss = batch_loss(self, batch)
        frames, _ = self.model.encoder(batch.features, batch.feature_lengths)
        dtypes.append((self.model.head(frames).dtype, loss.dtype))
        return loss

    monkeypatch.setattr(Recognizer, "batch_loss", note)
    assert fit(config, "--trainer.precision", "bf16-mixed", "--trainer.gradient_clip_val", "1.0") == 0
    assert set(dtypes) == {(torch.bfloat16, torch.float32)}
    dtypes.clear()
    assert fit(config) == 0
    assert set(dtypes) == {(torch.float32, torch.float32)}
