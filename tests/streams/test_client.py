"""The client, without a broker: what it looks into."""

from __future__ import annotations

import pytest
from aiokafka import ConsumerRecord

from qmosaic.streams.client import Client

TOPIC = "outcomes.accepted"


def record(key: str) -> ConsumerRecord:
    return ConsumerRecord(TOPIC, 0, 7, 0, 0, key.encode(), b"no outcome", None, 0, 0, ())


async def test_what_is_somebody_elses_is_not_even_read(caplog: pytest.LogCaptureFixture) -> None:
    client = Client("127.0.0.1:1")
    waiting = client.expect("mine")
    client._take(TOPIC, record("another's"))
    assert caplog.messages == []
    client._take(TOPIC, record("mine"))
    assert [message.partition(":")[0] for message in caplog.messages] == [f"{TOPIC} 0"]
    assert not waiting.done()
