"""What the tests of molecules share: random Hermitian data, and the way through the pure core."""

from __future__ import annotations

from functools import cache
from itertools import count
from time import monotonic
from typing import Any

import numpy as np
import orjson

from qmosaic.backends.base import Backend, Expectations, Job, run_sync
from qmosaic.backends.solvers.lanczos import Lanczos
from qmosaic.codecs.events.hops import Answer, Incumbent, Proposal, Route
from qmosaic.codecs.events.public import Outcome
from qmosaic.codecs.models.bundle import Bundle
from qmosaic.codecs.models.circuit import PAULIS, Circuit
from qmosaic.processors.admit import Admission, Defaults, Record, Refusal, admit
from qmosaic.processors.families.base import Limits, Reduction, Task
from qmosaic.processors.families.molecule.family import MoleculeFamily, MoleculeInstance
from qmosaic.processors.verify import settle

FAMILY = MoleculeFamily()

H2: dict[str, Any] = {
    "integrals": {
        "orbitals": 2,
        "one": [[0, 0, -1.25633907300325], [1, 1, -0.4718960072811418]],
        "two": [
            [0, 0, 0, 0, 0.6757101548035163],
            [1, 0, 1, 0, 0.1809311997842314],
            [1, 1, 0, 0, 0.6645817302552964],
            [1, 1, 1, 1, 0.6985737227320177],
        ],
        "core": 0.7199689944489797,
    },
    "electrons": 2,
}
H2_HARTREE_FOCK, H2_EXACT = -1.116998996754004, -1.1373060357534004


def judged(payload: dict[str, Any], **fields: Any) -> Admission | Refusal:
    value = orjson.dumps({"family": "molecule", "problem": payload, **fields})
    return admit(Record("problems", 0, 0, 1000.0, value), Limits(), Defaults())


def instance(payload: dict[str, Any]) -> MoleculeInstance:
    found = judged(payload)
    assert isinstance(found, Admission), found
    assert isinstance(found.instance, MoleculeInstance)
    return found.instance


def reduction(payload: dict[str, Any]) -> Reduction:
    """Computed once for each payload."""
    return _reduction(orjson.dumps(payload))


@cache
def _reduction(payload: bytes) -> Reduction:
    (found,) = FAMILY.reduce([Task(instance(orjson.loads(payload)).encode(), 1, 30.0, clock=monotonic)])
    return found


def answer(value: float, error: float = 0.0) -> Answer:
    return Answer(circuit=None, values=[value], errors=[error])


def solved(payload: dict[str, Any], backend: Backend | None = None, **fields: Any) -> Outcome:
    """From the event to its outcome, every hop called by hand."""
    admission = judged(payload, **fields)
    assert isinstance(admission, Admission), admission
    found = reduction(payload)
    digest = found.kernel.digest if found.kernel is not None else None
    incumbent = Incumbent(
        ref=admission.ref,
        state=found.state,
        solver=found.solver,
        seconds=found.seconds,
        kernel_digest=digest,
        lift=found.lift,
    )
    proposal = None
    if found.kernel is not None:
        backend = backend or Lanczos()
        (ran,) = run_sync(backend, [backend.prepare(Job(found.kernel, admission.ref.shots, admission.ref.seed))])
        assert isinstance(ran, Expectations)
        said = Answer(circuit=None, values=ran.values.tolist(), errors=ran.errors.tolist())
        route = Route(target="classical", backend=backend.name, reason="requested", rule="")
        proposal = Proposal(ref=admission.ref, kernel_digest=digest, route=route, attempt=1, answer=said, failure=None)
    ticks = count(5.0, 0.5)
    return settle(
        admission, incumbent, proposal, now=1001.0, queue=0.0, trace_id="", versions={}, tick=lambda: next(ticks)
    )


def dense(paulis: list[tuple[str, float]]) -> Any:
    """The matrix of a sum of Pauli strings, by Kronecker products."""
    total = np.zeros((2 ** len(paulis[0][0]),) * 2, complex)
    for letters, coefficient in paulis:
        product = np.eye(1)
        for letter in letters:
            product = np.kron(product, PAULIS[letter])
        total += coefficient * product
    return total


def dense_state(reference: str, rotations: list[Any]) -> Any:
    """A solution's state, by whole matrices."""
    psi = np.zeros(2 ** len(reference), complex)
    psi[int(reference, 2)] = 1
    for pauli, angle in rotations:
        product = dense([(pauli, 1.0)])
        psi = np.cos(angle / 2) * psi - 1j * np.sin(angle / 2) * (product @ psi)
    return psi


def expectation(circuit: Circuit) -> float:
    """Of a kernel's observable, by whole matrices."""
    n = circuit.qubits
    ones = {operation.qubits[0] for operation in circuit.operations if operation.gate == "x"}
    rotations = []
    for operation in circuit.operations:
        if operation.gate == "rotation":
            letters = dict(zip(operation.qubits, operation.pauli, strict=True))
            rotations.append(("".join(letters.get(i, "I") for i in range(n)), operation.params[0]))
    psi = dense_state("".join("1" if i in ones else "0" for i in range(n)), rotations)
    (observable,) = circuit.observables
    matrix = dense(list(zip(observable.paulis, observable.coefficients, strict=True)))
    return float(np.vdot(psi, matrix @ psi).real)


def random_integrals(orbitals: int, seed: int) -> dict[str, Any]:
    """Real integrals with all symmetries, the off-diagonal small: a molecule of no kind."""
    rng = np.random.default_rng(seed)
    one = [[p, q, float(rng.normal() * (1.0 if p == q else 0.2))] for p in range(orbitals) for q in range(p + 1)]
    pairs = [(p, q) for p in range(orbitals) for q in range(p + 1)]
    two = [
        [*a, *b, float(rng.normal() * 0.2 + (0.6 if a == b else 0.0))]
        for k, a in enumerate(pairs)
        for b in pairs[: k + 1]
    ]
    return {"orbitals": orbitals, "one": one, "two": two, "core": float(rng.normal())}


def state(reference: int) -> Bundle:
    return Bundle(values={"reference": reference})
