"""`cirq.density` (target quantum): circuits under noise, on Cirq's density-matrix simulator.

    cirq.density                                         no noise
    cirq.density/depolarizing=0.01,readout=0.03          as strong as that

- `depolarizing` p: after every gate, on each of its qubits, X, Y or Z with p/3 each (`cirq.depolarize(p)`);
- `amplitude_damping` g: likewise, after it, |1> falls to |0> with g (`cirq.amplitude_damp(g)`);
- `readout` r: every bit that is read is the other one with r; what happens to the qubit is what it truly was.

Gates are those that Cirq runs: a rotation about a Pauli string is its ladder of CX, gates on three qubits are taken
apart, idle qubits keep still. Nothing is optimised away. The bases of observables are turned without noise, so that
their exact values (0 shots) are what many shots tend to, readout errors included: a Pauli string on w qubits is
measured as (1 - 2r)^w of itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from math import sqrt
from time import perf_counter
from typing import Any, NamedTuple

import cirq
import numpy as np
from jaxtyping import Complex64, Float64, Int64, UInt8

from qmosaic.backends.base import Backend, Capabilities, Estimate, Expectations, Job, Result, check
from qmosaic.backends.circuits import in_cirq, measurement
from qmosaic.backends.circuits.counting import draw, figures, final, marginal, measured, result_of, rows_of, unmeasured
from qmosaic.backends.circuits.qaoa import figures as qaoa_figures
from qmosaic.backends.circuits.qaoa_in_cirq import circuit_of
from qmosaic.backends.estimates import refuse_memory
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import Circuit, Operation
from qmosaic.codecs.models.kernel import size_of

MAX_MIDDLE = 6
"""Bits that are measured in the middle: each may double the density matrices to follow."""
ENTRY_BYTES = 48
"""What an entry of a density matrix takes, all buffers counted (measured)."""
GATE_SECONDS, ENTRY_SECONDS = 2e-4, 4e-9
"""What a gate takes with its noise, and for each entry (measured)."""

UNLIKELY = 1e-9
"""A branch that is left out."""

Density = Complex64[np.ndarray, "N N"]
Branches = dict[tuple[int, ...], Density]
"""By the values of the classical bits: the density matrix, its trace how likely they are."""


class Noise(NamedTuple):
    """Strengths, 0 to 1; see the module."""

    depolarizing: float = 0.0
    amplitude_damping: float = 0.0
    readout: float = 0.0

    @classmethod
    def of(cls, argument: str) -> Noise:
        """From `name=strength,…`. Raises BackendError."""
        found: dict[str, float] = {}
        for part in argument.split(",") if argument else ():
            name, _, text = part.partition("=")
            name = name.strip().replace("depolarising", "depolarizing")
            try:
                strength = float(text)
            except ValueError:
                strength = -1.0
            if name not in cls._fields or name in found or not 0 <= strength <= 1:
                raise BackendError(
                    f"expected each noise once, as name=strength, a strength from 0 to 1, got {part!r}",
                    place=argument,
                    remedy=f"Known: {', '.join(cls._fields)}; for example cirq.density/depolarizing=0.01,readout=0.02.",
                )
            found[name] = strength
        return cls(**found)

    @property
    def confusion(self) -> Float64[np.ndarray, "2 2"]:
        """How likely a row is read where the column was."""
        return np.array([[1 - self.readout, self.readout], [self.readout, 1 - self.readout]])


class Decay(cirq.Gate):
    """One qubit's depolarising and damping, as one pass over the density matrix: ten times as fast as Kraus operators.

    Both mix the two populations linearly and shrink the coherences.
    """

    def __init__(self, noise: Noise) -> None:
        self.noise = noise

    def _num_qubits_(self) -> int:
        return 1

    def _kraus_(self) -> tuple[Any, ...]:
        first, then = cirq.depolarize(self.noise.depolarizing), cirq.amplitude_damp(self.noise.amplitude_damping)
        return tuple(b @ a for a in cirq.kraus(first) for b in cirq.kraus(then))

    def _apply_channel_(self, args: cirq.ApplyChannelArgs) -> Any:
        tensor, (left,), (right,) = args.target_tensor, args.left_axes, args.right_axes

        def part(ket: int, bra: int) -> tuple[Any, ...]:
            return tuple({left: ket, right: bra}.get(axis, slice(None)) for axis in range(tensor.ndim))

        p, damped = self.noise.depolarizing, self.noise.amplitude_damping
        total = tensor[part(0, 0)] + tensor[part(1, 1)]
        tensor[part(1, 1)] = (1 - damped) * ((1 - 4 * p / 3) * tensor[part(1, 1)] + 2 * p / 3 * total)
        tensor[part(0, 0)] = total - tensor[part(1, 1)]
        for coherence in (part(0, 1), part(1, 0)):
            tensor[coherence] *= (1 - 4 * p / 3) * sqrt(1 - damped)
        return tensor


class Piece(NamedTuple):
    """Where the classical bits read what is `wanted`: first `measures`, qubits into bits, then `gates`."""

    wanted: dict[int, int]
    gates: tuple[cirq.Operation, ...]
    measures: tuple[tuple[int, int], ...] = ()


class Prepared(NamedTuple):
    """A job, and its gates without noise: of a polynomial one piece, of a circuit its `_pieces`."""

    job: Job
    pieces: tuple[Piece, ...]


class CirqDensity(Backend):
    """Exact density matrices in complex64, up to 12 qubits. One job at a time: give each process its own."""

    name = "cirq.density"
    capabilities = Capabilities(target="quantum", max_qubits=12, batch=4, uses_angles=True, max_circuit_qubits=12)

    def __init__(self, argument: str = "") -> None:
        """`argument`: the noise, see the module. Raises BackendError."""
        self.noise = Noise.of(argument)
        if argument:
            self.name = f"cirq.density/{argument}"
        said = ", ".join(f"{name} {strength:g}" for name, strength in self.noise._asdict().items() if strength)
        self.capabilities = replace(self.capabilities, noise=said)

    def prepare(self, job: Job) -> Prepared:
        """The job, checked, with its gates. Raises BackendError."""
        check(job, self.name, self.capabilities)
        if not isinstance(job.kernel, Circuit):
            made = circuit_of(job)[:-1]
            return Prepared(job, (Piece({}, tuple(made.all_operations())),))
        if job.kernel.observables:
            return Prepared(job, tuple(_pieces(unmeasured(job.kernel))))
        middle = _middle(job.kernel)
        if len(middle) > MAX_MIDDLE:
            raise BackendError(
                f"{len(middle)} bits are measured in the middle, {MAX_MIDDLE} are the most",
                place="job.kernel",
                remedy="Measure at the end, or choose jax.statevector.",
            )
        return Prepared(job, tuple(_pieces(job.kernel)))

    def run(self, batch: Sequence[Prepared]) -> list[Result | Expectations]:
        """Each circuit is simulated once; samples are drawn from the distribution at its end."""
        return [self._run(*each) for each in batch]

    def estimate(self, job: Job) -> Estimate:
        """From the gates as they will run; `fidelity` is about the chance that no noise strikes at all."""
        pieces = self.prepare(job).pieces
        touched = sum(len(gate.qubits) for piece in pieces for gate in piece.gates)
        turned = 0  # without noise, for the bases of observables
        if isinstance(job.kernel, Circuit) and job.kernel.observables and job.shots:
            groups = measurement.plan(job.kernel.observables).groups
            turned = sum(len(measurement.turns(group.basis)) for group in groups)
        depolarizing, damping, readout = self.noise
        # the entanglement fidelity of damping (Nielsen and Chuang 2010, 9.3)
        kept = (1 - depolarizing) * ((1 + sqrt(1 - damping)) / 2) ** 2
        branches, read = 1, size_of(job.kernel)
        if isinstance(job.kernel, Circuit) and not job.kernel.observables:
            branches = 2 ** len(_middle(job.kernel))
            read = sum(len(operation.bits) for operation in job.kernel.operations)
        entries = branches * 4.0 ** size_of(job.kernel)
        needed = int(entries * ENTRY_BYTES)
        refuse_memory(self.name, job, needed)
        return Estimate(
            seconds=(touched + turned) * (branches * GATE_SECONDS + entries * ENTRY_SECONDS),
            fidelity=kept**touched * (1 - readout) ** read,
            memory_bytes=needed,
        )

    def warm_up(self) -> None:
        """The first circuit pays for Cirq's own caches."""
        self.run([self.prepare(Job(Circuit(1, 1, (Operation("h", (0,)),)), 1, 0))])

    def _run(self, job: Job, pieces: Sequence[Piece]) -> Result | Expectations:
        start, generator = perf_counter(), np.random.default_rng(job.seed)
        if not isinstance(job.kernel, Circuit):
            n = job.kernel.n
            shares = self._read(self._started(n, pieces[0].gates), range(n))
            states, counts = draw(shares, job.shots, generator)
            rows, figures_ = rows_of(states, range(n), n), qaoa_figures(job)
            return Result(rows, counts.astype(np.int64), job.kernel.energy(rows), perf_counter() - start, figures_)
        if job.kernel.observables:
            (rho,) = self._branches(job.kernel, pieces).values()
            values, errors = self._expected(job, rho, generator)
            return Expectations(values, errors, perf_counter() - start, figures(job.kernel, job.shots))
        rows, counts = self._sampled(job, self._branches(job.kernel, pieces), generator)
        return result_of(job.kernel, rows, counts, perf_counter() - start)

    def _noisy(self, gates: Iterable[cirq.Operation]) -> Iterator[cirq.Operation]:
        """Gates, each with its noise after it."""
        decay = Decay(self.noise)
        for gate in gates:
            yield gate
            if self.noise.depolarizing or self.noise.amplitude_damping:
                yield from map(decay, gate.qubits)

    def _started(self, n: int, gates: Iterable[cirq.Operation]) -> Density:
        """The density matrix after noisy gates on |0…0>; Cirq keeps apart what is not entangled."""
        simulator = cirq.DensityMatrixSimulator(dtype=np.complex64)
        found = simulator.simulate(cirq.Circuit(self._noisy(gates)), qubit_order=cirq.LineQubit.range(n))
        return np.asarray(found.final_density_matrix)

    def _read(self, rho: Density, qubits: Sequence[int]) -> Float64[np.ndarray, " M"]:
        """How likely some different qubits are read as what, the first the most significant."""
        shares = marginal(np.maximum(rho.diagonal().real, 0).astype(np.float64), list(qubits))
        for place in range(len(qubits)):
            shares = np.einsum("ab,xby->xay", self.noise.confusion, shares.reshape(2**place, 2, -1)).ravel()
        return shares

    def _branches(self, circuit: Circuit, pieces: Sequence[Piece]) -> Branches:
        """What there may be at the end, measurements that can wait left out."""
        plain = bool(pieces) and not pieces[0].wanted and not pieces[0].measures
        start, rest = (pieces[0].gates, pieces[1:]) if plain else ((), pieces)
        branches: Branches = {(0,) * circuit.bits: self._started(circuit.qubits, start)}
        for wanted, gates, measures in rest:
            after: Branches = {}
            for bits, rho in branches.items():
                holds = all(bits[bit] == value for bit, value in wanted.items())
                divided = self._measured(bits, rho, measures) if holds else [(bits, rho)]
                for found, each in divided:
                    each = _evolved(each, self._noisy(gates)) if holds else each
                    after[found] = after[found] + each if found in after else each
            branches = after
        return branches

    def _measured(
        self, bits: tuple[int, ...], rho: Density, measures: Sequence[tuple[int, int]]
    ) -> list[tuple[tuple[int, ...], Density]]:
        """Branches of one branch, after measuring qubits into bits, each perhaps read wrongly."""
        branches = [(bits, rho)]
        for qubit, bit in measures:
            divided = []
            for known, each in branches:
                for read in (0, 1):
                    one = (np.arange(len(each)) >> (len(each).bit_length() - 2 - qubit) & 1).astype(bool)
                    weight = self.noise.confusion[read][one.astype(int)]
                    kept = (each * (one[:, None] == one) * weight).astype(np.complex64)
                    if np.trace(kept).real > UNLIKELY:
                        divided.append(((*known[:bit], read, *known[bit + 1 :]), kept))
            branches = divided
        return branches

    def _sampled(
        self, job: Job, branches: Branches, generator: np.random.Generator
    ) -> tuple[UInt8[np.ndarray, "k bits"], Int64[np.ndarray, " k"]]:
        """Values of the classical bits, drawn from all branches at once."""
        qubits, bits = _late(job.circuit)
        shares = [self._read(rho, qubits) * np.trace(rho).real for rho in branches.values()]
        states, counts = draw(np.concatenate(shares), job.shots, generator)
        branch, state = np.divmod(states, 2 ** len(qubits))
        rows = np.array(list(branches), np.uint8)[branch]
        rows[:, bits] = rows_of(state, bits, job.circuit.bits)[:, bits]
        return rows, counts.astype(np.int64)

    def _expected(self, job: Job, rho: Density, generator: np.random.Generator) -> tuple[Any, Any]:
        """Values and standard errors of the observables."""
        observables, n = job.circuit.observables, job.circuit.qubits
        if job.shots == 0:
            how, numbers = measurement.plan(observables), np.arange(2**n)
            found = measurement.means(how.paulis, 0, len(numbers), lambda flips: rho[numbers ^ flips, numbers])
            damped = [(1 - 2 * self.noise.readout) ** (n - pauli.count("I")) for pauli in how.paulis]
            values = how.constants + how.weights @ (found / np.trace(rho).real * damped)
            return values, np.zeros(len(values))

        def sample(basis: str, shots: int) -> Any:
            turns = [gate for turn in measurement.turns(basis) for gate in _gates(turn)]
            states, counts = draw(self._read(_evolved(rho, turns), range(n)), shots, generator)
            return rows_of(states, range(n), n), counts.astype(np.int64)

        return measurement.estimated(observables, job.shots, sample)


def _evolved(rho: Density, gates: Iterable[cirq.Operation]) -> Density:
    """After some gates and channels. Cirq's simulator would first check such a start by its eigenvalues, in 8^n."""
    n = len(rho).bit_length() - 1
    state = cirq.DensityMatrixSimulationState(qubits=cirq.LineQubit.range(n), dtype=np.complex64)
    state.target_tensor[...] = rho.reshape((2,) * 2 * n)
    for gate in gates:
        cirq.act_on(gate, state)
    return np.asarray(state.target_tensor.reshape(rho.shape))


def _gates(operation: Operation) -> list[cirq.Operation]:
    """As they run: on one or two qubits."""
    on = [cirq.LineQubit(q) for q in operation.qubits]
    if operation.gate == "reset":
        return [cirq.ResetChannel()(q) for q in on]
    return cirq.decompose(in_cirq.gates(operation, on), keep=lambda gate: len(gate.qubits) <= 2)


def _pieces(circuit: Circuit) -> Iterator[Piece]:
    """In their order: gates, or measurements that cannot wait, under one condition each."""
    late = final(circuit.operations)
    steps = [step for place, step in enumerate(circuit.operations) if place not in late and step.gate != "barrier"]
    for (wanted, measures), some in groupby(steps, lambda step: (step.wanted, step.gate == "measure")):
        if measures:
            # one at a time: a bit may be part of its own condition
            for step in some:
                yield Piece(wanted, (), tuple(zip(step.qubits, step.bits, strict=True)))
        else:
            yield Piece(wanted, tuple(gate for step in some for gate in _gates(step)))


def _middle(circuit: Circuit) -> set[int]:
    """Bits that are measured before the end."""
    late = final(circuit.operations)
    return {bit for place, step in enumerate(circuit.operations) if place not in late for bit in step.bits}


def _late(circuit: Circuit) -> tuple[list[int], list[int]]:
    """Qubits that are measured at the end, and into which bits."""
    late = final(circuit.operations)
    return measured(Circuit(circuit.qubits, circuit.bits, tuple(circuit.operations[place] for place in sorted(late))))
