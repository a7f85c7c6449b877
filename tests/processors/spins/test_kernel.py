"""The kernel: energies of the whole, and the contested variables first."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.codecs.models.polynomial import Linear, SpinPolynomial
from qmosaic.processors.spins import tabu
from qmosaic.processors.spins.kernel import choose, restricted
from qmosaic.processors.spins.population import Pool


def random_model(n: int, couplings: int, seed: int, fields: bool = True) -> SpinPolynomial:
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, n, (2, couplings))
    ends = ends[:, ends[0] != ends[1]]
    h = rng.normal(size=n) if fields else None
    return SpinPolynomial.of(n, h=h, rows=ends[0], cols=ends[1], J=rng.normal(size=ends.shape[1]), offset=rng.normal())


@given(st.integers(2, 12), st.integers(0, 40), st.integers(0, 2**16), st.data())
def test_kernel_energies_are_whole_energies(n: int, couplings: int, seed: int, data: st.DataObject) -> None:
    model = random_model(n, couplings, seed)
    chosen = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=5, unique=True).map(sorted))
    spins = np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), n)
    kernel = restricted(model, spins, np.array(chosen, np.int32))
    states = np.array(list(product((0, 1), repeat=len(chosen))), np.uint8)
    whole = np.tile((spins < 0).astype(np.uint8), (len(states), 1))
    whole[:, chosen] = states
    np.testing.assert_allclose(kernel.energy(states), model.energy(whole), atol=1e-9)


def pool_with(model: SpinPolynomial, spins: np.ndarray) -> Pool:
    pool = tabu.pool(model, seed=0)
    pool.spins, pool.champion = spins, spins[0]
    return pool


def test_all_variables_where_they_fit() -> None:
    pool = pool_with(random_model(9, 30, 1), np.ones((16, 9), np.int8))
    assert choose(pool, 9).tolist() == list(range(9))


@pytest.mark.parametrize("fields", [True, False])
def test_contested_variables_come_first(fields: bool) -> None:
    n, contested = 60, [3, 17, 18, 40]
    model = random_model(n, 400, 2, fields)
    rng = np.random.default_rng(3)
    spins = np.tile(rng.choice(np.array([-1, 1], np.int8), n), (16, 1))
    spins[::2, contested] *= -1
    if not fields:
        spins[5:9] *= -1  # the mirror image is the same sample
    chosen = choose(pool_with(model, spins), 8)
    assert len(set(chosen.tolist())) == 8
    assert set(contested) <= set(chosen.tolist())


def test_a_cluster_is_connected() -> None:
    n = 100
    ring = SpinPolynomial.of(n, rows=range(n), cols=[(i + 1) % n for i in range(n)], J=np.ones(n))
    spins = np.random.default_rng(4).choice(np.array([-1, 1], np.int8), (16, n))
    chosen = choose(pool_with(ring, spins), 12)
    gaps = np.diff(np.append(chosen, chosen[0] + n))
    assert (gaps > 1).sum() == 1


def test_a_restriction_keeps_higher_terms_and_constraints() -> None:
    rng = np.random.default_rng(5)
    terms = [(tuple(rng.choice(9, size=k, replace=False).tolist()), float(rng.normal())) for k in (2, 3, 3, 4, 4, 4)]
    bound = [Linear.exactly([0, 1, 2, 3], 2), Linear(np.array([4, 8], np.int32), np.array([1.0, 2.0]), 1, np.inf)]
    model = SpinPolynomial.of(9, h=rng.normal(size=9), higher=terms, constraints=bound)
    spins = rng.choice([1, -1], size=9).astype(np.int8)
    chosen = np.array([1, 2, 4, 7], np.int32)
    small = restricted(model, spins, chosen)
    for sample in rng.integers(0, 2, (16, 4)).astype(np.uint8):
        whole = (spins < 0).astype(np.uint8)
        whole[chosen] = sample
        assert float(small.energy(sample)) == pytest.approx(float(model.energy(whole)))
        assert small.feasible(sample) == model.feasible(whole)
