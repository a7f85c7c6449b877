"""`cirq.density`: the suites without noise, and what the noise does."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

import cirq
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmosaic.backends import estimates
from qmosaic.backends.base import Backend, Expectations, Job, Result, run_sync
from qmosaic.backends.conformance.circuits import (
    CircuitKernelConformance,
    distance,
    observables,
    random_circuit,
    teleportation,
)
from qmosaic.backends.conformance.samples import CircuitConformance, job_of, random_kernel, refusal
from qmosaic.backends.on_cirq.density import CirqDensity, Decay, Noise
from qmosaic.backends.registry import create
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import Circuit, Operation, PauliSum
from qmosaic.codecs.models.kernel import Kernel
from tests.backends.circuits.test_circuits import dynamic_circuit

STRENGTHS = (0.0, 0.005, 0.02, 0.08)
ALL = "depolarizing=0.02,amplitude_damping=0.03,readout=0.04"


class TestPolynomials(CircuitConformance):
    def make(self) -> Backend:
        return create("cirq.density")


class TestCircuits(CircuitKernelConformance):
    def make(self) -> Backend:
        return create("cirq.density")


def counted(argument: str, kernel: Kernel, shots: int = 20_000, seed: int = 1) -> Result:
    backend, angle = CirqDensity(argument), np.full(1, 0.4)
    (answer,) = run_sync(backend, [backend.prepare(Job(kernel, shots, seed, angle, angle))])
    assert isinstance(answer, Result)
    return answer


def expectations(argument: str, circuit: Circuit, shots: int = 0, seed: int = 1) -> Expectations:
    backend = CirqDensity(argument)
    (answer,) = run_sync(backend, [backend.prepare(Job(circuit, shots, seed))])
    assert isinstance(answer, Expectations)
    return answer


def shares(result: Result) -> np.ndarray:
    """Of all values of the bits, the first the most significant."""
    bits = result.samples.shape[1]
    found = np.zeros(2**bits)
    found[result.samples @ (1 << np.arange(bits)[::-1])] = result.counts / result.counts.sum()
    return found


def deviation(result: Result, expected: Sequence[float]) -> float:
    """Normalised chi-square distance; every value is expected often enough."""
    shots, wanted = result.counts.sum(), np.array(expected)
    chi2 = float((shots * (shares(result) - wanted) ** 2 / wanted).sum())
    return float((chi2 - (len(wanted) - 1)) / np.sqrt(2 * (len(wanted) - 1)))


def measure(*qubits: int) -> Operation:
    return Operation("measure", qubits, bits=qubits)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**20), st.integers(0, 2))
@settings(max_examples=40, deadline=None)
def test_one_pass_is_what_cirqs_channels_do(depolarizing: float, damping: float, seed: int, qubit: int) -> None:
    order = cirq.LineQubit.range(3)
    rho = cirq.testing.random_density_matrix(8, random_state=seed).astype(np.complex64)
    simulator = cirq.DensityMatrixSimulator(dtype=np.complex64)
    channels = [cirq.depolarize(depolarizing), cirq.amplitude_damp(damping)]
    ours, theirs = (
        simulator.simulate(
            cirq.Circuit(gate(order[qubit]) for gate in gates), qubit_order=order, initial_state=rho
        ).final_density_matrix
        for gates in ([Decay(Noise(depolarizing, damping))], channels)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert cirq.is_cptp(kraus_ops=cirq.kraus(Decay(Noise(depolarizing, damping))), atol=1e-6)


def test_names() -> None:
    plain, noisy = create("cirq.density"), create(f"cirq.density/{ALL}")
    assert (plain.name, plain.capabilities.noise) == ("cirq.density", "")
    assert noisy.name == f"cirq.density/{ALL}"
    assert noisy.capabilities.noise == "depolarizing 0.02, amplitude_damping 0.03, readout 0.04"
    assert Noise.of("depolarising=0.5") == Noise(depolarizing=0.5)


@pytest.mark.parametrize(
    "argument",
    [
        *("dephasing=0.1", "readout", "readout=", "readout=1.5", "readout=-0.1", "readout=nan", "readout=0.1,", "=1"),
        *("readout=0.1,readout=0.1", "depolarizing=0.1,depolarising=0.1"),
    ],
)
def test_what_is_no_noise_is_refused(argument: str) -> None:
    with pytest.raises(BackendError, match=r"Known: depolarizing, amplitude_damping, readout"):
        create(f"cirq.density/{argument}")


def test_readout_flips_bits_independently() -> None:
    r, circuit = 0.1, Circuit(3, 3, (Operation("x", (1,)), measure(0, 1, 2)))
    ideal = (0, 1, 0)
    expected = [
        prod(r if a != b else 1 - r for a, b in zip(bits, ideal, strict=True)) for bits in product((0, 1), repeat=3)
    ]
    assert deviation(counted(f"readout={r}", circuit), expected) < 5
    assert deviation(counted(f"readout={r + 0.01}", circuit), expected) > 5


def test_strengths_are_what_they_say() -> None:
    """One gate: depolarised to 1 - 2p/3, and damped after that."""
    flip = Circuit(1, 1, (Operation("x", (0,)), measure(0)))
    for argument, one in (
        ("depolarizing=0.3", 0.8),
        ("amplitude_damping=0.3", 0.7),
        ("depolarizing=0.3,amplitude_damping=0.25", 0.6),
        ("depolarizing=0.3,amplitude_damping=0.25,readout=0.5", 0.5),
    ):
        assert deviation(counted(argument, flip), [1 - one, one]) < 5
    z = PauliSum(2, ("ZZ", "IZ", "XX", "II"), (1.0, 1.0, 1.0, 0.5))
    bell = Circuit(2, 0, (Operation("h", (0,)), Operation("cx", (0, 1))), (z,))
    # the first qubit takes two gates of noise: its Pauli letters shrink by 1 - 4p/3 each time, but X turns to XX
    left = 1 - 4 * 0.03 / 3
    (value,) = expectations("depolarizing=0.03,readout=0.1", bell).values
    assert value == pytest.approx(0.5 + 0.8**2 * (left**2 + left**3), abs=1e-5)


def test_wrong_readings_are_acted_upon() -> None:
    """|1> measured, and turned over where it was read as 1."""
    operations = (Operation("x", (0,)), measure(0), Operation("x", (0,), condition=((0,), 1)))
    result = counted("readout=0.1", Circuit(1, 2, (*operations, Operation("measure", (0,), bits=(1,)))))
    assert deviation(result, [0.01, 0.09, 0.81, 0.09]) < 5  # bits 00, 01, 10, 11


@pytest.mark.parametrize("seed", range(8))
def test_measurements_resets_and_conditions_agree_with_the_reference(seed: int) -> None:
    circuit = dynamic_circuit(seed)
    assert distance(counted("", circuit, seed=seed), circuit) < 5


@pytest.mark.parametrize("noise", Noise._fields)
def test_more_noise_is_further_from_the_ideal(noise: str) -> None:
    kernels: list[Kernel] = [random_kernel(4, seed=1), random_circuit(4, 2), teleportation()]
    for kernel in kernels:
        ideal, *noisy = (shares(counted(f"{noise}={strength}", kernel, 200_000)) for strength in STRENGTHS)
        away = [np.abs(ideal - each).sum() / 2 for each in noisy]
        assert 0.002 < away[0] < away[1] < away[2]
    circuit = random_circuit(4, 3, operations=12, measured=False)
    circuit = Circuit(4, 0, circuit.operations, observables(4, 2))
    exact, *others = (expectations(f"{noise}={strength}", circuit).values for strength in STRENGTHS)
    off = [np.abs(exact - each).sum() for each in others]
    assert 0.002 < off[0] < off[1] < off[2]


def test_many_shots_tend_to_the_exact_values_of_the_noisy_state() -> None:
    circuit = random_circuit(3, 5, measured=False)
    circuit = Circuit(3, 0, circuit.operations, observables(3, 5))
    exact = expectations(ALL, circuit)
    assert (exact.errors == 0).all()
    found = [expectations(ALL, circuit, 4000, seed) for seed in range(20)]
    scores = np.array([(each.values - exact.values) / each.errors for each in found])
    assert np.abs(scores).max() < 5
    assert 0.6 < np.sqrt(np.mean(scores**2)) < 1.4


def test_estimates() -> None:
    job = Job(Circuit(2, 2, (Operation("h", (0,)), Operation("cx", (0, 1)), measure(0, 1))), 10, 0)
    assert create("cirq.density").estimate(job).fidelity == 1
    assert CirqDensity("depolarizing=0.1,readout=0.2").estimate(job).fidelity == pytest.approx(0.9**3 * 0.8**2)
    small, large = (create("cirq.density").estimate(job_of(random_kernel(n, 1))) for n in (3, 9))
    assert small.memory_bytes < large.memory_bytes
    assert small.seconds < large.seconds


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = create("cirq.density")
    again = [op for bit in range(7) for op in (Operation("h", (0,)), Operation("measure", (0,), bits=(bit,)))]
    assert "in the middle" in str(refusal(backend, Job(Circuit(1, 7, (*again, Operation("h", (0,)))), 10, 0)))
    monkeypatch.setattr(estimates, "machine_bytes", lambda: 2**20)
    with pytest.raises(BackendError, match=r"needs .* GiB for 12 qubits"):
        backend.estimate(job_of(random_kernel(12, 1)))
