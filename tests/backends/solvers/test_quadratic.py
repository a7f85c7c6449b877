"""Quadratised polynomials: same minima, extra variables behind, limits that are told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmosaic.backends.conformance.samples import random_kernel, random_polynomial, states
from qmosaic.backends.solvers.exact import energies
from qmosaic.backends.solvers.quadratic import MAX_SLACK, quadratised
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.polynomial import Linear, SpinPolynomial


def least_over_extras(kernel: SpinPolynomial, model: SpinPolynomial) -> np.ndarray:
    """Of each state of the kernel's variables, the model's lowest energy."""
    return np.asarray(energies(model).reshape(2**kernel.n, -1).min(axis=1))


@st.composite
def polynomials(draw: st.DrawFn) -> SpinPolynomial:
    """Few terms, so that few extra variables are needed and all states can be listed."""
    n = draw(st.integers(3, 5))
    term = st.lists(st.integers(0, n - 1), min_size=1, max_size=5, unique=True).map(lambda term: tuple(sorted(term)))
    values = st.integers(-8, 8).map(lambda value: value / 2)
    return SpinPolynomial.of(n, higher=draw(st.dictionaries(term, values, max_size=4)), offset=draw(values))


@settings(max_examples=60, deadline=None)
@given(polynomials())
def test_products_are_right_at_the_lowest_energy_of_every_state(kernel: SpinPolynomial) -> None:
    model = quadratised(kernel, 1000, "mine")
    assert model.order <= 2
    if model.n <= 18:
        np.testing.assert_allclose(least_over_extras(kernel, model), kernel.energy(states(kernel.n)), atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    coefficients=st.lists(st.integers(-5, 5).map(lambda a: a / 4), min_size=1, max_size=4),
    lower=st.integers(-6, 6).map(lambda a: a / 4) | st.just(-np.inf),
    room=st.integers(0, 8).map(lambda a: a / 4) | st.just(np.inf),
    seed=st.integers(0, 3),
)
def test_what_breaks_a_constraint_is_above_all_that_keep_it(
    coefficients: list[float], lower: float, room: float, seed: int
) -> None:
    k = len(coefficients)
    constraint = Linear(np.arange(k, dtype=np.int32), np.array(coefficients), lower, lower + room)
    if np.isnan(constraint.upper):
        return
    base = random_kernel(5, seed=seed)
    kernel = replace(base, constraints=(constraint,))
    kept, plain = kernel.feasible(states(5)), base.energy(states(5))
    if not kept.any():
        return
    found = least_over_extras(kernel, quadratised(kernel, 1000, "mine"))
    np.testing.assert_allclose(found[kept], plain[kept], atol=1e-8)
    assert (found[~kept] >= plain[kept].max() - 1e-8).all()


def test_a_plain_quadratic_kernel_stays_as_it_is() -> None:
    kernel = random_kernel(6, seed=0)
    assert quadratised(kernel, 6, "mine") is kernel


def test_limits_are_told() -> None:
    many = np.arange(40, dtype=np.int32)
    for kernel in (
        random_polynomial(8, (4,), seed=0),
        SpinPolynomial.of(40, constraints=[Linear(many, np.ones(40) * 2.0**MAX_SLACK, -np.inf, 2.0**MAX_SLACK * 9)]),
        SpinPolynomial.of(40, constraints=[Linear(many, np.full(40, np.pi), 1.0, 2.0)]),
        SpinPolynomial.of(40, constraints=[Linear.exactly([], 1)]),
    ):
        with pytest.raises(BackendError) as error:
            quadratised(kernel, kernel.n + 2, "mine")
        assert error.value.remedy
