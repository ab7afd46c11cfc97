"""Functions for processes that the tests start: processes find this module by its name, a test module they do not."""

import os
import signal
import time

import torch

from data_prep.parallel import in_order


def square(number: int) -> tuple[int, int, int]:
    """The square, the process and its threads."""
    return number * number, os.getpid(), torch.get_num_threads()


def die(number: int) -> int:
    """End the process at 5, as the kernel does when memory is out."""
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail(number: int) -> int:
    """Raise."""
    raise ValueError(f"item {number}")


def pid_slowly(number: int) -> int:
    """The process, after a while."""
    time.sleep(0.05)
    return os.getpid()


def print_pids() -> None:
    """Print the processes' ids while they work; to be killed."""
    for pid in in_order(pid_slowly, range(10**5), 2, "waiting"):
        print(pid, flush=True)
