"""What each process gets of the environment."""

from __future__ import annotations

import msgspec
import pytest

from qmosaic.backends.registry import BUILT_IN
from qmosaic.codecs.errors import SettingsError
from qmosaic.streams.life.environment import OF_VENDORS, QUIET, of_process, of_worker
from qmosaic.streams.settings import Settings
from qmosaic.streams.topology import PAID, STAGES

NEEDED = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "LC_ALL": "C.UTF-8",
    "XDG_CACHE_HOME": "/cache",
    "PYTHONPATH": "/src",
    "OMP_NUM_THREADS": "2",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "CUDA_VISIBLE_DEVICES": "0",
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=hush",
    "https_proxy": "http://proxy:3128",
}
OF_A_VENDOR = {
    "QMOSAIC_AQT_TOKEN": "hush",
    "QMOSAIC_GOOGLE_TOKEN_FILE": "/run/secrets/google",
    "QMOSAIC_IONQ_API_KEY": "hush",
    "QMOSAIC_IONQ_PRICE": "{}",
    "GOOGLE_APPLICATION_CREDENTIALS": "/home/me/key.json",
    "CLOUDSDK_CONFIG": "/home/me/gcloud",
}
FOREIGN = {
    "AWS_SECRET_ACCESS_KEY": "hush",
    "GITHUB_TOKEN": "hush",
    "QMOSAIC_SECURITY__SASL_PASSWORD": "hush",  # comes down the lifeline
    "QMOSAIC_SETTINGS": "/etc/qmosaic.toml",
    "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    "XPATH": "begins otherwise",
}
ALL = {**NEEDED, **OF_A_VENDOR, **FOREIGN, "QMOSAIC_BELL": "/run/qm-x"}


@pytest.mark.parametrize("stage", STAGES)
def test_a_worker_gets_what_it_needs_and_vendors_keys_only_where_jobs_are_paid(stage: str) -> None:
    expected = {**NEEDED, "QMOSAIC_BELL": "/run/qm-x", "PYTHONWARNINGS": QUIET}
    assert of_worker(ALL, stage, Settings()) == (expected | OF_A_VENDOR if stage == PAID else expected)


def test_the_broker_gets_neither_keys_nor_the_bell() -> None:
    assert of_process(ALL) == NEEDED


def test_warnings_that_are_set_stay() -> None:
    assert of_worker({"PYTHONWARNINGS": "error"}, "encode", Settings())["PYTHONWARNINGS"] == f"error,{QUIET}"


def test_more_can_be_named_for_a_stage() -> None:
    settings = msgspec.structs.replace(Settings(), environment={"execute": ("ACME_*",), "encode,route": ("LICENSE",)})
    more = {"ACME_TOKEN": "t", "ACME_URL": "u", "LICENSE": "l", "LICENSE_2": "no"}
    got = {stage: {*of_worker(more, stage, settings)} - {"PYTHONWARNINGS"} for stage in STAGES}
    assert {stage for stage in STAGES if got[stage] == {"ACME_TOKEN", "ACME_URL"}} == {
        stage for stage in STAGES if stage.startswith("execute.")
    }
    assert got["encode"] == got["route"] == {"LICENSE"}
    assert got["verify"] == got["reduce"] == set()
    with pytest.raises(SettingsError, match="no stage is called 'exceute'"):
        of_worker({}, "encode", msgspec.structs.replace(Settings(), environment={"exceute": ()}))


def test_every_vendors_variables_are_known() -> None:
    """Whoever adds a vendor adds them."""
    vendors = [name for name, entry in BUILT_IN.items() if "cloud" in entry.about or "Engine" in entry.about]
    assert vendors == ["aqt", "google", "ionq"]
    assert {f"QMOSAIC_{name.upper()}_*" for name in vendors} <= set(OF_VENDORS)
