"""Reduce as a whole: incumbents, kernels that lift to what they say, known optima."""

from __future__ import annotations

from itertools import count, product
from time import monotonic

import numpy as np
import pytest

from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.families.base import Task
from qmosaic.processors.spins.engine import Reduced, reduce
from qmosaic.processors.spins.lift import apply
from tests.instances import INSTANCES


def random_model(n: int, couplings: int, seed: int, fields: bool = True) -> SpinPolynomial:
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, n, (2, couplings))
    ends = ends[:, ends[0] != ends[1]]
    h = rng.normal(size=n) if fields else None
    return SpinPolynomial.of(n, h=h, rows=ends[0], cols=ends[1], J=rng.normal(size=ends.shape[1]), offset=rng.normal())


def check(model: SpinPolynomial, reduced: Reduced) -> None:
    """What holds for every answer, whatever was found."""
    assert reduced.bits.dtype == np.uint8
    assert reduced.bits.shape == (model.n,)
    assert reduced.energy == model.energy(reduced.bits)
    if reduced.kernel is None:
        assert reduced.solver == "presolve"
        return
    kernel = reduced.kernel
    assert kernel.n == reduced.lift.kernel_size
    samples = np.random.default_rng(0).integers(0, 2, (50, kernel.n)).astype(np.uint8)
    own = reduced.bits[reduced.lift.variables]
    for sample in [own, *samples]:
        whole = apply(reduced.lift, reduced.bits, sample)
        np.testing.assert_allclose(model.energy(whole), kernel.energy(sample), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(kernel.energy(own), reduced.energy, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize(
    ("n", "couplings", "fields", "solver"),
    [(1, 0, True, "presolve"), (30, 25, True, "presolve"), (14, 60, False, "tabu"), (60, 400, True, "tabu"),
     (100, 200, False, "tabu"), (300, 900, True, "anneal"), (150, 3000, True, "tabu")],
)  # fmt: skip
def test_what_every_answer_keeps(n: int, couplings: int, fields: bool, solver: str) -> None:
    model = random_model(n, couplings, n, fields)
    (reduced,) = reduce([Task(model, 1, 0.1, clock=monotonic)], max_kernel_qubits=12, layers=3)
    check(model, reduced)
    assert reduced.solver == solver
    if solver != "presolve":
        assert reduced.kernel is not None
        assert reduced.kernel.n <= 12
        assert reduced.gammas.shape == reduced.betas.shape == (3,)
        assert reduced.rounds >= 1


def test_a_mixed_batch_comes_back_in_order_with_the_optima() -> None:
    models = [random_model(n, 5 * n, seed) for seed, n in enumerate([12, 3, 13, 1, 12, 40, 2])]
    answers = reduce([Task(model, 1, 5.0, clock=monotonic) for model in models])
    for model, reduced in zip(models, answers, strict=True):
        check(model, reduced)
        if model.n < 16:
            best = model.energy(np.array(list(product((0, 1), repeat=model.n)), np.uint8)).min()
            np.testing.assert_allclose(reduced.energy, best)
            assert reduced.kernel is None or reduced.kernel.n == len(reduced.lift.variables)


def test_the_same_task_gives_the_same_answer() -> None:
    model = random_model(70, 500, 9)
    one, two = (reduce([Task(model, 4, 60.0, clock=lambda: 0.0)])[0] for _ in range(2))
    np.testing.assert_array_equal(one.bits, two.bits)
    assert one.kernel is not None
    assert two.kernel is not None
    assert one.kernel.digest == two.kernel.digest
    assert one.gammas.tolist() == two.gammas.tolist()


@pytest.mark.parametrize(("n", "couplings"), [(120, 3000), (300, 1200)])
def test_seconds_end_the_search(n: int, couplings: int) -> None:
    model = random_model(n, couplings, 3)
    # a clock that goes on by a second at each look
    short, long = (reduce([Task(model, 1, seconds, clock=count().__next__)])[0].rounds for seconds in (0.0, 1000.0))
    assert (short, long > 1) == (1, True)


def test_nothing_to_do() -> None:
    assert reduce([]) == []


@pytest.mark.parametrize(
    ("file", "cut"),
    [("rudy/g05_60.0", 536), ("rudy/g05_100.0", 1430), ("rudy/pm1s_80.0", 79), ("rudy/w01_100.0", 651)],
)
def test_known_maximum_cuts(file: str, cut: int) -> None:
    path = INSTANCES / "maxcut" / file
    if not path.exists():
        pytest.skip("public instances are not here")
    rows, cols, weights = np.loadtxt(path, skiprows=1).T
    n = int(path.read_text().split(maxsplit=1)[0])
    J = weights / 2
    model = SpinPolynomial.of(n, rows=rows.astype(int) - 1, cols=cols.astype(int) - 1, J=J, offset=-J.sum())
    (reduced,) = reduce([Task(model, 3, 10.0, clock=monotonic)])
    check(model, reduced)
    assert reduced.energy == -cut
