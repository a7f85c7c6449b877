"""IonQ's backend against a service that speaks its protocol: the public suite, and every fault."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from qmosaic.backends.base import Answer, Result, run_sync
from qmosaic.backends.clouds.job import Unclear
from qmosaic.backends.clouds.journal import Memory
from qmosaic.backends.conformance.samples import (
    CircuitConformance,
    asymmetric_job,
    chi_square,
    dense_probabilities,
    job_of,
    random_kernel,
)
from qmosaic.backends.registry import create
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.events.control import Submitted
from tests.vendors.device import DeviceConformance
from tests.vendors.faults import QUICK, Faults, Made, job_at, made, serving
from tests.vendors.ionq import IonqServer

NAME = "ionq/simulator"
vendor = serving(IonqServer)


class TestConformance(Made, CircuitConformance):
    name = NAME


class TestCircuits(Made, DeviceConformance):
    name = NAME


class TestFaults(Faults):
    name, submit, poll, variable = NAME, "/v0.4/jobs", "/v0.4/jobs/", "QMOSAIC_IONQ_API_KEY"


def test_who_takes_over_many_jobs_reads_the_list_once_for_all(vendor: IonqServer) -> None:
    """Of forty that may have been sent every second one was, and one worker asks for them all at once."""
    backend, journal = made(NAME), Memory()
    prepared = backend.prepare(asymmetric_job())
    before = Submitted(
        client_id="", revision=1, writer="before", backend=NAME, job="", state="unknown", at=0.0, sends=1
    )

    async def taken_over() -> list[Answer]:
        for k in range(40):
            await journal.append(msgspec.structs.replace(before, client_id=f"qm-{k}"))
            if k % 2:
                await backend.submit(prepared, f"qm-{k}")
        vendor.requests.clear()
        return await asyncio.gather(*(job_at(backend, prepared, f"qm-{k}", journal, 600).run() for k in range(40)))

    answers = asyncio.run(taken_over())
    assert len(answers) == 40
    assert sorted(job.name for job in vendor.jobs) == sorted(f"qm-{k}" for k in range(40))
    lists = vendor.requests.count(("GET", "/v0.4/jobs"))
    assert lists < 40 * QUICK.asks * 10 / 5  # ten pages a reading; it would be all of that if each job had its own


def test_a_listed_job_without_an_id_is_no_other_jobs_trouble_and_is_not_taken_for_absent(vendor: IonqServer) -> None:
    backend = made(NAME)
    vendor.post("odd", {"input": {}}).id = ""
    vendor.post("good", {"input": {}}).id = "job-1"
    assert asyncio.run(backend.find("good")) == "job-1"
    assert asyncio.run(backend.find("absent")) is None
    with pytest.raises(Unclear):
        asyncio.run(backend.find("odd"))


def test_a_qpus_counts_seconds_and_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(random_kernel(3, seed=1), shots=1000)
    backend = made("ionq/qpu.forte-1")
    (answer,) = run_sync(backend, [backend.prepare(job)])
    assert isinstance(answer, Result)
    assert answer.counts.sum() == 1000
    assert chi_square(answer, dense_probabilities(job)) < 5
    assert answer.usage.device_seconds == 1.5
    assert answer.usage.queue_seconds > 0
    assert answer.usage.cost == 12.5  # as the vendor tells it
    assert backend.estimate(job).cost == 0  # no price is set
    monkeypatch.setenv("QMOSAIC_IONQ_PRICE", '{"task": 1, "shot": 0.001, "two_qubit_gate_shot": 0.01}')
    assert made("ionq/qpu.forte-1").estimate(job).cost == pytest.approx(1 + 1000 * (0.001 + 3 * 0.01))
    monkeypatch.setenv("QMOSAIC_IONQ_PRICE", '{"tusk": 1}')
    with pytest.raises(BackendError, match="QMOSAIC_IONQ_PRICE"):
        made(NAME)


def test_names() -> None:
    assert create("ionq/qpu.aria-1").capabilities.max_qubits == 25
    for name in ("ionq", "ionq/", "ionq/qpu", "ionq/../jobs"):
        with pytest.raises(BackendError, match="ionq/simulator"):
            create(name)


def test_the_vendors_own_failure_is_told(vendor: IonqServer) -> None:
    vendor.fails = True
    backend = made(NAME)
    with pytest.raises(BackendError, match="the ions have left"):
        run_sync(backend, [backend.prepare(job_of(random_kernel(2, seed=1)))])
