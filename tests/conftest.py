"""Fixtures that many tests share: a broker, a Kafka that may be killed, a Jaeger, names of one's own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from uuid import uuid4

import hypothesis
import pytest

from qmosaic.streams.life.broker import EmbeddedBroker
from tests.servers import JAEGER_BINARY, KAFKA_LIBS, Jaeger, RealKafka

SUITES = {
    "kafka": "make test-kafka",
    "chaos": "make test-kafka",
    "cluster": "make test-cluster",
    "jaeger": "make test-jaeger",
    "prometheus": "make test-metrics",
    "page": "make test-page",
    "viewer": "make test-viewer",
}
# A machine may be as busy as it likes: no property fails for its time.
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")
_left_out = pytest.StashKey[Counter[str]]()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a broker for the whole run: the embedded one, or a Kafka with QMOSAIC_TEST_BROKER=kafka.

    Both keep what a test wrote until the run ends: take topics under `namespace`.
    """
    directory = tmp_path_factory.mktemp("broker")
    kind = os.environ.get("QMOSAIC_TEST_BROKER", "embedded")
    if kind not in ("embedded", "kafka"):
        raise pytest.UsageError(f"QMOSAIC_TEST_BROKER: expected embedded or kafka, got {kind}")
    if kind == "kafka":
        _need_kafka()
    server = RealKafka(directory) if kind == "kafka" else EmbeddedBroker(directory)
    server.start()
    yield server.address
    server.stop()


@pytest.fixture
def namespace() -> str:
    """A prefix for the topics and groups of one test."""
    return f"t{uuid4().hex[:8]}."


@pytest.fixture
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealKafka]:
    """A Kafka of the test's own, which it may stop, kill and start again."""
    _need_kafka()
    server = RealKafka(tmp_path_factory.mktemp("kafka"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    """A Jaeger for the whole run."""
    if not JAEGER_BINARY.exists():
        pytest.skip("no Jaeger here: make jaeger")
    server = Jaeger(tmp_path_factory.mktemp("jaeger"))
    server.start()
    yield server
    server.stop()


def _need_kafka() -> None:
    if not KAFKA_LIBS.is_dir():
        pytest.skip("no Apache Kafka here: make kafka")


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Remember which suites `-m` left out."""
    for item in items:
        left_out = item.config.stash.setdefault(_left_out, Counter())
        left_out.update({SUITES[mark.name] for mark in item.iter_markers() if mark.name in SUITES})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say it at the end, so that green is not taken for more than it is."""
    for command, count in sorted(config.stash.get(_left_out, Counter()).items()):
        terminalreporter.write_line(f"left out of this run: {count} tests of `{command}`", yellow=True)
