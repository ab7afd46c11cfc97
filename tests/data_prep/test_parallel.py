"""Results in order, whatever the number of processes; processes that die are an error and not a hang."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import parallel_functions
import pytest
import torch
from parallel_functions import die, fail, square

from asr.errors import InputError
from data_prep.parallel import CHUNK, in_order


@pytest.fixture
def two_threads():
    """A parent that computes on two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("jobs", [1, 3])
def test_results_come_in_the_order_of_the_items_from_one_thread_each(jobs, two_threads):
    results = list(in_order(square, range(50), jobs, "squares"))
    assert [square for square, _, _ in results] == [n * n for n in range(50)]
    assert {threads for _, _, threads in results} == {1}
    assert (os.getpid() in {pid for _, pid, _ in results}) == (jobs == 1)
    assert torch.get_num_threads() == 2


def test_no_items_need_no_processes():
    assert list(in_order(square, [], 3, "nothing")) == []


def test_a_killed_process_is_an_error_that_says_what_to_try():
    with pytest.raises(InputError, match="one of 2 processes was killed.*fewer --jobs"):
        list(in_order(die, range(20), 2, "dying"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_in_the_function_arrives(jobs):
    with pytest.raises(ValueError, match="item 0"):
        list(in_order(fail, range(3), jobs, "failing"))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks processes up in /proc")
def test_processes_end_with_a_parent_that_is_killed():
    folder = str(Path(parallel_functions.__file__).parent)
    program = f"import sys; sys.path.insert(0, {folder!r}); import parallel_functions; parallel_functions.print_pids()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = {int(parent.stdout.readline()) for _ in range(3 * CHUNK)}
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 30
    while any(_is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [pid for pid in pids if _is_alive(pid)]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_results_that_are_not_wanted_are_not_waited_for(two_threads):
    with contextlib.closing(in_order(square, range(10**6), 1, "many")) as results:
        assert next(results)[0] == 0
    assert torch.get_num_threads() == 2
