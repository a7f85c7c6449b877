"""Google's backend against a gRPC service that speaks its protocol: the public suite, and every fault."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from qmosaic.backends.base import Backend, run_sync
from qmosaic.backends.google import Google
from qmosaic.backends.registry import create
from qmosaic.backends.testing import CircuitConformance, asymmetric_job, job_of, random_kernel
from qmosaic.codecs.errors import BackendError
from tests.vendors.device import DeviceConformance
from tests.vendors.faults import QUICK, Faults
from tests.vendors.google import GoogleServer
from tests.vendors.server import KEY

NAME = "google/willow_pink"


@pytest.fixture(autouse=True)
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleServer]:
    with GoogleServer() as server:
        monkeypatch.setenv("QMOSAIC_GOOGLE_URL", server.url)
        monkeypatch.setenv("QMOSAIC_GOOGLE_TOKEN", KEY)
        monkeypatch.setenv("QMOSAIC_GOOGLE_PROJECT", "p")
        yield server


def made() -> Google:
    backend = Google("willow_pink")
    backend.limits = QUICK
    return backend


class TestConformance(CircuitConformance):
    def make(self) -> Backend:
        return made()


class TestCircuits(DeviceConformance):
    def make(self) -> Backend:
        return made()


class TestFaults(Faults):
    name, submit, poll, variable = NAME, "CreateQuantumJob", "GetQuantumJob", "QMOSAIC_GOOGLE_TOKEN"


def test_sent_again_under_its_name_it_is_still_one(vendor: GoogleServer) -> None:
    backend = made()
    prepared = backend.prepare(asymmetric_job())

    async def twice() -> list[str]:
        return [await backend.submit(prepared, "qm-1") for _ in range(2)]

    assert asyncio.run(twice()) == ["projects/p/programs/qm-1/jobs/qm-1"] * 2
    assert len(vendor.jobs) == 1


def test_health_names_and_failures(vendor: GoogleServer) -> None:
    assert made().health().ok
    assert made().capabilities.max_qubits == 105
    for name in ("google", "google/sycamore_mauve"):
        with pytest.raises(BackendError, match="google/willow_pink"):
            create(name)
    vendor.fails = True
    backend = made()
    with pytest.raises(BackendError, match="the qubits have warmed up"):
        run_sync(backend, [backend.prepare(job_of(random_kernel(2, seed=1)))])
