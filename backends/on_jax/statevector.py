"""`jax.statevector` (target gpu): QAOA state vectors, many jobs in one compiled call, on any JAX device.

The mathematics is in `on_jax.qaoa`. Here jobs become rows of fixed shapes: one program for each number of
qubits, of layers and (power of two) of shots, always run with the same number of rows, so that nothing
compiles on the hot path once it is warm, and a job's samples do not depend on the jobs beside it.

Several devices share the rows; where a state is more than one device holds, they share its amplitudes.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from functools import cached_property
from time import perf_counter
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int, Int64

from qmosaic.backends.base import Backend, Capabilities, Estimate, Expectations, Figures, Job, Result, check
from qmosaic.backends.circuits.counting import inverted
from qmosaic.backends.circuits.qaoa import figures, held
from qmosaic.backends.estimates import state_vector
from qmosaic.backends.on_jax import circuit, gates, sampling, spread
from qmosaic.backends.on_jax import constrained as jax_constrained
from qmosaic.backends.on_jax import costs as jax_costs
from qmosaic.backends.on_jax.costs import Stack, Table
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.arrays import bits_of_states
from qmosaic.codecs.models.circuit import Circuit
from qmosaic.codecs.models.kernel import size_of
from qmosaic.codecs.models.polynomial import Linear, SpinPolynomial

LEAST_SHOTS = 256
SPIN_BYTES, HELD_BYTES, CIRCUIT_BYTES = 22, 40, 22
"""Bytes an amplitude that a process grew by, in complex64."""


SMALL = 12
"""Qubits up to which energies of all states come from numpy, and samples are drawn there: fewer steps on the device."""
COUNTED = 16
"""Qubits up to which samples are counted in an array of all states."""


class Shape(NamedTuple):
    """What a program is compiled for; `shots` 0: it ends with probabilities. `devices` share its rows, or the
    amplitudes of a state (`across`)."""

    qubits: int
    layers: int
    shots: int
    held: bool = False  # constraints, by the program of `jax_constrained`; an even number of qubits then
    devices: int = 1
    across: int = 1
    double: bool = False

    @property
    def dtype(self) -> type[np.floating[Any]]:
        """What the program computes with."""
        return np.float64 if self.double else np.float32

    @property
    def rows(self) -> int:
        """Jobs in one call, fixed for a shape. On CPUs few: one job alone pays for all rows of its call."""
        amplitudes, most = (2**9, 4) if jax.default_backend() == "cpu" else (2**24, 256)
        return self.devices * min(most, max(1, amplitudes >> self.qubits))

    @property
    def ahead(self) -> int:
        """Calls given out while another's samples are read: none where memory counts."""
        return 1 if self.qubits <= COUNTED else 0


class Prepared(NamedTuple):
    """A job with the shape it runs in, and its kernel as arrays: a table where the shape has no shots."""

    shape: Shape
    job: Job
    kernel: Stack | Table
    figures: Figures


class JaxStatevector(Backend):
    """Exact simulation. `warm_qubits`, `warm_layers`, `warm_shots`: what `warm_up` compiles.

    `precision`: complex64, or complex128, for twice the memory and time. `device_bytes`: what one device holds, if it
    is not to be asked. Compiled programs are kept across processes where JAX's persistent compilation cache is on.
    """

    capabilities = Capabilities(target="gpu", max_qubits=30, batch=64, uses_angles=True, max_circuit_qubits=28)

    def __init__(
        self,
        precision: str = "",
        warm_qubits: int = 16,
        warm_layers: Sequence[int] = (2,),
        warm_shots: int = 1024,
        device_bytes: int | None = None,
    ) -> None:
        self.name = f"jax.statevector/{precision}" if precision else "jax.statevector"
        if precision not in ("", "complex64", "complex128"):
            raise BackendError(
                f"no precision {precision!r}",
                place=self.name,
                remedy="Choose complex64 or complex128, or leave it out.",
            )
        self._double = precision == "complex128"
        self._device_bytes = device_bytes
        self._warm = warm_qubits, tuple(warm_layers), warm_shots

    @cached_property
    def _devices(self) -> int:
        """A power of two, so that it divides the rows and the amplitudes."""
        return 1 << (len(jax.devices()).bit_length() - 1)

    @cached_property
    def _held_bytes(self) -> int | None:
        """By each device; None where their memory is the machine's."""
        return self._device_bytes or spread.device_bytes()

    def _across(self, job: Job) -> int:
        """Devices that share the job's state."""
        needed, across = self._amplitude_bytes(job) << size_of(job.kernel), 1
        while self._held_bytes and across < self._devices and needed > across * self._held_bytes:
            across *= 2
        return across

    def prepare(self, job: Job) -> Any:
        """The job with the shape it runs in, or a job with a circuit of its own. Raises BackendError."""
        check(job, self.name, self.capabilities)
        if isinstance(job.kernel, Circuit):
            return circuit.prepare(job, self._across(job))
        constrained = bool(held(job.polynomial))
        qubits = jax_costs.qubits_of(job.polynomial)
        qubits += qubits % 2 if constrained else 0
        across = self._across(job)
        devices = 1 if across > 1 else self._devices
        shots = 0 if qubits <= SMALL and across == 1 else _shots(job.shots)
        shape = Shape(qubits, len(job.gammas), shots, constrained, devices, across, self._double)
        if job.polynomial.scale > float(np.finfo(shape.dtype).max):
            raise BackendError(
                f"coefficients as large as {job.polynomial.scale:g}",
                place="job.kernel",
                remedy="Divide them all by a number, or choose jax.statevector/complex128.",
            )
        kernel = (jax_costs.dense if shots else jax_costs.tabulated)(job.polynomial, qubits, shape.dtype)
        return Prepared(shape, job, kernel, figures(job))

    def estimate(self, job: Job) -> Estimate:
        """Bytes as measured, seconds to an order of magnitude. Raises BackendError for what does not fit."""
        return state_vector(
            job,
            self.name,
            self.capabilities,
            amplitude_bytes=self._amplitude_bytes(job),
            gate_seconds=2e-6,
            amplitude_seconds=5e-10 * (1 + self._double),
            machine=self._held_bytes and self._held_bytes * self._devices,
        )

    def _amplitude_bytes(self, job: Job) -> int:
        if isinstance(job.kernel, Circuit):
            needed = CIRCUIT_BYTES
        else:
            needed = HELD_BYTES if held(job.polynomial) or job.polynomial.higher else SPIN_BYTES
        return needed * (1 + self._double)

    def run(self, batch: Sequence[Prepared | circuit.Prepared]) -> list[Result | Expectations]:
        """QAOA jobs of one shape together, `Shape.rows` at a time; circuits one after the other."""
        places: dict[Shape, list[tuple[int, Prepared]]] = defaultdict(list)
        results: dict[int, Result | Expectations] = {}
        waiting = deque[tuple[list[int], Started]]()
        with jax.enable_x64(self._double):
            for place, prepared in enumerate(batch):
                if isinstance(prepared, Prepared):
                    places[prepared.shape].append((place, prepared))
                else:
                    results[place] = circuit.run(prepared, self._double)
            for shape, those in places.items():
                for start in range(0, len(those), shape.rows):
                    part = those[start : start + shape.rows]
                    waiting.append(([place for place, _ in part], _started(shape, [each for _, each in part])))
                    if len(waiting) > shape.ahead:
                        _collect(waiting, results)
            while waiting:
                _collect(waiting, results)
        return [results[place] for place in range(len(batch))]

    def warm_up(self) -> None:
        """Compile, or load from the persistent cache, what jobs of the usual shapes need."""
        most, layers, shots = self._warm
        with jax.enable_x64(self._double):
            gates.warm_up(1, most, self._double)
        for constrained in (False, True):
            for qubits in range(jax_costs.LEAST_QUBITS, most + 1 + constrained, 1 + constrained):
                for higher in [{}] if qubits <= SMALL else [{}, {tuple(range(qubits)): 1.0}]:
                    kernel = SpinPolynomial.of(
                        qubits,
                        h=np.ones(qubits),
                        higher=higher,
                        constraints=[Linear.exactly(range(qubits), 1)] * constrained,
                    )
                    for count in layers:
                        self.run([self.prepare(Job(kernel, shots, 0, np.zeros(count), np.zeros(count)))])


def _shots(shots: int) -> int:
    return max(LEAST_SHOTS, 1 << (shots - 1).bit_length())


def _collect(waiting: deque[tuple[list[int], Started]], results: dict[int, Result | Expectations]) -> None:
    part, started = waiting.popleft()
    results.update(zip(part, _results(started), strict=True))


class Started(NamedTuple):
    """Jobs that the device works on: `found` are the states drawn for each, or their probabilities."""

    shape: Shape
    jobs: Sequence[Prepared]
    generators: Sequence[np.random.Generator]
    found: Any
    seconds: float


def _started(shape: Shape, jobs: Sequence[Prepared]) -> Started:
    start = perf_counter()
    rows, shots, dtype = shape.rows, shape.shots, shape.dtype
    gammas, betas = angles = np.zeros((2, rows, shape.layers), dtype)
    for row, each in enumerate(jobs):
        angles[:, row] = each.job.gammas, each.job.betas
    ansatz = None
    if shape.held:
        ansatz = jax_constrained.ansatz([each.job.polynomial for each in jobs], rows, shape.qubits)
    if shots:
        uniforms, generators = np.zeros((rows, shots, 2), dtype), _generators(jobs)
        for row, (each, generator) in enumerate(zip(jobs, generators, strict=True)):
            uniforms[row, : each.job.shots] = generator.random((each.job.shots, 2), dtype)
        stack = jax_costs.joined([each.kernel for each in jobs if isinstance(each.kernel, Stack)], rows)
        found = sampling.sample(stack, ansatz, gammas, betas, uniforms, shape.devices, shape.across)
    else:
        costs, folded = np.zeros((rows, 2**shape.qubits), dtype), np.zeros(rows, bool)
        for row, each in enumerate(jobs):
            if isinstance(each.kernel, Table):
                costs[row], folded[row] = each.kernel.costs, each.kernel.folded
        found = sampling.shares(costs, folded, ansatz, gammas, betas, shape.devices)
        generators = _generators(jobs)  # while the device works
    return Started(shape, jobs, generators, found, perf_counter() - start)


def _generators(jobs: Sequence[Prepared]) -> list[np.random.Generator]:
    return [np.random.default_rng(each.job.seed) for each in jobs]


def _results(started: Started) -> list[Result]:
    start = perf_counter()
    shape, answers = started.shape, []
    for each, generator, row in zip(started.jobs, started.generators, np.asarray(started.found), strict=False):
        kernel, shots, folded = each.job.polynomial, each.job.shots, int(each.kernel.folded)
        free = shape.qubits - kernel.n + folded  # qubits that pad it
        if isinstance(each.kernel, Table):
            shares = row.reshape(-1, 2**free).sum(axis=1, dtype=np.float64)
            shares = np.concatenate([shares, shares[::-1]]) if folded else shares
            distinct, counts = _counted(inverted(shares, np.sort(generator.random(shots))), kernel.n)
            samples, energies = bits_of_states(distinct, kernel.n), each.kernel.energies[distinct]
        else:
            states = row[:shots] >> free
            if folded:  # variable 0 was held at 0: half of the shots belong to the complement
                states ^= generator.integers(2, size=shots, dtype=bool) * states.dtype.type(2**kernel.n - 1)
            distinct, counts = _counted(states, kernel.n)
            samples = bits_of_states(distinct, kernel.n)
            energies = kernel.energy(samples)
        answers.append((samples, counts, energies))
    seconds = (started.seconds + perf_counter() - start) / len(started.jobs)
    return [
        Result(*answer, work_seconds=seconds, circuit=each.figures)
        for answer, each in zip(answers, started.jobs, strict=True)
    ]


def _counted(states: Int[np.ndarray, " s"], n: int) -> tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
    """Distinct states in their order, and how often each was seen."""
    if n > COUNTED:
        distinct, counts = np.unique(states.astype(np.int64), return_counts=True)
        return distinct, counts.astype(np.int64)
    counts = np.bincount(states)
    distinct = np.flatnonzero(counts)
    return distinct, counts[distinct]
