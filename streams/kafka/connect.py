"""How clients reach the broker, and how large a record may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.helpers import create_ssl_context

from qmosaic.streams.settings import Settings


@dataclass(frozen=True)
class Clients:
    """Who makes the clients of a broker, by their options: aiokafka, or somebody who simulates one."""

    consumer: Callable[..., Any] = AIOKafkaConsumer
    producer: Callable[..., Any] = AIOKafkaProducer
    admin: Callable[..., Any] = AIOKafkaAdminClient


def connection(settings: Settings) -> dict[str, Any]:
    """What every aiokafka client needs to reach the broker."""
    security = settings.security
    options: dict[str, Any] = {"bootstrap_servers": settings.broker, "security_protocol": security.protocol}
    if security.protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": security.sasl_mechanism,
            "sasl_plain_username": security.sasl_username,
            "sasl_plain_password": security.sasl_password,
        }
    if security.protocol.endswith("SSL"):
        options["ssl_context"] = create_ssl_context(cafile=security.ssl_cafile)
    return options


def producing(settings: Settings) -> dict[str, Any]:
    """Options of every producer: idempotent, acknowledged by all replicas, big enough for the limits, compressed."""
    return {
        **connection(settings),
        "acks": "all",
        "enable_idempotence": True,
        "max_request_size": record_bytes(settings),
        "request_timeout_ms": 20_000,
        "compression_type": None if settings.topics.compression == "none" else settings.topics.compression,
    }


def record_bytes(settings: Settings) -> int:
    """The largest record there can be: an event at the limit as a packed model, and room for the rest."""
    packed = settings.limits.couplings * 24 + settings.limits.variables * 16
    return max(settings.limits.event_bytes, packed) + 1024 * 1024


def written_bytes(settings: Settings) -> int:
    """The largest value a record may be written with; what is around it has room besides."""
    return record_bytes(settings) - 64 * 1024
