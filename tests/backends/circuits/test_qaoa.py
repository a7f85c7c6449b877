"""The figures of a circuit are those of the circuit that Cirq builds."""

from __future__ import annotations

from math import comb

import cirq
import numpy as np
import pytest

from qmosaic.backends.base import Job
from qmosaic.backends.circuits.qaoa import Group, dicke, figures, held, plan, rings
from qmosaic.backends.circuits.qaoa_in_cirq import circuit_of
from qmosaic.backends.conformance.samples import job_of, random_kernel, random_polynomial, states
from qmosaic.codecs.models.polynomial import Linear, SpinPolynomial


@pytest.mark.parametrize("fields", [False, True])
@pytest.mark.parametrize("n", [1, 2, 5, 9])
@pytest.mark.parametrize("layers", [1, 3])
def test_figures_are_counted_on_the_real_circuit(n: int, layers: int, fields: bool) -> None:
    angles = np.full(layers, 0.3)
    kernel = random_kernel(n, seed=n, fields=fields)
    job = Job(kernel, 64, 0, angles, angles)
    circuit = circuit_of(job)
    unmeasured = circuit[:-1]
    told = figures(job)
    assert told.qubits == len(circuit.all_qubits())
    assert told.depth == len(unmeasured)
    assert told.two_qubit_gates == sum(cirq.num_qubits(op) == 2 for op in unmeasured.all_operations())
    assert told.shots == 64


@pytest.mark.parametrize(
    ("n", "orders", "held"),
    [
        (5, (3,), ()),
        (7, (2, 4), ()),
        (8, (1, 5), ()),
        (4, (2,), (4,)),
        (9, (1, 2), (4, 5)),
        (7, (2, 3), (6,)),
        (2, (2,), (2,)),
    ],
)
def test_figures_with_higher_terms_and_held_constraints(n: int, orders: tuple[int, ...], held: tuple[int, ...]) -> None:
    job = job_of(random_polynomial(n, orders, seed=n, held=held), layers=2)
    unmeasured = circuit_of(job)[:-1]
    told = figures(job)
    assert told.depth == len(unmeasured)
    sizes = [cirq.num_qubits(op) for op in unmeasured.all_operations()]
    assert told.two_qubit_gates == sizes.count(2)
    assert max(sizes) <= 2


@pytest.mark.parametrize(("n", "ones"), [(n, ones) for n in range(1, 7) for ones in range(n + 1)])
def test_dicke_states(n: int, ones: int) -> None:
    kernel = SpinPolynomial.of(n, constraints=[Linear.exactly(range(n), ones)])
    start = circuit_of(job_of(kernel))[: len(plan(kernel).start)]
    state = cirq.final_state_vector(start, qubit_order=cirq.LineQubit.range(n))
    expected = kernel.feasible(states(n)) / np.sqrt(comb(n, ones))
    np.testing.assert_allclose(state, expected, atol=1e-6)
    assert sum(len(gate.qubits) == 2 for gate in dicke(Group(tuple(range(n)), ones))) <= 7 * min(ones, n - ones) * n


def test_what_is_held() -> None:
    kernel = SpinPolynomial.of(
        8,
        constraints=[
            Linear.exactly([], 0),  # says nothing
            Linear.exactly([1, 0], 3),  # cannot be kept
            Linear.exactly([4, 1], 1),
            Linear.exactly([1, 2], 1),  # shares a variable
            Linear(np.array([2, 3], np.int32), np.array([1.0, 2.0]), 1, 1),  # no count
            Linear(np.array([2, 3], np.int32), np.ones(2), 0, 1),  # no exact one
            Linear.exactly([7, 5, 6], 3),
        ],
    )
    groups = held(kernel)
    assert groups == (Group((4, 1), 1), Group((7, 5, 6), 3))
    assert rings(groups) == [[(4, 1)]]  # nothing moves where all are ones


def test_rings_are_closed_and_their_moments_disjoint() -> None:
    even, odd = Group((3, 1, 4, 0), 2), Group((9, 2, 6, 5, 8), 1)
    moments = rings([even, odd])
    assert moments == [[(3, 1), (4, 0), (9, 2), (6, 5)], [(1, 4), (0, 3), (2, 6), (5, 8)], [(8, 9)]]
    for moment in moments:
        used = [i for pair in moment for i in pair]
        assert len(set(used)) == len(used)
