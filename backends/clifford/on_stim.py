"""`stim` (target classical, extra `stim`): Clifford circuits of thousands of qubits (Gidney, Quantum 5 (2021) 497).

All shots at once where stim carries the circuit: measurements and resets anywhere, Pauli gates that depend on one
measured bit. Else, with other conditions, shot by shot on stim's tableau.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import pi
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import stim
from jaxtyping import Int64, UInt8

from qmosaic.backends.base import Backend, Capabilities, Estimate, Expectations, Job, Result, check
from qmosaic.backends.circuits import measurement
from qmosaic.backends.circuits.counting import figures, result_of, unmeasured
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import Operation, unitary

MAX_STEPS = 5_000_000
"""Operations times shots of what runs shot by shot: some 20 seconds."""
GATES = ("id", "x", "y", "z", "h", "s", "sdg", "sx", "sxdg", "cx", "cy", "cz", "swap", "iswap", "rotation")
FEEDBACK = {"x": "CX", "y": "CY", "z": "CZ"}
TOLERANCE = 1e-6
"""How close to a quarter of a turn an angle has to be."""

Steps = tuple[tuple[str, tuple[int, ...]], ...]
"""Stim's gates and the places of their qubits."""


class Prepared(NamedTuple):
    """A job and stim's circuit, in which `records[bit]` is the measurement that is read; none: shot by shot."""

    job: Job
    circuit: stim.Circuit | None
    records: dict[int, int]


class StimClifford(Backend):
    """Exact. Circuits with other gates are refused."""

    name = "stim"
    capabilities = Capabilities(
        target="classical", max_qubits=0, batch=4, uses_angles=False, max_clifford_qubits=10_000, gates=GATES
    )

    def prepare(self, job: Job) -> Prepared:
        """The circuit in stim's terms. Raises BackendError."""
        check(job, self.name, self.capabilities)
        circuit = unmeasured(job.circuit) if job.circuit.observables else job.circuit
        for operation in circuit.operations:
            if operation.gate not in ("measure", "reset", "barrier") and _steps(operation) is None:
                raise BackendError(
                    f"{self.name} takes Clifford gates, got {operation.gate}{list(operation.params) or ''}",
                    place="job.kernel",
                    remedy="Choose target gpu or quantum.",
                )
        found, records = translated(circuit.operations)
        if found is None and len(circuit.operations) * job.shots > MAX_STEPS:
            raise BackendError(
                f"conditions that run shot by shot: {len(circuit.operations)} operations, {job.shots} times",
                place="job.kernel",
                remedy=f"Ask for fewer shots: both multiplied can be {MAX_STEPS}.",
            )
        return Prepared(job, found, records)

    def run(self, batch: Sequence[Prepared]) -> list[Result | Expectations]:
        """Each job by itself."""
        return [_expected(*each[:2]) if each.job.circuit.observables else _counted(*each) for each in batch]

    def estimate(self, job: Job) -> Estimate:
        """The estimate of a tableau, and of frames for the shots. Raises BackendError."""
        check(job, self.name, self.capabilities)
        steps, n = len(job.circuit.operations), job.circuit.qubits
        return Estimate(
            seconds=steps * (1e-5 + n * 1e-8) + job.shots * n * 1e-8, memory_bytes=n * n // 2 + job.shots * n * 2
        )


def translated(operations: Sequence[Operation]) -> tuple[stim.Circuit | None, dict[int, int]]:
    """Stim's circuit, and the number of the last measurement into each bit. None: it cannot carry a condition."""
    out, records, count = stim.Circuit(), dict[int, int](), 0
    for operation in operations:
        targets = list(operation.qubits)
        wanted = operation.wanted
        if operation.gate == "barrier" or any(value for bit, value in wanted.items() if bit not in records):
            continue
        known = [(records[bit], value) for bit, value in wanted.items() if bit in records]
        if known:
            if len(known) > 1 or operation.gate not in FEEDBACK:
                return None, {}
            ((record, value),) = known
            if not value:
                out.append(operation.gate.upper(), targets)
            out.append(FEEDBACK[operation.gate], [stim.target_rec(record - count), *targets])
        elif operation.gate == "measure":
            out.append("M", targets)
            records.update((bit, count + k) for k, bit in enumerate(operation.bits))
            count += len(targets)
        elif operation.gate == "reset":
            out.append("R", targets)
        else:
            for name, on in _placed(operation):
                out.append(name, on)
    return out, records


def _placed(operation: Operation) -> list[tuple[str, list[Any]]]:
    """A gate in stim's, on its qubits."""
    if operation.gate == "rotation":
        quarter = _quarters(operation.params[0])
        there = [(letter, q) for letter, q in zip(operation.pauli, operation.qubits, strict=True) if letter != "I"]
        if not quarter or not there:
            return []
        if quarter == 2:
            return [(letter, [q]) for letter, q in there]
        string = stim.target_combined_paulis([stim.target_pauli(q, letter) for letter, q in there])
        return [("SPP" if quarter == 1 else "SPP_DAG", string)]
    return [(name, [operation.qubits[k] for k in on]) for name, on in _steps(operation) or ()]


def _steps(operation: Operation) -> Steps | None:
    """None for what is no Clifford gate; a rotation that is one has its own way."""
    if operation.gate == "gphase":
        return ()
    if operation.gate == "rotation":
        return None if _quarters(operation.params[0]) is None else ()
    return _decomposed(operation.gate, operation.params)


@lru_cache(maxsize=4096)
def _decomposed(gate: str, params: tuple[float, ...]) -> Steps | None:
    try:
        tableau = stim.Tableau.from_unitary_matrix(unitary(Operation(gate, (), params)), endian="big")
    except ValueError:
        return None
    return tuple((each.name, tuple(t.value for t in each.targets_copy())) for each in tableau.to_circuit("elimination"))


def _quarters(angle: float) -> int | None:
    turns = angle / (pi / 2)
    return round(turns) % 4 if abs(turns - round(turns)) < TOLERANCE else None


def _counted(job: Job, found: stim.Circuit | None, records: dict[int, int]) -> Result:
    start, circuit = perf_counter(), job.circuit
    if found is None:
        rows = _shot_by_shot(job)
    else:
        rows = np.zeros((job.shots, circuit.bits), np.uint8)
        seen = found.compile_sampler(seed=job.seed % 2**63).sample(job.shots)
        rows[:, list(records)] = seen[:, list(records.values())]
    return result_of(circuit, rows, np.ones(job.shots, np.int64), perf_counter() - start)


def _shot_by_shot(job: Job) -> UInt8[np.ndarray, "shots bits"]:
    circuit, rows = job.circuit, np.zeros((job.shots, job.circuit.bits), np.uint8)
    steps = [(operation, translated([_unconditional(operation)])[0]) for operation in circuit.operations]
    for row, seed in zip(rows, np.random.default_rng(job.seed).integers(2**63, size=job.shots).tolist(), strict=True):
        simulator = stim.TableauSimulator(seed=seed)
        for operation, step in steps:
            if any(row[bit] != value for bit, value in operation.wanted.items()):
                continue
            simulator.do(step)
            if operation.gate == "measure":
                row[list(operation.bits)] = simulator.current_measurement_record()[-len(operation.bits) :]
    return rows


def _unconditional(operation: Operation) -> Operation:
    """The same step without its condition."""
    return Operation(operation.gate, operation.qubits, operation.params, operation.pauli, operation.bits)


def _expected(job: Job, found: stim.Circuit | None) -> Expectations:
    start, circuit = perf_counter(), job.circuit
    gates = found or stim.Circuit()
    if job.shots == 0:
        simulator = stim.TableauSimulator()
        simulator.set_num_qubits(circuit.qubits)
        simulator.do(gates)
        values = np.array(
            [
                sum(
                    coefficient * simulator.peek_observable_expectation(stim.PauliString(pauli))
                    for coefficient, pauli in zip(each.coefficients, each.paulis, strict=True)
                )
                for each in circuit.observables
            ],
            dtype=np.float64,
        )
        return Expectations(values, np.zeros(len(values)), perf_counter() - start, figures(circuit, 0))
    generator = np.random.default_rng(job.seed)

    def sample(basis: str, shots: int) -> tuple[UInt8[np.ndarray, "k n"], Int64[np.ndarray, " k"]]:
        ends = Operation("measure", tuple(range(circuit.qubits)), bits=tuple(range(circuit.qubits)))
        turned, _ = translated([*measurement.turns(basis), ends])
        sampler = (gates + (turned or stim.Circuit())).compile_sampler(seed=int(generator.integers(2**63)))
        return sampler.sample(shots).astype(np.uint8), np.ones(shots, np.int64)

    values, errors = measurement.estimated(circuit.observables, job.shots, sample)
    return Expectations(values, errors, perf_counter() - start, figures(circuit, job.shots))
