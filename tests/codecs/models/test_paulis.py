"""Pauli masks: the same as whole matrices, and tapering keeps a sector's spectrum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmosaic.codecs.models.paulis import PauliOperator, masks, rotated, strings
from qmosaic.processors.families.molecule.symmetries import Span, Tapering, lowest
from tests.processors.families.molecules import dense, dense_state

FAST = settings(deadline=None, max_examples=60)
N = 4
LETTERS = st.text("IXYZ", min_size=N, max_size=N)
TERMS = st.lists(st.tuples(LETTERS, st.floats(-2, 2).map(lambda value: round(value, 6))), min_size=1, max_size=8)


def operator(terms: list[tuple[str, float]]) -> PauliOperator:
    return PauliOperator.of_strings(N, [p for p, _ in terms], [c for _, c in terms])


@given(st.lists(LETTERS, max_size=5))
def test_strings_read_back(paulis: list[str]) -> None:
    assert list(strings(N, *masks(paulis))) == paulis


@FAST
@given(TERMS)
def test_the_matrix_is_the_kronecker_product(terms: list[tuple[str, float]]) -> None:
    found = operator(terms)
    matrix = found.matrix(np.arange(1 << N, dtype=np.int64)).toarray()
    assert matrix == pytest.approx(dense(terms), abs=1e-9)
    assert found.real == (not np.iscomplexobj(matrix))
    again = PauliOperator.of_strings(N, found.strings(), found.coefficients)
    assert again.coefficients.tolist() == found.coefficients.tolist()


@FAST
@given(TERMS, st.permutations(range(8)))
def test_the_order_of_the_terms_leaves_no_trace(terms: list[tuple[str, float]], order: list[int]) -> None:
    other = [terms[k] for k in order if k < len(terms)]
    one, two = operator(terms), operator(other)
    assert one.strings() == two.strings()
    assert one.coefficients == pytest.approx(two.coefficients)


@FAST
@given(LETTERS, st.floats(-7, 7), st.integers(0, 2**N - 1))
def test_rotations(pauli: str, angle: float, reference: int) -> None:
    (x,), (z,) = masks([pauli])
    psi = np.zeros(2**N, complex)
    psi[reference] = 1
    found = rotated(psi, np.arange(2**N), int(x), int(x), int(z), angle)
    assert found == pytest.approx(dense_state(f"{reference:0{N}b}", [(pauli, angle)]), abs=1e-12)


@given(st.lists(st.integers(0, 2**8 - 1), max_size=6), st.integers(0, 2**8 - 1))
def test_a_span_has_coordinates(flips: list[int], reference: int) -> None:
    span = Span.of(flips)
    states = span.states(reference)
    assert len(set(states.tolist())) == 2**span.rank == len(states)
    assert span.coordinates(states).tolist() == list(range(len(states)))
    assert reference in states
    assert all(reference ^ flip in states for flip in flips)


def sectors(tapering: Tapering) -> Any:
    states = np.arange(1 << tapering.n)
    signs = 1 - 2 * (np.bitwise_count(states[:, None] & tapering.symmetries) & 1).astype(int)
    return states[(signs == tapering.signs).all(axis=1)]


@FAST
@given(TERMS, st.integers(0, 2**N - 1))
def test_tapering_keeps_the_spectrum_of_the_sector(terms: list[tuple[str, float]], reference: int) -> None:
    found = operator(terms)
    tapering = Tapering.of(found, reference)
    assert tapering.qubits + len(tapering.symmetries) == N
    small = tapering.operator(found).matrix(np.arange(1 << tapering.qubits, dtype=np.int64)).toarray()
    sector = sectors(tapering)
    whole = dense(terms)[np.ix_(sector, sector)]
    assert np.linalg.eigvalsh(small) == pytest.approx(np.linalg.eigvalsh(whole), abs=1e-8)


@FAST
@given(TERMS, st.integers(0, 2**N - 1))
def test_lifted_strings_are_tapered_to_themselves(terms: list[tuple[str, float]], reference: int) -> None:
    tapering = Tapering.of(operator(terms), reference)
    x, z = (grid.ravel() for grid in np.meshgrid(*[np.arange(1 << tapering.qubits)] * 2))
    a, b, sign = tapering.taper(*tapering.lift(x, z))
    assert (a.tolist(), b.tolist()) == (x.tolist(), z.tolist())
    assert set(sign.tolist()) == {1}


def test_the_lowest_eigenvalue_of_a_large_matrix() -> None:
    rng = np.random.default_rng(3)
    terms = [("".join(rng.choice(list("IXYZ"), 9)), float(rng.normal())) for _ in range(20)]
    found = PauliOperator.of_strings(9, [p for p, _ in terms], [c for _, c in terms])
    matrix = found.matrix(np.arange(512, dtype=np.int64))
    assert lowest(matrix)[0] == pytest.approx(np.linalg.eigvalsh(matrix.toarray())[0], abs=1e-8)
