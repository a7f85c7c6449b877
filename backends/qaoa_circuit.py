"""The QAOA circuit of a kernel as a device would run it: which couplings act at once, and what that counts to.

A layer of H, then for each pair of angles the couplings as ZZ rotations in as few moments as a greedy edge
colouring finds, the fields as Z rotations, X rotations as the mixer, and a measurement.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from qmosaic.backends.base import Figures, Job
from qmosaic.codecs.model import SpinPolynomial


def moments_of(kernel: SpinPolynomial) -> tuple[tuple[int, ...], ...]:
    """Couplings (their places in the list) that act at the same time, as no two share a variable."""
    return _matchings(kernel.n, kernel.rows.tobytes(), kernel.cols.tobytes())


def figures(job: Job) -> Figures:
    """Qubits, depth (the measurement is not counted), two-qubit gates and shots of a job's circuit."""
    kernel, layers = job.polynomial, len(job.gammas)
    depth = 1 + layers * (len(moments_of(kernel)) + bool(kernel.h.any()) + 1)
    return Figures(kernel.n, depth, len(kernel.J) * layers, job.shots)


@lru_cache(maxsize=1024)
def _matchings(n: int, rows: bytes, cols: bytes) -> tuple[tuple[int, ...], ...]:
    layers: list[list[int]] = []
    busy: list[set[int]] = [set() for _ in range(n)]
    for k, (i, j) in enumerate(zip(*(np.frombuffer(end, np.int32).tolist() for end in (rows, cols)), strict=True)):
        layer = next(c for c in range(len(layers) + 1) if c not in busy[i] and c not in busy[j])
        if layer == len(layers):
            layers.append([])
        layers[layer].append(k)
        busy[i].add(layer)
        busy[j].add(layer)
    return tuple(map(tuple, layers))
