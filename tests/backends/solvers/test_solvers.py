"""The classical solvers and the fake: optima, ties, scripts."""

from dataclasses import replace

import numpy as np
import pytest

from qmosaic.backends import estimates
from qmosaic.backends.base import Backend, Result, run_sync
from qmosaic.backends.conformance.fake import Fake
from qmosaic.backends.conformance.samples import job_of, random_kernel, random_polynomial, refusal, states
from qmosaic.backends.solvers.annealing import MAX_READS, Annealing, temperatures
from qmosaic.backends.solvers.exact import MAX_OPTIMA, Exact, energies, feasible
from qmosaic.backends.solvers.tabu import Tabu
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.polynomial import Linear, SpinPolynomial


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_exact_enumerates_every_state(n: int) -> None:
    kernel = random_kernel(n, seed=n)
    np.testing.assert_allclose(energies(kernel), kernel.energy(states(n)))


def test_exact_enumerates_terms_of_every_order_and_the_states_that_keep_constraints() -> None:
    kernel = random_polynomial(9, (1, 2, 3, 5, 9), seed=0)
    np.testing.assert_allclose(energies(kernel), kernel.energy(states(9)))
    bounds = [Linear.exactly([1, 8, 3], 2), Linear(np.arange(9, dtype=np.int32), np.arange(9) - 3.5, -2.0, np.inf)]
    constrained = replace(kernel, constraints=tuple(bounds))
    np.testing.assert_array_equal(feasible(constrained), constrained.feasible(states(9)))


@pytest.mark.parametrize(
    ("solver", "constraints"),
    [
        (Tabu(), [Linear.exactly(range(7), 2)]),
        (Annealing(), [Linear.exactly(range(7), 2)]),
        (Tabu(), [Linear.exactly([0, 2, 4], 1), Linear.exactly([1, 3], 1)]),
        (Exact(), [Linear.exactly(range(7), 2)]),
        (Exact(), [Linear(np.arange(7, dtype=np.int32), np.array([3, 1, 4, 1, 5, 9, 2.0]), -np.inf, 9.0)]),
        (
            Exact(),
            [Linear(np.arange(3, dtype=np.int32), np.array([0.5, -1, 1.5]), 0.5, 1.0), Linear.exactly([2, 6], 1)],
        ),
    ],
)
def test_solvers_find_the_best_state_that_keeps_the_constraints(solver: Backend, constraints: list[Linear]) -> None:
    free = random_polynomial(7, (1, 2), seed=4)
    kernel = replace(free, constraints=tuple(constraints))
    (result,) = run_sync(solver, [solver.prepare(job_of(kernel))])
    assert isinstance(result, Result)
    found = result.energies[kernel.feasible(result.samples)]
    assert found.min() == pytest.approx(energies(free)[kernel.feasible(states(7))].min())


@pytest.mark.parametrize("solver", [Annealing(), Tabu(), Exact()])
def test_constraints_that_cannot_be_kept_are_refused(solver: Backend) -> None:
    kernel = SpinPolynomial.of(3, h=[1, 1, 1], constraints=[Linear.exactly([0, 1], 3)])
    assert refusal(solver, job_of(kernel)).remedy


@pytest.mark.parametrize("solver", [Annealing(), Tabu(), Exact()])
def test_solvers_find_the_optimum(solver: Backend) -> None:
    for n in (1, 6, 14):
        kernel = random_kernel(n, seed=n)
        (result,) = run_sync(solver, [solver.prepare(job_of(kernel))])
        assert isinstance(result, Result)
        assert result.energies.min() == pytest.approx(energies(kernel).min())


def test_exact_lists_all_optima_up_to_a_cap() -> None:
    solver = Exact()
    square = SpinPolynomial.of(4, rows=[0, 1, 2, 3], cols=[1, 2, 3, 0], J=np.full(4, 0.1))
    few, many = run_sync(solver, [solver.prepare(job_of(kernel)) for kernel in (square, SpinPolynomial.of(10))])
    assert isinstance(few, Result)
    assert isinstance(many, Result)
    assert few.samples.tolist() == [[0, 1, 0, 1], [1, 0, 1, 0]]
    assert len(many.samples) == MAX_OPTIMA


def test_annealing_reads_are_capped() -> None:
    solver = Annealing()
    (result,) = run_sync(solver, [solver.prepare(job_of(random_kernel(4, seed=0), shots=10_000))])
    assert isinstance(result, Result)
    assert result.counts.sum() == MAX_READS


@pytest.mark.parametrize("solver", [Annealing(), Tabu(), Fake()])
def test_other_seeds_give_other_samples(solver: Backend) -> None:
    jobs = [job_of(SpinPolynomial.of(30), seed=seed, shots=4) for seed in (1, 2)]
    one, other = run_sync(solver, [solver.prepare(job) for job in jobs])
    assert isinstance(one, Result)
    assert isinstance(other, Result)
    assert not np.array_equal(one.samples, other.samples)


def test_one_tiny_weight_does_not_freeze_the_schedule() -> None:
    rough = SpinPolynomial.of(3, rows=[0, 1], cols=[1, 2], J=[1, 1e-12])
    assert temperatures(rough) == pytest.approx(temperatures(SpinPolynomial.of(3, rows=[0], cols=[1], J=[1])))


def test_the_fake_answers_fails_and_remembers() -> None:
    job = job_of(SpinPolynomial.of(2))
    fake = Fake(answer=lambda _: np.array([[0, 1], [0, 1]], np.uint8), failures=[None, BackendError("down")])
    (result,) = fake.run([fake.prepare(job)])
    assert result.samples.tolist() == [[0, 1]]
    assert result.counts.tolist() == [2]
    with pytest.raises(BackendError, match="down"):
        fake.run([job, job])
    assert len(fake.run([job])) == 1
    assert [len(batch) for batch in fake.batches] == [1, 2, 1]


@pytest.mark.parametrize("solver", [Annealing(), Tabu()])
def test_estimates_and_memory(solver: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [solver.estimate(job_of(random_kernel(n, seed=0), shots=2)) for n in (10, 100, 400)]
    assert sorted(one.seconds for one in sizes) == [one.seconds for one in sizes]
    assert sorted(one.memory_bytes for one in sizes) == [one.memory_bytes for one in sizes]
    more = solver.estimate(job_of(random_kernel(100, seed=0), shots=8))
    assert more.seconds == pytest.approx(4 * sizes[1].seconds)
    assert solver.estimate(job_of(random_polynomial(9, (3,), seed=0))).seconds > sizes[0].seconds  # more variables
    monkeypatch.setattr(estimates, "machine_bytes", lambda: 2**20)
    with pytest.raises(BackendError, match="GiB"):
        solver.estimate(job_of(random_kernel(400, seed=0)))
