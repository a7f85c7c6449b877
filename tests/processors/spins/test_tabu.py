"""The searches and their pool: optima, determinism, padding, recombination."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.spins import anneal, tabu
from qmosaic.processors.spins.population import descended


def dense(n: int, seed: int, fields: bool = True) -> SpinPolynomial:
    rng = np.random.default_rng(seed)
    rows, cols = np.triu_indices(n, 1)
    return SpinPolynomial.of(
        n, h=rng.normal(size=n) if fields else None, rows=rows, cols=cols, J=rng.normal(size=len(rows))
    )


def torus(side: int, seed: int) -> SpinPolynomial:
    i = np.arange(side * side)
    right, below = i - i % side + (i + 1) % side, (i + side) % (side * side)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], 2 * len(i))
    return SpinPolynomial.of(len(i), rows=np.r_[i, i], cols=np.r_[right, below], J=signs)


def lowest(model: SpinPolynomial) -> float:
    return float(model.energy(np.array(list(product((0, 1), repeat=model.n)), np.uint8)).min())


class Ticks:
    """A clock that goes on by a second at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.mark.parametrize("fields", [True, False])
def test_tabu_finds_the_optimum_of_small_problems(fields: bool) -> None:
    models = [dense(n, seed, fields) for n in (5, 11, 14) for seed in range(4)]
    pools = [tabu.pool(model, 1) for model in models]
    tabu.search(pools, [60.0] * len(pools), lambda: 0.0)
    for pool, model in zip(pools, models, strict=True):
        assert pool.done
        np.testing.assert_allclose(pool.energy, lowest(model))
        np.testing.assert_allclose(model.energy(pool.champion < 0), pool.energy)


def test_a_search_does_not_depend_on_its_batch() -> None:
    models = [dense(30, seed) for seed in range(5)]
    together = [tabu.pool(model, 3) for model in models]
    tabu.search(together, [3.0] * 5, Ticks())
    for pool, model in zip(together, models, strict=True):
        alone = tabu.pool(model, 3)
        tabu.search([alone], [3.0], Ticks())
        assert (alone.rounds, alone.energy) == (pool.rounds, pool.energy)
        np.testing.assert_array_equal(alone.spins, pool.spins)


def test_seconds_are_each_problems_own() -> None:
    pools = [tabu.pool(dense(120, seed), 3) for seed in range(2)]
    tabu.search(pools, [0.0, 4.0], Ticks())
    assert [pool.rounds for pool in pools] == [1, 4]


def test_padding_is_never_flipped_and_never_counts() -> None:
    model = dense(17, 4)
    padded = tabu.pad(model)
    assert len(padded.h) == 32
    # from local minima: an idle spin that could be flipped, for free, would keep the search there
    pool = tabu.pool(model, 0)
    start = np.stack([descended(pool, spins) for spins in pool.random()])
    (improved,) = tabu.improve([padded], [start], [5])
    larger = tabu.Padded(np.pad(padded.h, (0, 32)), np.pad(padded.J, ((0, 32), (0, 32))), 17)
    (as_well,) = tabu.improve([larger], [start], [5])
    assert improved.shape == (tabu.REPLICAS, 17)
    before, after, other = (model.energy(spins < 0) for spins in (start, improved, as_well))
    assert before.mean() > before.min() + 1
    np.testing.assert_allclose(after, before.min())
    np.testing.assert_allclose(other, before.min())


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_scale_does_not_matter(factor: float) -> None:
    model = dense(14, 8)
    scaled = SpinPolynomial(model.h * factor, model.rows, model.cols, model.J * factor)
    pool = tabu.pool(scaled, 1)
    tabu.search([pool], [60.0], lambda: 0.0)
    np.testing.assert_allclose(pool.energy, lowest(model) * factor)


def test_descent_sees_what_float32_does_not() -> None:
    model = SpinPolynomial.of(4, h=[1e9, 1e-9, 0, 0], rows=[0, 2], cols=[1, 3], J=[1.0, 1e-9])
    spins = descended(tabu.pool(model, 0), np.ones(4, np.int8))
    assert spins.tolist() in ([-1, 1, -1, 1], [-1, 1, 1, -1])


def test_anneal_equals_tabu_on_a_torus() -> None:
    model = torus(10, 1)
    annealed, searched = anneal.pool(model, 1), tabu.pool(model, 2)
    anneal.search(annealed, 20_000.0, Ticks())
    tabu.search([searched], [20.0], lambda: 0.0)
    assert annealed.done
    assert annealed.energy == searched.energy


def test_anneal_is_deterministic() -> None:
    runs = []
    for _ in range(2):
        pool = anneal.pool(torus(12, 2), 7)
        anneal.search(pool, 400.0, Ticks())
        runs.append((pool.rounds, pool.spins.tolist()))
    assert runs[0] == runs[1]
    assert runs[0][0] >= 1


def test_colours_differ_between_neighbours() -> None:
    model = dense(12, 0)
    sparse = torus(8, 0)
    for each, most in ((model, 12), (sparse, 5)):
        colour = anneal.coloured(tabu.pool(each, 0).matrix)
        assert (colour[each.rows] != colour[each.cols]).all()
        assert colour.max() < most


def test_recombining_takes_the_best_clusters_of_both() -> None:
    model = torus(16, 3)
    pool = tabu.pool(model, 0)
    base = pool.random()[0]
    mate = base.copy()
    clusters = [np.array(cells) for cells in ([0, 1, 2], [40, 41, 56], [100], [137, 153, 154], [200, 201])]
    for cells in clusters:
        mate[cells] *= -1
    child = pool.recombined(base, mate)
    best = np.inf
    for choice in product((1, -1), repeat=len(clusters)):
        spins = base.copy()
        for sign, cells in zip(choice, clusters, strict=True):
            spins[cells] *= sign
        best = min(best, float(model.energy(spins < 0)))
    assert float(model.energy(child < 0)) == best


def test_mirror_images_are_aligned_component_by_component() -> None:
    # two free pairs and a bound one
    model = SpinPolynomial.of(6, h=[0, 0, 0, 0, 1, 0], rows=[0, 2, 4], cols=[1, 3, 5], J=[1.0, 1.0, 1.0])
    pool = tabu.pool(model, 0)
    to = np.array([[1, -1, 1, -1, -1, 1]], np.int8)
    other = np.array([[-1, 1, 1, -1, 1, -1]], np.int8)
    assert pool.aligned(other, to).tolist() == [[1, -1, 1, -1, 1, -1]]


def test_energies_by_matrix_and_by_gathering_are_the_same() -> None:
    model = dense(120, 6)
    pool = tabu.pool(model, 0)
    many = np.concatenate([pool.random() for _ in range(4)])
    np.testing.assert_allclose(pool.energies_of(many), model.energy(many < 0))
