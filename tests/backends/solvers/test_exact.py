"""`exact` against brute force and what is known of graphs, by both of its ways."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jaxtyping import UInt8

from qmosaic.backends import estimates
from qmosaic.backends.base import Result
from qmosaic.backends.conformance.samples import job_of, random_kernel, random_polynomial, refusal, states
from qmosaic.backends.solvers import elimination, exact
from qmosaic.backends.solvers.exact import MAX_OPTIMA, Exact, energies, feasible, is_narrow
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.polynomial import Linear, SpinPolynomial


@st.composite
def polynomials(draw: st.DrawFn) -> SpinPolynomial:
    """Few different weights, so that ties are common."""
    n = draw(st.integers(1, 9))
    terms = [term for order in (1, 2, 3, 4) for term in combinations(range(n), order)]
    chosen = draw(st.lists(st.tuples(st.sampled_from(terms), st.integers(-2, 2)), max_size=14))
    return SpinPolynomial.of(n, offset=draw(st.sampled_from([0.0, -7.5])), higher=[(t, float(v)) for t, v in chosen])


@st.composite
def constraints(draw: st.DrawFn, n: int) -> Linear:
    variables = np.flatnonzero(draw(st.lists(st.booleans(), min_size=n, max_size=n))).astype(np.int32)
    weights = draw(st.lists(st.integers(-3, 3), min_size=len(variables), max_size=len(variables)))
    lower = draw(st.integers(-4, 4))
    return Linear(variables, np.array(weights, np.float64), float(lower), lower + draw(st.sampled_from([0.0, 2.0])))


def solved(kernel: SpinPolynomial) -> Result:
    solver = Exact()
    (result,) = solver.run([solver.prepare(job_of(kernel))])
    return result


def optima(kernel: SpinPolynomial) -> UInt8[np.ndarray, "k n"]:
    """By brute force, in order."""
    kept = states(kernel.n)[kernel.feasible(states(kernel.n))]
    values = kernel.energy(kept)
    return np.asarray(kept[values <= values.min() + 1e-6])


def of_graph(graph: nx.Graph[Any], seed: int, low: float = -1.0, high: float = 1.0) -> SpinPolynomial:
    """Random couplings on its edges and no fields."""
    ends = np.array(nx.convert_node_labels_to_integers(graph).edges)
    weights = np.random.default_rng(seed).uniform(low, high, len(ends))
    return SpinPolynomial.of(len(graph), rows=ends[:, 0], cols=ends[:, 1], J=weights)


@given(polynomials(), st.integers(0, 4))
@settings(deadline=None, max_examples=80)
@example(SpinPolynomial.of(9), 3)
def test_block_by_block_it_finds_the_first_optima(kernel: SpinPolynomial, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "BLOCK", block)
        np.testing.assert_array_equal(solved(kernel).samples, optima(kernel)[:MAX_OPTIMA])


@given(st.data(), st.integers(1, 4))
@settings(deadline=None, max_examples=40)
def test_block_by_block_it_keeps_constraints(data: st.DataObject, block: int) -> None:
    free = data.draw(polynomials())
    kernel = replace(free, constraints=tuple(data.draw(st.lists(constraints(free.n), min_size=1, max_size=2))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "BLOCK", block)
        if kernel.feasible(states(kernel.n)).any():
            np.testing.assert_array_equal(solved(kernel).samples, optima(kernel)[:MAX_OPTIMA])
        else:
            assert "no state" in str(refusal(Exact(), job_of(kernel)))


@pytest.mark.parametrize("head", [(), (0,), (1, 0, 1), (1,) * 9])
def test_energies_and_constraints_of_the_states_that_begin_with_some_bits(head: tuple[int, ...]) -> None:
    bounds = [Linear.exactly([1, 8, 3], 2), Linear(np.arange(9, dtype=np.int32), np.arange(9) - 3.5, -2.0, np.inf)]
    kernel = replace(random_polynomial(9, (1, 2, 3, 5, 9), seed=0), constraints=tuple(bounds))
    wanted = states(9)[(states(9)[:, : len(head)] == head).all(axis=1)]
    np.testing.assert_allclose(energies(kernel, head), kernel.energy(wanted))
    np.testing.assert_array_equal(feasible(kernel, head), kernel.feasible(wanted))


@given(polynomials())
@settings(deadline=None, max_examples=150)
@example(SpinPolynomial.of(9))
@example(random_polynomial(8, (1, 2, 3, 8), seed=1))
@example(random_kernel(9, seed=2))
def test_elimination_finds_all_optima(kernel: SpinPolynomial) -> None:
    plan = elimination.plan(kernel, "exact")
    found = elimination.optima(kernel, plan, MAX_OPTIMA, 1e-6)
    expected = optima(kernel)
    assert len(np.unique(found, axis=0)) == len(found) == min(len(expected), MAX_OPTIMA)
    assert {row.tobytes() for row in found} <= {row.tobytes() for row in expected}


@pytest.mark.parametrize(
    ("graph", "width"),
    [
        (nx.path_graph(300), 1),
        (nx.random_labeled_tree(200, seed=1), 1),
        (nx.cycle_graph(101), 2),
        (nx.grid_2d_graph(14, 14), 14),
        (nx.complete_graph(12), 11),
        (nx.empty_graph(30), 0),
    ],
)
def test_the_width_is_that_of_the_graph(graph: nx.Graph[Any], width: int) -> None:
    kernel = SpinPolynomial.of(len(graph)) if width == 0 else of_graph(graph, 0)
    plan = elimination.plan(kernel, "exact")
    assert plan.width == width
    assert sorted(plan.order) == list(range(kernel.n))


def test_trees_have_no_frustration() -> None:
    kernel = of_graph(nx.random_labeled_tree(400, seed=3), 3)
    result = solved(kernel)
    assert result.energies == pytest.approx([-kernel.scale] * 2)
    assert (result.samples.sum(axis=0) == 1).all()  # a state and its complement


def test_chains_of_terms_of_three_have_no_frustration_either() -> None:
    weights = np.random.default_rng(4).normal(size=58)
    kernel = SpinPolynomial.of(60, higher={(i, i + 1, i + 2): w for i, w in enumerate(weights)})
    assert solved(kernel).energies == pytest.approx([-kernel.scale] * 4)


def test_a_frustrated_ring() -> None:
    """One coupling of 50 must break, the weakest; signs all positive and an odd length."""
    kernel = of_graph(nx.cycle_graph(51), 5, low=0.5)
    assert solved(kernel).energies == pytest.approx([-kernel.scale + 2 * kernel.J.min()] * 2)


@pytest.mark.parametrize("seed", range(3))
def test_grids_of_ferromagnets_in_random_fields_are_minimum_cuts(seed: int) -> None:
    grid = of_graph(nx.grid_2d_graph(8, 9), seed, low=-1.0, high=-0.1)
    h = np.random.default_rng(seed).normal(size=grid.n)
    kernel = replace(grid, h=h)
    cut: nx.DiGraph[Any] = nx.DiGraph()
    for i, j, J in zip(grid.rows.tolist(), grid.cols.tolist(), grid.J.tolist(), strict=True):
        cut.add_edge(i, j, capacity=-2 * J)
        cut.add_edge(j, i, capacity=-2 * J)
    for i, field in enumerate(h.tolist()):
        cut.add_edge(*(("+", i) if field < 0 else (i, "-")), capacity=2 * abs(field))
    value, _ = nx.minimum_cut(cut, "+", "-")
    assert solved(kernel).energies == pytest.approx([value - kernel.scale])


def test_both_ways_agree() -> None:
    graph = nx.grid_2d_graph(4, 5)
    kernel = replace(of_graph(graph, 7), h=np.random.default_rng(7).normal(size=20))
    plan = elimination.plan(kernel, "exact")
    assert elimination.optima(kernel, plan, MAX_OPTIMA, 1e-9).tolist() == solved(kernel).samples.tolist()


def test_more_optima_than_it_lists() -> None:
    result = solved(SpinPolynomial.of(40, rows=[0], cols=[1], J=[1.0]))
    assert result.energies.tolist() == [-1.0] * MAX_OPTIMA


@pytest.mark.parametrize(
    ("kernel", "narrow"),
    [
        (of_graph(nx.cycle_graph(26), 1), False),  # enumerated
        (of_graph(nx.cycle_graph(27), 1), True),
        (of_graph(nx.grid_2d_graph(12, 30), 1), True),
        (of_graph(nx.grid_2d_graph(20, 20), 1), False),  # it would be taken, but takes seconds
        (random_kernel(40, seed=0), False),
        (SpinPolynomial.of(30, constraints=[Linear.exactly(range(3), 1)]), False),
        (SpinPolynomial.of(elimination.MAX_VARIABLES), True),
        (SpinPolynomial.of(elimination.MAX_VARIABLES + 1), False),
    ],
)
def test_narrow_is_what_elimination_solves_in_a_second(kernel: SpinPolynomial, narrow: bool) -> None:
    assert is_narrow(kernel) == narrow
    if narrow:
        assert kernel.n <= Exact().capabilities.sizes["narrow"]
        assert Exact().estimate(job_of(kernel)).seconds < 1


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (random_kernel(27, seed=0), "width"),
        (random_kernel(300, seed=0), "width"),
        (SpinPolynomial.of(27, higher={tuple(range(27)): 1.0}), "width"),
        (SpinPolynomial.of(30, constraints=[Linear.exactly(range(3), 1)]), "constraints"),
        (of_graph(nx.grid_2d_graph(22, 22), 1), "entries"),
        (SpinPolynomial.of(elimination.MAX_VARIABLES + 1), "1 to 2000"),
    ],
)
def test_what_does_not_fit_is_refused(kernel: SpinPolynomial, message: str) -> None:
    error = refusal(Exact(), job_of(kernel))
    assert message in str(error)
    assert error.remedy
    with pytest.raises(BackendError, match=message):
        Exact().estimate(job_of(kernel))


def test_estimates() -> None:
    small, large, sparse = (
        Exact().estimate(job_of(kernel))
        for kernel in (random_kernel(10, 0), random_kernel(26, 0), of_graph(nx.grid_2d_graph(12, 40), 0))
    )
    assert small.seconds < large.seconds < 1
    assert small.memory_bytes < large.memory_bytes < 2**26
    assert 2**20 < sparse.memory_bytes < 2**30


def test_what_exceeds_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "machine_bytes", lambda: 2**20)
    for kernel in (random_kernel(20, 0), of_graph(nx.grid_2d_graph(12, 40), 0)):
        with pytest.raises(BackendError, match="GiB"):
            Exact().estimate(job_of(kernel))
