"""States in Cirq: the same as Cirq's own, in bounded memory; and drawing from them block by block."""

from __future__ import annotations

import subprocess
import sys

import cirq
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmosaic.backends import estimates
from qmosaic.backends.base import Job
from qmosaic.backends.circuits import counting, measurement
from qmosaic.backends.circuits.counting import draw, marginal, probabilities
from qmosaic.backends.circuits.in_cirq import unitary_circuit
from qmosaic.backends.conformance.circuits import expected, observables, random_circuit
from qmosaic.backends.on_cirq.simulation import simulated
from qmosaic.backends.registry import create
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import Circuit
from qmosaic.codecs.models.polynomial import SpinPolynomial

RING = """
from pathlib import Path
import numpy as np
from qmosaic.backends.base import Job
from qmosaic.backends.on_cirq.statevector import CirqStatevector
from qmosaic.codecs.models.circuit import Circuit, Operation, PauliSum
from qmosaic.codecs.models.polynomial import SpinPolynomial

def peak():
    # of this program: what getrusage says may be the memory of the process that started it
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return 1024 * int(line.split()[1])

n, backend, angle = {n}, CirqStatevector(), np.ones(1)
backend.warm_up()
before = peak()
ring = SpinPolynomial.of(n, h=np.ones(n), rows=range(n), cols=[*range(1, n), 0], J=np.ones(n))
gates = (*(Operation("h", (q,)) for q in range(n)), Operation("cx", (0, n - 1)))
observable = PauliSum(n, ("X" * n, "Y" * n, "Z" * n), (1.0, 1.0, 1.0))
ends = Operation("measure", tuple(range(n)), bits=tuple(range(n))[::-1])
jobs = [
    Job(ring, 1000, 1, angle, angle),
    Job(Circuit(n, n, (*gates, ends)), 1000, 1),
    Job(Circuit(n, 0, gates, (observable,)), 0, 1),
    Job(Circuit(n, 0, gates, (observable,)), 1000, 1),
]
for job in jobs:
    backend.run([backend.prepare(job)])
    print((peak() - before) / 2**n)
"""


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(0, 1000))
def test_the_state_is_that_of_cirqs_simulator(n: int, seed: int) -> None:
    circuit = unitary_circuit(random_circuit(n, seed, operations=25))
    wanted = cirq.Simulator().simulate(circuit, qubit_order=cirq.LineQubit.range(n)).final_state_vector
    np.testing.assert_allclose(simulated(circuit, n), wanted, atol=1e-5)


def test_bytes_for_each_amplitude() -> None:
    # 2^26 of them within 2 GiB, of which the modules take a tenth, but for observables from shots
    done = subprocess.run([sys.executable, "-c", RING.format(n=22)], capture_output=True, text=True, check=True)
    *others, by_shots = map(float, done.stdout.split())
    assert 8 < max(others) < 24
    assert by_shots < 34


def test_more_than_the_machines_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, angle = create("cirq.statevector"), np.ones(1)
    monkeypatch.setattr(estimates, "machine_bytes", lambda: 2**31)
    assert 2**29 < backend.estimate(Job(SpinPolynomial.of(26), 10, 0, angle, angle)).memory_bytes < 2**31
    with pytest.raises(BackendError, match="27 qubits"):
        backend.estimate(Job(Circuit(27, 0, ()), 10, 0))


@pytest.mark.parametrize("block", [1, 4, 64])
def test_draws_follow_the_shares_whatever_the_block(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "BLOCK", block)
    shares = np.random.default_rng(0).random(64).astype(np.float32) ** 4
    shares[[0, 5, 6, 7, 62, 63]] = 0
    states, counts = draw(shares, 100_000, np.random.default_rng(1))
    wanted = (shares / shares.sum() * 100_000)[states]
    assert (wanted > 0).all()
    assert counts.sum() == 100_000
    freedom = len(states) - 1
    assert abs(((counts - wanted) ** 2 / wanted).sum() - freedom) / np.sqrt(2 * freedom) < 5


def test_a_draw_never_gives_what_has_no_share() -> None:
    class Last:
        def random(self, shots: int) -> np.ndarray:
            return np.full(shots, np.nextafter(1, 0))

    states, _ = draw(np.array([0.1, 0.2, 0.7, 0, 0], np.float32), 3, Last())  # type: ignore[arg-type]
    assert states.tolist() == [2]


def test_marginals_and_values_do_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = random_circuit(5, 3, measured=False)
    circuit = Circuit(5, 0, circuit.operations, observables(5, 3))
    state = simulated(unitary_circuit(circuit), 5)
    for block in (2, 8, 2**16):
        monkeypatch.setattr(counting, "BLOCK", block)
        monkeypatch.setattr(measurement, "BLOCK", block)
        np.testing.assert_allclose(measurement.exact(circuit.observables, state), expected(circuit), atol=1e-5)
        shares = probabilities(state)
        np.testing.assert_allclose(shares, np.abs(state) ** 2, atol=1e-6)
        np.testing.assert_allclose(
            marginal(shares, [3, 1]), np.einsum("abcde->db", shares.reshape((2,) * 5)).ravel(), atol=1e-6
        )
