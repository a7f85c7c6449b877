"""`jax.statevector` (target gpu): QAOA state vectors, many jobs in one compiled call, on any JAX device.

The mathematics is in `jax_qaoa`. Here jobs become rows of fixed shapes: one program for each number of
qubits, of layers and (power of two) of shots, always run with the same number of rows, so that nothing
compiles on the hot path once it is warm, and a job's samples do not depend on the jobs beside it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from time import perf_counter
from typing import Any, NamedTuple

import jax
import numpy as np

from qmosaic.backends import jax_circuit, jax_constrained, jax_qaoa
from qmosaic.backends.base import Backend, Capabilities, Estimate, Expectations, Job, Result, check
from qmosaic.backends.estimates import state_vector
from qmosaic.backends.qaoa_circuit import figures, held
from qmosaic.codecs.circuit import Circuit
from qmosaic.codecs.model import Linear, SpinPolynomial

LEAST_SHOTS = 256
SPIN_BYTES, HELD_BYTES, CIRCUIT_BYTES = 22, 40, 36
"""Bytes an amplitude that a process grew by, most of those of circuits for observables."""


class Shape(NamedTuple):
    """What a program is compiled for."""

    qubits: int
    layers: int
    shots: int
    held: bool = False  # constraints, by the program of `jax_constrained`; an even number of qubits then

    @property
    def rows(self) -> int:
        """Jobs in one call, fixed for a shape. On CPUs few: one job alone pays for all rows of its call."""
        amplitudes, most = (2**9, 4) if jax.default_backend() == "cpu" else (2**24, 256)
        return min(most, max(1, amplitudes >> self.qubits))

    @property
    def ahead(self) -> int:
        """Calls given out while another's samples are read: none where memory counts."""
        return 1 if self.qubits <= 16 else 0


class JaxStatevector(Backend):
    """Exact simulation in complex64. `warm_qubits`, `warm_layers`, `warm_shots`: what `warm_up` compiles.

    Compiled programs are kept across processes where JAX's persistent compilation cache is on.
    """

    name = "jax.statevector"
    capabilities = Capabilities(target="gpu", max_qubits=30, batch=64, uses_angles=True, max_circuit_qubits=28)

    def __init__(self, warm_qubits: int = 16, warm_layers: Sequence[int] = (2,), warm_shots: int = 1024) -> None:
        self._warm = [
            Shape(qubits, layers, _shots(warm_shots), constrained)
            for layers in warm_layers
            for constrained in (False, True)
            for qubits in range(jax_qaoa.LEAST_QUBITS, warm_qubits + 1 + constrained, 1 + constrained)
        ]

    def prepare(self, job: Job) -> Any:
        """The job with the shape it runs in, or a job with a circuit of its own. Raises BackendError."""
        check(job, self.name, self.capabilities)
        if isinstance(job.kernel, Circuit):
            return jax_circuit.prepare(job)
        qubits, constrained = jax_qaoa.qubits_of(job.polynomial), bool(held(job.polynomial))
        qubits += qubits % 2 if constrained else 0
        return Shape(qubits, len(job.gammas), _shots(job.shots), constrained), job

    def estimate(self, job: Job) -> Estimate:
        """Bytes as measured, seconds to an order of magnitude. Raises BackendError for what does not fit."""
        if isinstance(job.kernel, Circuit):
            needed = CIRCUIT_BYTES
        else:
            needed = HELD_BYTES if held(job.polynomial) or job.polynomial.higher else SPIN_BYTES
        return state_vector(
            job,
            self.name,
            self.capabilities,
            amplitude_bytes=needed,
            gate_seconds=2e-6,
            amplitude_seconds=5e-10,
        )

    def run(self, batch: Sequence[tuple[Shape, Job] | Job]) -> list[Result | Expectations]:
        """QAOA jobs of one shape together, `Shape.rows` at a time; circuits one after the other."""
        places: dict[Shape, list[tuple[int, Job]]] = defaultdict(list)
        results: dict[int, Result | Expectations] = {}
        for place, prepared in enumerate(batch):
            if isinstance(prepared, Job):
                results[place] = jax_circuit.run(prepared)
            else:
                places[prepared[0]].append((place, prepared[1]))
        waiting = deque[tuple[list[int], Started]]()
        for shape, those in places.items():
            for start in range(0, len(those), shape.rows):
                part = those[start : start + shape.rows]
                waiting.append(([place for place, _ in part], _started(shape, [job for _, job in part])))
                if len(waiting) > shape.ahead:
                    _collect(waiting, results)
        while waiting:
            _collect(waiting, results)
        return [results[place] for place in range(len(batch))]

    def warm_up(self) -> None:
        """Compile, or load from the persistent cache, what jobs of the usual shapes need."""
        jax_circuit.warm_up(1, max((shape.qubits for shape in self._warm), default=0))
        for shape in self._warm:
            angles, variables = np.zeros(shape.layers), range(shape.qubits)
            kernel = SpinPolynomial.of(
                shape.qubits,
                h=np.ones(shape.qubits),
                higher={tuple(variables): 1.0},
                constraints=[Linear.exactly(variables, 1)] * shape.held,
            )
            _results(_started(shape, [Job(kernel, shape.shots, 0, angles, angles)]))


def _shots(shots: int) -> int:
    return max(LEAST_SHOTS, 1 << (shots - 1).bit_length())


def _collect(waiting: deque[tuple[list[int], Started]], results: dict[int, Result | Expectations]) -> None:
    part, started = waiting.popleft()
    results.update(zip(part, _results(started), strict=True))


class Started(NamedTuple):
    """Jobs that the device works on: the states `drawn` for each, and what to do with them."""

    shape: Shape
    jobs: Sequence[Job]
    folded: Sequence[bool]
    flips: Sequence[Any]
    drawn: Any
    seconds: float


def _started(shape: Shape, jobs: Sequence[Job]) -> Started:
    start = perf_counter()
    kernels = [job.polynomial for job in jobs]
    stack = jax_qaoa.stack(kernels, shape.rows, shape.qubits)
    angles = np.zeros((2, shape.rows, shape.layers), np.float32)
    uniforms = np.zeros((shape.rows, shape.shots, 2), np.float32)
    flips = []
    for row, job in enumerate(jobs):
        generator = np.random.default_rng(job.seed)
        angles[:, row] = job.gammas, job.betas
        uniforms[row, : job.shots] = generator.random((job.shots, 2), np.float32)
        flips.append(generator.integers(2, size=job.shots))
    costs = jax_qaoa.costs_of(stack)
    if shape.held:
        drawn = jax_constrained.sample(
            costs, jax_constrained.ansatz(kernels, shape.rows, shape.qubits), *angles, uniforms
        )
    else:
        drawn = jax_qaoa.sample(costs, stack.folded, *angles, uniforms)
    return Started(shape, jobs, stack.folded.tolist(), flips, drawn, perf_counter() - start)


def _results(started: Started) -> list[Result]:
    start = perf_counter()
    drawn, answers = np.asarray(started.drawn, np.int64), []
    for job, folded, flips, row in zip(started.jobs, started.folded, started.flips, drawn, strict=False):
        n = job.polynomial.n
        states = row[: job.shots] >> (started.shape.qubits - n + folded)
        if folded:  # variable 0 was held at 0: half of the shots belong to the complement
            states = np.where(flips, 2**n - 1 - states, states)
        distinct, counts = np.unique(states, return_counts=True)
        samples = ((distinct[:, None] >> np.arange(n)[::-1]) & 1).astype(np.uint8)
        answers.append((samples, counts.astype(np.int64), job.polynomial.energy(samples)))
    each = (started.seconds + perf_counter() - start) / len(started.jobs)
    return [
        Result(*answer, work_seconds=each, circuit=figures(job))
        for answer, job in zip(answers, started.jobs, strict=True)
    ]
