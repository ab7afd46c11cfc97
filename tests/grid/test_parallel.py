"""DistributedDataParallel sees through the engines: two processes' averaged gradients are those of the whole batch."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from asr.grid import GridLSTM
from asr.grid.engines import ENGINES
from asr.grid.options import GridOptions

PROCESSES = 2
OPTIONS: dict[str, Any] = {"num_layers": 2, "depth": "lstm", "bidirectional": [False, True], "layer_norm": True}
TYPES = {"cpu": torch.float32, "wavefront": torch.float64}
PROGRAM = """
import sys
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from asr.grid import GridLSTM

rank, folder, engine, options = int(sys.argv[1]), sys.argv[2], sys.argv[3], eval(sys.argv[4])
distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
given = torch.load(f"{folder}/given.pt")
module = GridLSTM(3, 4, engine=engine, **options).to(given["x"].dtype)
if rank == 0:  # DistributedDataParallel hands its parameters to the other process
    module.load_state_dict(given["parameters"])
parallel = DistributedDataParallel(module)
x, lengths, weight = (given[name].chunk(2)[rank] for name in ("x", "lengths", "weight"))
output, state = parallel(x, lengths)
((output * weight).sum() + state.memory.square().sum()).backward()
torch.save([parameter.grad for parameter in module.parameters()], f"{folder}/gradients{rank}.pt")
distributed.destroy_process_group()
"""


def gradients_of_two_processes(folder: Path, engine: str, given: dict[str, Any]) -> list[list[Tensor]]:
    """Of half the batch each, averaged by DistributedDataParallel."""
    torch.save(given, folder / "given.pt")
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM]
    processes = [
        subprocess.Popen([*command, str(rank), str(folder), engine, repr(OPTIONS)], env=environment)
        for rank in range(PROCESSES)
    ]
    try:
        assert [process.wait(timeout=120) for process in processes] == [0] * PROCESSES
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"gradients{rank}.pt") for rank in range(PROCESSES)]


@pytest.mark.parametrize("engine", TYPES)
def test_averaged_gradients_of_two_processes_are_those_of_the_whole_batch(engine: str, tmp_path: Path) -> None:
    dtype = TYPES[engine]
    module = GridLSTM(3, 4, engine=engine, **OPTIONS).to(dtype)
    if reason := ENGINES[engine].refusal(GridOptions(2, 4, depth="lstm"), torch.device("cpu"), dtype):
        pytest.skip(reason)
    x = torch.randn(4, 5, 3, 3, dtype=dtype)
    given = {
        "parameters": module.state_dict(),
        "x": x,
        "lengths": torch.tensor([5, 3, 4, 1]),
        "weight": torch.randn(4, 5, 3, module.output_size, dtype=dtype),
    }
    found = gradients_of_two_processes(tmp_path, engine, given)
    output, state = module(x, given["lengths"])
    ((output * given["weight"]).sum() + state.memory.square().sum()).div(PROCESSES).backward()
    expected = [parameter.grad for parameter in module.parameters()]
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for gradients in found:
        torch.testing.assert_close(gradients, expected, rtol=tolerance, atol=tolerance)
