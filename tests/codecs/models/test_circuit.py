"""Circuits as values: their gates are unitary and in Cirq's order, their digests tell every change."""

from __future__ import annotations

import cirq
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmosaic.codecs.events.wire import decode, encode
from qmosaic.codecs.models.circuit import GATES, Circuit, Operation, PauliSum, inverse, unitary

ANGLES = (0.3, -1.1, 2.2, 0.7)
CIRQ = {
    "x": cirq.X, "y": cirq.Y, "z": cirq.Z, "h": cirq.H, "s": cirq.S, "sdg": cirq.S**-1, "t": cirq.T,
    "tdg": cirq.T**-1, "sx": cirq.X**0.5, "sxdg": cirq.X**-0.5, "rx": cirq.rx(0.3), "ry": cirq.ry(0.3),
    "rz": cirq.rz(0.3), "p": cirq.Z ** (0.3 / np.pi), "cx": cirq.CNOT, "cy": cirq.ControlledGate(cirq.Y),
    "cz": cirq.CZ, "ch": cirq.ControlledGate(cirq.H), "cs": cirq.CZ**0.5, "csdg": cirq.CZ**-0.5,
    "csx": cirq.ControlledGate(cirq.X**0.5), "swap": cirq.SWAP, "iswap": cirq.ISWAP, "cp": cirq.CZ ** (0.3 / np.pi),
    "crx": cirq.ControlledGate(cirq.rx(0.3)), "cry": cirq.ControlledGate(cirq.ry(0.3)),
    "crz": cirq.ControlledGate(cirq.rz(0.3)), "ccx": cirq.TOFFOLI, "ccz": cirq.CCZ, "cswap": cirq.FREDKIN,
    "rxx": cirq.XXPowGate(exponent=0.3 / np.pi, global_shift=-0.5),
    "ryy": cirq.YYPowGate(exponent=0.3 / np.pi, global_shift=-0.5),
    "rzz": cirq.ZZPowGate(exponent=0.3 / np.pi, global_shift=-0.5), "id": cirq.I,
}  # fmt: skip


@pytest.mark.parametrize("gate", GATES)
def test_a_gate_is_unitary_and_the_one_of_its_name(gate: str) -> None:
    qubits, angles = GATES[gate]
    matrix = unitary(Operation(gate, tuple(range(qubits)), ANGLES[:angles]))
    np.testing.assert_allclose(matrix @ matrix.conj().T, np.eye(2**qubits), atol=1e-12)
    if gate in CIRQ:
        np.testing.assert_allclose(matrix, cirq.unitary(CIRQ[gate]), atol=1e-7)


def test_u_is_the_one_of_openqasm_3() -> None:
    theta, phi, lam, gamma = ANGLES
    rotated = cirq.unitary(cirq.rz(phi)) @ cirq.unitary(cirq.ry(theta)) @ cirq.unitary(cirq.rz(lam))
    u = np.exp(1j * (phi + lam) / 2) * rotated
    np.testing.assert_allclose(unitary(Operation("u", (0,), ANGLES[:3])), u, atol=1e-12)
    controlled = unitary(Operation("cu", (0, 1), ANGLES))
    np.testing.assert_allclose(controlled[2:, 2:], np.exp(1j * gamma) * u, atol=1e-12)
    np.testing.assert_allclose(controlled[:2, :2], np.eye(2), atol=1e-12)


def test_a_rotation_is_the_exponential_of_its_pauli_string() -> None:
    matrix = unitary(Operation("rotation", (4, 1, 2), (0.3,), "XZY"))
    string = np.kron(np.kron(cirq.unitary(cirq.X), cirq.unitary(cirq.Z)), cirq.unitary(cirq.Y))
    np.testing.assert_allclose(matrix, np.cos(0.15) * np.eye(8) - 1j * np.sin(0.15) * string, atol=1e-7)


@given(
    st.sampled_from((*GATES, "rotation")), st.lists(st.floats(-7, 7), min_size=4, max_size=4), st.permutations("XYZI")
)
@settings(deadline=None)
def test_an_inverse_undoes_its_gate(gate: str, angles: list[float], letters: list[str]) -> None:
    qubits, parameters = GATES.get(gate, (3, 1))
    pauli = "".join(letters[:3]) if gate == "rotation" else ""
    operation = Operation(gate, tuple(range(qubits))[::-1], tuple(angles[:parameters]), pauli)
    back = inverse(operation)
    order = cirq.LineQubit.range(qubits)
    both = cirq.Circuit(
        cirq.MatrixGate(unitary(each)).on(*(order[q] for q in each.qubits)) for each in (operation, *back)
    )
    np.testing.assert_allclose(both.unitary(qubit_order=order, dtype=np.complex128), np.eye(2**qubits), atol=1e-7)
    assert sum(len(each.qubits) > 1 for each in back) == (qubits > 1)


def test_what_is_no_gate_has_no_inverse() -> None:
    assert inverse(Operation("gphase", (), (0.5,))) == (Operation("gphase", (), (-0.5,)),)
    assert inverse(Operation("barrier", (0, 1))) == (Operation("barrier", (0, 1)),)
    for gate in ("measure", "reset"):
        with pytest.raises(KeyError):
            inverse(Operation(gate, (0,)))


def test_every_change_changes_the_digest_and_it_survives_the_wire() -> None:
    steps = (Operation("h", (0,)), Operation("cx", (0, 1)), Operation("measure", (1,), bits=(0,), condition=((0,), 1)))
    circuit = Circuit(2, 1, steps)
    others = [
        msgspec.structs.replace(circuit, qubits=3),
        msgspec.structs.replace(circuit, bits=2),
        msgspec.structs.replace(circuit, operations=steps[:2]),
        msgspec.structs.replace(circuit, observables=(PauliSum(2, ("ZZ",), (1.0,)),)),
    ]
    assert len({one.digest for one in (circuit, *others)}) == 5
    for one in (circuit, *others):
        assert decode(encode(one), Circuit) == one
