"""AQT's backend against a service that speaks its protocol: the public suite, and every fault."""

from __future__ import annotations

import pytest

from qmosaic.backends.base import run_sync
from qmosaic.backends.conformance.samples import CircuitConformance, job_of, random_kernel
from qmosaic.backends.registry import create
from qmosaic.codecs.errors import BackendError
from tests.vendors.aqt import AqtServer
from tests.vendors.device import DeviceConformance
from tests.vendors.faults import Faults, Made, made, serving

NAME = "aqt/default/simulator"


vendor = serving(AqtServer)


class TestConformance(Made, CircuitConformance):
    name = NAME


class TestCircuits(Made, DeviceConformance):
    name = NAME


class TestFaults(Faults):
    name, submit, poll, variable = NAME, "/api/v1/submit", "/api/v1/result/", "QMOSAIC_AQT_TOKEN"


def test_health_prices_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(NAME).health().ok
    assert "default has simulator" in made("aqt/default/another").health().message
    monkeypatch.setenv("QMOSAIC_AQT_PRICE", '{"shot": 0.5}')
    backend = made(NAME)
    job = job_of(random_kernel(2, seed=1), shots=10)
    assert backend.estimate(job).cost == 5
    (answer,) = run_sync(backend, [backend.prepare(job)])
    assert answer.usage.cost == 5
    for name in ("aqt", "aqt/default", "aqt/../result/x"):
        with pytest.raises(BackendError, match="aqt/default/simulator_noise"):
            create(name)


def test_the_vendors_own_failure_is_told(vendor: AqtServer) -> None:
    vendor.fails = True
    backend = made(NAME)
    with pytest.raises(BackendError, match="the ions have left"):
        run_sync(backend, [backend.prepare(job_of(random_kernel(2, seed=1)))])
