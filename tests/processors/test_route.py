"""Route: kernels become jobs for the first candidate, or the proposals that say why there is none."""

from __future__ import annotations

from typing import Any

from qmosaic.codecs.events.hops import Proposal, Reduced, Ref
from qmosaic.codecs.models.polynomial import SpinPolynomial, pack_polynomial
from qmosaic.processors.control.alive import Alive
from qmosaic.processors.control.facts import Facts
from qmosaic.processors.control.policy import Policy
from qmosaic.processors.route import route

ALIVE: Alive = {
    "classical": {"exact": {"spins": 20}, "tabu": {"spins": 10_000}},
    "gpu": {"jax.statevector": {"spins": 20}},
    "quantum": {"cirq.statevector": {"spins": 16, "circuit": 16}},
}


def reduced(n: int, *, target: Any = "auto", couplings: int | None = None, offset: int = 0) -> Reduced:
    kernel = SpinPolynomial.of(n, rows=range(n - 1), cols=range(1, n), J=[1.0] * (n - 1))
    ref = Ref(
        problem_id="p",
        partition=2,
        offset=offset,
        family="maxcut",
        digest="d",
        tenant="t",
        priority="normal",
        target=target,
        shots=1,
        seed=1,
        received_at=0.0,
        deadline_at=30.0,
    )
    return Reduced(
        ref=ref,
        kernel=pack_polynomial(kernel),
        kernel_digest=kernel.digest,
        kind="spins",
        work_seconds=0.1,
        variables=n,
        couplings=n - 1 if couplings is None else couplings,
        gammas=[0.1],
        betas=[0.2],
    )


def test_a_batch_keeps_its_order_and_says_what_has_no_backend() -> None:
    batch = [reduced(4, offset=5), reduced(30, target="gpu", offset=6), reduced(13, offset=7)]
    out = route(batch, Facts(10.0, ALIVE), Policy())
    assert [event.ref.offset for event in out] == [5, 6, 7]
    job, failed, last = out
    assert not isinstance(job, Proposal)
    assert not isinstance(last, Proposal)
    assert (job.job_id, last.job_id) == ("2-5-1", "2-7-1")
    assert (job.attempt, job.kernel, job.kernel_digest) == (1, batch[0].kernel, batch[0].kernel_digest)
    assert (job.gammas, job.betas) == ([0.1], [0.2])
    assert isinstance(failed, Proposal)
    assert (failed.answer, failed.route, failed.kernel_digest) == (None, None, batch[1].kernel_digest)
    assert failed.failure is not None
    assert (failed.failure.stage, failed.failure.reason) == ("route", "no_backend")
    assert failed.failure.route_reason == "requested_unavailable"


def test_the_time_left_counts_to_the_deadline() -> None:
    (early,) = route([reduced(4)], Facts(28.9, ALIVE), Policy())
    (late,) = route([reduced(4)], Facts(29.1, ALIVE), Policy())
    assert [getattr(event, "route", None) and event.route.rule for event in (early, late)] == ["small", "hurry"]  # type: ignore[union-attr]
