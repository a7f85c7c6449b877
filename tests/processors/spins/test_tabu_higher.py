"""Reduce for polynomials of higher order: the pool's moves are exact, small optima are found, kernels lift."""

from __future__ import annotations

from time import monotonic

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmosaic.backends.solvers.exact import energies
from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.families.base import Task
from qmosaic.processors.spins import tabu, tabu_higher
from qmosaic.processors.spins.engine import reduce
from qmosaic.processors.spins.kernel import choose
from qmosaic.processors.spins.population import Pool, descended
from tests.processors.spins.test_engine import check

FAST = settings(deadline=None, max_examples=40)


def sparse(n: int, orders: tuple[int, ...], terms: int, seed: int) -> SpinPolynomial:
    """So many random terms of each order."""
    rng = np.random.default_rng(seed)
    chosen = [(rng.choice(n, order, replace=False).tolist(), rng.normal()) for order in orders for _ in range(terms)]
    return SpinPolynomial.of(n, offset=rng.normal(), higher=chosen)


@st.composite
def models(draw: st.DrawFn) -> SpinPolynomial:
    n = draw(st.integers(4, 9))
    orders = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3, unique=True))
    return sparse(n, (3, *orders), draw(st.integers(1, 6)), draw(st.integers(0, 2**16)))


def spins_of_row(model: SpinPolynomial, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), model.n)


def energy(model: SpinPolynomial, spins: np.ndarray) -> float:
    return float(model.energy(spins < 0))


@FAST
@given(models(), st.integers(0, 9))
def test_fields_are_half_the_change_of_a_flip(model: SpinPolynomial, seed: int) -> None:
    spins = spins_of_row(model, seed)
    fields = tabu.pool(model, 0).fields(spins)
    for i in range(model.n):
        flipped = np.where(np.arange(model.n) == i, -spins, spins)
        assert energy(model, flipped) - energy(model, spins) == pytest.approx(-2 * spins[i] * fields[i], abs=1e-9)


@FAST
@given(models(), st.integers(0, 9))
def test_mixtures_are_no_worse_and_mirror_images_equal(model: SpinPolynomial, seed: int) -> None:
    pool = tabu.pool(model, 0)
    one, other = spins_of_row(model, seed), spins_of_row(model, seed + 100)
    mixed = pool.recombined(one, other)
    assert energy(model, mixed) <= min(energy(model, one), energy(model, other)) + 1e-9
    assert ((mixed == one) | (mixed == other)).all()
    (turned,) = pool.aligned(one[None], other[None])
    assert energy(model, turned) == pytest.approx(energy(model, one), abs=1e-9)
    low = descended(pool, one)
    assert energy(model, low) <= energy(model, one) + 1e-9
    assert (low * pool.fields(low) <= 1e-9).all()


def test_a_model_of_even_order_has_a_mirror_image() -> None:
    pool = tabu.pool(sparse(8, (2, 4), 12, 0), 0)
    spins = spins_of_row(pool.model, 1)
    np.testing.assert_array_equal(pool.aligned(-spins[None], spins[None])[0], spins)


@FAST
@given(models())
def test_the_padded_form_has_every_term_once(model: SpinPolynomial) -> None:
    padded = tabu_higher.pad(model)
    n, m, *_ = padded.shape
    assert n >= model.n
    assert padded.values[-1] == 0
    for v in range(n):
        its = padded.members[v][padded.members[v] != m - 1]
        assert sorted(its) == np.flatnonzero((padded.terms == v).any(axis=1)).tolist()
    spins = np.append(spins_of_row(model, 3), np.ones(n + 1 - model.n))
    scaled = float(padded.values @ spins[padded.terms].prod(axis=1))
    largest = 2.0 ** np.ceil(np.log2(max(np.abs(model.h).max(), *(np.abs(t.values).max() for t in model.higher),
                                         np.abs(model.J).max(initial=0))))  # fmt: skip
    assert scaled * largest == pytest.approx(energy(model, spins[: model.n]) - model.offset, abs=1e-4)


@pytest.mark.parametrize(
    ("n", "orders", "terms"), [(3, (3,), 1), (12, (3,), 30), (14, (1, 4), 30), (15, (2, 3, 4), 15), (10, (6,), 20)]
)
def test_small_optima_and_kernels_that_lift(n: int, orders: tuple[int, ...], terms: int) -> None:
    model = sparse(n, orders, terms, n)
    (reduced,) = reduce([Task(model, 1, 5.0, clock=monotonic)], max_kernel_qubits=8, layers=1)
    check(model, reduced)
    assert reduced.solver == "tabu"
    assert reduced.energy == pytest.approx(energies(model).min())
    assert reduced.kernel is not None
    assert reduced.kernel.n == min(n, 8)
    assert reduced.gammas.shape == (1,)


def test_orders_are_reduced_in_one_batch() -> None:
    plain = sparse(12, (1, 2), 20, 0)
    tasks = [Task(model, 2, 2.0, clock=monotonic) for model in (plain, sparse(12, (3,), 30, 12), plain)]
    together = reduce(tasks, max_kernel_qubits=8, layers=1)
    for task, one in zip(tasks, together, strict=True):
        assert isinstance(task.model, SpinPolynomial)
        check(task.model, one)
        assert one.energy == pytest.approx(energies(task.model).min())


def test_variables_that_share_terms_with_the_contested_come_along() -> None:
    model = SpinPolynomial.of(9, higher=[((0, 4, 8), 1.0), ((1, 2, 3), 1.0), ((5, 6, 7), 1.0)])
    pool = Pool(model, 0, replicas=4, stall=1, agree=1)
    pool.spins = np.ones((4, 9), np.int8)
    pool.spins[:2, 4] = -1
    assert choose(pool, 3).tolist() == [0, 4, 8]
