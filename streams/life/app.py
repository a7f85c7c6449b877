"""The Faust app of a stage: names explicit, no web server, no tables, no discovery, manual topics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faust
from faust.types import EventT

from qmosaic.streams.kafka import pacing
from qmosaic.streams.kafka.connect import record_bytes
from qmosaic.streams.kafka.names import group_id
from qmosaic.streams.kafka.records import Received
from qmosaic.streams.kafka.transport import CommittedTransport, Inbound, Tables, Transport
from qmosaic.streams.settings import Settings
from qmosaic.streams.topology import Stage

BUFFER = 64  # events on their way from Faust's consumer to the agent


def faust_app(settings: Settings, stage: Stage, instance: str) -> faust.App:
    """The Faust app of a stage: names explicit, no web server, no tables, no discovery, manual topics."""
    data = Path(settings.data_dir) / "faust"
    data.mkdir(parents=True, exist_ok=True)
    security = settings.security
    credentials: Any = None
    if security.protocol.startswith("SASL"):
        from faust.auth import SASLCredentials

        credentials = SASLCredentials(
            mechanism=security.sasl_mechanism,
            username=security.sasl_username,
            password=security.sasl_password,
            ssl_context=_ssl(settings) if security.protocol == "SASL_SSL" else None,
        )
    elif security.protocol == "SSL":
        from faust.auth import SSLCredentials

        credentials = SSLCredentials(context=_ssl(settings))
    app = faust.App(
        group_id(settings, stage.name),
        broker=[f"kafka://{address.strip()}" for address in settings.broker.split(",")],
        broker_credentials=credentials,
        autodiscover=False,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        key_serializer="raw",
        value_serializer="raw",
        consumer_group_instance_id=instance,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=record_bytes(settings),
        broker_session_timeout=6.0,
        # the embedded broker ends no session: a heartbeat only says that others have come or gone
        broker_heartbeat_interval=3.0 if pacing.rings() else 1.0,
        broker_commit_interval=1.0,
        broker_max_poll_interval=600.0,
        stream_wait_empty=False,
        stream_buffer_maxsize=BUFFER,
        datadir=data / instance,
        TableManager=Tables,
        Monitor=Inbound,
    )
    kind = CommittedTransport if stage.committed else Transport
    app.transport = kind(app.conf.broker_consumer, app)
    return app


def _ssl(settings: Settings) -> Any:
    from aiokafka.helpers import create_ssl_context

    return create_ssl_context(cafile=settings.security.ssl_cafile)


def received(event: EventT[Any], now: float) -> Received:
    """A message of Faust's, received at `now`."""
    message = event.message
    headers: Any = message.headers.items() if isinstance(message.headers, dict) else message.headers or ()
    known: dict[str, Any] = {key: value for key, value in headers if value is not None}
    place = message.topic, message.partition, message.offset, message.timestamp
    return Received(*place, message.value, known, now, key=message.key)


def reader_of(app: faust.App) -> Any:
    """The client in the thread of the app's consumer; None where it has none yet: to ask for `app.consumer` makes one,
    in the thread of who asks."""
    return getattr(getattr(app._consumer, "_thread", None), "_consumer", None)
