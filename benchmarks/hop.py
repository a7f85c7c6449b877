"""(b) Events per second of one of our hops, of an idiomatic Faust agent and of a bare aiokafka loop.

All three do what encode does, by the same pure function, on the same 500-byte problem events that lie on the
topic when they start: read, validate, encode, publish. Ours is the worker as it is, with its headers, timings and
tracing on; the peers do none of that, and their JSON is orjson's, too. Each is one process, alone, one after the
other on the same embedded broker, four partitions; all read it through `streams.pacing`, without which the embedded
broker keeps a waiting client busy. The rate is from the first output record's timestamp to the last one's. The
best of some rounds counts, each with a broker of its own.

    python -m benchmarks.hop [--events 20000] [--rounds 3] [--quick]
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import faust
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.common import Row, cubic, parser, print_table, tell
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.public import PROBLEM_SCHEMA
from qmosaic.processors.admit import Record
from qmosaic.processors.encode import encode
from qmosaic.streams.kafka import pacing
from qmosaic.streams.life.broker import EmbeddedBroker
from qmosaic.streams.life.supervisor import Supervisor
from qmosaic.streams.life.topics import create_topics
from qmosaic.streams.settings import Settings

GOAL = 2.0
EVENT_BYTES = 500
GRAPHS = 512
"""Distinct problems; their events differ in the id as well."""
OURS, FAUST, BARE = "problems.encoded", "faust.encoded", "bare.encoded"
STALLED_SECONDS = 60.0
LIMITS, DEFAULTS = Settings().limits, Settings().defaults


def event(k: int, problem: dict[str, Any]) -> bytes:
    """A problem event of exactly `EVENT_BYTES`."""
    value = {"schema": PROBLEM_SCHEMA, "id": f"{k:032x}", "family": "maxcut", "problem": problem, "deadline": 600}
    room = EVENT_BYTES - len(wire.dumps({**value, "labels": {"run": ""}}))
    return wire.dumps({**value, "labels": {"run": "x" * room}})


async def fill(address: str, count: int) -> None:
    """Put the events on `problems`."""
    payloads = [cubic(seed).payload() for seed in range(GRAPHS)]
    async with AIOKafkaProducer(bootstrap_servers=address, linger_ms=5) as producer:
        for k in range(count):
            await producer.send("problems", event(k, payloads[k % GRAPHS]), key=f"{k:032x}".encode())


def encoded(record: Any) -> tuple[str, Any] | None:
    """Key and plain value of what follows from a consumed record: the work that all three share."""
    found = encode(
        [Record(record.topic, record.partition, record.offset, record.timestamp, record.value)], LIMITS, DEFAULTS
    )[0]
    return None if found is None else (found.ref.problem_id, msgspec.to_builtins(found))


def faust_agent(address: str, folder: str) -> None:
    """What Faust's own documentation shows: one agent, event by event."""
    app = faust.App(
        "faust-peer",
        broker=f"kafka://{address}",
        web_enabled=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        datadir=folder,
    )
    source = app.topic("problems", value_serializer="raw")  # encode parses the JSON itself
    sink = app.topic(FAUST, value_serializer="json")

    @app.agent(source)
    async def agent(stream: Any) -> None:
        async for event in stream.events():
            found = encoded(event.message)
            if found is not None:
                await sink.send(key=found[0], value=found[1])

    app.finalize()
    faust.Worker(app, loglevel="ERROR", redirect_stdouts=False).execute_from_commandline()


def bare_loop(address: str, folder: str) -> None:
    """Consume, encode, produce; commit after each fetch."""

    async def run() -> None:
        consumer = AIOKafkaConsumer(
            "problems",
            bootstrap_servers=address,
            group_id="bare-peer",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        async with consumer, AIOKafkaProducer(bootstrap_servers=address, linger_ms=5) as producer:
            while True:
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    sent = []
                    for record in records:
                        found = encoded(record)
                        if found is not None:
                            sent.append(await producer.send(BARE, wire.dumps(found[1]), key=found[0].encode()))
                    await asyncio.gather(*sent)
                    await consumer.commit()

    asyncio.run(run())


PEERS: dict[str, Callable[[str, str], None]] = {FAUST: faust_agent, BARE: bare_loop}


@asynccontextmanager
async def peer(name: str, address: str, folder: str) -> AsyncIterator[None]:
    """A peer in a process of its own, for as long as the block lasts."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.hop", "--peer", name, address, folder),
        stdout=asyncio.subprocess.DEVNULL,  # Faust's spinner
    )
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def rate(address: str, topic: str, count: int) -> float:
    """Records per second on a topic, when `count` are there. Raises TimeoutError where no more come."""
    async with AIOKafkaConsumer(bootstrap_servers=address, enable_auto_commit=False) as consumer:
        partitions = [TopicPartition(topic, k) for k in range(Settings().topics.partitions)]
        consumer.assign(partitions)
        there, since = 0, asyncio.get_running_loop().time()
        while there < count:
            await asyncio.sleep(0.25)
            now = sum((await consumer.end_offsets(partitions)).values())
            if now > there:
                there, since = now, asyncio.get_running_loop().time()
            elif asyncio.get_running_loop().time() - since > STALLED_SECONDS:
                raise TimeoutError(f"{topic}: {there} of {count} records")
        stamps = []
        for partition, end in (await consumer.end_offsets(partitions)).items():
            for offset in (0, end - 1):
                consumer.seek(partition, offset)
                stamps.append((await asyncio.wait_for(consumer.getone(partition), 10)).timestamp)
    milliseconds: int = max(stamps) - min(stamps)
    return 1000 * (there - 1) / milliseconds


async def measure(count: int) -> dict[str, float]:
    """Events per second by output topic, in one round."""
    rates = {}
    with tempfile.TemporaryDirectory(prefix="qmosaic-bench-") as folder:
        broker = EmbeddedBroker(Path(folder) / "broker")
        broker.start()
        try:
            settings = Settings(broker=broker.address, data_dir=folder, spans_dir=str(Path(folder) / "spans"))
            await create_topics(settings)
            admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
            await admin.start()
            await admin.create_topics([NewTopic(name, settings.topics.partitions, 1) for name in PEERS])
            await admin.close()
            await fill(broker.address, count)
            async with Supervisor(settings, ["encode"], create=False, logs=Path(folder) / "logs", tell=tell):
                rates[OURS] = await rate(broker.address, OURS, count)
            for name in PEERS:
                async with peer(name, broker.address, folder):
                    rates[name] = await rate(broker.address, name, count)
        finally:
            broker.stop()
    return rates


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parser("events per second of one hop")
    options.add_argument("--events", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--peer", nargs=3, metavar=("TOPIC", "BROKER", "FOLDER"), help="be that peer")
    given = options.parse_args(arguments)
    pacing.install()
    if given.peer:
        PEERS[given.peer[0]](*given.peer[1:])
        return
    count, rounds = (3000, 1) if given.quick else (given.events, given.rounds)
    all_rates = [asyncio.run(measure(count)) for _ in range(rounds)]
    for k, rates in enumerate(all_rates):
        tell(f"round {k + 1}: {', '.join(f'{name} {value:.0f}' for name, value in rates.items())}")
    best = {name: max(rates[name] for rates in all_rates) for name in all_rates[0]}
    against_faust = Row("Faust agent", best[OURS], best[FAUST])
    rows = [
        against_faust.judged(f"ratio ≥ {GOAL:g}", against_faust.ratio >= GOAL),
        Row("bare aiokafka loop", best[OURS], best[BARE]),
    ]
    print_table("(b) one hop (encode), events/s", "our worker", "peer", rows)


if __name__ == "__main__":
    main()
