"""What every backend that takes circuits must do, as a test class beside those of `testing`.

    class TestMine(CircuitKernelConformance):
        def make(self) -> Backend:
            return MyBackend()

The reference is a few lines of dense linear algebra on `codecs.circuit.unitary`, slow on purpose, and shares nothing
with a simulator but the conventions of that module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Complex128, Float64

from qmosaic.backends.base import Backend, Expectations, Job, Result, run_sync
from qmosaic.backends.conformance.samples import refusal
from qmosaic.codecs.models.circuit import GATES, PAULIS, Circuit, Operation, PauliSum, unitary

CLIFFORD = ("id", "x", "y", "z", "h", "s", "sdg", "sx", "sxdg", "cx", "cy", "cz", "swap", "iswap")
SHOTS = 20_000


def random_circuit(
    n: int, seed: int, operations: int = 30, gates: Sequence[str] = (*GATES, "rotation"), measured: bool = True
) -> Circuit:
    """Gates and angles at random; all qubits measured at the end, qubit q into bit n - 1 - q."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(operations):
        gate = gates[int(rng.integers(len(gates)))]
        size, parameters = GATES.get(gate, (int(rng.integers(1, n + 1)), 1))
        if size > n:
            continue
        qubits = tuple(int(q) for q in rng.permutation(n)[:size])
        pauli = "".join("IXYZ"[k] for k in rng.integers(4, size=size)) if gate == "rotation" else ""
        out.append(Operation(gate, qubits, tuple(rng.uniform(-4, 4, parameters).tolist()), pauli))
    if measured:
        out.append(Operation("measure", tuple(range(n)), bits=tuple(range(n))[::-1]))
    return Circuit(n, n if measured else 0, tuple(out))


def observables(n: int, seed: int, terms: int = 6) -> tuple[PauliSum, ...]:
    """Two Pauli sums at random, each with a constant."""
    rng = np.random.default_rng(seed)
    return tuple(
        PauliSum(
            n,
            ("I" * n, *("".join("IXYZ"[k] for k in rng.integers(4, size=n)) for _ in range(terms))),
            tuple(rng.normal(size=terms + 1).tolist()),
        )
        for _ in range(2)
    )


def teleportation(angle: float = 1.0) -> Circuit:
    """Measurements in the middle, conditions on them, a reset, and a bit that is written twice."""
    return Circuit(
        3,
        3,
        (
            Operation("ry", (0,), (angle,)),
            Operation("h", (1,)),
            Operation("cx", (1, 2)),
            Operation("cx", (0, 1)),
            Operation("h", (0,)),
            Operation("measure", (0,), bits=(0,)),
            Operation("measure", (1,), bits=(1,)),
            Operation("x", (2,), condition=((1,), 1)),
            Operation("z", (2,), condition=((0,), 1)),
            Operation("reset", (0,)),
            Operation("x", (0,), condition=((0, 1), 2)),
            Operation("measure", (0,), bits=(0,)),
            Operation("measure", (2,), bits=(2,)),
        ),
    )


def reference(circuit: Circuit) -> dict[tuple[int, ...], float]:
    """The probability of each value of the classical bits, by following every branch with whole states."""
    start = np.zeros((2,) * circuit.qubits, np.complex128)
    start[(0,) * circuit.qubits] = 1
    branches: list[tuple[Complex128[np.ndarray, "..."], tuple[int, ...]]] = [(start, (0,) * circuit.bits)]
    for operation in circuit.operations:
        branches = [after for branch in branches for after in _after(operation, *branch)]
    found: dict[tuple[int, ...], float] = {}
    for state, bits in branches:
        found[bits] = found.get(bits, 0.0) + float((np.abs(state) ** 2).sum())
    return found


def _after(
    operation: Operation, state: Complex128[np.ndarray, "..."], bits: tuple[int, ...]
) -> list[tuple[Complex128[np.ndarray, "..."], tuple[int, ...]]]:
    if any(bits[bit] != value for bit, value in operation.wanted.items()) or operation.gate in ("barrier", "gphase"):
        return [(state, bits)]
    if operation.gate not in ("measure", "reset"):
        return [(_applied(state, unitary(operation), operation.qubits), bits)]
    branches = [(state, bits)]
    for k, qubit in enumerate(operation.qubits):
        divided = []
        for each, known in branches:
            for result in (0, 1):
                kept = np.zeros_like(each)
                at = (slice(None),) * qubit
                kept[(*at, 0 if operation.gate == "reset" else result)] = each[(*at, result)]
                if (np.abs(kept) ** 2).sum() > 1e-14:
                    after = list(known)
                    if operation.gate == "measure":
                        after[operation.bits[k]] = result
                    divided.append((kept, tuple(after)))
        branches = divided
    return branches


def _applied(
    state: Complex128[np.ndarray, "..."], matrix: Complex128[np.ndarray, "d d"], qubits: Sequence[int]
) -> Complex128[np.ndarray, "..."]:
    k = len(qubits)
    tensor = matrix.reshape((2,) * (2 * k))
    return np.moveaxis(np.tensordot(tensor, state, (range(k, 2 * k), qubits)), range(k), qubits)


def expected(circuit: Circuit) -> Float64[np.ndarray, " v"]:
    """The values of the observables of a unitary circuit."""
    state = np.zeros((2,) * circuit.qubits, np.complex128)
    state[(0,) * circuit.qubits] = 1
    for operation in circuit.operations:
        if operation.gate not in ("barrier", "gphase"):
            state = _applied(state, unitary(operation), operation.qubits)
    values = []
    for each in circuit.observables:
        total = 0.0
        for pauli, coefficient in zip(each.paulis, each.coefficients, strict=True):
            turned = state
            for qubit, letter in enumerate(pauli):
                turned = _applied(turned, PAULIS[letter], (qubit,))
            total += coefficient * float(np.vdot(state, turned).real)
        values.append(total)
    return np.array(values)


def distance(result: Result, circuit: Circuit) -> float:
    """Normalised chi-square distance of counts from the reference, about normal; rare values count together."""
    wanted = reference(circuit)
    seen = {tuple(row): count for row, count in zip(result.samples.tolist(), result.counts.tolist(), strict=True)}
    shots = sum(seen.values())
    assert seen.keys() <= {bits for bits, share in wanted.items() if share > 1e-9}, "a value that never happens"
    pairs = [(seen.get(bits, 0), share * shots) for bits, share in wanted.items()]
    often = [pair for pair in pairs if pair[1] >= 5]
    rare = [pair for pair in pairs if pair[1] < 5]
    if rare:
        often.append((sum(count for count, _ in rare), max(sum(share for _, share in rare), 1e-9)))
    freedom = max(1, len(often) - 1)
    return float((sum((a - b) ** 2 / b for a, b in often) - freedom) / np.sqrt(2 * freedom))


class CircuitKernelConformance:
    """The suite. `make` is the one method to write; `gates` says which of them it takes."""

    gates: tuple[str, ...] = (*GATES, "rotation")

    def make(self) -> Backend:
        """A fresh backend."""
        raise NotImplementedError

    def answers(self, *jobs: Job) -> Sequence[Result | Expectations]:
        """The answers of a fresh backend to one batch."""
        backend = self.make()
        try:
            return run_sync(backend, [backend.prepare(job) for job in jobs])
        finally:
            backend.close()

    def counted(self, circuit: Circuit, shots: int = SHOTS, seed: int = 1) -> Result:
        """Samples of a circuit."""
        (answer,) = self.answers(Job(circuit, shots, seed))
        assert isinstance(answer, Result)
        return answer

    def test_every_gate_alone(self) -> None:
        for gate in self.gates:
            circuit = random_circuit(3, seed=len(gate), operations=2, gates=[gate])
            turned = [Operation(g, (q,)) for g in ("h", "s") for q in range(3)]
            back = [Operation(g, (q,)) for g in ("sx", "h") for q in range(3)]
            measure = circuit.operations[-1]
            whole = replace_operations(circuit, (*turned, *circuit.operations[:-1], *back, measure))
            assert distance(self.counted(whole, shots=4000), whole) < 5, gate

    def test_samples_follow_the_distribution(self) -> None:
        for n in (1, 2, 3, 5):
            for seed in (1, 2):
                circuit = random_circuit(n, seed, gates=self.gates)
                result = self.counted(circuit, seed=seed)
                assert result.counts.sum() == SHOTS
                assert (result.energies == 0).all()
                assert distance(result, circuit) < 5

    def test_bit_order(self) -> None:
        circuit = Circuit(3, 4, (Operation("x", (0,)), Operation("measure", (0, 1), bits=(2, 3))))
        result = self.counted(circuit, shots=10)
        assert result.samples.tolist() == [[0, 0, 1, 0]]
        assert result.counts.tolist() == [10]

    def test_measurements_in_the_middle_conditions_and_resets(self) -> None:
        clifford = "ry" not in self.gates
        circuit = teleportation(np.pi / 2 if clifford else 1.0)
        assert distance(self.counted(circuit, shots=2000), circuit) < 5

    def test_a_bit_without_a_measurement_is_0(self) -> None:
        circuit = Circuit(1, 2, (Operation("x", (0,)),))
        assert self.counted(circuit, shots=5).samples.tolist() == [[0, 0]]

    def test_same_seed_same_samples_whatever_the_batch(self) -> None:
        job = Job(random_circuit(4, 3, gates=self.gates), 500, 7)
        others = [Job(random_circuit(n, n, gates=self.gates), 100, n) for n in (2, 3)]
        (alone,) = self.answers(job)
        beside = self.answers(*others, job)[2]
        assert isinstance(alone, Result)
        assert isinstance(beside, Result)
        np.testing.assert_array_equal(alone.samples, beside.samples)
        np.testing.assert_array_equal(alone.counts, beside.counts)

    def test_exact_expectations(self) -> None:
        for n in (1, 2, 4):
            circuit = random_circuit(n, n, gates=self.gates, measured=False)
            circuit = Circuit(n, 0, circuit.operations, observables(n, n))
            (answer,) = self.answers(Job(circuit, 0, 1))
            assert isinstance(answer, Expectations)
            np.testing.assert_allclose(answer.values, expected(circuit), atol=1e-5)
            assert (answer.errors == 0).all()

    def test_expectations_from_shots_are_as_wrong_as_they_say(self) -> None:
        circuit = random_circuit(3, 5, gates=self.gates, measured=False)
        circuit = Circuit(3, 0, circuit.operations, observables(3, 5))
        scores = []
        for answer in self.answers(*(Job(circuit, 400, seed) for seed in range(40))):
            assert isinstance(answer, Expectations)
            assert (answer.errors > 0).all()
            scores += ((answer.values - expected(circuit)) / answer.errors).tolist()
        assert np.abs(scores).max() < 5
        assert np.sqrt(np.mean(np.square(scores))) < 1.5

    def test_what_it_cannot_take_is_refused_with_a_remedy(self) -> None:
        backend = self.make()
        most = backend.capabilities.sizes["clifford"]
        good = Job(random_circuit(2, 1, gates=self.gates), 10, 0)
        middle = Circuit(1, 1, (Operation("measure", (0,), bits=(0,)),), observables(1, 1))
        for wrong in (
            replace(good, kernel=Circuit(most + 1, 0, ())),
            replace(good, shots=0),
            replace(good, kernel=middle),
        ):
            assert refusal(backend, wrong).remedy

    def test_figures(self) -> None:
        operations = (Operation("h", (0,)), Operation("cx", (0, 1)), Operation("measure", (0, 1), bits=(0, 1)))
        found = self.counted(Circuit(2, 2, operations), shots=7).circuit
        assert found is not None
        assert (found.qubits, found.depth, found.two_qubit_gates, found.shots) == (2, 2, 1, 7)


def replace_operations(circuit: Circuit, operations: tuple[Operation, ...]) -> Circuit:
    """The same registers with other operations."""
    return Circuit(circuit.qubits, circuit.bits, operations, circuit.observables)
