"""Mitigation: right where there is nothing to mitigate, better where there is, and as uncertain as it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmosaic.backends.base import Answer, Backend, Estimate, Expectations, Job, Result, Usage, run_sync
from qmosaic.backends.circuits import measurement
from qmosaic.backends.conformance.circuits import (
    CircuitKernelConformance,
    expected,
    observables,
    random_circuit,
    teleportation,
)
from qmosaic.backends.conformance.samples import BackendConformance, random_kernel, refusal, states
from qmosaic.backends.mitigation import readout, zero_noise
from qmosaic.backends.mitigation.confusion import Confusion, nearest, rounded, settled
from qmosaic.backends.mitigation.readout import Readout
from qmosaic.backends.mitigation.zero_noise import ZeroNoise, folded
from qmosaic.backends.on_cirq.density import CirqDensity
from qmosaic.backends.registry import create, target_of
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import Circuit, Operation, PauliSum
from qmosaic.codecs.models.kernel import Kernel


class TestReadoutOfPolynomials(BackendConformance):
    def make(self) -> Backend:
        return create("readout(cirq.density)")


class TestReadoutOfCircuits(CircuitKernelConformance):
    def make(self) -> Backend:
        return create("readout(cirq.density)")

    def test_measurements_in_the_middle_conditions_and_resets(self) -> None:
        assert "acted upon" in str(refusal(self.make(), Job(teleportation(), 10, 0)))


class TestZeroNoiseOfPolynomials(BackendConformance):
    def make(self) -> Backend:
        return create("zne(cirq.density)")


class TestZeroNoiseOfCircuits(CircuitKernelConformance):
    def make(self) -> Backend:
        return create("zne(cirq.density)")


class Billed(CirqDensity):
    """A dollar and two seconds a job; it remembers the sizes of its batches."""

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument)
        self.capabilities = replace(self.capabilities, paid=True)
        self.batches: list[int] = []

    def estimate(self, job: Job) -> Estimate:
        return Estimate(seconds=2.0, cost=1.0, fidelity=0.9)

    def run(self, batch: Sequence[object]) -> list[Answer]:
        self.batches.append(len(batch))
        found = super().run(batch)  # type: ignore[arg-type]
        return [replace(each, usage=Usage(1.0, 2.0, 1.0, f"id{k}")) for k, each in enumerate(found)]


def answer(backend: Backend, kernel: Kernel, shots: int, seed: int = 1) -> Answer:
    angle = np.full(1, 0.4)
    (found,) = run_sync(backend, [backend.prepare(Job(kernel, shots, seed, angle, angle))])
    return found


def values(name: str, circuit: Circuit, shots: int = 0, seed: int = 1) -> Expectations:
    found = answer(create(name), circuit, shots, seed)
    assert isinstance(found, Expectations)
    return found


def samples(name: str, kernel: Kernel, shots: int = 4000) -> Result:
    found = answer(create(name), kernel, shots)
    assert isinstance(found, Result)
    return found


def observed(n: int, seed: int, operations: int = 12) -> Circuit:
    gates = random_circuit(n, seed, operations, measured=False).operations
    return Circuit(n, 0, gates, observables(n, seed))


def test_what_was_read_is_put_right_once() -> None:
    with pytest.raises(BackendError, match="twice"):
        create("readout(zne(readout(cirq.density)))")


def test_names_nest_and_capabilities_are_the_inner_ones() -> None:
    backend = create("readout(zne(cirq.density/depolarizing=0.01,readout=0.02))")
    assert backend.name == "readout(zne(cirq.density/depolarizing=0.01,readout=0.02))"
    assert backend.capabilities == create("cirq.density/depolarizing=0.01,readout=0.02").capabilities
    assert target_of(backend.name) == "quantum"
    with pytest.raises(BackendError, match="takes no circuits"):
        create("readout(tabu)")


# Confusion


def confusion(n: int, seed: int, most: float = 0.3) -> Confusion:
    return Confusion(np.random.default_rng(seed).uniform(0, most, (2, n)), 1000)


def spoiled(shares: np.ndarray, found: Confusion) -> np.ndarray:
    """A distribution of all states, read with these errors."""
    for qubit, (zero, one) in enumerate(found.flips.T):
        matrix = np.array([[1 - zero, one], [zero, 1 - one]])
        shares = np.einsum("ab,xby->xay", matrix, shares.reshape(2**qubit, 2, -1)).ravel()
    return shares


def mean(shares: np.ndarray, observable: PauliSum) -> float:
    """Of an observable of Z alone."""
    signs = 1.0 - 2.0 * states(observable.qubits)
    strings = [[q for q, letter in enumerate(pauli) if letter != "I"] for pauli in observable.paulis]
    return float(sum(c * shares @ signs[:, s].prod(1) for s, c in zip(strings, observable.coefficients, strict=True)))


@given(st.integers(1, 5), st.integers(0, 2**20))
@settings(max_examples=40, deadline=None)
def test_what_was_read_wrongly_is_put_right(n: int, seed: int) -> None:
    rng, errors = np.random.default_rng(seed), confusion(n, seed)
    true = rng.dirichlet(np.ones(2**n))
    read = spoiled(true, errors)
    counts = rounded(read, 10**9)
    np.testing.assert_allclose(errors.counts(states(n), counts, range(n)) / 10**9, true, atol=1e-6)
    diagonal = PauliSum(n, tuple("".join(rng.choice(["I", "Z"], n)) for _ in range(4)), tuple(rng.normal(size=4)))
    instead = errors.observables([diagonal])
    assert mean(read, instead[0]) == pytest.approx(mean(true, diagonal), abs=1e-9)
    # and the others are the derivatives by the flips, times their standard errors
    step = 1e-6
    for moved, (state, qubit) in zip(instead[1:], np.argwhere(errors.flips > 0), strict=True):
        shifted = Confusion(errors.flips.copy(), 1000)
        shifted.flips[state, qubit] += step
        slope = (mean(read, shifted.observables([diagonal])[0]) - mean(true, diagonal)) / step
        flip = errors.flips[state, qubit]
        assert mean(read, moved) == pytest.approx(slope * np.sqrt(flip * (1 - flip) / 1000), abs=1e-4)


def test_among_the_values_that_were_seen() -> None:
    """Two of the 1024, that differ in one qubit: what went to others went from both alike."""
    seen = np.zeros((2, 10), np.uint8)
    seen[1, 3] = 1
    found = Confusion(np.full((2, 10), 0.1), 1000).counts(seen, np.array([8000, 2000]), range(10))
    assert found.tolist() == [8750, 1250]


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20), st.integers(1, 10_000))
@settings(deadline=None)
def test_the_nearest_distribution_and_its_counts(shares: list[float], total: int) -> None:
    given_ = np.array(shares)
    found = nearest(given_)
    assert found.sum() == pytest.approx(1)
    assert found.min() >= 0
    # no corner of the simplex lies on the near side of it: so it is the nearest point
    assert ((given_ - found) @ (np.eye(len(given_)) - found).T).max() < 1e-9
    counts = rounded(found, total)
    assert counts.sum() == total
    assert np.abs(counts - found * total).max() < 1 + 1e-6


def test_an_observable_without_errors_stays_as_it_is() -> None:
    given_ = observables(3, 1)
    for instead, each in zip(Confusion(np.zeros((2, 3)), 10).observables(given_), given_, strict=True):
        assert measurement.plan((instead,)).paulis == measurement.plan((each,)).paulis
        np.testing.assert_allclose(measurement.plan((instead,)).weights, measurement.plan((each,)).weights)
    plain = Expectations(np.array([1.0, 2.0]), np.array([0.1, 0.2]), 0.0)
    np.testing.assert_array_equal(settled(plain, 2), [plain.values, plain.errors])


def test_what_is_read_at_random_is_said_so() -> None:
    with pytest.raises(BackendError, match=r"qubit 0 is read nearly at random.*other qubits"):
        samples("readout(cirq.density/readout=0.48)", Circuit(1, 1, (Operation("measure", (0,), bits=(0,)),)))


# Readout


def test_counts_are_nearer_to_the_ideal() -> None:
    ghz = (Operation("h", (0,)), Operation("cx", (0, 1)), Operation("cx", (1, 2)))
    circuit = Circuit(3, 4, (*ghz, Operation("measure", (0, 2, 1), bits=(3, 1, 0))))
    good = ([0, 0, 0, 0], [1, 1, 0, 1])
    raw, better = (
        samples(name, circuit) for name in ("cirq.density/readout=0.06", "readout(cirq.density/readout=0.06)")
    )
    right = [sum(each.counts[(each.samples == bits).all(1)].sum() for bits in good) / 4000 for each in (raw, better)]
    assert right[0] < 0.86
    assert right[1] > 0.98
    assert better.counts.sum() == 4000
    assert better.counts.min() > 0
    kernel = random_kernel(5, 1)
    ideal, raw, better = (
        samples(name, kernel)
        for name in ("cirq.density", "cirq.density/readout=0.06", "readout(cirq.density/readout=0.06)")
    )
    energies = [each.energies @ each.counts / 4000 for each in (ideal, raw, better)]
    assert abs(energies[2] - energies[0]) < abs(energies[1] - energies[0]) / 3


def test_a_bit_is_corrected_for_the_qubit_that_was_read_into_it() -> None:
    # the second qubit as if it were in |1>, and read as 0 in 0.4 of the shots, which is what is known of it
    backend = Readout(CirqDensity())
    backend._known[0, 1] = monotonic(), Confusion(np.array([[0.0, 0.0], [0.0, 0.4]]), 1000)
    steps = (Operation("ry", (1,), (2 * np.arcsin(0.6**0.5),)), Operation("measure", (0, 1), bits=(1, 0)))
    found = answer(backend, Circuit(2, 2, steps), 4000)
    assert isinstance(found, Result)
    assert found.counts[(found.samples == [1, 0]).all(axis=1)].sum() > 3900


def test_readout_errors_are_as_large_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibrated with few shots, so that those count as well."""
    monkeypatch.setattr(readout, "CALIBRATION_SHOTS", 400)
    circuit = observed(3, 5)
    scores = []
    for seed in range(30):
        monkeypatch.setattr(readout, "CALIBRATION_SEED", 1000 + 10 * seed)
        for shots in (0, 2000):
            found = values("readout(cirq.density/readout=0.1)", circuit, shots, seed)
            assert (found.errors > 0).all()
            scores.append((found.values - expected(circuit)) / found.errors)
    assert np.abs(scores).max() < 5
    assert 0.7 < np.sqrt(np.mean(np.square(scores[0::2]))) < 1.4
    assert 0.7 < np.sqrt(np.mean(np.square(scores[1::2]))) < 1.4


def test_a_calibration_is_kept_counted_and_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = Billed("readout=0.05")
    backend = Readout(inner)
    circuit, other = observed(2, 1), observed(3, 1)
    job = Job(circuit, 100, 1)
    assert backend.estimate(job) == Estimate(6.0, 3.0, 0.9, jobs=3)
    first = answer(backend, circuit, 100)
    assert (first.usage.cost, first.usage.device_seconds, first.usage.job_id) == (3.0, 6.0, "id0 id0 id1")
    assert inner.batches == [2, 1]
    assert backend.estimate(job) == Estimate(2.0, 1.0, 0.9)
    assert answer(backend, circuit, 100).usage.cost == 1.0
    assert answer(backend, other, 100).usage.cost == 3.0
    monkeypatch.setattr(readout, "CALIBRATION_SECONDS", 0.0)
    assert answer(backend, circuit, 100).usage.cost == 3.0


def test_too_much_to_correct_is_refused_before_it_runs() -> None:
    backend = create("readout(cirq.statevector)")
    wide = Circuit(20, 20, (Operation("h", (0,)), Operation("measure", tuple(range(20)), bits=tuple(range(20)))))
    assert "5000 different values" in str(refusal(backend, Job(wide, 5000, 1)))
    assert backend.prepare(Job(wide, 4000, 1))
    heavy = Circuit(20, 0, (), (PauliSum(20, ("Z" * 20,), (1.0,)),))
    assert "Pauli strings" in str(refusal(backend, Job(heavy, 0, 1)))


# Zero noise


@given(st.integers(1, 4), st.integers(0, 2**20), st.sampled_from(zero_noise.SCALES))
@settings(max_examples=25, deadline=None)
def test_folds_change_nothing_but_the_noise(n: int, seed: int, scale: int) -> None:
    circuit = observed(n, seed)
    again = folded(circuit, scale)
    np.testing.assert_allclose(expected(again), expected(circuit), atol=1e-9)
    pairs = [sum(len(step.qubits) > 1 and step.gate != "barrier" for step in c.operations) for c in (circuit, again)]
    assert pairs[1] == scale * pairs[0]
    assert (n > 1) <= (sum(step.gate == "barrier" for step in again.operations) == scale - 1)


def test_weights_are_richardsons() -> None:
    np.testing.assert_allclose(zero_noise.WEIGHTS, [15 / 8, -10 / 8, 3 / 8])
    for power in range(3):
        assert zero_noise.WEIGHTS @ np.array(zero_noise.SCALES) ** power == pytest.approx(float(power == 0), abs=1e-12)


@pytest.mark.parametrize("noise", ["depolarizing=0.003", "amplitude_damping=0.004"])
def test_most_of_the_noise_goes(noise: str) -> None:
    for seed in range(4):
        circuit = observed(3, seed)
        raw, better = (values(f"{name}cirq.density/{noise}{')' * bool(name)}", circuit) for name in ("", "zne("))
        ideal = expected(circuit)
        assert np.abs(better.values - ideal).max() < 0.2 * np.abs(raw.values - ideal).max()
        assert (better.errors == 0).all()


def test_its_standard_errors_are_those_of_the_shots() -> None:
    circuit = observed(3, 5)
    exact = values("zne(cirq.density/depolarizing=0.01)", circuit).values
    found = [values("zne(cirq.density/depolarizing=0.01)", circuit, 2000, seed) for seed in range(20)]
    scores = np.array([(each.values - exact) / each.errors for each in found])
    assert np.abs(scores).max() < 5
    assert 0.7 < np.sqrt(np.mean(scores**2)) < 1.4


def test_samples_are_the_inner_ones() -> None:
    kernel = random_kernel(4, 1)
    ours, theirs = (samples(name, kernel) for name in ("zne(cirq.density/readout=0.1)", "cirq.density/readout=0.1"))
    np.testing.assert_array_equal(ours.samples, theirs.samples)
    np.testing.assert_array_equal(ours.counts, theirs.counts)


def test_three_runs_are_counted_in_batches_of_the_inner_size() -> None:
    inner = Billed("depolarizing=0.01")
    backend = ZeroNoise(inner)
    jobs = [Job(observed(2, seed), 100, seed) for seed in (1, 2)]
    assert backend.estimate(jobs[0]) == Estimate(6.0, 3.0, 0.9, jobs=3)
    answers = run_sync(backend, [backend.prepare(job) for job in jobs])
    assert inner.batches == [4, 2]
    assert [each.usage.cost for each in answers] == [3.0, 3.0]
    alone = answer(ZeroNoise(Billed("depolarizing=0.01")), jobs[1].circuit, 100, 2)
    assert isinstance(alone, Expectations)
    assert isinstance(answers[1], Expectations)
    np.testing.assert_array_equal(alone.values, answers[1].values)
    assert alone.circuit is not None
    assert alone.circuit.shots == 300


def test_what_is_variational_stays_so_under_zero_noise_alone() -> None:
    circuit = msgspec.structs.replace(observed(2, 1), variational=True)
    assert folded(circuit, 3).variational
    found = [values(name, circuit).values for name in ("readout(cirq.density)", "zne(cirq.density)")]
    np.testing.assert_allclose(found, [expected(circuit)] * 2, atol=1e-5)
