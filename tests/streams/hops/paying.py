"""Jobs that are paid for: how route sends them, what is read of the stage, and waits that are short."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from qmosaic.backends.base import Job
from qmosaic.backends.clouds.job import Waits
from qmosaic.backends.conformance.samples import asymmetric_job
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.hops import JobEvent, Proposal, Ref, Route
from qmosaic.codecs.models.kernel import pack_kernel
from qmosaic.streams.kafka.connect import producing
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.settings import Settings

NAME = "ionq/simulator"
LIMITS = Waits(
    lease_seconds=1.0,
    skew_seconds=0.25,
    request_seconds=3.0,
    poll_seconds=0.05,
    ask_seconds=0.05,
    grace_seconds=5.0,
    look_seconds=1.0,
)


def event_of(
    problem: str, seconds: float = 60.0, backend: str = NAME, shots: int = 1000, job: Job | None = None
) -> JobEvent:
    """A job for the stage, as route makes it."""
    job, now = job or asymmetric_job(), time.time()
    ref = Ref(
        problem_id=problem,
        partition=0,
        offset=0,
        family="ising",
        digest="",
        tenant="",
        priority="normal",
        target="quantum",
        shots=shots,
        seed=job.seed,
        received_at=now,
        deadline_at=now + seconds,
    )
    return JobEvent(
        ref=ref,
        job_id="0-0-1",
        attempt=1,
        route=Route(target="quantum", backend=backend, reason="rule", rule=""),
        kernel=pack_kernel(job.kernel),
        kernel_digest="asymmetric",
        work_seconds=0.1,
        gammas=job.gammas.tolist(),
        betas=job.betas.tolist(),
    )


async def send(settings: Settings, event: JobEvent) -> None:
    """As route sends it."""
    async with AIOKafkaProducer(**producing(settings)) as producer:
        await producer.send_and_wait(
            topic_name(settings, "jobs.paid"), wire.encode(event), key=event.ref.problem_id.encode()
        )


@asynccontextmanager
async def reading(settings: Settings, topic: str) -> AsyncIterator[Any]:
    """`await seen(test)` of a topic: the first record from now on that passes."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.broker, fetch_max_wait_ms=20)
    await consumer.start()
    consumer.assign([TopicPartition(topic_name(settings, topic), number) for number in range(2)])
    await consumer.seek_to_end()

    async def seen(test: Any) -> Any:
        async with asyncio.timeout(60):
            async for record in consumer:
                if test(record.value):
                    return record.value
        raise AssertionError("the topic has ended")

    try:
        yield seen
    finally:
        await consumer.stop()


async def proposal(proposed: Any, problem: str) -> Proposal:
    """What the stage says of a problem."""
    return wire.decode(await proposed(lambda value: problem.encode() in value), Proposal)
