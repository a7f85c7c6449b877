"""AQT's backend against a service that speaks its protocol: the public suite, and every fault."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qmosaic.backends.aqt import Aqt
from qmosaic.backends.base import Backend, run_sync
from qmosaic.backends.registry import create
from qmosaic.backends.testing import CircuitConformance, job_of, random_kernel
from qmosaic.codecs.errors import BackendError
from tests.vendors.aqt import AqtServer
from tests.vendors.device import DeviceConformance
from tests.vendors.faults import QUICK, Faults
from tests.vendors.server import KEY

NAME = "aqt/default/simulator"


@pytest.fixture(autouse=True)
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[AqtServer]:
    with AqtServer() as server:
        monkeypatch.setenv("QMOSAIC_AQT_URL", f"{server.url}/api/v1/")
        monkeypatch.setenv("QMOSAIC_AQT_TOKEN", KEY)
        yield server


def made() -> Aqt:
    backend = Aqt("default/simulator")
    backend.limits = QUICK
    return backend


class TestConformance(CircuitConformance):
    def make(self) -> Backend:
        return made()


class TestCircuits(DeviceConformance):
    def make(self) -> Backend:
        return made()


class TestFaults(Faults):
    name, submit, poll, variable = NAME, "/api/v1/submit", "/api/v1/result/", "QMOSAIC_AQT_TOKEN"


def test_health_prices_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made().health().ok
    assert "default has simulator" in Aqt("default/another").health().message
    monkeypatch.setenv("QMOSAIC_AQT_PRICE", '{"shot": 0.5}')
    backend = made()
    job = job_of(random_kernel(2, seed=1), shots=10)
    assert backend.estimate(job).cost == 5
    (answer,) = run_sync(backend, [backend.prepare(job)])
    assert answer.usage.cost == 5
    for name in ("aqt", "aqt/default", "aqt/../result/x"):
        with pytest.raises(BackendError, match="aqt/default/simulator_noise"):
            create(name)


def test_the_vendors_own_failure_is_told(vendor: AqtServer) -> None:
    vendor.fails = True
    backend = made()
    with pytest.raises(BackendError, match="the ions have left"):
        run_sync(backend, [backend.prepare(job_of(random_kernel(2, seed=1)))])
