"""The QAOA circuit of `circuits.qaoa` in Cirq, for every backend that runs one; the tests hold the two together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import pi

import cirq

from qmosaic.backends.base import Job
from qmosaic.backends.circuits.qaoa import Gate, Moments, plan

KEY = "x"
"""Measurement key."""
FIXED = {"h": cirq.H, "x": cirq.X, "cx": cirq.CX}


def circuit_of(job: Job) -> cirq.Circuit:
    """Variable i on line qubit i; in its last moment all are measured, in their order."""
    return cirq.Circuit.from_moments(*_moments(job))


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
