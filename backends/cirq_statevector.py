"""`cirq.statevector` (target quantum): the QAOA circuit gate by gate, on Cirq's state-vector simulator.

Kernels that are circuits themselves are run by `cirq_circuit`.

The circuit is the one of `qaoa_circuit`, which also counts it; the tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import pi
from time import perf_counter
from typing import Any, NamedTuple

import cirq
import numpy as np

from qmosaic.backends import cirq_circuit
from qmosaic.backends.base import Backend, Capabilities, Expectations, Job, Result, check
from qmosaic.backends.qaoa_circuit import Gate, Moments, figures, plan
from qmosaic.codecs.circuit import Circuit
from qmosaic.codecs.model import SpinPolynomial

KEY = "x"
"""Measurement key."""
FIXED = {"h": cirq.H, "x": cirq.X, "cx": cirq.CX}


class Prepared(NamedTuple):
    """A job and its circuit, measurement included."""

    job: Job
    circuit: cirq.Circuit


class CirqStatevector(Backend):
    """Simulated shots from the exact state in complex64. One job at a time: give each process its own."""

    name = "cirq.statevector"
    capabilities = Capabilities(target="quantum", max_qubits=24, batch=4, uses_angles=True, max_circuit_qubits=24)

    def prepare(self, job: Job) -> Any:
        """The job with its QAOA circuit, or a job with a circuit of its own. Raises BackendError."""
        check(job, self.name, self.capabilities)
        if isinstance(job.kernel, Circuit):
            return cirq_circuit.prepare(job)
        return Prepared(job, cirq.Circuit.from_moments(*_moments(job)))

    def run(self, batch: Sequence[Prepared | Job]) -> list[Result | Expectations]:
        """Each QAOA circuit is simulated once, and `shots` samples are drawn from its final state."""
        return [cirq_circuit.run(each) if isinstance(each, Job) else _run(*each) for each in batch]

    def warm_up(self) -> None:
        """The first circuit pays for Cirq's own caches."""
        angle = np.ones(1)
        self.run([self.prepare(Job(SpinPolynomial.of(2, h=[1, 1], rows=[0], cols=[1], J=[1]), 1, 0, angle, angle))])


def _moments(job: Job) -> Iterator[cirq.Moment]:
    # Numbers and not sympy symbols: resolving a parametrised circuit takes longer than building it.
    kernel, made = job.polynomial, plan(job.polynomial)
    qubits = cirq.LineQubit.range(kernel.n)
    pairs = list(zip(kernel.rows.tolist(), kernel.cols.tolist(), kernel.J.tolist(), strict=True))
    fields = [(qubit, h) for qubit, h in zip(qubits, kernel.h.tolist(), strict=True) if h]
    values = [value for terms in kernel.higher for value in terms.values.tolist()]

    def placed(moments: Moments, gamma: float = 0.0, beta: float = 0.0) -> Iterator[cirq.Moment]:
        for moment in moments:
            yield cirq.Moment(_gate(gate, values, gamma, beta)(*(qubits[i] for i in gate.qubits)) for gate in moment)

    yield from placed(made.start)
    for gamma, beta in zip(job.gammas.tolist(), job.betas.tolist(), strict=True):
        for layer in made.couplings:
            yield cirq.Moment(_zz(gamma * J)(qubits[i], qubits[j]) for i, j, J in (pairs[k] for k in layer))
        if fields:
            yield cirq.Moment(cirq.rz(2 * gamma * h)(qubit) for qubit, h in fields)
        yield from placed(made.higher, gamma=gamma)
        yield from placed(made.mixer, beta=beta)
    yield cirq.Moment(cirq.measure(*qubits, key=KEY))


def _gate(gate: Gate, values: Sequence[float], gamma: float, beta: float) -> cirq.Gate:
    """A gate of the plan; `values` are those of the terms of higher order."""
    match gate.name:
        case "ry":
            return cirq.ry(gate.number)
        case "givens":
            return cirq.givens(gate.number)
        case "zz":
            return _zz(gamma * values[int(gate.number)])
        case "mix_x":
            return cirq.rx(2 * beta)
        case "mix_xy":
            return cirq.ISwapPowGate(exponent=-2 * beta / pi)
    return FIXED[gate.name]


def _zz(angle: float) -> cirq.Gate:
    """exp(-i angle Z Z)."""
    return cirq.ZZPowGate(exponent=2 * angle / pi, global_shift=-0.5)


def _run(job: Job, circuit: cirq.Circuit) -> Result:
    start = perf_counter()
    simulator = cirq.Simulator(dtype=np.complex64, seed=job.seed % 2**32)
    samples = simulator.run(circuit, repetitions=job.shots).measurements[KEY].astype(np.uint8)
    return Result.of_samples(job.polynomial, samples, perf_counter() - start, figures(job))
