"""Making the topics, and looking at them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from qmosaic.codecs.errors import BrokerError
from qmosaic.streams.kafka.connect import connection, record_bytes
from qmosaic.streams.kafka.names import group_id, topic_name
from qmosaic.streams.settings import Settings
from qmosaic.streams.topology import TOPICS, Topic

PATIENCE = 30.0
SESSION_SECONDS = 8.0
"""After which a member that was killed is none any more: see `broker_session_timeout` of the workers."""
SHORT_SECONDS = 600


@asynccontextmanager
async def admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connected admin client. Raises BrokerError where no broker answers."""
    client = AIOKafkaAdminClient(**connection(settings), request_timeout_ms=10_000)
    try:
        await asyncio.wait_for(client.start(), PATIENCE)
    except (KafkaError, OSError, TimeoutError) as error:
        with suppress(Exception):
            await client.close()
        raise BrokerError(
            f"no broker answers at {settings.broker}: {error}",
            remedy="Start one, or name another with --broker HOST:PORT (QMOSAIC_BROKER).",
        ) from None
    try:
        yield client
    finally:
        with suppress(TimeoutError):
            await asyncio.wait_for(client.close(), 5)


BY_BROKERS_CLOCK = ("problems", "jobs.priced", "jobs.ended", "control.commands")
"""Deadlines and windows of budgets count from the broker's clock: producers' clocks are not ours to trust."""


def config_of(settings: Settings, topic: Topic) -> dict[str, str]:
    """The topic's settings on the broker."""
    seconds = SHORT_SECONDS if topic.retention == "short" else settings.topics.retention_seconds
    kept = topic.retention in ("for ever", "compacted")
    config = {"retention.ms": "-1" if kept else str(seconds * 1000), "max.message.bytes": str(record_bytes(settings))}
    if topic.retention == "compacted":
        config["cleanup.policy"] = "compact"
    if topic.name in BY_BROKERS_CLOCK:
        config["message.timestamp.type"] = "LogAppendTime"
    return config


def partitions_of(settings: Settings, topic: Topic) -> int:
    """How many partitions a topic has."""
    return topic.partitions or settings.topics.partitions


async def create_topics(settings: Settings) -> list[str]:
    """Create what is missing; the names created. Raises BrokerError where one is there with other partitions."""
    async with admin(settings) as client:
        there = set(await client.list_topics())
        missing = [topic for topic in TOPICS if topic_name(settings, topic.name) not in there]
        if missing:
            response = await client.create_topics(
                [
                    NewTopic(
                        topic_name(settings, topic.name),
                        partitions_of(settings, topic),
                        settings.topics.replication,
                        topic_configs=config_of(settings, topic),
                    )
                    for topic in missing
                ]
            )
            for name, code, *_ in response.topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    raise BrokerError(f"cannot create topic {name}: {for_code(code).__name__}", place=settings.broker)
        for row in await _once_made(client, settings, missing):
            if row["joined"] and row["partitions"] != settings.topics.partitions:
                raise BrokerError(
                    f"topic {row['topic']} has {row['partitions']} partitions, not {settings.topics.partitions}",
                    remedy="The topics verify joins have equal partitions: set topics.partitions, or use a namespace.",
                )
        return [topic_name(settings, topic.name) for topic in missing]


async def refuse_a_second(settings: Settings, workers: Mapping[str, str], tell: Callable[[str], None]) -> None:
    """Workers of these names (and their stages) must not be at work already: they would fence each other for ever.

    Those of a pipeline that was killed are still members of their groups until their session is over: they are waited
    for. Raises BrokerError.
    """
    groups = {group_id(settings, stage) for stage in workers.values()}
    names = tuple(f"{group_id(settings, instance)}-" for instance in workers)  # Kafka adds a UUID to a static member's
    until = time.monotonic() + SESSION_SECONDS
    told = False
    async with admin(settings) as client:
        while True:
            try:
                # One at a time: aiokafka 0.14 reads the third version of the answer by the form of the second, and
                # loses its way behind the first group.
                described = [
                    each for group in sorted(groups) for each in await client.describe_consumer_groups([group])
                ]
            except KafkaError as error:  # a Kafka that is new has no coordinator of groups yet
                if time.monotonic() > until + PATIENCE:
                    raise BrokerError(
                        f"who is at work there cannot be found out: {error}", place=settings.broker
                    ) from None
                await asyncio.sleep(0.5)
                continue
            members = [member[0] for response in described for group in response.groups for member in group[5]]
            there = sorted(member for member in members if member.startswith(names))
            if not there:
                return
            if time.monotonic() > until:
                raise BrokerError(
                    f"a pipeline runs there already: {there[0][:-37]} is at work",
                    place=settings.broker,
                    remedy="Use that one, stop it, or name another namespace; `qmosaic worker` adds workers to it.",
                )
            if not told:
                told = True
                tell(f"there are workers of the same names; waiting {SESSION_SECONDS:.0f} s for their end")
            await asyncio.sleep(0.5)


async def show_topics(settings: Settings) -> list[dict[str, Any]]:
    """Every topic: name, partitions (0: not there), retention in seconds, key, schema."""
    async with admin(settings) as client:
        return await _describe(client, settings)


async def _once_made(client: AIOKafkaAdminClient, settings: Settings, made: Sequence[Topic]) -> list[dict[str, Any]]:
    """Every topic, when the broker that answers has heard of those just made: the cluster tells it a little later. The
    last answer, if it has not within `PATIENCE`."""
    expected = {topic_name(settings, topic.name): partitions_of(settings, topic) for topic in made}
    until = time.monotonic() + PATIENCE
    while True:
        rows = await _describe(client, settings)
        late = any(row["partitions"] < expected.get(row["topic"], 0) for row in rows)
        if not late or time.monotonic() > until:
            return rows
        await asyncio.sleep(0.1)


def _retention_seconds(settings: Settings, topic: Topic) -> int | None:
    """None: for ever."""
    milliseconds = int(config_of(settings, topic)["retention.ms"])
    return None if milliseconds < 0 else milliseconds // 1000


async def _describe(client: AIOKafkaAdminClient, settings: Settings) -> list[dict[str, Any]]:
    names = [topic_name(settings, topic.name) for topic in TOPICS]
    described = {entry["topic"]: entry for entry in await client.describe_topics(names)}
    rows = []
    for topic, name in zip(TOPICS, names, strict=True):
        entry = described.get(name, {})
        rows.append(
            {
                "topic": name,
                "partitions": len(entry.get("partitions", ())),
                "retention_seconds": _retention_seconds(settings, topic),
                "key": topic.key,
                "schema": topic.schema,
                "joined": topic.joined,
            }
        )
    return rows
