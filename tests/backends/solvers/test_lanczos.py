"""`lanczos` finds the lowest eigenvalue that the circuit's state has a part in, and refuses what it cannot prepare."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qmosaic.backends import estimates
from qmosaic.backends.base import Job
from qmosaic.backends.conformance.samples import random_kernel
from qmosaic.backends.solvers.lanczos import Lanczos, prepared
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import Circuit, Operation, PauliSum, unitary
from tests.processors.families.molecules import dense

HEISENBERG = PauliSum(3, ("XXI", "YYI", "ZZI", "IXX", "IYY", "IZZ", "ZII"), (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.25))
GATES = (
    Operation("x", (0,)),
    Operation("h", (2,)),
    Operation("cx", (2, 0)),
    Operation("barrier", ()),
    Operation("rotation", (0, 1), (0.3,), "XY"),
    Operation("crx", (1, 2), (0.7,)),
)


def energy(circuit: Circuit) -> float:
    (found,) = Lanczos().run([Lanczos().prepare(Job(circuit, 0, 0))])
    assert found.errors.tolist() == [0.0]
    return float(found.values[0])


def test_the_state_is_that_of_the_gates() -> None:
    state = prepared(Circuit(3, 0, GATES, (HEISENBERG,), True))
    expected = np.zeros(8, complex)
    expected[0] = 1
    for operation in GATES:
        if operation.qubits:
            places = [*operation.qubits, *(q for q in range(3) if q not in operation.qubits)]
            whole = np.kron(unitary(operation), np.eye(2 ** (3 - len(operation.qubits)))).reshape((2,) * 6)
            order = [places.index(q) for q in range(3)]
            expected = whole.transpose([*order, *(3 + k for k in order)]).reshape(8, 8) @ expected
    assert state == pytest.approx(expected, abs=1e-12)


def test_the_lowest_eigenvalue() -> None:
    matrix = dense(list(zip(HEISENBERG.paulis, HEISENBERG.coefficients, strict=True)))
    assert energy(Circuit(3, 0, GATES, (HEISENBERG,), True)) == pytest.approx(np.linalg.eigvalsh(matrix)[0], abs=1e-10)


def test_it_stays_in_the_sector_of_the_state() -> None:
    # All spins up is an eigenstate on its own: the number of ones is conserved.
    assert energy(Circuit(3, 0, (), (HEISENBERG,), True)) == pytest.approx(2.25)


@pytest.mark.parametrize(
    ("circuit", "message"),
    [
        (Circuit(3, 0, (), (HEISENBERG, HEISENBERG), True), "one observable"),
        (Circuit(3, 1, (Operation("measure", (0,), bits=(0,)),), (), True), "one observable"),
        (Circuit(3, 0, (Operation("reset", (0,)),), (HEISENBERG,), True), "unitary"),
        (Circuit(3, 0, (), (HEISENBERG,)), "takes variational, got circuit"),
        (Circuit(15, 0, (), (PauliSum(15, ("Z" * 15,), (1.0,)),), True), "1 to 14 qubits"),
    ],
)
def test_what_it_refuses(circuit: Circuit, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        Lanczos().prepare(Job(circuit, 1, 0))


def test_it_refuses_polynomials() -> None:
    with pytest.raises(BackendError, match="takes variational, got spins"):
        Lanczos().prepare(replace(Job(random_kernel(3, 0), 1, 0)))


def test_estimates_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    small = Lanczos().estimate(Job(Circuit(3, 0, GATES, (HEISENBERG,), True), 0, 0))
    diagonal, flipping = (PauliSum(14, tuple(terms), (1.0,) * 14) for terms in (_one_of("Z"), _one_of("X")))
    large, larger = (Lanczos().estimate(Job(Circuit(14, 0, (), (one,), True), 0, 0)) for one in (diagonal, flipping))
    assert small.seconds < large.seconds < larger.seconds
    assert larger.memory_bytes - large.memory_bytes == 2**14 * 13 * 88
    monkeypatch.setattr(estimates, "machine_bytes", lambda: larger.memory_bytes - 1)
    with pytest.raises(BackendError, match="GiB"):
        Lanczos().estimate(Job(Circuit(14, 0, (), (flipping,), True), 0, 0))


def _one_of(letter: str) -> list[str]:
    return ["I" * k + letter + "I" * (13 - k) for k in range(14)]
