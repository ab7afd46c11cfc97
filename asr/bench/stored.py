"""How many bytes an engine needs, by formula: what `asr bench grid` prints beside what it measured.

Legend: C cells of the batch (B T F), A = 2 axes, H hidden, I input, n bytes of a number (4, or 2 in half precision),
P parameters, 8H (I + 2H + 1), m = min(T, F), S = B m (m + 1) / 2. Nothing is padded. Weights and input are there
before, and not counted.

The wavefront keeps a row of state a cell (incoming memory and hidden, 2AH, input and a one, I + 1) and the hidden
vectors that leave it, AH; the output in natural order is another AH. Without gradients, the input in scan order, I, is
alive beside them. For the backward pass it keeps the activations, 4AH, and tanh of the memories, AH; when the backward
pass begins, the output's gradient, AH, is alive too. Three indices of 8 bytes a cell say where each one is in scan
order. The parameters are arranged once for the products, and have gradients. Scratch memory is there once for each
length of a step, 1 to m cells: rows of outgoing memory and hidden vectors, 2AH, and in the backward pass of gradients
of the gates, 4AH, and of the state, 2AH + I + 1.

The C++ kernel keeps nothing without gradients: there are the hidden vectors, nAH, which are the output. For the
backward pass it keeps them, the activations, 4nAH, and the memories, always in float32, 4AH. The gradient of the output
comes in float32, 4AH, and that of the input is nI. In half precision the output is a copy in float32, 4AH, as is the
input, 4I; the gradient of the output is rounded, nAH, and the input is kept rounded, nI.

There is none yet for the Triton kernels.
"""

from asr.bench.candidates import Setting
from asr.bench.workload import Workload

FORMULAS = {
    ("cpu", "forward"): "C n AH + n P; n = 2: + C (4AH + 4I)",
    ("cpu", "training"): "C ((5n + 8) AH + n I) + 12 P; n = 2: + C (n + 4) (AH + I)",
    ("wavefront", "forward"): "C (n (4AH + 2I + 1) + 24) + n P + n S 2AH",
    ("wavefront", "training"): "C (n (10AH + I + 1) + 24) + 2n P + n S (8AH + I + 1)",
}


def predicted_bytes(engine: str, workload: Workload, setting: Setting) -> int | None:
    """Growth of the peak by the formula of that engine and mode; None where there is none.

    >>> predicted_bytes("wavefront", Workload(1, 1, 1, 1, 1), Setting("cpu", "float32", "training"))
    440
    >>> predicted_bytes("cpu", Workload(1, 1, 1, 1, 1), Setting("cpu", "float32", "training"))
    444
    """
    cells, i, ah, n = workload.cells, workload.input_size, 2 * workload.hidden_size, setting.type.itemsize
    parameters = 4 * ah * (i + ah + 1)
    rounded = n < 4
    longest = min(workload.time, workload.frequency)
    scratch = n * workload.batch * longest * (longest + 1) // 2
    formulas = {
        ("cpu", "forward"): cells * (n * ah + rounded * 4 * (ah + i)) + n * parameters,
        ("cpu", "training"): cells * ((5 * n + 8) * ah + n * i + rounded * (n + 4) * (ah + i)) + 12 * parameters,
        ("wavefront", "forward"): cells * (n * (4 * ah + 2 * i + 1) + 24) + n * parameters + scratch * 2 * ah,
        ("wavefront", "training"): (
            cells * (n * (10 * ah + i + 1) + 24) + 2 * n * parameters + scratch * (8 * ah + i + 1)
        ),
    }
    return formulas.get((engine, setting.mode))
