"""`bifurcation`: right energies, optima of small kernels, samples that do not depend on the batch."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmosaic.backends import estimates
from qmosaic.backends.base import Result
from qmosaic.backends.conformance.samples import job_of, random_kernel, random_polynomial, refusal, states
from qmosaic.backends.solvers.bifurcation import REPLICAS, Bifurcation
from qmosaic.backends.solvers.exact import energies
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.polynomial import Linear, SpinPolynomial


def solved(*kernels: SpinPolynomial, seed: int = 0, shots: int = 256) -> list[Result]:
    solver = Bifurcation()
    return solver.run([solver.prepare(job_of(kernel, seed, shots)) for kernel in kernels])


@st.composite
def polynomials(draw: st.DrawFn) -> SpinPolynomial:
    n = draw(st.integers(1, 12))
    terms = [term for order in (1, 2, 3, 4) for term in combinations(range(n), order)]
    weights = st.one_of(st.integers(-3, 3), st.floats(-1e6, 1e6))
    chosen = draw(st.lists(st.tuples(st.sampled_from(terms), weights), max_size=12))
    return SpinPolynomial.of(n, offset=draw(st.floats(-5, 5)), higher=[(t, float(v)) for t, v in chosen])


@given(polynomials(), st.integers(0, 2**40), st.integers(1, 100))
@settings(deadline=None, max_examples=30)
def test_energies_are_those_of_the_kernel(kernel: SpinPolynomial, seed: int, shots: int) -> None:
    (result,) = solved(kernel, seed=seed, shots=shots)
    np.testing.assert_allclose(result.energies, kernel.energy(result.samples))
    assert result.counts.sum() == min(shots, REPLICAS)


@pytest.mark.parametrize("orders", [(1, 2), (2,), (1, 3), (2, 4), (1, 2, 3)])
def test_it_finds_the_optimum_of_small_kernels(orders: tuple[int, ...]) -> None:
    kernels = [random_polynomial(n, orders, seed=n) for n in range(4, 14)]
    for kernel, result in zip(kernels, solved(*kernels), strict=True):
        assert result.energies.min() == pytest.approx(energies(kernel).min())


@pytest.mark.parametrize("scale", [1e-40, 1e-9, 1e9, 1e60])
def test_units_do_not_matter(scale: float) -> None:
    kernel = random_polynomial(10, (1, 2, 3), seed=3)
    higher = tuple(replace(one, values=one.values * scale) for one in kernel.higher)
    scaled = replace(kernel, h=kernel.h * scale, J=kernel.J * scale, offset=0.0, higher=higher)
    (result,) = solved(scaled)
    assert result.energies.min() == pytest.approx(energies(scaled).min(), rel=1e-9)


def test_it_is_stable_where_all_couplings_pull_together() -> None:
    """The complete graph: the matrix of its couplings has one eigenvalue far above a typical field."""
    rows, cols = np.triu_indices(200, 1)
    (result,) = solved(SpinPolynomial.of(200, rows=rows, cols=cols, J=np.ones(len(rows))))
    assert result.energies.min() == -100


def test_fields_and_terms_of_three_push_the_right_way() -> None:
    fields, cubic = SpinPolynomial.of(200, h=np.linspace(-1, 1, 200)), random_polynomial(18, (3,), seed=1)
    for result, least in zip(solved(fields, cubic), (-fields.scale, energies(cubic).min()), strict=True):
        assert result.energies.min() == pytest.approx(least)


def test_it_finds_the_best_state_that_keeps_constraints() -> None:
    free = random_polynomial(7, (1, 2, 3), seed=4)
    for held in ([Linear.exactly(range(7), 2)], [Linear.exactly([0, 2, 4], 1), Linear.exactly([1, 3], 1)]):
        kernel = replace(free, constraints=tuple(held))
        (result,) = solved(kernel)
        found = result.energies[kernel.feasible(result.samples)]
        assert found.min() == pytest.approx(energies(free)[kernel.feasible(states(7))].min())


def test_samples_do_not_depend_on_the_batch() -> None:
    kernels = [random_kernel(n, seed=n) for n in (100, 40, 5, 9, 40, 33, 64, 100)]
    kernels += [random_polynomial(n, (1, 2, 3), seed=n) for n in (12, 9, 20, 12)]
    for kernel, together in zip(kernels, solved(*kernels, seed=3), strict=True):
        (alone,) = solved(kernel, seed=3)
        np.testing.assert_array_equal(together.samples, alone.samples)


def test_other_seeds_give_other_samples() -> None:
    kernel = SpinPolynomial.of(30)
    (one,), (other,) = solved(kernel, seed=1, shots=4), solved(kernel, seed=2, shots=4)
    assert not np.array_equal(one.samples, other.samples)


def test_slack_counts_and_what_cannot_be_kept_is_refused() -> None:
    wide = Linear(np.arange(2048, dtype=np.int32), np.ones(2048), 0.0, 9.0)
    for constraint in (wide, Linear.exactly([0, 1], 3)):
        assert refusal(Bifurcation(), job_of(SpinPolynomial.of(2048, constraints=[constraint]))).remedy


def test_estimates_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large, higher = (
        Bifurcation().estimate(job_of(kernel))
        for kernel in (random_kernel(10, 0), random_kernel(500, 0), random_polynomial(20, (4,), 0))
    )
    assert small.seconds < min(higher.seconds, large.seconds)
    assert small.memory_bytes < large.memory_bytes < 2**26
    monkeypatch.setattr(estimates, "machine_bytes", lambda: 2**20)
    with pytest.raises(BackendError, match="GiB"):
        Bifurcation().estimate(job_of(random_kernel(500, 0)))
