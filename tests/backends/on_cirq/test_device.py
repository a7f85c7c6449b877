"""`cirq.device`: without noise it passes the suites, with noise it is what the calibration says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import cirq
import numpy as np
import pytest
from cirq.devices.noise_utils import OpIdentifier

pytest.importorskip("cirq_google")
pytest.importorskip("qsimcirq")

from qmosaic.backends.base import Backend, Expectations, Job, Result, run_sync
from qmosaic.backends.conformance.circuits import (
    CircuitKernelConformance,
    distance,
    expected,
    observables,
    random_circuit,
)
from qmosaic.backends.conformance.samples import (
    CircuitConformance,
    asymmetric_job,
    chi_square,
    dense_probabilities,
    job_of,
    random_kernel,
)
from qmosaic.backends.mitigation.readout import Readout
from qmosaic.backends.mitigation.zero_noise import SCALES, ZeroNoise, folded
from qmosaic.backends.on_cirq import device
from qmosaic.backends.on_cirq.device import CirqDevice
from qmosaic.backends.registry import create
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import Circuit, Operation, PauliSum

PROCESSORS = ("rainbow", "weber", "willow_pink")


@cache
def quiet() -> CirqDevice:
    """One for all tests: what it has compiled it knows."""
    return CirqDevice("willow_pink", noisy=False)


class TestPolynomialsWithoutNoise(CircuitConformance):
    def make(self) -> Backend:
        return quiet()


class TestCircuitsWithoutNoise(CircuitKernelConformance):
    def make(self) -> Backend:
        return quiet()

    def test_figures(self) -> None:
        """Those of the compiled circuit: a CNOT is a CZ between turns of single qubits."""
        operations = (Operation("h", (0,)), Operation("cx", (0, 1)), Operation("measure", (0, 1), bits=(0, 1)))
        found = self.counted(Circuit(2, 2, operations), shots=7).circuit
        assert found is not None
        assert (found.qubits, found.depth, found.two_qubit_gates, found.shots) == (2, 3, 1, 7)


def counted(backend: Backend, job: Job) -> Result:
    (result,) = run_sync(backend, [backend.prepare(job)])
    assert isinstance(result, Result)
    return result


def x(qubit: int) -> Operation:
    return Operation("x", (qubit,))


@pytest.mark.parametrize("processor", PROCESSORS)
def test_bits_stay_in_order_through_swaps(processor: str) -> None:
    backend = CirqDevice(processor, noisy=False)
    circuit = random_circuit(5, 7, operations=20)
    assert distance(counted(backend, Job(circuit, 4000, 1)), circuit) < 5
    assert counted(backend, asymmetric_job()).samples.tolist() == [[0, 1, 1]]


@pytest.mark.parametrize("argument", ["", "sycamore23"])
def test_processors_are_listed(argument: str) -> None:
    with pytest.raises(BackendError) as caught:
        create(f"cirq.device/{argument}" if argument else "cirq.device")
    assert all(f"cirq.device/{name}" in caught.value.remedy for name in PROCESSORS)


def test_barriers_are_kept() -> None:
    backend = CirqDevice("willow_pink")
    gate, barrier = Operation("cz", (0, 1)), Operation("barrier", (0, 1))
    ends = Operation("measure", (0, 1), bits=(0, 1))
    for operations, pairs in (((gate, gate, ends), 0), ((gate, barrier, gate, ends), 2)):
        told = counted(backend, Job(Circuit(2, 2, operations), 10, 1)).circuit
        assert told is not None
        assert told.two_qubit_gates == pairs


def test_a_structure_is_placed_and_routed_once() -> None:
    backend = CirqDevice("willow_pink")
    for seed in range(3):
        backend.prepare(
            replace(job_of(random_kernel(5, 1)), kernel=random_kernel(5, seed), gammas=np.array([seed + 0.1]))
        )
    assert backend.router.route.cache_info().misses == 1


def test_placement_avoids_bad_qubits() -> None:
    backend = CirqDevice("rainbow")
    readout = dict(zip(backend.router.nodes, backend.router.readout, strict=True))
    start, *_ = backend.router.route(4, (((0, 1), (1, 2), (2, 3)),))
    assert len(set(start)) == 4
    assert all(a in b.neighbors() for a, b in zip(start[1:], start, strict=False) if isinstance(b, cirq.GridQubit))
    assert max(readout[qubit] for qubit in start) < np.median(list(readout.values()))


@pytest.mark.parametrize("processor", ["rainbow", "willow_pink"])
def test_noise_lies_between_the_ideal_and_nothing(processor: str) -> None:
    backend = create(f"cirq.device/{processor}")
    job = job_of(random_kernel(3, 3), shots=20_000)
    ideal = dense_probabilities(job)
    result, again = counted(backend, job), counted(backend, job)
    np.testing.assert_array_equal(result.counts, again.counts)
    seen = np.zeros(8)
    seen[result.samples @ (1 << np.arange(3)[::-1])] = result.counts / job.shots
    assert np.abs(seen - ideal).sum() < np.abs(seen - 1 / 8).sum()
    assert chi_square(result, ideal) > 5
    estimate = backend.estimate(job)
    assert 0.5 < estimate.fidelity < 1
    assert estimate.seconds > 0


@pytest.mark.parametrize("processor", PROCESSORS)
def test_noise_of_qubits_that_are_not_used_is_none(processor: str) -> None:
    backend = CirqDevice(processor)
    circuit = backend.prepare(job_of(random_kernel(3, 2), shots=1, seed=5)).circuits[""]
    used = sorted(circuit.all_qubits())
    some, every = (
        cirq.Circuit(noise.noisy_moments(circuit, used)) for noise in (backend._noise_on(circuit), backend.noise)
    )
    assert some == every
    assert len(list(some.all_operations())) > 2 * len(list(circuit.all_operations()))


def test_trajectories_follow_the_density_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(random_kernel(3, 2), shots=4000, seed=5)
    backend = CirqDevice("rainbow")
    shares = backend._states(backend.prepare(job).circuits[""])
    monkeypatch.setattr(device, "MAX_DENSITY", 0)
    assert chi_square(counted(backend, job), shares) < 5


def test_exact_values_are_those_that_many_shots_approach() -> None:
    backend = create("cirq.device/willow_pink")
    circuit = random_circuit(3, 5, operations=12, measured=False)
    circuit = Circuit(3, 0, circuit.operations, observables(3, 5))
    exact, shots = run_sync(backend, [backend.prepare(Job(circuit, shots, 1)) for shots in (0, 20_000)])
    assert isinstance(exact, Expectations)
    assert isinstance(shots, Expectations)
    assert (np.abs(exact.values - shots.values) < 5 * shots.errors).all()
    ideal = expected(circuit)
    weight = max(np.abs(each.coefficients).sum() for each in circuit.observables)
    assert 1e-3 < np.abs(exact.values - ideal).max() < 0.2 * weight
    with pytest.raises(BackendError, match="exact values of 12 noisy qubits"):
        backend.prepare(Job(Circuit(12, 0, (x(0),), observables(12, 1)), 0, 1))


def complete(n: int) -> Circuit:
    """A gate between any two qubits, so that a grid needs SWAPs."""
    pairs = [(a, b) for a in range(n) for b in range(a)]
    steps = tuple(Operation("rzz", pair, (0.3,)) for pair in pairs)
    flips = tuple(Operation("ry", (q,), (0.5,)) for q in range(n))
    return Circuit(n, 0, flips + steps, (PauliSum(n, ("Z" * n,), (1.0,)),))


def test_folds_stay_on_the_qubits_and_scale_the_gates() -> None:
    backend = CirqDevice("willow_pink")
    job = Job(complete(5), 100, 1)
    parts = ZeroNoise(backend).prepare(job).parts
    circuits = [part.circuits["ZZZZZ"] for part in parts]
    told = [device.figures(each, 100).two_qubit_gates for each in circuits]
    assert told == [scale * told[0] for scale in SCALES]
    assert len({each[-1].operations[0].qubits for each in circuits}) == 1
    places = backend.placed(job)
    assert places.first != places.last
    assert set(places.first) == set(places.last)
    assert backend.placed(replace(job, kernel=folded(job.circuit, 3), on=places.first)) == places
    for on in (
        (0,),
        (0, 0, 1, 2, 3),
        (0, 1, 2, 3, 10**6),
        (*places.first[:4], backend.router.nodes.index(max(backend.router.nodes))),
    ):
        with pytest.raises(BackendError, match="lie together"):
            backend.prepare(replace(job, on=on))


@pytest.mark.parametrize("wrap", [Readout, lambda inner: Readout(ZeroNoise(inner))], ids=["readout", "both"])
def test_the_qubits_that_are_calibrated_are_those_of_the_job(wrap: Callable[[Backend], Readout]) -> None:
    """Every qubit reads wrongly as often as its number says: a calibration elsewhere would be seen."""
    inner = CirqDevice("willow_pink")
    inner.noise.noise_models = [
        cirq.devices.InsertionNoiseModel(
            {
                OpIdentifier(cirq.MeasurementGate, q): cirq.bit_flip(0.003 * k)(q)
                for k, q in enumerate(inner.router.nodes)
            },
            prepend=True,
            require_physical_tag=True,
        )
    ]
    circuit = complete(4)
    backend, exact = wrap(inner), expected(circuit)
    job = Job(circuit, 0, 1)
    (raw,) = inner.run([inner.prepare(job)])
    (found,) = run_sync(backend, [backend.prepare(job)])
    assert isinstance(raw, Expectations)
    assert isinstance(found, Expectations)
    ((on, (_, confusion)),) = backend._known.items()
    assert on == inner.placed(job).last
    np.testing.assert_allclose(confusion.flips, [0.003 * np.array(on)] * 2, atol=0.03)
    assert np.abs(raw.values - exact) > 5 * found.errors
    assert np.abs(found.values - exact) < 4 * found.errors
