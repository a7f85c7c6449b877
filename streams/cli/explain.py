"""`qmosaic explain`: what was decided about a problem, and why; or, of one that waits, where and behind how many."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

import msgspec
import typer
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from rich.markup import escape
from rich.table import Table

from qmosaic.codecs.errors import BrokerError, SettingsError
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import AuditEntry
from qmosaic.codecs.events.hops import Weighed
from qmosaic.codecs.events.public import Outcome, Rejection
from qmosaic.codecs.text import shown
from qmosaic.processors.control.books import reservation_text
from qmosaic.processors.control.explain import CANDIDATE, ROUTE, weighed_text
from qmosaic.streams.cli.common import FAILED, OK, USAGE, BrokerOption, JsonOption, connected, emit, fail, run
from qmosaic.streams.cli.orders import read_ledger
from qmosaic.streams.cli.render import console
from qmosaic.streams.cli.times import seconds_of
from qmosaic.streams.kafka.names import group_id, topic_name
from qmosaic.streams.kafka.outcomes import TERMINAL, read_terminal
from qmosaic.streams.kafka.repeats import seek_since
from qmosaic.streams.kafka.tail import reader, to_end
from qmosaic.streams.life.topics import admin, partitions_of
from qmosaic.streams.settings import Settings
from qmosaic.streams.topology import STAGES, TOPICS

PATIENCE = 60.0
STAGES_ON_THE_WAY = [stage for stage in STAGES.values() if stage.name not in ("verify", "control")]


def explain(
    problem_id: Annotated[str, typer.Argument(help="The id of a problem.")],
    since: Annotated[str, typer.Option("--since", help="How far back to look, e.g. `15m`, `2h`, `7d`.")] = "1d",
    broker: BrokerOption = None,
    as_json: JsonOption = False,
) -> None:
    """What was decided about a problem, and why; where it waits, if it does. Exit code 1: nothing is known of it."""
    settings, age = connected(broker), seconds_of(since)
    if age is None:
        fail(SettingsError(f"cannot read --since {since!r}", place="--since", remedy="Write 15m, 2h or 7d."), USAGE)

    async def work() -> int:
        try:
            async with asyncio.timeout(PATIENCE):
                said = await explained(settings, problem_id, time.time() - age)
        except (KafkaError, OSError, TimeoutError) as error:
            raise BrokerError(f"the broker stopped answering: {error}", place=settings.broker) from None
        if as_json:
            emit(said)
        else:
            _show(said)
        return OK if said["state"] != "unknown" else FAILED

    run(work())


async def explained(settings: Settings, problem_id: str, since: float) -> dict[str, Any]:
    """All that the topics tell of a problem. Raises BrokerError, KafkaError, TimeoutError."""
    said: dict[str, Any] = {"problem": problem_id, "state": "unknown"}
    partitions = range(settings.topics.partitions)
    places = [TopicPartition(topic_name(settings, name), k) for name in TERMINAL for k in partitions]
    async for record in _of(settings, places, since, problem_id):
        event = read_terminal(settings, record)
        if isinstance(event, Outcome) and event.problem_id == problem_id:
            said |= {"state": "ended", "status": event.status, "reason": event.reason}
            said |= {"backend": event.backend, "route_reason": event.route_reason, "policy": event.policy or ""}
            said["tried"] = msgspec.to_builtins(event.tried or [])
            said["timings"], said["trace_id"] = msgspec.to_builtins(event.timings), event.trace_id
        elif isinstance(event, Rejection) and event.problem_id == problem_id:
            said |= {"state": "ended", "status": "rejected", "reason": event.code, "message": event.message}
    audits = [TopicPartition(topic_name(settings, "audit"), k) for k in partitions]
    said["audit"] = []
    async for record in _of(settings, audits, since, problem_id):
        with suppress(msgspec.MsgspecError, ValueError, RecursionError):
            entry = wire.decode(record.value or b"", AuditEntry)
            if entry.problem_id == problem_id:
                said["audit"].append({"event": entry.event, "reason": entry.reason, "at": entry.at, **entry.detail})
                if entry.event == "settled":
                    said["considered"] = entry.detail.get("considered", {})
                    said["rule"] = entry.detail.get("rule")
                    said["weighed"], said["explores"] = entry.detail.get("weighed"), entry.detail.get("explores")
                    said["message"] = entry.detail.get("failure")
    _, entries = await read_ledger(settings)
    mine = [entry for entry in entries if entry.problem_id == problem_id]
    said["ledger"] = [{"event": one.event, "at": one.at, "amounts": reservation_text(one.amounts)} for one in mine]
    if said["state"] == "unknown":
        said |= await _waiting(settings, problem_id, since)
    return said


async def _of(
    settings: Settings, places: list[TopicPartition], since: float, problem_id: str
) -> AsyncIterator[ConsumerRecord]:
    """Committed records under the problem's id, from a time on."""
    key = problem_id.encode()
    async with reader(settings, places) as consumer:
        ends = await consumer.end_offsets(places)
        await seek_since(consumer, places, since)
        async for record in to_end(consumer, ends):
            if record.key == key:
                yield record


async def _waiting(settings: Settings, problem_id: str, since: float) -> dict[str, Any]:
    """In which stage's input it lies that has not been taken, behind how many others, and whose they are."""
    for stage in reversed(STAGES_ON_THE_WAY):
        (topic,) = stage.reads
        name = topic_name(settings, topic)
        async with admin(settings) as client:
            offsets = await client.list_consumer_group_offsets(group_id(settings, stage.name))
        of_topic = next(one for one in TOPICS if one.name == topic)
        places = [TopicPartition(name, k) for k in range(partitions_of(settings, of_topic))]
        async with reader(settings, places) as consumer:
            begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
            before: dict[TopicPartition, list[str]] = {place: [] for place in places}
            for place in places:
                committed = offsets[place].offset if place in offsets else -1
                consumer.seek(place, max(begins[place], committed))
            async for record in to_end(consumer, ends):
                place = TopicPartition(record.topic, record.partition)
                found = _whose(record)
                if found is not None and found[0] == problem_id:
                    ahead = before[place]
                    return {
                        "state": "waiting",
                        "stage": stage.name,
                        "behind": len(ahead),
                        "of_its_tenant": ahead.count(found[1]),
                        "tenant": found[1],
                        "seconds_left": round(found[2] - time.time(), 1) if found[2] else None,
                    }
                before[place].append(found[1] if found is not None else "")
    return await _under_way(settings, problem_id, since)


async def _under_way(settings: Settings, problem_id: str, since: float) -> dict[str, Any]:
    """It is open where its record is there and no end of it is: a worker has it in hand, or verify waits for others."""
    places = [TopicPartition(topic_name(settings, "problems"), k) for k in range(settings.topics.partitions)]
    async with reader(settings, places) as consumer:
        ends = await consumer.end_offsets(places)
        await seek_since(consumer, places, since)
        async for record in to_end(consumer, ends):
            default = f"{record.topic}-{record.partition}-{record.offset}"
            if (wire.claimed_id(record.value) or default) == problem_id:
                return {"state": "under way", "since": record.timestamp / 1000}
    return {"state": "unknown"}


class _Ref(msgspec.Struct):
    problem_id: str = ""
    tenant: str = ""
    deadline_at: float = 0.0


class _Event(msgspec.Struct):
    ref: _Ref | None = None
    id: str | None = None
    tenant: str = "default"


_events = msgspec.json.Decoder(_Event)


def _whose(record: ConsumerRecord) -> tuple[str, str, float] | None:
    """Id, tenant and deadline of an event, internal or a problem."""
    try:
        event = _events.decode(record.value or b"")
    except (msgspec.MsgspecError, RecursionError):
        return None
    if event.ref is not None:
        return event.ref.problem_id, event.ref.tenant, event.ref.deadline_at
    return event.id or f"{record.topic}-{record.partition}-{record.offset}", event.tenant, 0.0


def _show(said: dict[str, Any]) -> None:
    out = console()

    def line(text: str) -> None:
        out.print(f"  {escape(shown(text, 500))}", highlight=False)

    out.print(f"[bold]{escape(shown(said['problem'], 200))}[/]  {escape(shown(_state(said)))}", highlight=False)
    if said["state"] == "waiting":
        line(f"behind {said['behind']} others, {said['of_its_tenant']} of them of its tenant {said['tenant']}")
        if said["seconds_left"] is not None:
            line(f"{said['seconds_left']} s are left to its deadline")
    reason = said.get("route_reason")
    if reason:
        rule = f" ({said['rule']})" if said.get("rule") else ""
        line(f"{reason}{rule}: {ROUTE.get(reason, '')}; policy {said['policy']}")
    considered = said.get("considered") or {}
    if considered:
        table = Table("backend", "why", box=None, pad_edge=False, header_style="bold")
        for name, why in considered.items():
            because = f"{why}: {CANDIDATE.get(why, '')}{_evidence(said, name)}"
            table.add_row(escape(shown(name)), escape(shown(because, 300)))
        out.print(table)
    if isinstance(said.get("explores"), float):
        line(f"of the {100 * said['explores']:.3g} % that find out what pays")
    for number, one in enumerate(said.get("tried", ()), 1):
        seconds = f", {one['seconds']:.3g} s" if one.get("seconds") is not None else ""
        cost = f", ${one['cost_usd']:g}" if one.get("cost_usd") is not None else ""
        because = f": {one['message']}" if one.get("message") else ""
        line(f"attempt {number}: {one['backend']} {one['ended']}{seconds}{cost}{because}")
    for one in said["audit"]:
        if one["event"] in ("refused", "soft_limit", "overrun", "duplicate", "put_aside"):
            line(f"{one['event']}: {one.get('said') or one['reason']}")
    for one in said["ledger"]:
        line(f"ledger: {one['event']} {one['amounts']}")
    if said.get("message"):
        line(said["message"])
    if said.get("trace_id"):
        line(f"qmosaic trace {said['trace_id']}")


def _evidence(said: dict[str, Any], name: str) -> str:
    """What was known of a backend when it was decided about, where evidence decided."""
    with suppress(msgspec.ValidationError, AttributeError):  # whoever may write to the audit may write anything
        one = (said.get("weighed") or {}).get(name)
        return f"; {weighed_text(msgspec.convert(one, Weighed))}" if one is not None else ""
    return ""


def _state(said: dict[str, Any]) -> str:
    match said["state"]:
        case "ended":
            return f"{said['status']}: {said['reason']}, {said.get('timings', {}).get('total', 0):.3g} s"
        case "waiting":
            return f"waits for {said['stage']}"
        case "under way":
            return f"is under way, for {time.time() - said['since']:.1f} s"
    return "nothing is known of it: --since looks further back"
