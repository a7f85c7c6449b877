"""Twenty kernels from problems of all families: polynomials, circuits that are measured, Pauli sums."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from time import monotonic
from typing import Any

import numpy as np
import orjson

from qmosaic.backends.base import Job
from qmosaic.codecs.events.public import Problem
from qmosaic.codecs.models.kernel import Kernel
from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.families.base import Instance, Limits, Task
from qmosaic.processors.families.registry import FAMILIES

SHOTS = 8192
RING = [[k, (k + 1) % 6, 1] for k in range(6)]
POINTS = [[0, 0], [3, 4], [6, 0], [0, 5], [7, 7]]
QELIB = 'OPENQASM 2.0; include "qelib1.inc"; '
BELL = "qreg q[2]; creg c[2]; h q[0]; cx q[0], q[1]; measure q -> c;"
GHZ = "qreg q[4]; creg c[4]; h q[0]; cx q[0], q[1]; cx q[1], q[2]; cx q[2], q[3]; measure q -> c;"
CLIFFORD = (
    "qreg q[3]; creg c[3]; h q[0]; s q[0]; cx q[0], q[2]; h q[1]; cz q[1], q[2]; sdg q[2]; h q[2]; measure q -> c;"
)
TURNS = (
    "qreg q[4]; creg c[4]; ry(0.4) q[0]; ry(1.1) q[1]; ry(2.0) q[2]; ry(0.7) q[3]; cx q[0], q[1]; cx q[2], q[3]; "
    "rz(0.9) q[1]; rx(1.3) q[2]; cx q[1], q[2]; ry(0.5) q[0]; measure q -> c;"
)
FOURIER = (
    "qreg q[3]; creg c[3]; x q[0]; x q[2]; h q[0]; cp(pi/2) q[1], q[0]; cp(pi/4) q[2], q[0]; h q[1]; "
    "cp(pi/2) q[2], q[1]; h q[2]; swap q[0], q[2]; ry(0.6) q[1]; measure q -> c;"
)
HEISENBERG = {"XXI": 1.0, "YYI": 1.0, "ZZI": 1.0, "IXX": 0.5, "IYY": 0.5, "IZZ": 0.5, "ZII": 0.3}
PREPARED = "qreg q[3]; ry(0.8) q[0]; rx(0.3) q[1]; cx q[0], q[1]; rz(0.4) q[1]; cx q[1], q[2]; ry(1.2) q[2];"


def _complete(n: int) -> list[list[int]]:
    return [[i, j, (i * j) % 3 - 1 or 2] for i, j in combinations(range(n), 2)]


PROBLEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "ring": ("maxcut", {"edges": RING}),
    "weighted graph": ("maxcut", {"edges": _complete(5)}),
    "qubo": ("qubo", {"terms": [[0, 0, -1], [1, 1, -1], [0, 1, 2], [1, 2, -1.5], [2, 3, 0.7], [3, 3, -0.4]]}),
    "named qubo": ("qubo", {"terms": [["a", "a", -1], ["b", "b", -2], ["a", "b", 4], ["b", "c", -1]]}),
    "ising": ("ising", {"h": [0.5, 0, -0.5], "J": [[0, 1, 1], [1, 2, -1]]}),
    "spin glass": ("ising", {"J": _complete(6)}),
    "labs 6": ("labs", {"n": 6}),
    "labs 7": ("labs", {"n": 7}),
    "portfolio": (
        "portfolio",
        {
            "returns": [0.01, 0.004, 0.007, 0.002, 0.009],
            "covariance": (np.diag([4.0, 0.9, 2.5, 0.4, 3.0]) * 1e-3 + 2e-4).tolist(),
            "cardinality": 2,
        },
    ),
    "tour": ("route", {"coordinates": POINTS, "metric": "euclidean"}),
    "routes": ("route", {"coordinates": POINTS, "demands": [0, 2, 2, 1, 1], "capacity": 3, "vehicles": 2}),
    "bell": ("circuit", {"qasm": QELIB + BELL}),
    "ghz": ("circuit", {"qasm": QELIB + GHZ}),
    "clifford": ("circuit", {"qasm": QELIB + CLIFFORD}),
    "turns": ("circuit", {"qasm": QELIB + TURNS}),
    "fourier": ("circuit", {"qasm": QELIB + FOURIER}),
    "heisenberg": ("circuit", {"qasm": QELIB + PREPARED, "observables": [{"name": "energy", "terms": HEISENBERG}]}),
    "hydrogen": ("molecule", {"geometry": [["H", 0.0, 0.0, 0.0], ["H", 0.0, 0.0, 0.735]], "basis": "sto-3g"}),
    "hydrogen, four qubits": (
        "molecule",
        {"geometry": [["H", 0.0, 0.0, 0.0], ["H", 0.0, 0.0, 1.5]], "basis": "sto-3g", "taper": False},
    ),
    "hubbard": (
        "molecule",
        {
            "integrals": {"orbitals": 2, "one": [[0, 1, -1.0]], "two": [[p, p, p, p, 4.0] for p in range(2)]},
            "electrons": 2,
        },
    ),
}


def instance(name: str) -> Instance:
    """The problem, admitted."""
    family, payload = PROBLEMS[name]
    found = FAMILIES[family].parse(Problem(family=family, problem=orjson.loads(orjson.dumps(payload))), Limits())
    assert hasattr(found, "digest"), found
    return found  # type: ignore[return-value]


@cache
def kernel(name: str) -> Kernel:
    """What reduce leaves of the problem; where it leaves nothing to decide, or less than two, the model itself."""
    model = instance(name).encode()
    if isinstance(model, SpinPolynomial) and not model.constraints:
        return model
    (found,) = FAMILIES[PROBLEMS[name][0]].reduce([Task(model, seed=1, seconds=5.0, max_qubits=6, clock=monotonic)])
    assert found.kernel is not None, name
    return found.kernel


def job(name: str, seed: int = 1, shots: int = SHOTS) -> Job:
    """With two layers where it is a polynomial; observables from shots."""
    return Job(kernel(name), shots, seed, gammas=np.array([0.4, 0.7]), betas=np.array([0.6, 0.3]))
