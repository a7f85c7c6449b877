"""What the embedded broker forgets: what was read, between the hops, and nothing else."""

from __future__ import annotations

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from qmosaic.streams.kafka.connect import connection, producing
from qmosaic.streams.kafka.names import group_id, topic_name
from qmosaic.streams.life.retention import READERS, forget
from qmosaic.streams.life.topics import admin, create_topics
from qmosaic.streams.settings import Settings
from qmosaic.streams.topology import STAGES, TOPICS


def test_only_what_lies_between_two_hops_is_forgotten() -> None:
    for topic, reader in READERS.items():
        assert [stage.name for stage in STAGES.values() if topic in stage.reads] == [reader]
    written_at_the_end = set(STAGES["verify"].writes) - set(READERS)  # another round goes to reduce, as the first did
    of_control = set(STAGES["control"].reads) | {"ledger", "control.state"}
    stays = {topic.name for topic in TOPICS} - set(READERS) - of_control
    assert stays == written_at_the_end | {
        "problems",
        "jobs.paid",
        "jobs.submitted",
        "results",
        "backends.status",
        "workers.status",
        "dead-letters",
    }
    assert not of_control & set(READERS)


@pytest.mark.broker
async def test_what_is_read_is_deleted_and_the_rest_stays(broker: str, namespace: str) -> None:
    settings = Settings(broker=broker, namespace=namespace)
    await create_topics(settings)
    group, topics = group_id(settings, "reduce"), ("problems", "problems.encoded", "problems.reduced")
    places = {topic: TopicPartition(topic_name(settings, topic), 0) for topic in topics}
    async with AIOKafkaProducer(**producing(settings)) as producer:
        for place in places.values():
            for k in range(30):
                await producer.send_and_wait(place.topic, b"%d" % k, partition=0)
    consumer = AIOKafkaConsumer(**connection(settings), group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(list(places.values()))
        # A group's word counts only for what is its own to read.
        await consumer.commit({place: OffsetAndMetadata(20, "") for place in places.values()})
        async with admin(settings) as client:
            done = await forget(settings, client, {}, kept=5)
            assert done == {places["problems.encoded"]: 15}
            assert await forget(settings, client, done, kept=5) == done
        begins = await consumer.beginning_offsets(list(places.values()))
    finally:
        await consumer.stop()
    assert {topic: begins[place] for topic, place in places.items()} == {
        "problems": 0,
        "problems.encoded": 15,
        "problems.reduced": 0,
    }
