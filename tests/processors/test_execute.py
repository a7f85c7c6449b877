"""Execute: equal jobs run once, a refusal fails the jobs it concerns and no others, answers come in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pytest

from qmosaic.backends.base import Backend, Capabilities, Expectations, Figures, Job, Result, Usage
from qmosaic.backends.registry import create
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.events.hops import Failure, JobEvent, Proposal, Route
from qmosaic.codecs.events.public import CircuitInfo, UsageInfo
from qmosaic.codecs.models.arrays import unpack, unpack_bits
from qmosaic.codecs.models.circuit import Circuit, Operation
from qmosaic.codecs.models.kernel import unpack_kernel
from qmosaic.codecs.models.polynomial import Linear, SpinPolynomial
from qmosaic.processors.control.facts import Facts
from qmosaic.processors.control.policy import Policy
from qmosaic.processors.execute import advance, answer_of, execute, job_id
from qmosaic.processors.route import route
from tests.processors.test_route import ALIVE, reduced


@dataclass
class Counting(Backend):
    """A backend that answers every kernel with its lowest state; kernels of some sizes it refuses or fails."""

    name: str = "counting"
    capabilities: Capabilities = field(default_factory=lambda: Capabilities("quantum", 10, 2, uses_angles=True))
    refused: tuple[int, ...] = ()
    failing: tuple[int, ...] = ()
    prepared: list[Job] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    def prepare(self, job: Job) -> Any:
        if job.polynomial.n in self.refused:
            raise BackendError("too many qubits")
        self.prepared.append(job)
        return job

    def run(self, batch: Sequence[Any]) -> list[Result]:
        self.batches.append(len(batch))
        if any(job.polynomial.n in self.failing for job in batch):
            raise BackendError("the device is away")
        return [
            Result.of_samples(job.kernel, every(job.polynomial.n), 0.0, Figures(job.polynomial.n, 3, 2, 9))
            for job in batch
        ]

    def warm_up(self) -> None:
        pass

    def close(self) -> None:
        pass


def every(n: int) -> Any:
    return ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(np.uint8)


def job(
    n: int, *, offset: int = 0, backend: str = "counting", seed: int = 1, shots: int = 1, **changes: Any
) -> JobEvent:
    (event,) = route([reduced(n, offset=offset)], Facts(0.0, ALIVE), Policy())
    assert isinstance(event, JobEvent)
    ref = msgspec.structs.replace(event.ref, seed=seed, shots=shots)
    where = Route(target="quantum", backend=backend, reason="rule", rule="")
    return msgspec.structs.replace(event, ref=ref, route=where, **changes)


def run(jobs: Sequence[JobEvent], **backends: Backend) -> list[Proposal]:
    def backend_of(name: str) -> Backend:
        if name not in backends:
            raise BackendError(f"no backend is called {name}")
        return backends[name]

    out = execute(jobs, backend_of)
    assert [p.ref for p in out] == [j.ref for j in jobs]
    assert [(p.kernel_digest, p.route, p.attempt) for p in out] == [(j.kernel_digest, j.route, j.attempt) for j in jobs]
    assert all((p.answer is None) != (p.failure is None) for p in out)
    return out


def failed(proposals: Sequence[Proposal]) -> list[str]:
    return [p.failure.message if p.failure else "" for p in proposals]


def test_an_answer_is_the_best_sample() -> None:
    (proposal,) = run([job(4)], counting=Counting())
    answer = proposal.answer
    assert answer is not None
    assert answer.bits is not None
    kernel = unpack_kernel(job(4).kernel)
    assert isinstance(kernel, SpinPolynomial)
    assert answer.energy == kernel.energy(every(4)).min() == float(kernel.energy(unpack_bits(answer.bits)))
    assert answer.circuit is not None
    assert (answer.circuit.qubits, answer.circuit.depth) == (4, 3)
    assert answer.confidence == 2 / 16  # a chain of four has two lowest states


def test_equal_jobs_run_once_and_are_all_answered() -> None:
    backend = Counting()
    out = run([job(4, offset=1), job(5, offset=2), job(4, offset=3), job(4, offset=4)], counting=backend)
    assert [j.polynomial.n for j in backend.prepared] == [4, 5]
    assert out[0].answer == out[2].answer == out[3].answer != out[1].answer


@pytest.mark.parametrize(
    "other",
    [
        job(5),
        job(4, seed=2),
        job(4, shots=2),
        job(4, gammas=[0.3]),
        job(4, betas=[0.3]),
        job(4, gammas=[0.1, 0.2], betas=[0.2, 0.2]),
    ],
)
def test_jobs_that_differ_run_each(other: JobEvent) -> None:
    backend = Counting()
    run([job(4), other], counting=backend)
    assert len(backend.prepared) == 2


def test_the_same_kernel_on_two_backends_runs_on_both() -> None:
    one, two = Counting(), Counting()
    run([job(4, backend="one"), job(4, backend="two")], one=one, two=two)
    assert [len(b.prepared) for b in (one, two)] == [1, 1]


def test_what_the_backend_gets_is_the_job() -> None:
    backend = Counting()
    run([job(4, seed=5, shots=77)], counting=backend)
    (got,) = backend.prepared
    assert (got.seed, got.shots, got.gammas.tolist(), got.betas.tolist()) == (5, 77, [0.1], [0.2])
    assert got.kernel.digest == job(4).kernel_digest


def test_batches_are_as_large_as_the_backend_likes() -> None:
    backend = Counting()
    run([job(n) for n in (2, 3, 4, 5, 6)], counting=backend)
    assert backend.batches == [2, 2, 1]


def test_a_refusal_fails_its_own_jobs() -> None:
    out = run([job(4), job(5), job(6), job(5)], counting=Counting(refused=(5,)))
    assert [bool(m) for m in failed(out)] == [False, True, False, True]
    assert "too many qubits" in failed(out)[1]
    assert all(p.failure is None or (p.failure.stage, p.failure.reason) == ("execute", "execution_failed") for p in out)


def test_a_failed_batch_fails_its_jobs_and_no_others() -> None:
    jobs = [job(2), job(3), job(4), job(5), job(6), job(4)]  # batches of two: (2, 3), (4, 5), (6)
    out = run(jobs, counting=Counting(failing=(5,)))
    assert [bool(m) for m in failed(out)] == [False, False, True, True, False, True]
    assert "the device is away" in failed(out)[2]


def test_an_unknown_backend_fails_its_jobs_and_no_others() -> None:
    out = run([job(4, backend="nobody"), job(4), job(5, backend="nobody")], counting=Counting())
    assert [bool(m) for m in failed(out)] == [True, False, True]
    assert "no backend is called nobody" in failed(out)[0]


def test_a_sample_that_breaks_a_constraint_is_not_the_best() -> None:
    kernel = SpinPolynomial.of(2, h=[1, 1], constraints=[Linear.exactly([0, 1], 1)])
    samples = np.array([[1, 1], [1, 1], [0, 1], [1, 0]], dtype=np.uint8)
    answer = answer_of(kernel, Result.of_samples(kernel, samples, 0.0))
    assert (answer.energy, answer.confidence) == (0.0, 0.5)
    broken = answer_of(kernel, Result.of_samples(kernel, samples[:2], 0.0))
    assert (broken.energy, broken.confidence) == (-2.0, 1.0)


FLIP = Circuit(1, 1, (Operation("x", (0,)), Operation("measure", (0,), bits=(0,))))


def test_a_circuit_is_answered_by_counts_or_by_expectations() -> None:
    circuit = Circuit(1, 2, (Operation("h", (0,)),))
    samples, counts = np.array([[0, 0], [1, 0]], np.uint8), np.array([3, 5])
    answer = answer_of(circuit, Result(samples, counts, np.zeros(2), 0.0))
    assert answer.samples is not None
    assert answer.counts is not None
    assert (unpack(answer.samples).tolist(), unpack(answer.counts).tolist()) == ([[0, 0], [1, 0]], [3, 5])
    assert (answer.bits, answer.energy, answer.values) == (None, None, [])
    measured = answer_of(circuit, Expectations(np.array([0.5]), np.array([0.1]), 0.0, Figures(1, 1, 0, 10)))
    assert (measured.values, measured.errors, measured.circuit) == ([0.5], [0.1], CircuitInfo(1, 1, 0, 10))


@pytest.mark.parametrize("kind", ["best sample", "counts", "expectations"])
def test_what_a_run_took_of_a_vendor_goes_along(kind: str) -> None:
    def usage_of(usage: Usage) -> UsageInfo | None:
        samples, counts, energies = np.array([[0]], np.uint8), np.array([3]), np.zeros(1)
        if kind == "expectations":
            return answer_of(FLIP, Expectations(np.array([0.5]), np.array([0.1]), 0.0, usage=usage)).usage
        kernel = SpinPolynomial.of(1, h=[1]) if kind == "best sample" else FLIP
        return answer_of(kernel, Result(samples, counts, energies, 0.0, usage=usage)).usage

    told = UsageInfo(queue_seconds=4.0, device_seconds=0.5, cost_usd=12.5, vendor_job_id="id1")
    assert usage_of(Usage(4.0, 0.5, 12.5, "id1")) == told
    assert usage_of(Usage(job_id="id1")) == UsageInfo(vendor_job_id="id1", cost_usd=None)  # 0 may be an unset price
    assert usage_of(Usage()) is None


def test_no_jobs_no_proposals() -> None:
    assert run([]) == []


def test_confidence_counts_shots_of_all_lowest_states() -> None:
    kernel = SpinPolynomial.of(2, rows=[0], cols=[1], J=[1.0])
    samples = np.array([[0, 1]] * 3 + [[1, 0]] * 2 + [[0, 0]] * 5, dtype=np.uint8)
    answer = answer_of(kernel, Result.of_samples(kernel, samples, 0.0))
    assert (answer.energy, answer.confidence, answer.circuit) == (-1.0, 0.5, None)


def test_a_failed_attempt_goes_to_the_next_candidate_and_in_the_end_to_verify() -> None:
    first, *others = (Route(target="quantum", backend=name, reason="rule", rule="r") for name in "abc")
    attempt: JobEvent | Proposal = msgspec.structs.replace(job(3), route=first, candidates=others)
    went = []
    while isinstance(attempt, JobEvent):
        went.append((attempt.route.backend, attempt.attempt, attempt.job_id))
        assert attempt.kernel == job(3).kernel
        attempt = advance(attempt, Failure("execute", "execution_failed", f"{attempt.route.backend} is down"))
    assert went == [("a", 1, "2-0-1"), ("b", 2, "2-0-2"), ("c", 3, "2-0-3")]
    assert (attempt.attempt, attempt.route) == (3, others[-1])
    assert attempt.failure is not None
    assert attempt.failure.message == "c is down"


def test_a_chain_tells_who_had_it_and_how_that_ended() -> None:
    first, second = (Route(target="quantum", backend=name, reason="rule", rule="r", policy="v") for name in "ab")
    event = msgspec.structs.replace(job(4), route=first, candidates=[second])
    failure = Failure("execute", "execution_failed", "x" * 1000)
    then = advance(event, failure, 0.25)
    assert isinstance(then, JobEvent)
    assert (then.route.backend, then.attempt, then.job_id, then.candidates) == ("b", 2, job_id(event.ref, 2), [])
    (tried,) = then.tried
    assert (tried.backend, tried.ended, tried.seconds, len(tried.message)) == ("a", "execution_failed", 0.25, 200)
    last = advance(then, failure)
    assert isinstance(last, Proposal)
    assert [one.backend for one in last.tried] == ["a", "b"]
    assert last.failure == failure


@pytest.mark.parametrize(("backend", "told"), [("cirq.density/depolarizing=0.01", True), ("cirq.density", False)])
def test_a_backend_that_expects_noise_says_how_much_and_what_was_left(backend: str, told: bool) -> None:
    event = msgspec.structs.replace(job(6, shots=5000), gammas=[0.4], betas=[-0.3])
    route_ = msgspec.structs.replace(event.route, backend=backend, target="quantum")
    (found,) = execute([msgspec.structs.replace(event, route=route_)], create)
    assert found.answer is not None
    (tried,) = found.tried
    if not told:
        assert (found.answer.fidelity, tried.fidelity, tried.expected) == (None, None, event.route.expected)
        return
    assert tried.expected is not None
    assert tried.expected.fidelity is not None
    assert tried.fidelity is not None
    assert 0.1 < tried.expected.fidelity < tried.fidelity < 1.1
