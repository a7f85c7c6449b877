"""What the simulators of a `Circuit` share: what it counts to, which measurements can wait, and drawing samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
from jaxtyping import Complex, Float, Float64, Int64, UInt8

from qmosaic.backends.base import Figures, Result
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import Circuit, Operation

BLOCK = 2**16
"""States looked at together, so that nothing but the state itself grows with its size."""
LAST = 4
"""Qubits whose gates act together, the last: their amplitudes are neighbours, and one after the other they are slow."""
PRODUCTS = 2**15
"""Multiplications in one product of matrices: too few for BLAS to divide it among threads, who wait for each other."""
PIECE = 2**16
"""Amplitudes turned together: they stay in a cache, and nothing but the state itself grows with its size."""
Matrix = Complex[np.ndarray, "2 2"]
_WITHOUT_TIME = ("barrier", "gphase", "measure", "id")
_TWO_QUBIT_GATES = {"ccx": 6, "ccz": 6, "cswap": 8}
"""What gates on three qubits count as; the others count as one."""
MAX_DEFERRED = 18
"""Qubits, with those that hold measurements in the middle; with more of them a circuit runs shot by shot."""
SECONDS_PER_STEP = 5e-5
"""What one operation takes in one shot on a small state, in Cirq (measured)."""


def figures(circuit: Circuit, shots: int) -> Figures:
    """Qubits, depth, two-qubit gates and shots. A rotation about a Pauli string of k letters is a ladder of 2(k - 1)
    CX with an rz in it; barriers align, measurements are not counted."""
    busy, pairs = [0] * circuit.qubits, 0
    for operation in circuit.operations:
        on, long = operation.qubits, 1
        if operation.gate == "rotation":
            on = tuple(q for q, letter in zip(on, operation.pauli, strict=True) if letter != "I")
            turned = any(letter in "XY" for letter in operation.pauli)
            pairs += max(0, 2 * (len(on) - 1))
            long = 2 * max(0, len(on) - 1) + 1 + 2 * turned
        elif operation.gate in _WITHOUT_TIME:
            long = 0
        elif len(on) > 1:
            long = _TWO_QUBIT_GATES.get(operation.gate, 1)
            pairs += long
        if on:
            end = max(busy[q] for q in on) + long
            for q in on:
                busy[q] = end
    return Figures(circuit.qubits, max(busy, default=0), pairs, shots)


def unmeasured(circuit: Circuit) -> Circuit:
    """A circuit with observables, checked to be unitary, its needless resets left out. Raises BackendError."""
    operations, touched = [], set[int]()
    for operation in circuit.operations:
        if operation.gate == "reset" and not touched.intersection(operation.qubits):
            continue
        if operation.gate in ("measure", "reset") or operation.condition is not None:
            raise BackendError(
                f"a circuit with observables has a {operation.gate}, or a condition",
                place="job.kernel",
                remedy="Leave measurements out: the observables are measured.",
            )
        touched.update(operation.qubits)
        operations.append(operation)
    return Circuit(circuit.qubits, circuit.bits, tuple(operations), circuit.observables)


def final(operations: Sequence[Operation]) -> frozenset[int]:
    """Places of measurements that can wait until the end: nothing happens to their qubit after them, nothing hangs
    on their bit, and nothing else is written to it."""
    waiting, used, asked = set[int](), set[int](), set[int]()
    for place in range(len(operations) - 1, -1, -1):
        operation = operations[place]
        if operation.gate == "barrier":
            continue
        free = not used.intersection(operation.qubits) and not asked.intersection(operation.bits)
        if operation.gate == "measure" and operation.condition is None and free:
            waiting.add(place)
        used.update(operation.qubits)
        asked.update(operation.bits)
        if operation.condition is not None:
            asked.update(operation.condition[0])
    return frozenset(waiting)


def is_final(circuit: Circuit) -> bool:
    """Whether one state tells it all: measurements at the end, no conditions, no resets but of fresh qubits."""
    waiting, touched = final(circuit.operations), set[int]()
    for place, operation in enumerate(circuit.operations):
        if operation.condition is not None or (operation.gate == "measure" and place not in waiting):
            return False
        if operation.gate == "reset" and touched.intersection(operation.qubits):
            return False
        if operation.gate not in ("barrier", "measure"):
            touched.update(operation.qubits)
    return True


def qubits_when_deferred(circuit: Circuit) -> int:
    """Qubits of the circuit with its measurements deferred, where every measurement in the middle and every reset takes
    a fresh one (`on_cirq.circuit.deferred` takes as many or fewer)."""
    waiting = final(circuit.operations)
    return circuit.qubits + sum(
        len(operation.qubits)
        for place, operation in enumerate(circuit.operations)
        if operation.gate == "reset" or (operation.gate == "measure" and place not in waiting)
    )


def shot_by_shot_seconds(circuit: Circuit, shots: int) -> float:
    """About how long Cirq takes for a circuit whose measurements in the middle are too many to be deferred."""
    return shots * len(circuit.operations) * (SECONDS_PER_STEP + 2.0 ** min(circuit.qubits, 64) * 1e-8)


def measured(circuit: Circuit) -> tuple[list[int], list[int]]:
    """The qubits that are measured in a circuit that is `is_final`, and the bits they are measured into."""
    pairs = [
        pair
        for operation in circuit.operations
        if operation.gate == "measure"
        for pair in zip(operation.qubits, operation.bits, strict=True)
    ]
    return [qubit for qubit, _ in pairs], [bit for _, bit in pairs]


def turn(tensor: Complex[np.ndarray, "*twos"], gates: dict[int, Matrix]) -> None:
    """Gates on one qubit each, by axis, on a state: in place, `PIECE` amplitudes at a time."""
    if not tensor.flags.c_contiguous:  # a reshaped one would be a copy
        raise ValueError("the state's amplitudes must lie in their order")
    n, eye = tensor.ndim, np.eye(2, dtype=tensor.dtype)
    last = max(0, n - LAST)
    for axis in (axis for axis in gates if axis < last):
        halves = tensor.reshape(2**axis, 2, -1, min(PRODUCTS // 4, 2 ** (n - axis - 1))).swapaxes(1, 2)
        outer = max(1, PIECE // halves[0].size)
        inner = max(1, PIECE // halves[0, 0].size)
        for i in range(0, halves.shape[0], outer):
            for j in range(0, halves.shape[1], inner):
                piece = halves[i : i + outer, j : j + inner]
                piece[...] = np.matmul(gates[axis], piece)
    if any(axis >= last for axis in gates):
        matrix = reduce(np.kron, [gates.get(axis, eye) for axis in range(last, n)])
        rows = tensor.reshape(-1, min(PRODUCTS // matrix.size, 2**last), len(matrix))
        step = max(1, PIECE // rows[0].size)
        for i in range(0, len(rows), step):
            rows[i : i + step] = np.matmul(rows[i : i + step], matrix.T)


def probabilities(state: Complex[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Probabilities of the values of all qubits in a state; half of its size, and no more for a moment."""
    found = np.empty(len(state), state.real.dtype)
    for start in range(0, len(state), BLOCK):
        block = state[start : start + BLOCK]
        found[start : start + BLOCK] = block.real**2 + block.imag**2
    return found


def marginal(probabilities: Float[np.ndarray, " N"], qubits: Sequence[int]) -> Float[np.ndarray, " M"]:
    """Probabilities of some qubits, the first the most significant, normalised, from those of all."""
    n = len(probabilities).bit_length() - 1
    others = tuple(q for q in range(n) if q not in qubits)
    kept = sorted(qubits)
    tensor = probabilities.reshape((2,) * n)
    if others:
        tensor = tensor.sum(axis=others, dtype=np.float64)
    tensor = tensor.transpose([kept.index(q) for q in qubits])
    return np.asarray(tensor.ravel() / tensor.sum())


def rows_of(states: Int64[np.ndarray, " k"], bits: Sequence[int], width: int) -> UInt8[np.ndarray, "k width"]:
    """Numbers of states of some bits, the first the most significant, as rows of all bits; the others are 0."""
    rows = np.zeros((len(states), width), np.uint8)
    for k, bit in enumerate(bits):
        rows[:, bit] = states >> (len(bits) - 1 - k) & 1
    return rows


def draw(probabilities: Float[np.ndarray, " M"], shots: int, generator: np.random.Generator) -> Any:
    """States and their counts in `shots` independent draws, by inversion: of the blocks, and then within each."""
    starts = np.arange(0, len(probabilities), BLOCK)
    # block by block: reduceat would make a float64 copy of them all
    ends = np.cumsum([probabilities[start : start + BLOCK].sum(dtype=np.float64) for start in starts])
    wanted = np.sort(generator.random(shots)) * ends[-1]
    drawn, first = [np.zeros(0, np.int64)], 0
    for start, below, above in zip(starts, [0.0, *ends[:-1]], ends, strict=True):
        last = int(np.searchsorted(wanted, above)) if above < ends[-1] else shots
        if last > first:
            shares = (wanted[first:last] - below) / (above - below)
            drawn.append(start + inverted(probabilities[start : start + BLOCK], shares))
        first = last
    return np.unique(np.concatenate(drawn), return_counts=True)


def inverted(probabilities: Float[np.ndarray, " M"], shares: Float64[np.ndarray, " k"]) -> Int64[np.ndarray, " k"]:
    """The states at which the running sum of the probabilities passes shares in [0, 1] of the whole; quickest where
    these are sorted. Never a state of probability 0.
    """
    running = np.cumsum(probabilities, dtype=np.float64)
    whole = running[-1]
    found: Int64[np.ndarray, " k"] = np.searchsorted(
        running, np.minimum(shares * whole, np.nextafter(whole, 0)), side="right"
    )
    return found


def merged(rows: UInt8[np.ndarray, "k bits"], weights: Any) -> tuple[UInt8[np.ndarray, "d bits"], Any]:
    """Equal rows once, their weights summed."""
    packed = np.ascontiguousarray(np.packbits(rows, axis=1))
    keys = packed.view(np.dtype((np.void, packed.shape[1]))).ravel() if packed.shape[1] else np.zeros(len(rows))
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return rows[first], np.bincount(inverse.ravel(), weights).astype(weights.dtype)


def result_of(
    circuit: Circuit, rows: UInt8[np.ndarray, "k bits"], counts: Int64[np.ndarray, " k"], seconds: float
) -> Result:
    """A `Result` of values of the classical bits and how often each was seen."""
    distinct, summed = merged(rows, counts)
    return Result(
        distinct,
        summed.astype(np.int64),
        np.zeros(len(distinct)),
        seconds,
        figures(circuit, int(counts.sum())),
    )
