"""docker-compose.yml: valid, complete, closed to the outside. (No engine runs here.)"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml
from typer.main import get_command

from tests.servers import ROOT

SCHEMA = ROOT / "tests" / "data" / "compose-spec.json"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def test_is_valid_by_the_specifications_schema() -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.validators.validator_for(schema).check_schema(schema)
    jsonschema.validate(COMPOSE, schema)


def test_every_stage_has_one_service_and_no_service_an_unknown_stage() -> None:
    from qmosaic.streams.topology import STAGES, stages  # it loads the stages, and they JAX

    asked = [stage for command in _commands("worker") for stage in stages(command[command.index("--stages") + 1])]
    assert sorted(asked) == sorted(STAGES)


@pytest.mark.parametrize("name", OURS)
def test_the_command_line_takes_the_command(name: str) -> None:
    from qmosaic.streams.cli.app import app

    command, path = get_command(app), list(OURS[name]["command"])
    while hasattr(command, "commands"):
        command = command.commands[path.pop(0)]
    command.make_context(name, path).close()  # raises UsageError


@pytest.mark.parametrize("name", OURS)
def test_the_settings_take_the_environment(name: str) -> None:
    from qmosaic.streams import settings

    loaded = settings.load(OURS[name]["environment"])
    assert loaded.broker == "kafka:9092"
    assert loaded.otlp_endpoint == "http://jaeger:4318"
    assert (loaded.metrics.host, loaded.metrics.port) == ("0.0.0.0", 9464)  # noqa: S104 - in a network of its own


def test_addresses_in_the_environment_are_services_that_listen() -> None:
    inside = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")
    outside = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split("OUTSIDE://")[1]
    assert "INSIDE://kafka:9092" in inside
    assert SERVICES["kafka"]["ports"] == [f"{outside}:{outside.split(':')[1]}"]


def test_workers_come_back_and_are_given_time_to_drain() -> None:
    workers = [service for service in OURS.values() if service["command"][0] == "worker"]
    assert workers
    for worker in workers:
        assert worker["restart"] == "unless-stopped"
        assert worker["stop_grace_period"] == "30s"
        assert worker["depends_on"]["topics"] == {"condition": "service_completed_successfully"}


def test_ports_are_published_on_loopback_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == 6
    for port in published:
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port


def test_what_is_mounted_is_there() -> None:
    mounts = [volume for service in SERVICES.values() for volume in service.get("volumes", []) if volume[0] == "."]
    assert len(mounts) == 6
    for mount in mounts:
        here, _, options = mount.split(":")
        assert (ROOT / here).exists(), here
        assert options == "ro"


def test_prometheus_asks_every_worker() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())
    (found,) = config["scrape_configs"][0]["dns_sd_configs"]
    workers = [name for name, service in OURS.items() if service["command"][0] == "worker"]
    assert sorted(found["names"]) == sorted(workers)
    assert found["port"] == int(OURS["encode"]["environment"]["QMOSAIC_METRICS__PORT"])
    assert (found["type"], config["rule_files"]) == ("A", ["rules.yml"])


def test_images_are_pinned() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    images = {service["image"] for service in SERVICES.values()} | set(re.findall(r"^FROM (\S+)", dockerfile, re.M))
    assert len(images) == 6
    for image in images:
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+[\w.-]*", image), image


def test_the_image_does_not_run_as_root() -> None:
    users = re.findall(r"^USER (\S+)$", (ROOT / "Dockerfile").read_text(), re.M)
    assert users == ["qmosaic"]


def test_kafka_is_the_version_of_the_tests() -> None:
    pom = (ROOT / "tools" / "kafka" / "pom.xml").read_text()
    (version,) = set(re.findall(r"<artifactId>kafka\S*</artifactId>\s*<version>(\d\S+)</version>", pom))
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version}"


def _commands(verb: str) -> Iterator[list[str]]:
    return (service["command"] for service in OURS.values() if service["command"][0] == verb)
