"""The final state of a Cirq circuit, in less time and memory than `cirq.Simulator` takes, by Cirq's own gates.

Gates on one qubit wait until one on several needs their qubit, and are one matrix then. Memory: the state, one buffer,
and for a moment a quarter of the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import cirq
import numpy as np
from jaxtyping import Complex64

from qmosaic.backends.circuits.counting import LAST, Matrix, turn


def simulated(circuit: cirq.Circuit, n: int) -> Complex64[np.ndarray, " N"]:
    """The final state of gates on line qubits 0 to n - 1, the first the most significant."""
    axis_of: dict[cirq.Qid, int] = {qubit: axis for axis, qubit in enumerate(cirq.LineQubit.range(n))}
    waiting: dict[int, Matrix] = {}
    state: _State | None = None
    for operation in circuit.all_operations():
        axes = [axis_of[qubit] for qubit in operation.qubits]
        if len(axes) == 1:
            matrix = cirq.unitary(operation).astype(np.complex64)
            waiting[axes[0]] = matrix @ waiting[axes[0]] if axes[0] in waiting else matrix
            continue
        state = state or _State(n, waiting)
        state.turn(waiting, axes)
        state.apply(operation, axes)
    state = state or _State(n, waiting)
    state.turn(waiting, range(n))
    return state.tensor.reshape(-1)


class _State:
    """A tensor with an axis for each qubit, and a buffer of the same shape."""

    def __init__(self, n: int, waiting: dict[int, Matrix]) -> None:
        """All qubits in |0>, after the gates that wait."""
        start = [waiting.pop(axis)[:, 0] if axis in waiting else np.array([1, 0], np.complex64) for axis in range(n)]
        self.tensor: np.ndarray = np.ascontiguousarray(reduce(np.multiply.outer, start))
        self.buffer = np.empty_like(self.tensor)

    def apply(self, gate: cirq.Operation, axes: Sequence[int]) -> None:
        found = cirq.apply_unitary(gate, cirq.ApplyUnitaryArgs(self.tensor, self.buffer, axes))
        if found is not self.tensor:
            self.tensor, self.buffer = np.ascontiguousarray(found), self.tensor

    def turn(self, waiting: dict[int, Matrix], axes: Sequence[int]) -> None:
        """Apply the gates that wait on these axes; with one of the last, the others there as well."""
        due = {axis for axis in axes if axis in waiting}
        if any(axis >= self.tensor.ndim - LAST for axis in due):
            due.update(axis for axis in waiting if axis >= self.tensor.ndim - LAST)
        turn(self.tensor, {axis: waiting.pop(axis) for axis in due})
