"""Gates of circuits as data for `jax_gates`: what compiles no program.

Bits of a state's number stand in groups of four; gates within a group are multiplied together until one leads out of it
(gate fusion, as in qsim, on fixed groups: a program for each). What leads out has the form

    psi'[j] = D[p] psi[j] + O[p] psi[j ^ x]   where all bits of c are 1 in j, else psi[j];   p = parity of j & z

for bit masks x, z, c and complex numbers D, O, as have all gates of a `Circuit` and rotations about Pauli strings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex128

from qmosaic.codecs.models.circuit import Operation, unitary

GROUP = 4
"""Qubits: 16 x 16 matrices."""


@dataclass(frozen=True)
class Step:
    """One step, as above; index 0 of `d` and `o` is for an even parity."""

    x: int
    z: int
    c: int
    d: tuple[complex, complex]
    o: tuple[complex, complex]


@dataclass(frozen=True, eq=False)
class Turn:
    """A matrix on the bits 4 `group` … 4 `group` + 3 of a state's number, the highest first."""

    group: int
    matrix: Complex128[np.ndarray, "d d"]


def steps(operations: Sequence[Operation], n: int, width: int, fused: bool = True) -> list[Step | Turn]:
    """Gates on n qubits, the first of them bit n - 1, of a state of `width` bits. Not `fused`: steps alone, of gates on
    one qubit multiplied together."""
    size = GROUP if fused else 1
    out: list[Step | Turn] = []
    waiting: dict[int, list[Operation]] = {}

    def flush(groups: Sequence[int]) -> None:
        for group in groups:
            those = waiting.pop(group, [])
            if len(those) == 1:
                out.append(_step(those[0], n))
            elif those:
                matrix = _product(those, n, size * group, min(size, width - size * group))
                out.append(Turn(group, matrix) if fused else _single(matrix, 1 << group))

    for operation in operations:
        if operation.gate in ("barrier", "gphase", "id"):
            continue
        groups = sorted({(n - 1 - qubit) // size for qubit in operation.qubits})
        if len(groups) == 1:
            waiting.setdefault(groups[0], []).append(operation)
        else:
            flush(groups)
            out.append(_step(operation, n))
    flush(list(waiting))
    return out


def _product(operations: Sequence[Operation], n: int, lowest: int, bits: int) -> Complex128[np.ndarray, "d d"]:
    """The product of gates on so many bits."""
    matrix = np.eye(2**bits, dtype=np.complex128).reshape((2,) * bits + (-1,))
    for operation in operations:
        axes = [bits - 1 - (n - 1 - qubit - lowest) for qubit in operation.qubits]
        k = len(axes)
        gate = unitary(operation).reshape((2,) * (2 * k))
        matrix = np.moveaxis(np.tensordot(gate, matrix, axes=(range(k, 2 * k), axes)), range(k), axes)
    return matrix.reshape(2**bits, 2**bits)


def _single(matrix: Complex128[np.ndarray, "2 2"], bit: int, control: int = 0) -> Step:
    (a, b), (c, d) = matrix.tolist()
    return Step(bit if b or c else 0, bit, control, (a, d), (b, c))


def _step(operation: Operation, n: int) -> Step:
    gate, bits = operation.gate, [1 << (n - 1 - qubit) for qubit in operation.qubits]
    if gate in ("swap", "iswap", "cswap"):
        *controls, a, b = bits
        return Step(a | b, a | b, sum(controls), (1, 0), (0, 1j if gate == "iswap" else 1))
    if gate in ("rxx", "ryy", "rzz", "rotation"):
        letters = operation.pauli or gate[1:].upper()
        x = sum(bit for bit, letter in zip(bits, letters, strict=True) if letter in "XY")
        z = sum(bit for bit, letter in zip(bits, letters, strict=True) if letter in "YZ")
        angle = operation.params[0] / 2
        turned = -1j * np.sin(angle) * (-1j) ** letters.count("Y")
        if not x:
            return Step(0, z, 0, (np.cos(angle) + turned, np.cos(angle) - turned), (0, 0))
        return Step(x, z, 0, (np.cos(angle), np.cos(angle)), (turned, -turned))
    return _single(unitary(operation)[-2:, -2:], bits[-1], sum(bits[:-1]))  # all others are controlled
