"""The embedded broker as a process, and what the verifier counts on, on whichever broker runs the tests."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import ProducerFenced
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.structs import OffsetAndMetadata

from qmosaic.codecs.errors import BrokerError
from qmosaic.streams.life import broker as module
from qmosaic.streams.life.broker import HOST, EmbeddedBroker, answers
from tests.servers import RealKafka

MEBIBYTE = 1024 * 1024


# The process


def test_starts_stops_and_keeps_its_records(tmp_path: Path) -> None:
    first = EmbeddedBroker(tmp_path)
    assert first.poll() is None
    first.start()
    try:
        assert first.poll() is None
        asyncio.run(_produce(first.address, "kept", [b"1", b"2"]))
    finally:
        first.stop()
    assert first.poll() == 0
    assert not answers(HOST, first.port)
    first.stop()  # once more does no harm

    second = EmbeddedBroker(tmp_path)
    second.start()
    try:
        assert asyncio.run(_end(second.address, "kept")) == 2
    finally:
        second.stop()


def test_its_files_are_its_users_alone_and_its_last_words_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    others, before = set(psutil.Process().children()), os.umask(0)
    broker = EmbeddedBroker(tmp_path / "broker")
    try:
        for _ in range(2):
            broker.start()
            new = set(psutil.Process().children()) - others
            (process,) = [child for child in new if child.name() == "noida-db"]
            assert "hush" not in process.environ().values()
            asyncio.run(_produce(broker.address, "kept", [b"1"]))
            broker.stop()
    finally:
        broker.stop()
        os.umask(before)
    paths = [broker.data_dir, *broker.data_dir.iterdir()]
    assert {path.name for path in paths} >= {"kafka.json", "broker.log", "broker.log.1"}
    assert [path for path in paths if path.stat().st_mode & 0o077] == []


def test_says_that_the_port_is_taken(tmp_path: Path) -> None:
    first = EmbeddedBroker(tmp_path / "a")
    first.start()
    try:
        with pytest.raises(BrokerError, match=r"port .* in use.*Name another port"):
            EmbeddedBroker(tmp_path / "b", first.port).start()
    finally:
        first.stop()


def test_reports_the_last_words_of_a_broker_that_ends_at_once(tmp_path: Path) -> None:
    first = EmbeddedBroker(tmp_path)
    first.start()
    try:
        with pytest.raises(BrokerError, match=r"ended at once with status 1.*already running"):
            EmbeddedBroker(tmp_path).start()
    finally:
        first.stop()


def test_says_what_to_do_without_the_binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = ModuleSpec("noida_db", None, origin=str(tmp_path / "__init__.py"))
    for found in (None, empty):
        monkeypatch.setattr(module, "find_spec", lambda _, found=found: found)
        with pytest.raises(BrokerError, match="pip install noida-db"):
            EmbeddedBroker(tmp_path / "data").start()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_outlives_a_terminals_interrupt_but_not_its_parent(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from qmosaic.streams.life.broker import EmbeddedBroker\n"
        "b = EmbeddedBroker(Path(sys.argv[1])); b.start()\n"
        "try: print('up', flush=True); time.sleep(600)\n"
        "except KeyboardInterrupt: print('interrupted', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, start_new_session=True
    ) as parent:
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"up\n"
            (child,) = psutil.Process(parent.pid).children()
            os.killpg(parent.pid, signal.SIGINT)  # what Ctrl-C does to the terminal's processes
            assert parent.stdout.readline() == b"interrupted\n"
            assert child.status() != psutil.STATUS_ZOMBIE
        finally:
            parent.kill()
        child.wait(10)  # TimeoutExpired if it stays behind


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has threads of a niceness of their own")
def test_saving_comes_behind_the_workers(tmp_path: Path) -> None:
    before = set(psutil.Process().children())  # another test's broker, perhaps
    broker = EmbeddedBroker(tmp_path)
    broker.start()
    try:
        (child,) = set(psutil.Process().children()) - before
        threads = {task.name: (task / "comm").read_text().strip() for task in Path(f"/proc/{child.pid}/task").iterdir()}
        niceness = {int(name): os.getpriority(os.PRIO_PROCESS, int(name)) for name in threads}
        saving = [int(name) for name, called in threads.items() if called == module.SAVING_THREAD]
        assert [niceness.pop(name) for name in saving] == [module.SAVING_NICENESS]
        assert set(niceness.values()) == {os.getpriority(os.PRIO_PROCESS, 0)}
        # Niceness counts within a session alone.
        assert os.getsid(child.pid) == os.getsid(0)
    finally:
        broker.stop()


# What the verifier counts on


@pytest.mark.broker
async def test_read_committed_sees_neither_open_nor_aborted_records(broker: str, namespace: str) -> None:
    topic = await _topic(broker, namespace)
    partition = TopicPartition(topic, 0)
    async with _producer(broker, transactional_id=namespace) as producer:
        async with producer.transaction():
            await producer.send_and_wait(topic, b"committed", partition=0)
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted", partition=0)
        await producer.abort_transaction()
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"open", partition=0)
        async with _consumer(broker, isolation_level="read_committed") as consumer:
            consumer.assign([partition])
            await consumer.seek_to_beginning()
            # The end is the last stable offset, behind the aborted record and its marker and before the
            # open one; the position reaches it although no record is handed out there.
            end = (await consumer.end_offsets([partition]))[partition]
            assert end == 4
            assert [record.value for record in await _read_to(consumer, partition, end)] == [b"committed"]
            assert await consumer.position(partition) == end
        await producer.abort_transaction()


@pytest.mark.broker
async def test_metadata_of_offsets_committed_in_a_transaction_comes_back(broker: str, namespace: str) -> None:
    topic, group = await _topic(broker, namespace), f"{namespace}group"
    partition = TopicPartition(topic, 0)
    kept = OffsetAndMetadata(7, '{"read outcomes from":"é42"}' + "." * 4000)
    async with _producer(broker, transactional_id=namespace) as producer:
        async with producer.transaction():
            await producer.send_offsets_to_transaction({partition: kept}, group)
        await producer.begin_transaction()
        await producer.send_offsets_to_transaction({partition: OffsetAndMetadata(9, "aborted")}, group)
        await producer.abort_transaction()
    async with _admin(broker) as admin:
        assert await admin.list_consumer_group_offsets(group) == {partition: kept}


@pytest.mark.broker
async def test_a_new_owner_of_a_transactional_id_fences_the_old(broker: str, namespace: str) -> None:
    topic = await _topic(broker, namespace)
    async with _producer(broker, transactional_id=namespace) as old:
        await old.begin_transaction()
        await old.send_and_wait(topic, b"old", partition=0)
        async with _producer(broker, transactional_id=namespace) as new:
            with pytest.raises(ProducerFenced):
                await old.commit_transaction()
            async with new.transaction():
                await new.send_and_wait(topic, b"new", partition=0)
    async with _consumer(broker, isolation_level="read_committed") as consumer:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning()
        end = (await consumer.end_offsets([partition]))[partition]
        assert [record.value for record in await _read_to(consumer, partition, end)] == [b"new"]


@pytest.mark.broker
async def test_a_static_member_comes_back_to_its_partitions_and_can_leave(broker: str, namespace: str) -> None:
    topic, group = await _topic(broker, namespace, partitions=4), f"{namespace}group"
    first, second = await _member(broker, topic, group, "a"), await _member(broker, topic, group, "b")
    try:
        await _poll_until(lambda: [len(c.rebalances[-1]) for c in (first, second)] == [2, 2], first, second)
        owned, before = second.rebalances[-1], len(first.rebalances)

        await second.stop()  # aiokafka says no goodbye for a static member
        second = await _member(broker, topic, group, "b")
        await _poll_until(lambda: second.rebalances[-1] == owned, first, second)
        assert len(first.rebalances) == before, "the other member was disturbed"

        # What aiokafka leaves out, version 1 of LeaveGroup does: by member id, static or not.
        coordinator = second._coordinator
        await coordinator._send_req(LeaveGroupRequest(group, coordinator.member_id))
        await second.stop()
        await _poll_until(lambda: len(first.rebalances[-1]) == 4, first)
    finally:
        await first.stop()
        await second.stop()


@pytest.mark.broker
async def test_a_waiting_fetch_is_woken_by_a_new_record(broker: str, namespace: str) -> None:
    topic = await _topic(broker, namespace)
    async with _consumer(broker, fetch_max_wait_ms=30_000) as consumer, _producer(broker) as producer:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()
        waiting = asyncio.create_task(consumer.getone())
        await asyncio.sleep(0.5)  # the fetch is at the broker by now
        await producer.send_and_wait(topic, b"wake", partition=0)
        assert (await asyncio.wait_for(waiting, 15)).value == b"wake"


@pytest.mark.broker
async def test_records_arrive_as_they_were_sent(broker: str, namespace: str) -> None:
    settings = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(10 * MEBIBYTE)}
    topic = await _topic(broker, namespace, settings=settings)
    headers, big = [("ce_id", b"1"), ("empty", b""), ("utf8", "é".encode())], b"z" * (8 * MEBIBYTE + 1000)
    before = int(time.time() * 1000)
    async with _producer(broker, max_request_size=10 * MEBIBYTE) as producer:
        await producer.send_and_wait(topic, None, key=b"k", headers=headers, partition=0, timestamp_ms=1)
        await producer.send_and_wait(topic, b"", partition=0)
        await producer.send_and_wait(topic, big, partition=0)
    async with _consumer(broker) as consumer:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning()
        records = await _read_to(consumer, partition, 3)
    assert [(r.key, r.value) for r in records] == [(b"k", None), (None, b""), (None, big)]
    assert list(records[0].headers) == headers
    assert records[0].timestamp_type == 1
    assert records[0].timestamp >= before - 1000, "the broker's clock, not the sender's"


@pytest.mark.broker
async def test_a_topic_with_settings_the_broker_does_not_know_is_refused(broker: str, namespace: str) -> None:
    async with _admin(broker) as admin:
        answer = await admin.create_topics([NewTopic(namespace, 1, 1, topic_configs={"retention.ms": "soon"})])
        assert answer.topic_errors[0][1] == 40  # INVALID_CONFIG
        assert namespace not in await admin.list_topics()


@pytest.mark.kafka
async def test_kafka_aborts_a_transaction_that_outlives_its_timeout(kafka: RealKafka, namespace: str) -> None:
    """Not so the embedded broker, which waits for ever: there only the next owner of the id aborts it."""
    topic = await _topic(kafka.address, namespace)
    partition = TopicPartition(topic, 0)
    async with _producer(kafka.address, transactional_id="t", transaction_timeout_ms=1000) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"late", partition=0)
        async with _consumer(kafka.address, isolation_level="read_committed") as consumer:
            consumer.assign([partition])
            await consumer.seek_to_beginning()
            async with asyncio.timeout(60):
                while (end := (await consumer.end_offsets([partition]))[partition]) == 0:
                    assert not await consumer.getmany(timeout_ms=200)
            assert await _read_to(consumer, partition, end) == []
        with pytest.raises(ProducerFenced):
            await producer.commit_transaction()


@pytest.mark.kafka
async def test_kafka_comes_back_from_a_crash_with_its_records(kafka: RealKafka) -> None:
    await _topic(kafka.address, "kept")
    await _produce(kafka.address, "kept", [b"1", b"2", b"3"])
    kafka.kill()
    assert not answers(HOST, kafka.port)
    kafka.start()
    assert await _end(kafka.address, "kept") == 3


@asynccontextmanager
async def _producer(address: str, **options: Any) -> AsyncIterator[Any]:
    producer = AIOKafkaProducer(bootstrap_servers=address, **options)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


@asynccontextmanager
async def _consumer(address: str, **options: Any) -> AsyncIterator[Any]:
    consumer = AIOKafkaConsumer(bootstrap_servers=address, enable_auto_commit=False, **options)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


@asynccontextmanager
async def _admin(address: str) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def _topic(address: str, name: str, partitions: int = 1, settings: dict[str, str] | None = None) -> str:
    async with _admin(address) as admin:
        answer = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=settings or {})])
        assert [code for _, code, _ in answer.topic_errors] == [0], answer
    return name


async def _produce(address: str, topic: str, values: list[bytes]) -> None:
    async with _producer(address) as producer:
        for value in values:
            await producer.send_and_wait(topic, value, partition=0)


async def _end(address: str, topic: str) -> int:
    async with _consumer(address) as consumer:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        return int((await consumer.end_offsets([partition]))[partition])


async def _read_to(consumer: Any, partition: TopicPartition, end: int) -> list[Any]:
    """The records up to the position `end`."""
    records: list[Any] = []
    async with asyncio.timeout(30):
        while await consumer.position(partition) < end:
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                records += batch
    return records


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self) -> None:
        self.seen: list[set[TopicPartition]] = [set()]

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        pass

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.seen.append(assigned)


async def _member(address: str, topic: str, group: str, instance: str) -> Any:
    """A static member of `group`; its assignments so far are in its attribute `rebalances`."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=address,
        group_id=group,
        group_instance_id=instance,
        session_timeout_ms=10_000,
        heartbeat_interval_ms=500,
        enable_auto_commit=False,
    )
    listener = _Listener()
    consumer.rebalances = listener.seen
    consumer.subscribe([topic], listener=listener)
    await consumer.start()
    return consumer


async def _poll_until(done: Any, *consumers: Any) -> None:
    async with asyncio.timeout(60):
        while not done():
            await asyncio.gather(*(consumer.getmany(timeout_ms=100) for consumer in consumers))
