"""`cirq.device/<processor>` (target quantum, extra `google`): Google's published processors and their noise.

Circuits are placed and routed on the processor's grid (`placement`), compiled to its gates, segment by segment between
barriers, and run with the noise of its published calibration (cirq-google's virtual engine): exactly (`pauli_transfer`)
while it is small, else by quantum trajectories in qsim, one for each shot. Measurements in the middle are deferred.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import lru_cache
from itertools import takewhile
from time import perf_counter
from typing import Any, NamedTuple

import cirq
import networkx as nx
import numpy as np
from cirq.devices.noise_utils import OpIdentifier
from cirq_google import NoiseModelFromGoogleNoiseProperties, SycamoreGate
from cirq_google.engine import virtual_engine_factory as factory
from jaxtyping import Float, Int64
from qsimcirq.qsim_simulator import QSimSimulator

from qmosaic.backends.base import Backend, Capabilities, Estimate, Expectations, Figures, Job, Placed, Result, check
from qmosaic.backends.circuits import measurement, sampled
from qmosaic.backends.circuits.counting import draw, is_final, marginal, probabilities, result_of, rows_of, unmeasured
from qmosaic.backends.circuits.in_cirq import gates, segments
from qmosaic.backends.circuits.layout import Parts, Router, on_device, on_pairs
from qmosaic.backends.circuits.qaoa_in_cirq import circuit_of
from qmosaic.backends.estimates import refuse_memory
from qmosaic.backends.on_cirq import pauli_transfer
from qmosaic.backends.on_cirq.circuit import OneState, bits_of, one_state
from qmosaic.backends.on_cirq.simulation import simulated
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import Circuit, PauliSum
from qmosaic.codecs.models.polynomial import SpinPolynomial

MAX_QUBITS = 16
"""A trajectory for every shot is too slow beyond."""
MAX_DENSITY = 11
"""Qubits of density matrices: seconds, as some 150 trajectories."""
ALONE = ("id", "x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "sxdg", "rx", "ry", "rz", "p", "u")
NATIVE: dict[type[cirq.Gate], str] = {cirq.CZPowGate: "cz", cirq.ISwapPowGate: "sqrt_iswap", SycamoreGate: "syc"}
TARGETS: dict[str, type[cirq.Gate]] = {
    "GoogleCZTargetGateset": cirq.CZPowGate,
    "SqrtIswapTargetGateset": cirq.ISwapPowGate,
    "SycamoreTargetGateset": SycamoreGate,
}


class Prepared(NamedTuple):
    """A job, how its bits are read, and its compiled circuit for each basis its observables need ("": as it is)."""

    job: Job
    one: OneState | None
    circuits: dict[str, cirq.FrozenCircuit]


class CirqDevice(Backend):
    """One processor. `noisy` False leaves its noise out, and what compiling and routing do is left."""

    def __init__(self, processor: str = "", *, noisy: bool = True) -> None:
        known = factory.list_virtual_processors()
        if processor not in known:
            raise BackendError(
                f"unknown processor {processor!r}" if processor else "which processor?",
                place="cirq.device",
                remedy=f"Choose one of: {', '.join(f'cirq.device/{one}' for one in known)}.",
            )
        self.name, self.noisy = f"cirq.device/{processor}", noisy
        self.device = factory.create_device_from_processor_id(processor)
        properties = factory.load_device_noise_properties(processor)
        self.noise = NoiseModelFromGoogleNoiseProperties(properties)
        self.errors: dict[Any, float] = properties.gate_pauli_errors
        calibrated = {each.gate_type for each in self.errors}
        self.targets = [
            (each, TARGETS[type(each).__name__])
            for each in self.device.metadata.compilation_target_gatesets
            if TARGETS.get(type(each).__name__) in calibrated
        ]
        graph: nx.Graph[cirq.Qid] = nx.Graph()
        for pair in self.device.metadata.qubit_pairs:
            graph.add_edge(*pair, error=min(self._error(gate, *pair) for _, gate in self.targets))
        self.router = Router(graph, {qubit: sum(both) for qubit, both in properties.readout_errors.items()})
        self._compiled = lru_cache(maxsize=256)(self._compile)
        self._shares = lru_cache(maxsize=256)(self._states)
        place = {qubit: k for k, qubit in enumerate(self.router.nodes)}
        most = min(MAX_QUBITS, len(place))
        self.capabilities = Capabilities(
            target="quantum",
            max_qubits=most,
            batch=4,
            uses_angles=True,
            max_circuit_qubits=most,
            gates=(*ALONE, *(NATIVE[gate] for _, gate in self.targets)),
            connectivity=tuple(sorted((min(place[a], place[b]), max(place[a], place[b])) for a, b in graph.edges)),
            noise=f"calibration of {processor}: gates, decay, readout" if noisy else "",
        )

    def prepare(self, job: Job) -> Prepared:
        """Placed, routed and compiled. Raises BackendError."""
        parts, n, one = self._parts(job)
        if not _observables(job):
            return Prepared(job, one, {"": self._compiled(n, parts, job.on)})
        how, line, circuits = measurement.plan(_observables(job)), cirq.LineQubit.range(n), {}
        if job.shots:
            measurement.shares(how, job.shots)
        for basis in (group.basis for group in how.groups):
            turns = [each for turn in measurement.turns(basis) for each in gates(turn, [line[turn.qubits[0]]])]
            circuits[basis] = self._compiled(n, (*parts[:-1], (*parts[-1], *turns)), job.on)
        return Prepared(job, one, circuits)

    def run(self, batch: Sequence[Prepared]) -> list[Result | Expectations]:
        """Each job by itself. Raises BackendError."""
        return [self._expected(each) if _observables(each.job) else self._counted(each) for each in batch]

    def placed(self, job: Job) -> Placed:
        """By structure alone: gates on one qubit, and the bases of observables, change nothing."""
        parts, n, _ = self._parts(job)
        route = self.router.routed(n, parts, job.on)
        return self.router.placed(route)

    def estimate(self, job: Job) -> Estimate:
        """Fidelity by calibrated errors, of two gates on two qubits for each of the circuit's and three for each SWAP;
        seconds by measured times. Raises BackendError."""
        parts, n, _ = self._parts(job)
        route = self.router.routed(n, parts, job.on)
        error = {frozenset((a, b)): data["error"] for a, b, data in self.router.graph.edges(data=True)}
        fidelity, steps = 1.0, 1
        for step in (step for segment in route.segments for step in segment):
            each = 3 if step.gate < 0 else 2
            fidelity *= (1 - error[frozenset(step.on)]) ** each
            steps += each
        density = self.noisy and n <= MAX_DENSITY
        memory = 3 * (4 * 4**n if density else 8 * 2**n)
        refuse_memory(self.name, job, memory)
        each_step = 2e-3 + 2.5e-10 * memory if density else 5e-5 + 1.5e-10 * memory
        times = job.shots if self.noisy and not density else 1
        seconds = steps * (0.01 + times * each_step)  # a hundredth to compile it
        return Estimate(seconds, fidelity=fidelity if self.noisy else 1.0, memory_bytes=memory)

    def warm_up(self) -> None:
        """The first circuit pays for Cirq's own caches."""
        angle = np.ones(1)
        self.run([self.prepare(Job(SpinPolynomial.of(2, h=[1, 1], rows=[0], cols=[1], J=[1]), 1, 0, angle, angle))])

    def _parts(self, job: Job) -> tuple[Parts, int, OneState | None]:
        """Gates on one or two line qubits between barriers, how many qubits, and how bits are read from them."""
        check(job, self.name, self.capabilities)
        one = None
        if isinstance(job.kernel, SpinPolynomial):
            parts, n = [list(circuit_of(job)[:-1].all_operations())], job.kernel.n
        elif _observables(job):
            parts, n = segments(unmeasured(job.kernel)), job.kernel.qubits
            if job.shots == 0 and self.noisy and n > MAX_DENSITY:
                raise BackendError(
                    f"exact values of {n} noisy qubits, at most {MAX_DENSITY}",
                    place="job.shots",
                    remedy="Ask for shots.",
                )
        else:
            one = one_state(job.kernel)
            if one is None or one.qubits > self.capabilities.max_circuit_qubits:
                raise BackendError(
                    f"{self.name}: measurements in the middle, too many to be deferred",
                    place="job.kernel",
                    remedy="Choose jax.statevector.",
                )
            parts = segments(job.kernel) if is_final(job.kernel) else [list(one.gates.all_operations())]
            n = one.qubits
        self.router.check(self.name, n, job.on)
        return on_pairs(parts), n, one

    def _compile(self, n: int, parts: Parts, on: tuple[int, ...]) -> cirq.FrozenCircuit:
        """For the gate set of the processor that leaves the most fidelity. Its last moment measures all, in order."""
        route = self.router.routed(n, parts, on)
        moved = on_device(route, parts)
        found = max(
            (sampled.measuring(route.end, moved, self.name, gateset) for gateset, _ in self.targets), key=self.fidelity
        )
        self.device.validate_circuit(found)
        return found

    def fidelity(self, circuit: cirq.AbstractCircuit) -> float:
        """The chance of no error in any gate, by calibration."""
        return float(
            np.prod(
                [
                    1 - self._error(type(each.gate), *each.qubits)
                    for each in circuit.all_operations()
                    if each.gate and not cirq.is_measurement(each)
                ]
            )
        )

    def _error(self, gate: type[cirq.Gate], *on: cirq.Qid) -> float:
        return self.errors.get(OpIdentifier(gate, *on), 0.0)

    def _states(self, circuit: cirq.FrozenCircuit) -> Float[np.ndarray, " N"]:
        """Probabilities of what the last moment measures; `_shares` keeps them, for jobs that differ by their seed."""
        (ends,) = circuit[-1].operations
        if not self.noisy:
            line: dict[cirq.Qid, cirq.Qid] = dict(zip(ends.qubits, cirq.LineQubit.range(len(ends.qubits)), strict=True))
            return probabilities(simulated(circuit[:-1].unfreeze().transform_qubits(line), len(line)))
        noisy = self._noise_on(circuit).noisy_moments(circuit, sorted(circuit.all_qubits()))
        before = cirq.Circuit(takewhile(lambda moment: not cirq.is_measurement(moment), noisy))
        return pauli_transfer.probabilities(before.all_operations(), ends.qubits)

    def _noise_on(self, circuit: cirq.FrozenCircuit) -> cirq.NoiseModel:
        """The noise, without that of qubits which are not used: Cirq looks through all of it at every gate."""
        found, qubits = copy(self.noise), circuit.all_qubits()
        found.noise_models = [
            replace(model, ops_added={key: op for key, op in model.ops_added.items() if qubits.issuperset(key.qubits)})
            if isinstance(model, cirq.devices.InsertionNoiseModel)
            else model
            for model in self.noise.noise_models
        ]
        return found

    def _sampled(
        self, circuit: cirq.FrozenCircuit, shots: int, seed: int
    ) -> tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
        """Values of all qubits, the first the most significant, and how often each was seen."""
        n = len(circuit[-1].qubits)
        if not self.noisy or n <= MAX_DENSITY:
            states, counts = draw(self._shares(circuit), shots, np.random.default_rng(seed))
        else:
            simulator = QSimSimulator(noise=self._noise_on(circuit), seed=seed % 2**32)
            rows = simulator.run(circuit, repetitions=shots).measurements[sampled.KEY]
            states, counts = np.unique(rows @ (1 << np.arange(n)[::-1]), return_counts=True)
        return states, counts.astype(np.int64)

    def _counted(self, prepared: Prepared) -> Result:
        start, (job, one, circuits) = perf_counter(), prepared
        circuit = circuits[""]
        states, counts = self._sampled(circuit, job.shots, job.seed)
        n = len(circuit[-1].qubits)
        if one is not None:
            found = result_of(job.circuit, bits_of(states, range(n), one, job.circuit.bits), counts, 0.0)
            samples, counts, energies = found.samples, found.counts, found.energies
        else:
            samples = rows_of(states, range(n), n)
            energies = job.polynomial.energy(samples)
        return Result(samples, counts, energies, perf_counter() - start, figures(circuit, job.shots))

    def _expected(self, prepared: Prepared) -> Expectations:
        start, (job, _, circuits) = perf_counter(), prepared
        observables, n = job.circuit.observables, job.circuit.qubits
        if job.shots == 0:
            every = rows_of(np.arange(2**n), range(n), n)
            values = measurement.from_shares(
                observables, lambda basis: (every, marginal(self._shares(circuits[basis]), range(n)))
            )
            errors = np.zeros(len(values))
        else:
            seeds = dict(
                zip(circuits, np.random.default_rng(job.seed).integers(2**31, size=len(circuits)), strict=True)
            )

            def sample(basis: str, shots: int) -> tuple[np.ndarray, np.ndarray]:
                states, counts = self._sampled(circuits[basis], shots, int(seeds[basis]))
                return rows_of(states, range(n), n), counts

            values, errors = measurement.estimated(observables, job.shots, sample)
        told = figures(next(iter(circuits.values())), job.shots) if circuits else Figures(n, 0, 0, job.shots)
        return Expectations(values, errors, perf_counter() - start, told)


def _observables(job: Job) -> tuple[PauliSum, ...]:
    return job.kernel.observables if isinstance(job.kernel, Circuit) else ()


def figures(circuit: cirq.AbstractCircuit, shots: int) -> Figures:
    """The figures of a compiled circuit: moments and gates on two qubits, the measurement left out."""
    pairs = sum(len(each.qubits) == 2 for each in circuit[:-1].all_operations())
    return Figures(len(circuit[-1].qubits), len(circuit) - 1, pairs, shots)
