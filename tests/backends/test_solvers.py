"""The classical solvers and the fake: optima, ties, scripts."""

import numpy as np
import pytest

from qmosaic.backends.annealing import MAX_READS, Annealing, temperatures
from qmosaic.backends.base import Backend, Result
from qmosaic.backends.exact import MAX_OPTIMA, Exact, energies
from qmosaic.backends.fake import Fake
from qmosaic.backends.tabu import Tabu
from qmosaic.backends.testing import job_of, random_kernel, states
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.model import SpinPolynomial


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_exact_enumerates_every_state(n: int) -> None:
    kernel = random_kernel(n, seed=n)
    np.testing.assert_allclose(energies(kernel), kernel.energy(states(n)))


@pytest.mark.parametrize("solver", [Annealing(), Tabu(), Exact()])
def test_solvers_find_the_optimum(solver: Backend) -> None:
    for n in (1, 6, 14):
        kernel = random_kernel(n, seed=n)
        (result,) = solver.run([solver.prepare(job_of(kernel))])
        assert isinstance(result, Result)
        assert result.energies.min() == pytest.approx(energies(kernel).min())


def test_exact_lists_all_optima_up_to_a_cap() -> None:
    solver = Exact()
    square = SpinPolynomial.of(4, rows=[0, 1, 2, 3], cols=[1, 2, 3, 0], J=np.full(4, 0.1))
    few, many = solver.run([job_of(square), job_of(SpinPolynomial.of(10))])
    assert few.samples.tolist() == [[0, 1, 0, 1], [1, 0, 1, 0]]
    assert len(many.samples) == MAX_OPTIMA


def test_annealing_reads_are_capped() -> None:
    (result,) = Annealing().run([job_of(random_kernel(4, seed=0), shots=10_000)])
    assert result.counts.sum() == MAX_READS


@pytest.mark.parametrize("solver", [Annealing(), Tabu(), Fake()])
def test_other_seeds_give_other_samples(solver: Backend) -> None:
    one, other = solver.run([job_of(SpinPolynomial.of(30), seed=seed, shots=4) for seed in (1, 2)])
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
