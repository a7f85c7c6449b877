"""Google's backend against a gRPC service that speaks its protocol: the public suite, and every fault."""

from __future__ import annotations

import asyncio

import pytest

from qmosaic.backends.base import run_sync
from qmosaic.backends.conformance.samples import CircuitConformance, asymmetric_job, job_of, random_kernel
from qmosaic.backends.registry import create
from qmosaic.codecs.errors import BackendError
from tests.vendors.device import DeviceConformance
from tests.vendors.faults import Faults, Made, made, serving
from tests.vendors.google import GoogleServer

NAME = "google/willow_pink"


vendor = serving(GoogleServer)


class TestConformance(Made, CircuitConformance):
    name = NAME


class TestCircuits(Made, DeviceConformance):
    name = NAME


class TestFaults(Faults):
    name, submit, poll, variable = NAME, "CreateQuantumJob", "GetQuantumJob", "QMOSAIC_GOOGLE_TOKEN"


def test_sent_again_under_its_name_it_is_still_one(vendor: GoogleServer) -> None:
    backend = made(NAME)
    prepared = backend.prepare(asymmetric_job())

    async def twice() -> list[str]:
        return [await backend.submit(prepared, "qm-1") for _ in range(2)]

    assert asyncio.run(twice()) == ["projects/p/programs/qm-1/jobs/qm-1"] * 2
    assert len(vendor.jobs) == 1


def test_health_names_and_failures(vendor: GoogleServer) -> None:
    assert made(NAME).health().ok
    assert made(NAME).capabilities.max_qubits == 105
    for name in ("google", "google/sycamore_mauve"):
        with pytest.raises(BackendError, match="google/willow_pink"):
            create(name)
    vendor.fails = True
    backend = made(NAME)
    with pytest.raises(BackendError, match="the qubits have warmed up"):
        run_sync(backend, [backend.prepare(job_of(random_kernel(2, seed=1)))])
