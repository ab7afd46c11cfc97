"""Memory of large tensors is used again, never by two at once, and not kept without limit."""

import gc
import os

import pytest
import torch

from asr.grid.native.memory import SLACK, SMALLEST, Pool

NUMBERS = SMALLEST // 4
"""float32 numbers of the smallest tensor that the pool serves."""


def test_a_tensor_of_a_size_that_was_freed_lies_where_that_was() -> None:
    pool = Pool()
    first = pool.empty((4, NUMBERS), torch.float32)
    address = first.data_ptr()
    del first
    assert pool.empty((4 * NUMBERS,), torch.float32).data_ptr() == address


def test_tensors_in_use_do_not_overlap_and_keep_their_values() -> None:
    pool = Pool()
    tensors = [pool.empty((NUMBERS + n,), torch.float32).fill_(n) for n in range(5)]
    view = tensors.pop(0)[10:20]
    gc.collect()
    tensors += [pool.empty((NUMBERS,), torch.float32).fill_(n) for n in range(5, 9)]
    assert not view.any()
    assert [tensor.unique().tolist() for tensor in tensors] == [[n] for n in range(1, 9)]


def test_a_view_keeps_its_block() -> None:
    pool = Pool()
    view = pool.empty((NUMBERS,), torch.float32)[:3]
    assert pool.in_use == SMALLEST
    assert not pool.idle
    del view
    assert pool.in_use == 0
    assert len(pool.idle) == 1


def test_idle_memory_stays_within_the_slack_of_what_was_in_use() -> None:
    pool = Pool()
    for size in (3, 7, 1, 20, 2, 9, 5, 50, 4):
        held = [pool.empty((size * NUMBERS,), torch.float32) for _ in range(3)]
        del held
        pool.empty((size * NUMBERS + 1,), torch.float32)
        assert sum(block.size for block in pool.idle) <= SLACK * pool.most_in_use


def test_small_tensors_come_from_torch() -> None:
    pool = Pool()
    assert pool.empty((3, 5), torch.bfloat16).shape == (3, 5)
    assert pool.empty((0,), torch.float32).numel() == 0
    assert pool.in_use == 0


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # Python 3.12 on
def test_what_a_forked_process_writes_is_its_own() -> None:
    pool = Pool()
    kept = pool.empty((NUMBERS,), torch.float32).zero_()
    child = os.fork()
    if child == 0:
        kept[0] = 1
        os._exit(0)
    assert os.waitpid(child, 0) == (child, 0)
    assert kept[0] == 0
