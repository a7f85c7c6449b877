"""What the backends share that follow the final state of a Cirq circuit: all but the simulator."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from time import perf_counter
from typing import NamedTuple

import cirq
import numpy as np
from jaxtyping import Complex64

from qmosaic.backends.base import Backend, Estimate, Expectations, Job, Result, check
from qmosaic.backends.circuits.counting import draw, probabilities, rows_of
from qmosaic.backends.circuits.qaoa import figures
from qmosaic.backends.circuits.qaoa_in_cirq import circuit_of
from qmosaic.backends.estimates import state_vector
from qmosaic.backends.on_cirq import circuit as cirq_circuit
from qmosaic.codecs.models.circuit import Circuit
from qmosaic.codecs.models.polynomial import SpinPolynomial


class Prepared(NamedTuple):
    """A job and its QAOA circuit, measurement included."""

    job: Job
    circuit: cirq.Circuit


class CirqStates(Backend):
    """Simulated shots from the exact state in complex64. One job at a time: give each process its own."""

    gate_seconds: float
    amplitude_seconds: float
    """As measured: of a gate on the smallest state, and of a gate for each amplitude."""

    @abstractmethod
    def state(self, circuit: cirq.Circuit, n: int) -> Complex64[np.ndarray, " N"]:
        """The final state of gates on line qubits 0 to n - 1, the first the most significant."""

    def prepare(self, job: Job) -> Prepared | Job:
        """The job with its QAOA circuit, or a job with a circuit of its own. Raises BackendError."""
        check(job, self.name, self.capabilities)
        return cirq_circuit.prepare(job) if isinstance(job.kernel, Circuit) else Prepared(job, circuit_of(job))

    def run(self, batch: Sequence[Prepared | Job]) -> list[Result | Expectations]:
        """Each circuit is simulated once, and `shots` samples are drawn from its final state."""
        return [cirq_circuit.run(each, self.state) if isinstance(each, Job) else self._run(*each) for each in batch]

    def estimate(self, job: Job) -> Estimate:
        """By measured times and bytes. Raises BackendError for what does not fit into memory."""
        return state_vector(
            job,
            self.name,
            self.capabilities,
            amplitude_bytes=amplitude_bytes(job),
            gate_seconds=self.gate_seconds,
            amplitude_seconds=self.amplitude_seconds,
        )

    def warm_up(self) -> None:
        """The first circuit pays for Cirq's own caches."""
        angle = np.ones(1)
        self.run([self.prepare(Job(SpinPolynomial.of(2, h=[1, 1], rows=[0], cols=[1], J=[1]), 1, 0, angle, angle))])

    def _run(self, job: Job, circuit: cirq.Circuit) -> Result:
        start, kernel = perf_counter(), job.polynomial
        state = self.state(circuit[:-1], kernel.n)
        states, counts = draw(probabilities(state), job.shots, np.random.default_rng(job.seed))
        samples = rows_of(states, range(kernel.n), kernel.n)
        energies = kernel.energy(samples)
        return Result(samples, counts.astype(np.int64), energies, perf_counter() - start, figures(job))


def amplitude_bytes(job: Job) -> int:
    """Measured, all buffers counted; observables from shots keep the state beside one that is turned for each group."""
    return 22
