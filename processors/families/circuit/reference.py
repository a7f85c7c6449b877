"""The independent run of a circuit that verify compares with: the path of reduce, where heavy imports are allowed.

Clifford circuits by the tableau, whatever their size; others of up to `MAX_QUBITS` qubits by the JAX state vector, or
by Cirq where the problem asks for the target gpu, whose backend is JAX itself.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qmosaic.backends import programs
from qmosaic.backends.clifford import tableau
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.bundle import Bundle, bundle
from qmosaic.codecs.models.circuit import Circuit
from qmosaic.processors.families.base import Reduction, Task
from qmosaic.processors.families.circuit import evidence

MAX_QUBITS = 20
SECONDS_PER_AMPLITUDE = 2e-8
"""What one gate takes in Cirq, which cannot be interrupted (measured, rounded up)."""
NONE = "none"


def reduction(task: Task, circuit: Circuit) -> Reduction:
    """The circuit as kernel. The state: evidence of the reference and counts of its own, or values, or why not."""
    start = task.clock()

    def going_on() -> bool:
        return task.clock() - start < task.seconds

    try:
        method, state = _clifford(task, circuit, going_on) or _simulated(task, circuit, going_on)
    except TimeoutError:
        method, state = NONE, bundle(reason=f"no reference within the {task.seconds:.1f} s there were for it")
    except BackendError as error:
        method, state = NONE, bundle(reason=f"no reference: {error.message}")
    values = {**state.values, "reference": method}
    return Reduction(Bundle(state.arrays, values), method, task.clock() - start, circuit)


def _clifford(task: Task, circuit: Circuit, going_on: Callable[[], bool]) -> tuple[str, Bundle] | None:
    if circuit.observables:
        values = tableau.expectations(circuit, going_on)
        return None if values is None else ("tableau", bundle({"values": values}))
    space = tableau.outcomes(circuit, going_on)
    if space is None:
        return None
    drawn = space.sample(task.shots, np.random.default_rng(task.seed))
    return "tableau", _with_counts(
        evidence.of_affine(space, task.shots, task.seed), drawn, np.ones(task.shots, np.int64)
    )


def _simulated(task: Task, circuit: Circuit, going_on: Callable[[], bool]) -> tuple[str, Bundle]:
    if circuit.qubits > MAX_QUBITS:
        reason = f"{circuit.qubits} qubits and not Clifford: a reference needs {MAX_QUBITS} qubits at most"
        return NONE, bundle(reason=reason)
    by_cirq = task.target == "gpu" or not programs.may_be_called()
    if by_cirq and len(circuit.operations) * 2**circuit.qubits * SECONDS_PER_AMPLITUDE > task.seconds:
        raise TimeoutError
    if circuit.observables:
        return _values(circuit, by_cirq, going_on)
    if by_cirq:
        from qmosaic.backends.on_cirq import circuit as cirq_circuit

        name, (rows, probabilities) = "cirq.statevector", cirq_circuit.distribution(circuit)
    else:
        from qmosaic.backends.on_jax import circuit as jax_circuit

        name, (rows, probabilities) = "jax.statevector", jax_circuit.distribution(circuit, going_on)
    probabilities = probabilities / probabilities.sum()
    counts = np.random.default_rng(task.seed).multinomial(task.shots, probabilities)
    seen = counts > 0
    return name, _with_counts(evidence.of_list(rows, probabilities, task.shots, task.seed), rows[seen], counts[seen])


def _values(circuit: Circuit, by_cirq: bool, going_on: Callable[[], bool]) -> tuple[str, Bundle]:
    from qmosaic.backends.circuits import measurement
    from qmosaic.backends.circuits.counting import unmeasured

    plain = unmeasured(circuit)
    if by_cirq:
        from qmosaic.backends.on_cirq import circuit as cirq_circuit

        name, state = "cirq.statevector", cirq_circuit.final_state(plain)
    else:
        from qmosaic.backends.on_jax import gates

        name, state = "jax.statevector", gates.final_state(plain, going_on)
    return name, bundle({"values": measurement.exact(circuit.observables, state)})


def _with_counts(found: Bundle, rows: np.ndarray, counts: np.ndarray) -> Bundle:
    from qmosaic.backends.circuits.counting import merged

    distinct, summed = merged(rows, counts)
    own = bundle({"rows": np.packbits(distinct, axis=1), "counts": summed.astype(np.int64)})
    return Bundle({**found.arrays, **own.arrays}, found.values)


def warm_up(slow: bool) -> None:
    """Compile the JAX programs: of up to 14 qubits, or of the larger ones."""
    from qmosaic.backends.on_jax import gates

    gates.warm_up(*((15, MAX_QUBITS) if slow else (1, 14)))
