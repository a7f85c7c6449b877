"""Orders to the control service, and what it has decided: for the commands about policies, budgets and backends."""

from __future__ import annotations

import asyncio
import getpass
import socket
import time
from contextlib import suppress
from typing import Annotated, Any, NoReturn
from uuid import uuid4

import msgspec
import typer
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from qmosaic.codecs.errors import BrokerError, RefusedError
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import COMMAND_SCHEMA, AuditEntry, Command, Order
from qmosaic.codecs.text import shown
from qmosaic.streams.cli.common import OK, connected, emit, run
from qmosaic.streams.kafka.bounded import bounded
from qmosaic.streams.kafka.connect import producing
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.records import headers_of
from qmosaic.streams.kafka.tail import reader, to_end
from qmosaic.streams.settings import Settings

ANSWER_SECONDS = 15.0
WhyOption = Annotated[str, typer.Option("--why", help="The reason, for whoever asks later.", show_default=False)]


def ordered(broker: str | None, as_json: bool, why: str, *orders: Order) -> NoReturn:
    """Give orders, one after the other, and print the answers. Exit code 2: one was refused, the rest not given."""
    settings = connected(broker)

    async def work() -> int:
        for order in orders:
            answer = await give(settings, order, why)
            if as_json:
                emit({"done": True, **answer.detail})
            else:
                typer.echo(shown(answer.detail["said"]))
        return OK

    run(work())


async def give(settings: Settings, order: Order, why: str) -> AuditEntry:
    """Its answer. Raises RefusedError; BrokerError where nobody answers."""
    name, place = uuid4().hex, TopicPartition(topic_name(settings, "audit"), 0)
    command = Command(id=name, who=_who(), why=why, at=time.time(), order=order)
    try:
        async with reader(settings, [place]) as consumer, AIOKafkaProducer(**producing(settings)) as producer:
            consumer.seek(place, (await consumer.end_offsets([place]))[place])
            headers = headers_of(COMMAND_SCHEMA, "/qmosaic/cli", name, [])
            topic = topic_name(settings, "control.commands")
            sent = producer.send_and_wait(topic, wire.encode(command), key=name.encode(), headers=headers)
            await bounded(sent, ANSWER_SECONDS, "sending the command")
            answer = await asyncio.wait_for(_answer(consumer, place, name), ANSWER_SECONDS)
    except TimeoutError:
        raise BrokerError(
            f"control does not answer within {ANSWER_SECONDS:.0f} s",
            place=settings.broker,
            remedy="Is it running? `qmosaic up` starts it, or a worker with --stages control. It may still answer.",
        ) from None
    except (KafkaError, OSError) as error:
        raise BrokerError(f"no broker answers: {error}", place=settings.broker) from None
    if answer.status != "done":
        said = answer.detail
        raise RefusedError(str(said.get("message")), place=str(said.get("place")), remedy=str(said.get("remedy")))
    return answer


async def _answer(consumer: Any, place: TopicPartition, name: str) -> AuditEntry:
    async for record in to_end(consumer, {place: 0}, on=True):
        with suppress(msgspec.MsgspecError, ValueError, RecursionError):
            entry = wire.decode(record.value or b"", AuditEntry)
            if entry.event == "command" and entry.detail.get("command") == name:
                return entry
    raise AssertionError("it is followed for ever")


def _who() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a user without a name
        return f"somebody@{socket.gethostname()}"
