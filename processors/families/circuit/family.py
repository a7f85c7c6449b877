"""Circuit: OpenQASM 2 or 3, sampled, or as expectation values of given observables.

Payload: `qasm` (the source), `observables` ([{"name": …, "terms": {"ZZI": 0.5}}], letter i on qubit i), `fidelity`
(what counts have to reach). Solution: `{"counts": {"0110": 12}}`, classical bit 0 on the right, as Qiskit prints them;
or `{"expectations": [{"name", "value", "error"}]}`. There is nothing to improve on: an answer is *verified* by an
independent run, or a *mismatch*, or *unverified*, with the reason, where no independent run is possible.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from math import isfinite
from typing import Any

import numpy as np

from qmosaic.backends.clifford.tableau import is_clifford
from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events.hops import Answer
from qmosaic.codecs.events.public import Problem
from qmosaic.codecs.events.reasons import Sense
from qmosaic.codecs.models.arrays import unpack
from qmosaic.codecs.models.bundle import Bundle, array
from qmosaic.codecs.models.circuit import Circuit, Operation, PauliSum
from qmosaic.codecs.qasm import compiler
from qmosaic.codecs.qasm.syntax import QasmError, line_and_column
from qmosaic.codecs.qasm.tokens import MAX_NAME
from qmosaic.processors.families.base import Evaluation, Limits, Reduction, Task
from qmosaic.processors.families.circuit import evidence
from qmosaic.processors.families.payload import invalid, unknown_field

MAX_QUBITS = 1000
MAX_TERMS = 20_000
MAX_COEFFICIENT = 1e300
"""The largest of a term, so that sums of all are finite."""
MAX_ANSWER_BYTES = 4 * 2**20
"""The most that the counts in an outcome take."""
SIMULATED = 24
"""Qubits that the simulators take, of circuits that are not Clifford."""
DIFFERENT = 256
"""Gates, told apart by their angles, that are looked at before a circuit is in reduce: their matrices take time."""
ERRORS = 5.0
"""Standard errors that a value may be off."""
EXACT = 1e-5
"""What an exact value may be off, in units of the sum of the coefficients' sizes: single precision."""
KNOWN = ("fidelity", "observables", "qasm")
SHOWN = 40
"""Characters of the payload in a message."""
LIGHT_WORK, LIGHT_TERMS, LIGHT_SHOTS = 20_000, 64, 10_000
"""What is read and judged in some milliseconds: work (see `Work`), terms of observables, shots."""
_HEAVY = re.compile(
    r"""\b(?:for|while|gate|def|let|else|ctrl|negctrl|inv|pow|c3x|c4x|c3sqrtx|rc3x|rccx)\b
    |[~{] | \+\+                      # blocks, sets and what concerns whole registers
    |\[(?!\s*[0-9]{1,4}\s*\])         # sizes and indices that are no short numbers
    |\bif\b(?!\s*\(\s*\w+\s*(?:==\s*[0-9]+\s*|\[\s*[0-9]+\s*\]\s*(?:==\s*[01]\s*)?)\))""",
    re.VERBOSE,
)
_REGISTER = re.compile(r"\b(?:qreg\s+\w+|creg\s+\w+|qubit|bit)(?:\s*\[\s*([0-9]+))?")
_WHOLE = re.compile(r"[^\W\d]\w*+(?!\s*[\w\[(\"])")
"""A name that may be of a whole register: no index, arguments or other name follows it."""


@dataclass(frozen=True, eq=False)
class CircuitInstance:
    circuit: Circuit
    names: tuple[str, ...]  # of the observables
    threshold: float | None
    digest: str
    notes: list[str] = field(default_factory=list)
    sense: Sense = "min"

    @property
    def size(self) -> int:
        """By the amplitudes that the reference has to go through."""
        if _clifford(self.circuit):
            return 8 if self.circuit.qubits <= 64 else 64 if self.circuit.qubits <= 300 else 256
        work = len(self.circuit.operations) << min(self.circuit.qubits, 64)
        return 8 if work < 2**22 else 64 if work < 2**27 else 256

    def encode(self) -> Circuit:
        return self.circuit

    def quick(self) -> Any:
        """None: no one knows without running it."""
        return None

    def solution(self, state: Bundle) -> Any:
        if "values" in state.arrays:
            values = array(state, "values")
            return self.expectations(values.tolist(), [0.0] * len(values))
        if "rows" in state.arrays:
            rows = np.unpackbits(array(state, "rows"), axis=1, count=self.circuit.bits)
            return self.counts(rows, array(state, "counts"))
        return None

    def answered(self, state: Bundle, lift: Bundle, answer: Answer) -> Any:
        if self.circuit.observables:
            return self.expectations(answer.values, answer.errors)
        if answer.samples is None or answer.counts is None:
            raise ValueError("the answer has no counts")
        return self.counts(unpack(answer.samples), unpack(answer.counts))

    def expectations(self, values: Sequence[float], errors: Sequence[float]) -> dict[str, Any]:
        """The solution of a circuit with observables."""
        entries = zip(self.names, values, errors, strict=True)
        return {"expectations": [{"name": name, "value": value, "error": error} for name, value, error in entries]}

    def counts(self, rows: Any, counts: Any) -> dict[str, Any]:
        """The solution of a circuit without; the most frequent first."""
        if rows.shape != (len(counts), self.circuit.bits) or rows.dtype != np.uint8 or (rows > 1).any():
            raise ValueError(f"expected values of {self.circuit.bits} bits, got {rows.dtype}{list(rows.shape)}")
        if counts.shape != (len(rows),) or counts.dtype != np.int64:
            raise ValueError(f"expected {len(rows)} counts, got {counts.dtype}{list(counts.shape)}")
        order = np.argsort(-counts, kind="stable")
        return {"counts": dict(zip(evidence.strings(rows[order]), counts[order].tolist(), strict=True))}

    def evaluate(self, solution: Any, evidence: Bundle | None = None) -> Evaluation:
        """Against the run in the evidence.

        That is not independent where it was made by the backend's own kind of simulator: `reference` in the details
        and `backend` in the outcome are then the same name.
        """
        wrong = self.wrong(solution)
        if wrong:
            return Evaluation(None, False, (wrong,))
        found = evidence.values if evidence is not None else {}
        if evidence is None or not ({"values", "probabilities"} & evidence.arrays.keys()):
            reason = found.get("reason", "no reference was there in time")
            return Evaluation(None, True, details={"reference": None, "reason": reason}, verdict="unverified")
        details: dict[str, Any] = {"reference": found["reference"]}
        judge = self.judge_values if self.circuit.observables else self.judge_counts
        return Evaluation(None, True, details=details, verdict=judge(solution, evidence, details))

    def wrong(self, solution: Any) -> str | None:
        """What no answer to this circuit can look like."""
        if self.circuit.observables:
            entries = solution["expectations"]
            if [entry["name"] for entry in entries] != list(self.names):
                return "other observables than were asked for"
            if not all(isfinite(entry["value"]) and entry["error"] >= 0 for entry in entries):
                return "a value is not finite"
            return None
        counts = solution["counts"]
        if not counts or min(counts.values()) < 1:
            return "a count below 1"
        return None

    def judge_values(self, solution: Any, evidence: Bundle, details: dict[str, Any]) -> Any:
        expected = array(evidence, "values").tolist()
        details["expected"] = expected
        weights = [sum(map(abs, each.coefficients)) for each in self.circuit.observables]
        entries = zip(solution["expectations"], expected, weights, strict=True)
        fits = all(abs(got["value"] - want) <= ERRORS * got["error"] + EXACT * max(1, w) for got, want, w in entries)
        return "verified" if fits else "mismatch"

    def judge_counts(self, solution: Any, given: Bundle, details: dict[str, Any]) -> Any:
        rows = evidence.rows_of(list(solution["counts"]), self.circuit.bits)
        found = evidence.judged(given, rows, np.array(list(solution["counts"].values()), np.int64))
        threshold = found.threshold if self.threshold is None else self.threshold
        details |= {"fidelity": round(found.fidelity, 6), "threshold": round(threshold, 6)}
        if self.threshold is not None or found.deviation is None:
            return "verified" if found.fidelity >= threshold else "mismatch"
        details["deviation"] = round(found.deviation, 2)
        if found.fidelity < threshold or found.deviation > evidence.SIGMAS:
            return "mismatch"
        if not found.tells:
            details["reason"] = "so few shots of so many values look like noise in any case"
            return "unverified"
        return "verified"


class CircuitFamily:
    name = "circuit"
    exact_shots = True

    def parse(self, problem: Problem, limits: Limits) -> CircuitInstance | Rejected:
        payload = problem.problem
        if (unknown := unknown_field(payload, KNOWN)) is not None:
            return unknown
        source = payload.get("qasm")
        if not isinstance(source, str) or not source.strip():
            return Rejected("empty_problem", "there is no circuit", "$.problem.qasm", "Send OpenQASM 2 or 3 as text.")
        threshold = payload.get("fidelity")
        if threshold is not None and (
            isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1
        ):
            return invalid("expected a number from 0 to 1", ".fidelity", "Leave it out, or mend it.")
        try:
            compiled = compiler.compiled(source, max_qubits=min(MAX_QUBITS, limits.variables))
        except QasmError as error:
            line, column = line_and_column(source, error.at)
            return Rejected(error.code, error.message, f"$.problem.qasm:{line}:{column}", error.remedy)
        circuit, notes = compiled.circuit, list(compiled.notes)
        named = _observables(payload.get("observables", []), circuit.qubits)
        if isinstance(named, Rejected):
            return named
        names, observables = named
        run = _without_idle(circuit, observables) if observables else _sampled(circuit)
        if isinstance(run, Rejected):
            return run
        circuit = run
        if not observables and problem.shots == 0:
            return Rejected(
                "invalid_event", "0 shots of a circuit without observables", "$.shots", "Ask for 1 or more."
            )
        if (wide := _too_wide(circuit, problem.shots)) is not None:
            return wide
        if circuit.qubits > SIMULATED and _clifford(circuit) is False:
            notes.append(
                f"{circuit.qubits} qubits and not Clifford: more than the {SIMULATED} that a simulator here takes"
            )
        if not observables:
            notes.insert(0, "counts: classical bit 0 is the rightmost character")
        digest = sha256(f"qmosaic.circuit-problem/1 {circuit.digest} {names} {threshold}".encode()).hexdigest()[:32]
        return CircuitInstance(circuit, names, threshold, digest, notes)

    def light(self, problem: Problem) -> bool:
        payload = problem.problem
        source, observables = payload.get("qasm"), payload.get("observables", [])
        if not isinstance(source, str) or 8 * len(source) > LIGHT_WORK or (problem.shots or 0) > LIGHT_SHOTS:
            return False
        if not isinstance(observables, list) or len(observables) > LIGHT_TERMS or not payload.keys() <= set(KNOWN):
            return False
        terms = [entry.get("terms") for entry in observables if isinstance(entry, dict)]
        if sum(len(each) for each in terms if isinstance(each, dict)) > LIGHT_TERMS or _HEAVY.search(source):
            return False
        # a character is an operator at most; a whole register all qubits and bits, under all conditions at once
        wide = sum(int(size or 1) for size in _REGISTER.findall(source))
        whole, conditions, statements = len(_WHOLE.findall(source)), source.count("if"), source.count(";")
        under = conditions * wide
        return 8 * len(source) + 12 * whole * wide * (1 + under) + statements * under <= LIGHT_WORK

    def reduce(self, tasks: Sequence[Task]) -> list[Reduction]:
        from qmosaic.processors.families.circuit.reference import reduction

        return [reduction(task, task.model) for task in tasks if isinstance(task.model, Circuit)]

    def warm_up(self, layers: int, slow: bool) -> None:
        from qmosaic.processors.families.circuit.reference import warm_up

        warm_up(slow)


def _clifford(circuit: Circuit) -> bool | None:
    """Whether a tableau takes it; None where it has so many different gates that reduce has to find out."""
    seen: set[tuple[str, tuple[float, ...], bool]] = set()
    for operation in circuit.operations:
        kind = operation.gate, operation.params, operation.condition is None
        if kind in seen:
            continue
        if len(seen) == DIFFERENT:
            return None
        seen.add(kind)
        if not is_clifford(Circuit(circuit.qubits, circuit.bits, (operation,))):
            return False
    return True


def _observables(given: Any, qubits: int) -> tuple[tuple[str, ...], tuple[PauliSum, ...]] | Rejected:
    remedy = 'Send [{"name": "energy", "terms": {"ZZI": 0.5}}].'
    if not isinstance(given, list):
        return invalid(f"expected a list, got {type(given).__name__}", ".observables", remedy)
    names: dict[str, None] = {}
    sums, total = [], 0
    for k, entry in enumerate(given):
        place = f".observables[{k}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("terms"), dict) or not entry["terms"]:
            return invalid("expected an object with terms", place, remedy)
        if unknown := sorted(entry.keys() - {"name", "terms"}):
            field = unknown[0][:SHOWN]
            return invalid(f"unknown field {field!r}", f"{place}.{field}", remedy)
        name = entry.get("name", f"observable {k}")
        if isinstance(name, str) and len(name) > MAX_NAME:
            return Rejected("too_large", f"a name of {len(name)} characters", f"$.problem{place}.name", "Shorten it.")
        if not isinstance(name, str) or name in names:
            said = repr(name[:SHOWN]) if isinstance(name, str) else "given"
            return invalid(f"the name {said} is no string, or there twice", f"{place}.name", "Names must differ.")
        total += len(entry["terms"])
        if total > MAX_TERMS:
            return Rejected("too_large", f"more than {MAX_TERMS} terms", f"$.problem{place}", "Send fewer terms.")
        for pauli, coefficient in entry["terms"].items():
            if len(pauli) != qubits or pauli.strip("IXYZ"):
                return invalid(
                    f"expected {qubits} letters I, X, Y, Z, got {pauli[:40]!r}",
                    f"{place}.terms",
                    "Letter i acts on qubit i, in the order of declaration.",
                )
            real = isinstance(coefficient, int | float) and not isinstance(coefficient, bool)
            if not real or not abs(coefficient) < MAX_COEFFICIENT:
                term = pauli[:SHOWN]
                return invalid(f"{term}: expected a finite number", f"{place}.terms.{term}", "Send real numbers.")
        names[name] = None
        sums.append(PauliSum(qubits, tuple(entry["terms"]), tuple(float(c) for c in entry["terms"].values())))
    return tuple(names), tuple(sums)


def _sampled(circuit: Circuit) -> Circuit | Rejected:
    if not any(operation.gate == "measure" for operation in circuit.operations):
        return Rejected(
            "empty_problem",
            "the circuit measures nothing, and there are no observables",
            "$.problem.qasm",
            "Measure qubits into bits, or send observables.",
        )
    return _without_idle(circuit, ())


def _without_idle(circuit: Circuit, observables: tuple[PauliSum, ...]) -> Circuit | Rejected:
    """The circuit without qubits that nothing happens to; with observables, without the measurements at its end."""
    operations = [each for each in circuit.operations if each.gate != "barrier"]
    if observables:
        while operations and operations[-1].gate == "measure":
            operations.pop()
        for operation in operations:
            if operation.gate == "measure" or operation.condition is not None:
                return invalid(
                    "a circuit with observables cannot measure in the middle",
                    ".observables",
                    "Leave the observables out, or the measurements.",
                )
    used = {q for operation in operations for q in operation.qubits if operation.gate != "reset"}
    # up to a million letters and more: by bytes
    letters = [
        np.frombuffer("".join(each.paulis).encode(), np.uint8).reshape(-1, circuit.qubits) for each in observables
    ]
    used |= {q for each in letters for q in np.flatnonzero((each != ord("I")).any(axis=0)).tolist()}
    order = {qubit: k for k, qubit in enumerate(sorted(used) or [0])}
    kept = tuple(
        Operation(
            each.gate,
            tuple(order[q] for q in each.qubits if q in order),
            each.params,
            each.pauli,
            each.bits,
            each.condition,
        )
        for each in operations
        if each.gate != "reset" or order.keys() & set(each.qubits)
    )
    sums = tuple(
        PauliSum(len(order), tuple(row.tobytes().decode() for row in rows[:, list(order)]), each.coefficients)
        for each, rows in zip(observables, letters, strict=True)
    )
    return Circuit(len(order), 0 if observables else circuit.bits, kept, sums)


def _too_wide(circuit: Circuit, shots: int | None) -> Rejected | None:
    different = min(shots or 0, 2 ** min(circuit.bits, 40))
    if different * (circuit.bits + 10) <= MAX_ANSWER_BYTES:
        return None
    most = MAX_ANSWER_BYTES // (circuit.bits + 10)
    return Rejected(
        "too_large",
        f"{shots} shots of {circuit.bits} bits do not fit into an outcome",
        "$.shots",
        f"Ask for {most} or fewer.",
    )
