"""Presolve is exact: what is left has the same energies as the whole, and the same minimum."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.spins.lift import apply
from qmosaic.processors.spins.presolve import presolve


def all_states(n: int) -> np.ndarray:
    return np.array(list(product((0, 1), repeat=n)), dtype=np.uint8).reshape(2**n, n)


@st.composite
def sparse_models(draw: st.DrawFn) -> SpinPolynomial:
    n = draw(st.integers(1, 9))
    value = st.integers(-4, 4) | st.floats(-1e3, 1e3, allow_subnormal=False)
    pairs = [(i, j) for i in range(n) for j in range(i)]
    edges = draw(st.lists(st.sampled_from(pairs), max_size=14)) if pairs else []
    return SpinPolynomial.of(
        n,
        h=draw(st.lists(value, min_size=n, max_size=n)),
        rows=[i for i, _ in edges],
        cols=[j for _, j in edges],
        J=draw(st.lists(value, min_size=len(edges), max_size=len(edges))),
        offset=draw(value),
    )


@given(sparse_models())
def test_every_core_sample_lifts_to_a_whole_sample_of_its_energy(model: SpinPolynomial) -> None:
    solved = presolve(model)
    scale = np.abs(model.h).sum() + np.abs(model.J).sum() + abs(model.offset) + 1
    nothing = np.zeros(model.n, np.uint8)
    states = all_states(solved.core.n)
    whole = np.array([apply(solved.lift, nothing, state) for state in states])
    np.testing.assert_allclose(model.energy(whole), solved.core.energy(states), rtol=0, atol=1e-11 * scale)
    np.testing.assert_allclose(
        solved.core.energy(states).min(), model.energy(all_states(model.n)).min(), rtol=0, atol=1e-11 * scale
    )


@given(sparse_models())
def test_what_is_left_has_at_least_three_neighbours_each(model: SpinPolynomial) -> None:
    core = presolve(model).core
    degree = np.bincount(core.rows, minlength=core.n) + np.bincount(core.cols, minlength=core.n)
    assert (degree >= 3).all()


def test_trees_rings_and_dominated_variables_are_solved_completely() -> None:
    rng = np.random.default_rng(5)
    n = 2000
    parents = [int(rng.integers(0, i)) for i in range(1, n)]
    tree = SpinPolynomial.of(n, h=rng.normal(size=n), rows=range(1, n), cols=parents, J=rng.normal(size=n - 1))
    ring = SpinPolynomial.of(n, rows=range(n), cols=[(i + 1) % n for i in range(n)], J=rng.normal(size=n))
    strong = SpinPolynomial.of(3, h=[5, -9, 4], rows=[0, 0, 1], cols=[1, 2, 2], J=[2, -2, 2])
    for model in (tree, ring, strong):
        solved = presolve(model)
        assert solved.core.n == 0
        bits = apply(solved.lift, np.zeros(model.n, np.uint8), np.zeros(0, np.uint8))
        np.testing.assert_allclose(model.energy(bits), solved.core.offset)
    # a ring is frustrated by its weakest coupling alone
    frustrated = np.prod(np.sign(-ring.J)) < 0
    best = -np.abs(ring.J).sum() + 2 * frustrated * np.abs(ring.J).min()
    np.testing.assert_allclose(presolve(ring).core.offset, best)


def test_a_model_without_easy_variables_is_returned_as_it_is() -> None:
    rows, cols = np.triu_indices(6, 1)
    model = SpinPolynomial.of(6, rows=rows, cols=cols, J=np.ones(15))
    solved = presolve(model)
    assert solved.core is model
    assert solved.lift.variables.tolist() == list(range(6))
