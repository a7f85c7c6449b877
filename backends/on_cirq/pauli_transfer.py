"""Noisy gates on few qubits, exactly: density matrices in the Pauli basis, where every channel is a real matrix.

A density matrix is the table of its Tr(P rho), for each qubit an axis of I, X, Y, Z; a channel on k qubits is its
Pauli transfer matrix, 4^k by 4^k (Greenbaum, arXiv:1509.02921). All that happens to a qubit, or a pair, before another
one joins it is one matrix when it meets the table: where noise follows every gate, few products are left.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache, reduce

import cirq
import numpy as np
from jaxtyping import Float32, Float64

BASIS = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [0, 1j, -1j, 0], [1, 0, 0, -1]])
"""From a density matrix, row by row, to Tr(P rho) of I, X, Y, Z."""
READ = np.array([[1, 0, 0, 1], [1, 0, 0, -1]], np.float32) / 2
"""How likely 0 and 1 are, by Tr(P rho)."""
Transfer = Float64[np.ndarray, "N N"]


def probabilities(operations: Iterable[cirq.Operation], qubits: Sequence[cirq.Qid]) -> Float64[np.ndarray, " states"]:
    """Probabilities of all states after gates and channels on one or two qubits of |0…0>, the first highest."""
    table = _Table(qubits)
    for operation in operations:
        table.apply(operation)
    return table.read()


class _Table:
    """The density matrix, and what has not met it yet: each qubit is in one block, alone or with another."""

    def __init__(self, qubits: Sequence[cirq.Qid]) -> None:
        self._axis = {qubit: axis for axis, qubit in enumerate(qubits)}
        self._values: Float32[np.ndarray, ...] = reduce(
            np.multiply.outer, [np.array([1, 0, 0, 1], np.float32)] * len(qubits)
        )
        self._waiting: dict[tuple[cirq.Qid, ...], Transfer] = {(qubit,): np.eye(4) for qubit in qubits}
        self._block: dict[cirq.Qid, tuple[cirq.Qid, ...]] = {qubit: (qubit,) for qubit in qubits}

    def apply(self, operation: cirq.Operation) -> None:
        on, matrix = operation.qubits, transfer(operation)
        block = self._block[on[0]]
        if len(on) == 2 and on[1] not in block:
            self._join(*on)
            block = on
        if len(on) < len(block):
            matrix = np.kron(matrix, np.eye(4)) if on[0] == block[0] else np.kron(np.eye(4), matrix)
        elif on != block:
            matrix = matrix.reshape(4, 4, 4, 4).transpose(1, 0, 3, 2).reshape(16, 16)
        self._waiting[block] = matrix @ self._waiting[block]

    def _join(self, a: cirq.Qid, b: cirq.Qid) -> None:
        for qubit in (a, b):
            if len(self._block[qubit]) == 2:
                self._settle(self._block[qubit])
        self._waiting[a, b] = np.kron(self._waiting.pop((a,)), self._waiting.pop((b,)))
        self._block[a] = self._block[b] = (a, b)

    def _settle(self, block: tuple[cirq.Qid, ...]) -> None:
        """A block's matrix meets the table, and its qubits are alone again."""
        axes, k = [self._axis[qubit] for qubit in block], len(block)
        matrix = self._waiting.pop(block).astype(np.float32).reshape((4,) * 2 * k)
        moved = np.tensordot(matrix, self._values, axes=(range(k, 2 * k), axes))
        self._values = np.moveaxis(moved, range(k), axes)
        for qubit in block:
            self._block[qubit] = (qubit,)
            self._waiting[qubit,] = np.eye(4)

    def read(self) -> Float64[np.ndarray, " states"]:
        for block in list(self._waiting):
            self._settle(block)
        shares = self._values
        for _ in self._axis:  # the first axis goes, and comes back last, read
            shares = np.tensordot(shares, READ, axes=([0], [1]))
        return np.clip(shares.ravel().astype(np.float64), 0, None)


def transfer(operation: cirq.Operation) -> Transfer:
    """The transfer matrix of a gate or channel on one or two qubits, in the order of its qubits."""
    of = operation.gate or operation
    return _known(of) if isinstance(of, Hashable) else _transfer(of)


def _transfer(of: cirq.Gate | cirq.Operation) -> Transfer:
    k = cirq.num_qubits(of)
    kraus = np.array(cirq.kraus(of)).reshape((-1, *(2,) * 2 * k))
    mixed = np.tensordot(kraus, kraus.conj(), axes=(0, 0))
    pairs = [side + qubit for qubit in range(2 * k) for side in (0, 2 * k)]  # a ket's axis, then the bra's
    basis = reduce(np.kron, [BASIS] * k)
    found: Transfer = (basis @ mixed.transpose(pairs).reshape(4**k, 4**k) @ basis.conj().T / 2**k).real
    return found


_known = lru_cache(maxsize=4096)(_transfer)
