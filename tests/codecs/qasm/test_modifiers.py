"""Inverse, power and controls against matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmosaic.codecs.models.circuit import GATES, Operation, unitary
from qmosaic.codecs.qasm.modifiers import MAX_CONTROLS, controlled, inverse, power

SINGLE = sorted(gate for gate, (qubits, _) in GATES.items() if qubits == 1)
angles = st.floats(-7, 7)


def matrix(operations: Sequence[Operation], n: int) -> np.ndarray:
    """Of a sequence of gates on n qubits, global phase included."""
    out = np.eye(2**n, dtype=np.complex128).reshape((2,) * n + (2**n,))
    for operation in operations:
        if operation.gate == "gphase":
            out = out * np.exp(1j * operation.params[0])
            continue
        k = len(operation.qubits)
        tensor = unitary(operation).reshape((2,) * (2 * k))
        moved = np.tensordot(tensor, out, (range(k, 2 * k), operation.qubits))
        out = np.moveaxis(moved, range(k), operation.qubits)
    return np.asarray(out.reshape(2**n, 2**n))


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    """Any gate on the first qubits."""
    gate = draw(st.sampled_from([*sorted(GATES), "rotation", "gphase"]))
    if gate == "gphase":
        return Operation(gate, (), (draw(angles),))
    if gate == "rotation":
        pauli = draw(st.text("IXYZ", min_size=1, max_size=3))
        return Operation(gate, tuple(range(len(pauli))), (draw(angles),), pauli)
    size, parameters = GATES[gate]
    return Operation(gate, tuple(range(size)), tuple(draw(angles) for _ in range(parameters)))


@given(operations())
def test_the_inverse_undoes(operation: Operation) -> None:
    both = matrix([operation, *inverse([operation])], 3)
    np.testing.assert_allclose(both, np.eye(8), atol=1e-9)


@given(st.lists(operations(), max_size=3), st.integers(1, 3), st.booleans())
@settings(max_examples=50, deadline=None)
def test_controls(body: list[Operation], count: int, negative: bool) -> None:
    moved = [
        Operation(each.gate, tuple(q + count for q in each.qubits), each.params, each.pauli, each.bits) for each in body
    ]
    n = 3 + count
    found = matrix(controlled(moved, range(count), negative, 10_000), n)
    expected = np.eye(2**n, dtype=np.complex128)
    at = slice(0, 8) if negative else slice(2**n - 8, 2**n)
    expected[at, at] = matrix(body, 3)
    np.testing.assert_allclose(found, expected, atol=1e-8)


@given(st.sampled_from(SINGLE), st.lists(angles, min_size=3, max_size=3), st.floats(-2.5, 2.5))
def test_powers_of_single_gates_add(gate: str, values: list[float], exponent: float) -> None:
    operation = Operation(gate, (0,), tuple(values[: GATES[gate][1]]))
    some, rest = (matrix(power([operation], part, 100), 1) for part in (exponent, 1 - exponent))
    np.testing.assert_allclose(some @ rest, matrix([operation], 1), atol=1e-7)


def test_powers_as_the_standard_library_defines_them() -> None:
    for gate, exponent, expected in (("x", 0.5, "sx"), ("z", 0.5, "s"), ("s", 0.5, "t"), ("x", -0.5, "sxdg")):
        found = matrix(power([Operation(gate, (0,))], exponent, 10), 1)
        np.testing.assert_allclose(found, unitary(Operation(expected, (0,))), atol=1e-9)
    half = matrix(power([Operation("cx", (0, 1))], 0.5, 10), 2)
    np.testing.assert_allclose(half, unitary(Operation("csx", (0, 1))), atol=1e-9)


def test_bounds() -> None:
    with pytest.raises(ValueError, match="more than 10"):
        power([Operation("t", (0,))], 11, 10)
    many = range(MAX_CONTROLS + 1)
    with pytest.raises(ValueError, match="not supported"):
        controlled([Operation("x", (MAX_CONTROLS + 1,))], many, False, 10_000)
    with pytest.raises(ValueError, match="no integer"):
        power([Operation("iswap", (0, 1))], 0.5, 10)
