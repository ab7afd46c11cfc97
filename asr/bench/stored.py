"""How many bytes an engine needs, by formula: what `asr bench grid` prints beside what it measured.

Legend: C cells of the batch (B T F), A = 2 axes, H hidden, I input, n bytes of a number (4, or 2 in half precision),
P parameters, 8H (I + 2H + 1).

    wavefront, forward      C (n (4AH + 3I + 1) + 24) + n P
    wavefront, training     C (n (10AH + I + 1) + 24) + 2n P

The wavefront keeps a row of state a cell (incoming memory and hidden, 2AH, input and a one, I + 1) and the hidden
vectors that leave it, AH; the output in natural order is another AH. Without gradients, two copies of the input in
natural and in scan order are alive beside them. For the backward pass it keeps the activations, 4AH, and tanh of the
memories, AH; when the backward pass begins, the output and its gradient (2AH) are alive too. Three indices of 8 bytes
a cell say where each one is in scan order. The parameters are arranged once for the products, and have gradients.
"""

from collections.abc import Callable

from asr.bench.candidates import Setting
from asr.bench.workload import Workload

FORMULAS = {
    ("wavefront", "forward"): "C (n (4AH + 3I + 1) + 24) + n P",
    ("wavefront", "training"): "C (n (10AH + I + 1) + 24) + 2n P",
}


def predicted_bytes(engine: str, workload: Workload, setting: Setting) -> int | None:
    """Growth of the peak by the formula of that engine and mode; None where there is none.

    >>> predicted_bytes("wavefront", Workload(1, 1, 1, 1, 1), Setting("cpu", "float32", "training"))
    368
    """
    formula = _COUNTS.get((engine, setting.mode))
    if formula is None:
        return None
    return formula(workload, workload.input_size, 2 * workload.hidden_size, setting.type.itemsize)


def _parameters(workload: Workload) -> int:
    return 8 * workload.hidden_size * (workload.input_size + 2 * workload.hidden_size + 1)


def _wavefront_forward(workload: Workload, i: int, ah: int, n: int) -> int:
    return workload.cells * (n * (4 * ah + 3 * i + 1) + 24) + n * _parameters(workload)


def _wavefront_training(workload: Workload, i: int, ah: int, n: int) -> int:
    return workload.cells * (n * (10 * ah + i + 1) + 24) + 2 * n * _parameters(workload)


_COUNTS: dict[tuple[str, str], Callable[[Workload, int, int, int], int]] = {
    ("wavefront", "forward"): _wavefront_forward,
    ("wavefront", "training"): _wavefront_training,
}
