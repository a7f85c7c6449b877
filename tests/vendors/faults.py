"""What every cloud backend must live through, as a test class: a job is at the vendor once, whatever breaks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qmosaic.backends.base import Answer, Expectations, Job, Result, run_sync
from qmosaic.backends.clouds import remote
from qmosaic.backends.clouds.job import PaidJob, Waits
from qmosaic.backends.clouds.journal import Memory
from qmosaic.backends.clouds.price import Price, check_cost
from qmosaic.backends.clouds.remote import RemoteBackend
from qmosaic.backends.conformance.circuits import expected
from qmosaic.backends.conformance.samples import asymmetric_job, job_of, random_kernel, refusal
from qmosaic.backends.registry import create
from qmosaic.codecs.errors import BackendError, JobTimedOut, JobUnknown, OverBudget, RateLimited
from qmosaic.codecs.models.circuit import Circuit, Operation, PauliSum
from tests.vendors.server import KEY, Fault, VendorServer

QUICK = Waits(
    lease_seconds=0.2,
    skew_seconds=0.05,
    request_seconds=60.0,  # of the machine's time, and no test waits for their end
    poll_seconds=0.005,
    ask_seconds=0.01,
    retry_after_seconds=0.3,
    grace_seconds=0.5,
)


class Patient:
    """A clock that only what is slept moves: a machine may be as busy as it likes, and no wait takes its time."""

    def __init__(self) -> None:
        self._now = time.time()

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Let others go on."""
        self._now += seconds
        await asyncio.sleep(0)


OPERATIONS = (Operation("ry", (0,), (0.8,)), Operation("cx", (0, 1)))
THREE_BASES = Circuit(2, 0, OPERATIONS, (PauliSum(2, ("ZI", "ZZ", "XX", "YY"), (0.5, 1.0, -1.0, 2.0)),))


def serving(service: type[VendorServer]) -> Any:
    """The fixture `vendor` of a module: the service, and the variables with which its backend finds it."""

    @pytest.fixture(autouse=True)
    def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[VendorServer]:
        monkeypatch.setattr(remote, "HEALTH_SECONDS", QUICK.request_seconds)
        with service().at_hand() as server:
            yield server

    return vendor


def made(name: str) -> RemoteBackend:
    """A fresh backend that waits for nothing for long."""
    backend = create(name)
    assert isinstance(backend, RemoteBackend)
    backend.limits, backend.clock = QUICK, Patient()
    return backend


def job_at(backend: RemoteBackend, prepared: Any, client_id: str, journal: Memory, seconds: float) -> PaidJob:
    """A job that has so long, by its backend's clock."""
    deadline = backend.clock.now() + seconds
    return PaidJob(backend, prepared, client_id, "", journal, deadline, QUICK, backend.clock)


_known = cache(made)


class Made:
    """Of a suite: the backend of a `name`, one for all tests: what it has compiled it knows."""

    name = ""

    def make(self) -> RemoteBackend:
        """The backend."""
        return _known(self.name)


class Faults:
    """The suite. `submit` and `poll`: the beginnings of the paths of these requests; `variable`: of the key."""

    name = ""
    submit = ""
    poll = ""
    variable = ""

    def make(self) -> RemoteBackend:
        """A fresh backend."""
        return made(self.name)

    def ended(self, seconds: float = 20.0, job: Job | None = None) -> tuple[Answer | BackendError, Memory]:
        """How one job ends, and the journal."""
        backend, journal = self.make(), Memory()
        prepared = backend.prepare(job or asymmetric_job())
        work = job_at(backend, prepared, "qm-1", journal, seconds)
        try:
            return asyncio.run(work.run()), journal
        except BackendError as error:
            return error, journal

    def states(self, journal: Memory) -> list[str]:
        """The way it took."""
        return [entry.state for entry in journal.counted.of("qm-1")]

    def right(self, answer: Any) -> None:
        """Assert that an answer is that of `asymmetric_job`."""
        assert isinstance(answer, Result), answer
        assert answer.samples.tolist() == [[0, 1, 1]]
        assert answer.usage.job_id

    def test_an_undisturbed_job(self, vendor: VendorServer) -> None:
        answer, journal = self.ended()
        self.right(answer)
        assert self.states(journal) == ["submitting", "submitted", "running", "completed"]
        assert len(vendor.jobs) == 1

    def test_several_circuits_are_one_job(self, vendor: VendorServer) -> None:
        job = Job(THREE_BASES, 1000, 1)
        answer, journal = self.ended(job=job)
        assert isinstance(answer, Expectations)
        assert (np.abs(answer.values - expected(THREE_BASES)) < 5 * answer.errors).all()
        assert answer.usage.job_id == vendor.jobs[0].id
        assert self.states(journal) == ["submitting", "submitted", "running", "completed"]
        assert len(vendor.jobs) == 1
        told = answer.circuit
        assert told is not None
        assert 1000 <= told.shots < 1003
        backend = self.make()
        backend.price = Price(task=7.0, shot=0.5)
        assert backend.estimate(job).cost == 3 * 7 + 0.5 * told.shots
        assert "need 3 circuits" in refusal(backend, Job(THREE_BASES, 2, 1)).message

    def test_a_job_that_costs_too_much_or_nobody_knows_what(
        self, vendor: VendorServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job, backend = Job(THREE_BASES, 30, 1), self.make()
        cost, variable = backend.estimate(job).cost, backend.price_variable
        check_cost(backend.name, cost, 0.0, variable)
        with pytest.raises(OverBudget, match="not known") as refused:
            check_cost(backend.name, cost, 1e9, variable)
        assert variable in refused.value.remedy
        monkeypatch.setenv(backend.price_variable, '{"task": 2}')
        backend = self.make()
        cost = backend.estimate(job).cost
        check_cost(backend.name, cost, 6.0, variable)
        for most in (5.99, -1.0, float("nan")):
            with pytest.raises(OverBudget, match=r"costs about \$6"):
                check_cost(backend.name, cost, most, variable)
        assert vendor.requests == []

    @pytest.mark.parametrize(("first", "values"), [(0, [3.0, 3.0, 4.0]), (2, [4.0])])
    def test_a_circuit_without_gates_is_measured(self, vendor: VendorServer, first: int, values: list[float]) -> None:
        sums = (PauliSum(2, ("ZI", "IZ"), (1, 2)), PauliSum(2, ("II", "XX"), (3, 1)), PauliSum(2, ("II",), (4,)))
        answer, _ = self.ended(job=Job(Circuit(2, 0, (), sums[first:]), 400, 1))
        assert isinstance(answer, Expectations), answer
        assert (np.abs(answer.values - values) <= 5 * answer.errors).all()

    def test_without_one_of_the_circuits_there_is_no_answer(self, vendor: VendorServer) -> None:
        vendor.circuits = 2
        error, _ = self.ended(seconds=0.3, job=Job(THREE_BASES, 100, 1))
        assert isinstance(error, JobUnknown)
        assert len(vendor.jobs) == 1

    def test_429_is_waited_for_as_long_as_it_says(self, vendor: VendorServer) -> None:
        vendor.faults = [Fault("POST", self.submit, 429, headers={"Retry-After": "0.05"}) for _ in range(2)]
        answer, journal = self.ended()
        self.right(answer)
        assert self.states(journal)[:4] == ["submitting", "planned", "submitting", "planned"]
        assert len(vendor.jobs) == 1

    def test_429_until_after_the_deadline_is_not_waited_for(self, vendor: VendorServer) -> None:
        vendor.faults = [Fault("POST", self.submit, 429, headers={"Retry-After": "100000"})]
        error, journal = self.ended()
        self.make().rests_until = 0.0
        assert isinstance(error, RateLimited)
        assert (self.states(journal), vendor.jobs) == (["submitting", "planned", "failed"], [])

    @pytest.mark.parametrize("status", [0, 500, 503])
    def test_broken_off_after_the_job_was_taken(self, vendor: VendorServer, status: int) -> None:
        vendor.faults = [Fault("POST", self.submit, status, when="after")]
        answer, journal = self.ended()
        assert len(vendor.jobs) == 1
        if self.make().can_find:
            self.right(answer)
            assert self.states(journal)[:3] == ["submitting", "unknown", "submitted"]
        else:
            assert isinstance(answer, JobUnknown)
            assert self.states(journal)[-1] == "unknown"

    @pytest.mark.parametrize("status", [0, 500])
    def test_broken_off_before_the_job_was_taken(self, vendor: VendorServer, status: int) -> None:
        vendor.faults = [Fault("POST", self.submit, status)]
        answer, journal = self.ended()
        if self.make().can_find:
            self.right(answer)
            assert self.states(journal)[:3] == ["submitting", "unknown", "submitting"]
            assert len(vendor.jobs) == 1
        else:
            assert isinstance(answer, JobUnknown)
            assert vendor.jobs == []

    def test_faults_while_polling_are_lived_through(self, vendor: VendorServer) -> None:
        vendor.faults = [Fault("GET", self.poll, status) for status in (500, 0, 502)]
        vendor.faults.append(Fault("GET", self.poll, 429, headers={"Retry-After": "0.01"}))
        vendor.faults.append(Fault("GET", self.poll, 200, body="<html>"))
        self.right(self.ended()[0])
        assert vendor.faults == []
        assert len(vendor.jobs) == 1

    @pytest.mark.parametrize("odd", [False, True])
    def test_what_never_ends_is_cancelled_before_its_end_is_written(self, vendor: VendorServer, odd: bool) -> None:
        vendor.endless, vendor.odd = True, odd
        error, journal = self.ended(seconds=0.3)
        assert len(vendor.jobs) == 1
        if self.make().can_cancel and not odd:
            assert isinstance(error, JobTimedOut)
            assert vendor.jobs[0].state == "cancelled"
            assert self.states(journal)[-1] == "cancelled"
        else:  # it says neither that it ended nor that it did not
            assert isinstance(error, JobUnknown)
            assert self.states(journal)[-1] == "unknown"
            assert vendor.jobs[0].id in error.message

    def test_a_key_revoked_before_and_during_a_job(self, vendor: VendorServer) -> None:
        vendor.revoked = True
        error, journal = self.ended()
        assert isinstance(error, BackendError)
        assert "401" in error.message
        assert self.states(journal) == ["submitting", "failed"]
        assert not self.make().health().ok
        vendor.revoked, vendor.endless, vendor.held = False, True, {"polling"}

        async def revoked_later() -> None:
            backend = self.make()
            work = job_at(backend, backend.prepare(asymmetric_job()), "qm-2", journal, 20)
            running = asyncio.create_task(work.run())
            await asyncio.to_thread(vendor.reached["polling"].wait, QUICK.request_seconds)
            vendor.revoked, vendor.held = True, set()
            await running

        with pytest.raises(JobUnknown, match="may still run"):
            asyncio.run(revoked_later())
        assert len(vendor.jobs) == 1

    def test_the_key_is_nowhere(
        self, vendor: VendorServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        with caplog.at_level(logging.DEBUG):
            vendor.revoked = True  # the service repeats the key it was sent
            backend = self.make()
            error, journal = self.ended()
            told = [
                caplog.text,
                repr(error),
                str(error),
                repr(backend),
                repr(vars(backend)),
                repr(journal.counted.of("qm-1")),
            ]
            told.append(repr(backend.health()))
        assert not any(KEY in text for text in told)
        monkeypatch.delenv(self.variable)
        assert isinstance(self.ended()[0], BackendError)
        (tmp_path / "key").write_text(f"{KEY}\n")
        monkeypatch.setenv(f"{self.variable}_FILE", str(tmp_path / "key"))
        vendor.revoked = False
        self.right(self.ended()[0])

    def test_answers_go_to_their_jobs_whatever_ends_first(self, vendor: VendorServer) -> None:
        backend = self.make()
        vendor.slow = 2  # jobs of more qubits take longer
        jobs = [job_of(random_kernel(4, seed=1)), asymmetric_job(), job_of(random_kernel(2, seed=1))]
        answers = run_sync(backend, [backend.prepare(job) for job in jobs])
        assert [len(answer.samples[0]) for answer in answers if isinstance(answer, Result)] == [4, 3, 2]
        self.right(answers[1])
        assert len(vendor.jobs) == 3

    def test_a_run_that_is_given_up_leaves_nothing_behind(self, vendor: VendorServer) -> None:
        vendor.endless = True
        backend = self.make()
        if not backend.can_cancel:
            return

        async def given_up() -> None:
            async with asyncio.TaskGroup() as group:
                running = group.create_task(backend.run([backend.prepare(asymmetric_job()) for _ in range(3)]))
                async with asyncio.timeout(30):
                    while len(vendor.jobs) < 3:
                        await asyncio.sleep(0.01)
                running.cancel()

        asyncio.run(given_up())
        assert [job.state for job in vendor.jobs] == ["cancelled"] * 3
