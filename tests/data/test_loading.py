import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from lhotse import CutSet

from asr.data.augmentation import Augmentation, AugmentationConfig
from asr.data.batch import Batch
from asr.data.cuts import audio_file
from asr.data.dataset import SpeechDataset
from asr.data.features import FeatureConfig, LogMel
from asr.data.loading import BatchLoader, WorkerPool
from asr.data.sampling import PlannedBatch
from asr.data.tokens import CharacterTokenizer
from asr.errors import InputError

PLANNED = [PlannedBatch(2, ids) for ids in (("u0", "u3"), ("u1",), ("u4", "u2"), ("u2", "u0"))]


@pytest.fixture
def dataset(speech_cuts: CutSet) -> SpeechDataset:
    log_mel = LogMel(FeatureConfig(num_mels=20, normalization="utterance"))
    augmentation = Augmentation(AugmentationConfig(volume_decibels=3.0), seed=1, features=log_mel.config)
    return SpeechDataset(speech_cuts, log_mel, CharacterTokenizer("AB"), augmentation)


@pytest.fixture
def two_workers(dataset: SpeechDataset) -> Iterator[WorkerPool[Batch]]:
    pool = WorkerPool(dataset, num_workers=2)
    yield pool
    pool.close()


class Echo:
    """Work is its own result, together with who did it; "refuse" is refused."""

    def __getitem__(self, work: Any) -> Any:
        if work == "refuse":
            raise InputError("utterance 'x': /audio/x.flac: no such audio file")
        if work == "interrupt":
            for signum in (signal.SIGINT, signal.SIGTERM):
                os.kill(os.getpid(), signum)
            time.sleep(0.05)
        return work, os.getpid()


def assert_equal(one: Batch, other: Batch) -> None:
    for field, a, b in zip(Batch._fields, one, other, strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, field


def test_batches_are_the_same_with_0_and_2_workers(dataset: SpeechDataset, two_workers: WorkerPool[Batch]) -> None:
    alone, shared = list(WorkerPool(dataset, 0).run(PLANNED)), list(two_workers.run(PLANNED))
    assert len(alone) == len(shared) == len(PLANNED)
    for one, other, planned in zip(alone, shared, PLANNED, strict=True):
        assert other.utterance_ids == planned.ids
        assert_equal(one, other)


def test_workers_live_across_passes() -> None:
    pool = WorkerPool(Echo(), num_workers=2)
    first, second = [{pid for _, pid in pool.run(range(6))} for _ in range(2)]
    assert first == second
    assert len(first) == 2
    assert os.getpid() not in first
    pool.close()
    third = {pid for _, pid in pool.run(range(6))}
    assert not third & first
    pool.close()


def test_an_abandoned_pass_leaves_nothing_to_the_next() -> None:
    pool = WorkerPool(Echo(), num_workers=2)
    abandoned = pool.run(range(20))
    next(abandoned)
    assert [work for work, _ in pool.run("abc")] == ["a", "b", "c"]
    with pytest.raises(RuntimeError, match="ended by a later one"):
        next(abandoned)
    pool.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_refusal_arrives_as_it_was_raised(workers: int) -> None:
    pool = WorkerPool(Echo(), workers)
    results = pool.run([1, "refuse", 2])
    assert next(results)[0] == 1
    with pytest.raises(InputError) as caught:
        next(results)
    assert str(caught.value) == "utterance 'x': /audio/x.flac: no such audio file"
    pool.close()


def test_a_file_that_vanishes_while_workers_load_is_named_with_its_utterance(
    speech_cuts: CutSet, two_workers: WorkerPool[Batch]
) -> None:
    assert next(two_workers.run(PLANNED)).utterance_ids == ("u0", "u3")
    path = audio_file(speech_cuts[4])
    path.unlink()
    with pytest.raises(InputError) as caught:
        list(two_workers.run(PLANNED))
    assert str(caught.value) == f"utterance 'u4': {path}: no such audio file"


def test_other_errors_of_a_worker_are_not_hidden(dataset: SpeechDataset, two_workers: WorkerPool[Batch]) -> None:
    with pytest.raises(KeyError, match="nobody"):
        list(two_workers.run([PlannedBatch(None, ("nobody",))]))


def test_workers_survive_the_signals_that_interrupt_a_run() -> None:
    pool = WorkerPool(Echo(), num_workers=1)
    assert [work for work, _ in pool.run(["interrupt", "after"])] == ["interrupt", "after"]
    pool.close()


def test_loading_draws_nothing_from_torch_s_global_generator(dataset: SpeechDataset) -> None:
    pool = WorkerPool(dataset, num_workers=2)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    list(pool.run(PLANNED))
    assert torch.equal(torch.rand(3), expected)
    pool.close()


def test_workers_compute_on_one_thread() -> None:
    class Threads:
        def __getitem__(self, work: Any) -> int:
            return torch.get_num_threads()

    pool = WorkerPool(Threads(), num_workers=1)
    assert list(pool.run([0])) == [1]
    pool.close()


@pytest.mark.parametrize("skip", [0, 1, 3, 4])
def test_skipping_gives_the_tail_and_the_whole_length(dataset: SpeechDataset, skip: int) -> None:
    pool = WorkerPool(dataset, 0)
    whole = list(BatchLoader(pool, PLANNED))
    loader = BatchLoader(pool, PLANNED, skip=skip)
    tail = list(loader)
    assert len(loader) == len(whole) == len(tail) + skip
    for one, other in zip(whole[skip:], tail, strict=True):
        assert_equal(one, other)


def test_skipped_batches_are_not_loaded() -> None:
    loader = BatchLoader(WorkerPool(Echo(), 0), ["refuse", "refuse", "fine"], skip=2)
    assert [work for work, _ in loader] == ["fine"]


def test_a_loader_can_be_iterated_again() -> None:
    loader = BatchLoader(WorkerPool(Echo(), 0), ["a", "b"])
    assert [[work for work, _ in loader] for _ in range(2)] == [["a", "b"]] * 2


def test_lightning_takes_a_loader_for_one_that_resumes() -> None:
    from lightning.fabric.utilities.types import _Stateful

    loader = BatchLoader(WorkerPool(Echo(), 0), ["a"])
    assert isinstance(loader, _Stateful)
    loader.load_state_dict(loader.state_dict())
    assert len(list(loader)) == 1
