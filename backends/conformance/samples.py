"""What every backend must do, as a test class: subclass it, say how yours is made, run pytest.

    class TestMine(BackendConformance):
        def make(self) -> Backend:
            return MyBackend()

It needs no pytest itself. Angles are in every job, so that it suits circuits and solvers alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from jaxtyping import Float64

from qmosaic.backends.base import Backend, Job, Result, run_sync
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.arrays import bits_of_states
from qmosaic.codecs.models.polynomial import Linear, SpinPolynomial

SHOTS = 256


def random_kernel(n: int, seed: int, fields: bool = True) -> SpinPolynomial:
    """All pairs coupled, normal weights (and fields), an offset that is not zero."""
    rng = np.random.default_rng(seed)
    rows, cols = np.triu_indices(n, 1)
    h = rng.normal(size=n) if fields else np.zeros(n)
    return SpinPolynomial.of(n, h=h, rows=rows, cols=cols, J=rng.normal(size=len(rows)), offset=1.5)


def random_polynomial(n: int, orders: Sequence[int], seed: int, held: Sequence[int] = ()) -> SpinPolynomial:
    """All terms of these orders, normal weights, an offset. `held`: sizes of disjoint groups of variables, spread
    over all, each with an exact number of ones that is neither none nor all."""
    rng = np.random.default_rng(seed)
    places = rng.permutation(n)
    constraints = []
    for size in held:
        group, places = places[:size], places[size:]
        constraints.append(Linear.exactly(group, int(rng.integers(1, size))))
    terms = {term: float(rng.normal()) for order in orders for term in combinations(range(n), order)}
    return SpinPolynomial.of(n, offset=-0.5, higher=terms, constraints=constraints)


def job_of(kernel: SpinPolynomial, seed: int = 0, shots: int = SHOTS, layers: int = 1) -> Job:
    """A job whose angles are as good as any."""
    angles = np.linspace(0.3, 0.6, layers)
    return Job(kernel, shots, seed, gammas=angles, betas=angles[::-1].copy())


def asymmetric_job() -> Job:
    """Fields of size one on three variables; its circuit ends in the optimum, x = (0, 1, 1), exactly."""
    return Job(SpinPolynomial.of(3, h=[-1, 1, 1]), SHOTS, 0, gammas=np.full(1, np.pi / 4), betas=np.full(1, -np.pi / 4))


def refusal(backend: Backend, job: Job) -> BackendError:
    """The error with which a backend refuses a job. Raises AssertionError where it takes it."""
    try:
        backend.prepare(job)
    except BackendError as error:
        return error
    raise AssertionError(f"{backend.name} took a job it cannot run: {job}")


def states(n: int) -> np.ndarray:
    """All 2^n states in the order of their numbers, bit 0 first, uint8 (2^n, n)."""
    return bits_of_states(np.arange(2**n), n)


def dense_probabilities(job: Job) -> Float64[np.ndarray, " states"]:
    """Probabilities of all states after the job's circuit, from whole matrices built by Kronecker products. For n <= 8.

    Slow on purpose: it shares no idea with a simulator, except the conventions of `base`. Constraints must all be
    of the kind that circuits hold.
    """
    n, kernel = job.polynomial.n, job.polynomial
    identity, X, Z = np.eye(2), np.array([[0, 1], [1, 0]]), np.diag([1, -1])
    Y = np.array([[0, -1j], [1j, 0]])

    def on(places: Sequence[int], pauli: np.ndarray) -> np.ndarray:
        product = np.eye(1)
        for qubit in range(n):
            product = np.kron(product, pauli if qubit in places else identity)
        return product

    zero = np.zeros((2**n, 2**n))
    cost = sum((h * on([i], Z) for i, h in enumerate(kernel.h)), zero)
    for i, j, J in zip(kernel.rows, kernel.cols, kernel.J, strict=True):
        cost = cost + J * on([i, j], Z)
    for terms in kernel.higher:
        for index, value in zip(terms.index.tolist(), terms.values, strict=True):
            cost = cost + value * on(index, Z)
    grouped = [constraint.variables.tolist() for constraint in kernel.constraints]
    mixers = [sum((on([i], X) for i in range(n) if not any(i in group for group in grouped)), zero)]
    for group in grouped:
        size = len(group)
        ring = [(k, k + 1) for start in (0, 1) for k in range(start, size - 1, 2)] + [(size - 1, 0)] * (size > 2)
        mixers += [(on([group[a], group[b]], X) + on([group[a], group[b]], Y).real) / 2 for a, b in ring]
    state = kernel.feasible(states(n)).astype(complex)
    state /= np.linalg.norm(state)
    for gamma, beta in zip(job.gammas, job.betas, strict=True):
        for hamiltonian, angle in ((cost, gamma), *((mixer, beta) for mixer in mixers)):
            values, vectors = np.linalg.eigh(hamiltonian)
            state = vectors @ (np.exp(-1j * angle * values) * (vectors.conj().T @ state))
    return np.asarray(np.abs(state) ** 2)


def chi_square(result: Result, probabilities: Float64[np.ndarray, " states"]) -> float:
    """Normalised distance of counts from a distribution: (chi2 - dof) / sqrt(2 dof), about normal.

    States expected fewer than five times count together.
    """
    n = result.samples.shape[1]
    observed = np.zeros(2**n)
    observed[result.samples @ (1 << np.arange(n)[::-1])] = result.counts
    expected = probabilities / probabilities.sum() * result.counts.sum()
    rare = expected < 5
    observed = np.append(observed[~rare], observed[rare].sum())
    expected = np.append(expected[~rare], max(expected[rare].sum(), 1e-9))
    dof = max(1, len(expected) - 1)
    return float((((observed - expected) ** 2 / expected).sum() - dof) / np.sqrt(2 * dof))


class BackendConformance:
    """The suite. `make` is the one method to write."""

    def make(self) -> Backend:
        """A fresh backend."""
        raise NotImplementedError

    def results(self, *jobs: Job) -> list[Result]:
        """The answers of a fresh backend to one batch."""
        backend = self.make()
        try:
            found = run_sync(backend, [backend.prepare(job) for job in jobs])
            return [result for result in found if isinstance(result, Result)]
        finally:
            backend.close()

    def results_unless_refused(self, job: Job) -> list[Result]:
        """As `results`; none where the backend refuses the job, with a remedy."""
        try:
            self.make().prepare(job)
        except BackendError as error:
            refused = error
        else:
            return self.results(job)
        assert refused.remedy
        return []

    def test_shapes_counts_and_energies(self) -> None:
        for n in (1, 2, 5, 9):
            kernel = random_kernel(n, seed=n)
            (result,) = self.results(job_of(kernel))
            k = len(result.samples)
            assert result.samples.dtype == np.uint8
            assert result.samples.shape == (k, n)
            assert result.samples.max() <= 1
            assert len(np.unique(result.samples, axis=0)) == k
            assert result.counts.min() >= 1
            assert result.counts.sum() <= SHOTS
            np.testing.assert_allclose(result.energies, kernel.energy(result.samples))
            assert result.work_seconds >= 0

    def test_bit_order(self) -> None:
        (result,) = self.results(asymmetric_job())
        best = result.samples[result.energies.argmin()]
        assert best.tolist() == [0, 1, 1]
        assert result.energies.min() == -3

    def test_no_couplings_and_no_energy_at_all(self) -> None:
        for kernel in (
            SpinPolynomial.of(4, h=[1, -1, 2, -2]),
            SpinPolynomial.of(4),
            SpinPolynomial.of(1),
            SpinPolynomial.of(4, rows=[1], cols=[2], J=[1]),
        ):
            (result,) = self.results(job_of(kernel))
            assert result.samples.shape[1] == kernel.n

    def test_terms_of_higher_order(self) -> None:
        for n, orders in ((4, (4,)), (5, (1, 3)), (6, (2, 4)), (7, (3, 5))):
            kernel = random_polynomial(n, orders, seed=n)
            for result in self.results_unless_refused(job_of(kernel)):
                assert result.samples.shape[1] == n
                np.testing.assert_allclose(result.energies, kernel.energy(result.samples))

    def test_constraints(self) -> None:
        """Refused, or some sample keeps them all."""
        whole, rest = np.arange(6), np.arange(3, 6)
        held = [Linear.exactly([0, 2, 4], 1), Linear.exactly([1, 3, 5], 2)]
        wide = Linear(whole.astype(np.int32), np.arange(1.0, 7.0), -np.inf, 12.0)
        both = [Linear.exactly(whole, 3), Linear.exactly(rest, 1)]
        for constraints in (held, [wide], both, [*held, wide]):
            base = random_kernel(6, seed=2)
            kernel = replace(base, constraints=tuple(constraints))
            for result in self.results_unless_refused(job_of(kernel)):
                assert kernel.feasible(result.samples).any()
                np.testing.assert_allclose(result.energies, base.energy(result.samples))

    def test_same_seed_same_samples_whatever_the_batch(self) -> None:
        others = [job_of(random_kernel(n, seed=n), seed=n) for n in (7, 4, 7, 9, 7)]
        # without any energy every state is as good: nothing but the seed decides
        for kernel in (random_kernel(7, seed=3), SpinPolynomial.of(12)):
            job = job_of(kernel, seed=11)
            (alone,) = self.results(job)
            for place in (0, 2, 5):
                beside = self.results(*others[:place], job, *others[place:])[place]
                np.testing.assert_array_equal(beside.samples, alone.samples)
                np.testing.assert_array_equal(beside.counts, alone.counts)

    def test_results_come_in_the_order_of_the_jobs(self) -> None:
        kernels = [random_kernel(n, seed=n, fields=n % 2 == 0) for n in (6, 3, 8, 3, 1, 6)]
        for kernel, result in zip(kernels, self.results(*map(job_of, kernels)), strict=True):
            np.testing.assert_allclose(result.energies, kernel.energy(result.samples))

    def test_an_empty_batch_has_no_results(self) -> None:
        assert self.results() == []

    def test_what_it_cannot_take_is_refused_with_a_remedy(self) -> None:
        backend = self.make()
        size = backend.capabilities.max_qubits + 1
        # all variables in one term: nothing in its structure makes it easier than its size
        job = job_of(SpinPolynomial.of(size, higher={tuple(range(size)): 1.0}))
        for wrong in (
            job,
            replace(job, kernel=SpinPolynomial.of(2), shots=0),
            replace(job, kernel=SpinPolynomial.of(0)),
        ):
            assert refusal(backend, wrong).remedy

    def test_warm_up_then_run_then_close_twice(self) -> None:
        backend = self.make()
        backend.warm_up()
        assert len(run_sync(backend, [backend.prepare(job_of(random_kernel(3, seed=1)))])) == 1
        backend.close()
        backend.close()


class CircuitConformance(BackendConformance):
    """What a backend that runs the QAOA circuit must do besides: sample its distribution."""

    def test_angles_are_needed(self) -> None:
        backend = self.make()
        for gammas, betas in ((np.zeros(0), np.zeros(0)), (np.ones(2), np.ones(1)), (np.full(1, np.nan), np.ones(1))):
            assert refusal(backend, Job(SpinPolynomial.of(2), SHOTS, 0, gammas, betas)).remedy

    def test_bit_order_of_the_circuit(self) -> None:
        (result,) = self.results(asymmetric_job())
        assert result.samples.tolist() == [[0, 1, 1]]

    def test_samples_follow_the_circuits_distribution(self) -> None:
        jobs = [
            job_of(random_kernel(n, seed=10 * n + layers, fields=fields), seed=n, shots=20_000, layers=layers)
            for n in (1, 2, 3, 4)
            for layers in (1, 2)
            for fields in (True, False)
        ]
        self.follow(jobs)

    def test_samples_follow_the_distribution_with_higher_terms_and_held_constraints(self) -> None:
        cases = ((4, (2, 4), ()), (5, (1, 3), ()), (4, (2,), (4,)), (5, (2, 3), (3,)), (6, (1, 2), (2, 4)))
        self.follow(
            [
                job_of(random_polynomial(n, orders, seed=n, held=held), seed=n, shots=20_000, layers=2)
                for n, orders, held in cases
            ]
        )

    def test_no_sample_breaks_a_held_constraint(self) -> None:
        kernel = random_polynomial(8, (2, 4), seed=1, held=(5, 3))
        (result,) = self.results(job_of(kernel, shots=2000, layers=3))
        assert kernel.feasible(result.samples).all()

    def follow(self, jobs: Sequence[Job]) -> None:
        """Assert that the counts of these jobs fit their circuits' distributions."""
        for job, result in zip(jobs, self.results(*jobs), strict=True):
            assert result.counts.sum() == job.shots
            assert chi_square(result, dense_probabilities(job)) < 5
