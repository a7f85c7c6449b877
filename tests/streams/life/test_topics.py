"""Making the topics, on whichever broker runs the tests."""

from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from qmosaic.codecs.errors import BrokerError
from qmosaic.streams.life import topics as admin
from qmosaic.streams.settings import Settings, Topics
from qmosaic.streams.topology import TOPICS
from tests.streams.harness import settings_for

pytestmark = pytest.mark.broker


def late(monkeypatch: pytest.MonkeyPatch, answers: int) -> None:
    """As in a cluster: a broker that has not heard of the newest topics answers the first questions."""
    describe = AIOKafkaAdminClient.describe_topics
    left = [answers]

    async def described(client: AIOKafkaAdminClient, topics: list[str]) -> list[Any]:
        found = await describe(client, topics)
        left[0] -= 1
        return [{"topic": entry["topic"], "partitions": []} for entry in found] if left[0] >= 0 else found

    monkeypatch.setattr(AIOKafkaAdminClient, "describe_topics", described)


async def test_topics_just_made_are_waited_for(broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_for(broker, tmp_path)
    late(monkeypatch, 3)
    made = await admin.create_topics(settings)
    assert len(made) == len(TOPICS)
    assert all(row["partitions"] for row in await admin.show_topics(settings))
    assert await admin.create_topics(settings) == []


async def test_the_wait_ends(broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late(monkeypatch, 1000)
    monkeypatch.setattr(admin, "PATIENCE", 2.0)
    with pytest.raises(BrokerError, match="has 0 partitions"):
        await admin.create_topics(settings_for(broker, tmp_path))


async def test_other_numbers_of_partitions_are_refused_at_once(broker: str, tmp_path: Path) -> None:
    settings = settings_for(broker, tmp_path)
    await admin.create_topics(settings)
    other = Settings(broker=broker, namespace=settings.namespace, topics=Topics(partitions=3))
    with pytest.raises(BrokerError, match="has 2 partitions, not 3"):
        await admin.create_topics(other)
