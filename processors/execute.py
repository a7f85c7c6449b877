"""Execute: run a batch of jobs on one backend, equal jobs once, each answered by an answer or a failure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from msgspec.structs import replace

from qmosaic.backends.base import Backend, Expectations, Figures, Job, Result, Usage, run_sync
from qmosaic.backends.circuits.fidelity import fidelity_of
from qmosaic.backends.points import at_each, combined, estimated
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.events.hops import Answer, Failure, Fidelity, JobEvent, Proposal, Ref
from qmosaic.codecs.events.ledger import MICROS
from qmosaic.codecs.events.public import Attempt, CircuitInfo, Expected, UsageInfo
from qmosaic.codecs.models.arrays import pack, pack_bits
from qmosaic.codecs.models.kernel import Kernel, unpack_kernel
from qmosaic.codecs.models.polynomial import SpinPolynomial

MOST_OF_A_MESSAGE = 200
"""Characters of why an attempt failed."""


def execute(
    jobs: Sequence[JobEvent], backend_of: Callable[[str], Backend], tick: Callable[[], float] = float
) -> list[Proposal]:
    """Proposals in the order of the jobs. A backend's refusal fails the jobs it concerns, never the others.

    `tick`: seconds, from whenever on; without it nothing is known of how long compiling takes.
    """
    answers: dict[tuple[object, ...], tuple[Answer | Failure, float]] = {}
    by_backend: dict[str, dict[tuple[object, ...], JobEvent]] = {}
    for job in jobs:
        by_backend.setdefault(job.route.backend, {}).setdefault(_identity(job), job)
    for name, distinct in by_backend.items():
        try:
            backend = backend_of(name)
        except BackendError as error:
            answers |= {key: (Failure("execute", "execution_failed", str(error)), 0.0) for key in distinct}
            continue
        answers |= dict(zip(distinct, _run(backend, list(distinct.values()), tick), strict=True))
    out = []
    for job in jobs:
        answer, seconds = answers[_identity(job)]
        out.append(replace(proposal_of(job, answer), compile_seconds=round(seconds, 6)))
    return out


def _identity(job: JobEvent) -> tuple[object, ...]:
    """What makes two jobs equal: the same kernel, backend, shots, seed and angles."""
    return job.kernel_digest, job.route.backend, job.ref.shots, job.ref.seed, tuple(job.gammas), tuple(job.betas)


def _run(backend: Backend, jobs: Sequence[JobEvent], tick: Callable[[], float]) -> list[tuple[Answer | Failure, float]]:
    """What came of each, and the seconds that it took to compile it."""
    failed: dict[int, Failure] = {}
    prepared, seconds = [], [0.0] * len(jobs)
    fidelities: dict[int, float] = {}
    for k, event in enumerate(jobs):
        began = tick()
        try:
            each = jobs_of(event)
            # The estimate refuses what would not fit into this machine's memory.
            fidelities[k] = estimated(backend, each).fidelity
            prepared += [(k, job, backend.prepare(job)) for job in each]
        except BackendError as error:
            failed[k] = Failure("execute", "execution_failed", str(error), refused=True)
        seconds[k] = tick() - began
    found: dict[int, list[tuple[Job, Result | Expectations]]] = {}
    size = max(1, backend.capabilities.batch)
    for start in range(0, len(prepared), size):
        chunk = prepared[start : start + size]
        try:
            results = run_sync(backend, [item for *_, item in chunk])
        except BackendError as error:
            failed |= {k: Failure("execute", "execution_failed", str(error)) for k, *_ in chunk}
            continue
        for (k, job, _), result in zip(chunk, results, strict=True):
            found.setdefault(k, []).append((job, result))
    return [(failed.get(k) or _whole(found[k], fidelities[k]), seconds[k]) for k in range(len(jobs))]


def _whole(found: Sequence[tuple[Job, Result | Expectations]], fidelity: float) -> Answer:
    """What the jobs of one event came to, of which so much `fidelity` was expected."""
    (job, _), result = found[0], combined([result for _, result in found])
    return replace(answer_of(job.kernel, result), fidelity=_fidelity(job, fidelity, result))


def jobs_of(event: JobEvent) -> list[Job]:
    """What a backend is given of an event: a job, or one for each point of its circuit. Raises BackendError."""
    return at_each(_job_of(event))


def _job_of(event: JobEvent) -> Job:
    return Job(
        kernel=unpack_kernel(event.kernel),
        shots=event.ref.shots,
        seed=event.ref.seed,
        gammas=np.array(event.gammas, dtype=np.float64),
        betas=np.array(event.betas, dtype=np.float64),
    )


def answer_of(kernel: Kernel, result: Result | Expectations) -> Answer:
    """What a backend found, on the wire."""
    circuit, usage = _info(result.circuit), _usage(result.usage)
    if isinstance(result, Expectations):
        return Answer(circuit=circuit, values=result.values.tolist(), errors=result.errors.tolist(), usage=usage)
    if not isinstance(kernel, SpinPolynomial):
        return Answer(circuit=circuit, samples=pack(result.samples), counts=pack(result.counts), usage=usage)
    return _best(kernel, result, circuit, usage)


def _best(kernel: SpinPolynomial, result: Result, circuit: CircuitInfo | None, usage: UsageInfo | None) -> Answer:
    """The best sample, of those that keep the constraints if any does; `confidence` is its energy's share."""
    kept = kernel.feasible(result.samples)
    energies = np.where(kept, result.energies, np.inf) if kept.any() else result.energies
    best = int(np.argmin(energies))
    lowest = float(energies[best])
    close = energies <= lowest + 1e-9 * max(1.0, abs(lowest))
    return Answer(
        circuit=circuit,
        bits=pack_bits(result.samples[best]),
        energy=lowest,
        confidence=float(result.counts[close].sum() / result.counts.sum()),
        usage=usage,
    )


def _fidelity(job: Job, expected: float, result: Result | Expectations) -> Fidelity | None:
    """None where no noise was expected: then there is nothing to compare."""
    if expected >= 1.0 or result.circuit is None:
        return None
    return Fidelity(expected=expected, measured=fidelity_of(job, result) if isinstance(result, Result) else None)


def _info(circuit: Figures | None) -> CircuitInfo | None:
    if circuit is None:
        return None
    return CircuitInfo(circuit.qubits, circuit.depth, circuit.two_qubit_gates, circuit.shots)


def _usage(usage: Usage) -> UsageInfo | None:
    """None of what runs here. Dollars are None where they are 0: a backend without a price says 0, too."""
    if usage == Usage():
        return None
    return UsageInfo(
        queue_seconds=usage.queue_seconds,
        device_seconds=usage.device_seconds,
        cost_usd=usage.cost or None,
        vendor_job_id=usage.job_id,
    )


def job_id(ref: Ref, attempt: int) -> str:
    """The id of a problem's attempt: equal wherever and however often it is made. Of another round, another one."""
    return f"{ref.partition}-{ref.offset}-{attempt}" + (f"-{ref.round}" if ref.round > 1 else "")


def advance(job: JobEvent, failure: Failure, seconds: float | None = None) -> JobEvent | Proposal:
    """What follows a failed attempt that took `seconds`: the next candidate's job, or the failure, where verify has the
    incumbent."""
    if not job.candidates:
        return proposal_of(job, failure, seconds)
    first, *others = job.candidates
    attempt = job.attempt + 1
    return replace(
        job,
        job_id=job_id(job.ref, attempt),
        attempt=attempt,
        route=first,
        candidates=others,
        quote=None,
        reservation="",
        sends=1,
        not_before=0.0,
        tried=[*job.tried, _attempt(job, failure, seconds)],
    )


def _attempt(job: JobEvent, ended: Answer | Failure, seconds: float | None) -> Attempt:
    reason, message = (ended.reason, ended.message) if isinstance(ended, Failure) else ("answered", "")
    expected = job.route.expected
    if job.quote is not None and job.quote.micros is not None:  # the vendor's own estimate is the better one
        expected = replace(expected or Expected(), cost_usd=job.quote.micros / MICROS)
    fidelity = ended.fidelity if isinstance(ended, Answer) else None
    if fidelity is not None:
        expected = replace(expected or Expected(), fidelity=round(fidelity.expected, 6))
    return Attempt(
        target=job.route.target,
        backend=job.route.backend,
        ended=reason,
        seconds=None if seconds is None else round(seconds, 6),
        cost_usd=ended.usage.cost_usd if ended.usage else None,
        message=message[:MOST_OF_A_MESSAGE],
        expected=expected,
        fidelity=round(fidelity.measured, 6) if fidelity is not None and fidelity.measured is not None else None,
    )


def proposal_of(
    job: JobEvent, answer: Answer | Failure, seconds: float | None = None, cached: bool = False
) -> Proposal:
    """What verify is told of a job, whose last attempt took `seconds`. `cached`: the answer was had before, and cost
    nothing now."""
    if cached and isinstance(answer, Answer):
        answer = replace(answer, usage=None)
    return Proposal(
        tried=[*job.tried, replace(_attempt(job, answer, seconds), cached=cached)],
        cached=cached,
        considered=job.considered,
        weighed=job.weighed,
        ref=job.ref,
        kernel_digest=job.kernel_digest,
        route=job.route,
        attempt=job.attempt,
        answer=answer if isinstance(answer, Answer) else None,
        failure=answer if isinstance(answer, Failure) else None,
        kind=job.kind,
        variables=job.variables,
        couplings=job.couplings,
        work_seconds=job.work_seconds,
    )
