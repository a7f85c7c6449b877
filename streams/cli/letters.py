"""`qmosaic dead-letters`: what hops could not handle: list it, look at it, put it back to where it came from."""

from __future__ import annotations

import asyncio
import sys
import time
from base64 import b64decode
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
import typer
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from rich.text import Text

from qmosaic.codecs.errors import BrokerError, RefusedError, SettingsError
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import AuditEntry, DeadLetter
from qmosaic.codecs.events.hops import Ref
from qmosaic.codecs.text import choose, shown
from qmosaic.processors.control.letters import order_of, original_of, ref_of, why_not
from qmosaic.processors.control.orders import Refused
from qmosaic.streams.cli.common import USAGE, BrokerOption, JsonOption, connected, emit, fail, say, waited
from qmosaic.streams.cli.orders import WhyOption, ordered
from qmosaic.streams.cli.render import MOST_IN_A_CELL, console
from qmosaic.streams.cli.times import moment, seconds_of
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.outcomes import TERMINAL
from qmosaic.streams.kafka.records import CLOCK_SECONDS, Received
from qmosaic.streams.kafka.repeats import seek_since
from qmosaic.streams.kafka.tail import missing, reader, to_end
from qmosaic.streams.life.letters import unfit
from qmosaic.streams.life.topics import partitions_of
from qmosaic.streams.settings import Settings
from qmosaic.streams.topology import STAGES, TOPICS

letters_app = typer.Typer(help="Internal events that a hop could not handle.", no_args_is_help=True)

T = TypeVar("T")
PATIENCE = 60.0
MOST_SHOWN = 2000
"""Characters of a record that are shown; `--json` has all of it."""
IdArgument = Annotated[str, typer.Argument(help="Of a letter, as `list` shows it.", metavar="ID")]
SinceOption = Annotated[str, typer.Option("--since", help="How far back to look, e.g. `15m`, `2h`, `7d`.")]
StageOption = Annotated[str | None, typer.Option("--stage", help="Of this stage only.")]


class Resent(NamedTuple):
    """That a letter was put back: when (seconds since the epoch), by whom, and why."""

    at: float
    who: str
    why: str


class Letter(NamedTuple):
    """One letter: its `name` (partition and offset), what it says, whose it is, and how often it was put back."""

    name: str
    said: DeadLetter
    ref: Ref | None
    resent: tuple[Resent, ...]

    def brief(self) -> dict[str, Any]:
        """As `list --json` tells it."""
        said, ref = self.said, self.ref
        return {
            "id": self.name,
            "at": said.at,
            "stage": said.stage,
            "topic": said.topic,
            "partition": said.partition,
            "offset": said.offset,
            "error": said.error,
            "problem": ref.problem_id if ref is not None else None,
            "tenant": ref.tenant if ref is not None else None,
            "resent": [one._asdict() for one in self.resent],
        }


@letters_app.command("list", epilog="Example: qmosaic dead-letters list --since 1d --stage reduce")
def list_letters(
    since: SinceOption = "7d",
    stage: StageOption = None,
    limit: Annotated[int, typer.Option("--limit", help="The newest so many.", min=1, max=100_000)] = 50,
    broker: BrokerOption = None,
    as_json: JsonOption = False,
) -> None:
    """When, where and why events were put aside, the newest last; whether they were put back."""
    settings = connected(broker)
    found = _of_stage(_found(settings, since), stage)
    newest = found[-limit:]
    if as_json:
        for one in newest:
            emit(one.brief())
        return
    if not newest:
        typer.echo(f"nothing was put aside in the last {since}")
        return
    out = console()
    for one in newest:
        said = one.said
        where = f"{shown(said.stage, 20)}  {shown(_topic(settings, said), 30)}/{said.partition} {said.offset}"
        head = Text.assemble((f"{one.name:7}", "bold"), f"  {moment(said.at)}  {where}")
        head.append(f"  resent {moment(one.resent[-1].at)[5:]}" if one.resent else "", style="yellow")
        for line in (head, Text(f"         {shown(said.error, MOST_IN_A_CELL)}")):
            line.no_wrap, line.overflow = True, "ellipsis"
            out.print(line)
    if len(found) > limit:
        out.print(Text(f"and {len(found) - limit} older ones: --limit", style="dim"))


@letters_app.command("show", epilog="Example: qmosaic dead-letters show 2-17")
def show(
    letter: IdArgument, since: SinceOption = "30d", broker: BrokerOption = None, as_json: JsonOption = False
) -> None:
    """One letter: the error, the record's headers, and its value as far as it is text. Exit code 2: there is none."""
    settings = connected(broker)
    one = _named(_found(settings, since), letter)
    said, value = one.said, original_of(one.said)
    headers = {name: _text(_decoded(value)) for name, value in said.headers}
    if as_json:
        more = {"key": said.key, "headers": headers, "original": said.original, "truncated": said.truncated}
        emit({**one.brief(), **more})
        return
    out = console()

    def line(name: str, text: str) -> None:
        out.print(Text.assemble((f"{name:9} ", "bold"), shown(text, MOST_SHOWN)))

    line("letter", one.name)
    line("when", f"{moment(said.at)} UTC")
    line("stage", said.stage)
    line("from", f"{said.topic}/{said.partition}, offset {said.offset}")
    line("error", said.error)
    if one.ref is not None:
        line("problem", f"{shown(one.ref.problem_id, 100)}  of {shown(one.ref.tenant, 60)}")
    for each in one.resent:
        line("resent", f"{moment(each.at)} UTC by {each.who}: {each.why}")
    if said.key is not None:
        line("key", _text(_decoded(said.key)))
    for name, text in headers.items():
        line("header", f"{shown(name, 60)}: {shown(text, 200)}")
    cut = ", of which this letter has the beginning" if said.truncated else ""
    line("value", f"{len(value)} bytes{cut}")
    out.print(Text(shown(_text(value[: 4 * MOST_SHOWN]), MOST_SHOWN)))


@letters_app.command("resend", epilog="Example: qmosaic dead-letters resend 2-17 --why 'mended in 0.2'")
def resend(
    why: WhyOption,
    letter: Annotated[str | None, typer.Argument(help="Of a letter, as `list` shows it.", metavar="ID")] = None,
    all_of: Annotated[str | None, typer.Option("--all-of", metavar="STAGE", help="All that a stage put aside.")] = None,
    since: SinceOption = "7d",
    force: Annotated[bool, typer.Option("--force", help="Also what nothing good may come of.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    broker: BrokerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a record back to the topic that it came from, with its key and headers; the audit says who did it, and why.

    Exit code 2: it was refused. With --all-of, those that are of no use are passed over, and said.
    """
    if (letter is None) == (all_of is None):
        fail(SettingsError("name one letter, or --all-of a stage", remedy="`list` has the ids."), USAGE)
    settings = connected(broker)
    there = _found(settings, since)
    chosen = [_named(there, letter)] if letter is not None else _of_stage(there, all_of)
    reasons = waited(_bounded(_reasons(settings, chosen, force), settings))
    orders = []
    for one in chosen:
        refused = reasons[one.name]
        if refused is None:
            orders.append(order_of(one.name, one.said, _topic(settings, one.said)))
        elif letter is not None:
            fail(RefusedError(refused.message, place=f"{one.name} {refused.place}", remedy=refused.remedy), USAGE)
        else:
            say(f"passed over {one.name}: {refused.message}. {refused.remedy}")
    if not orders:
        say(f"nothing to resend of {all_of}")
        return
    if not yes:
        _ask(f"Put {len(orders)} record{'s' if len(orders) > 1 else ''} back?")
    ordered(broker, as_json, why, *orders)


def _ask(question: str) -> None:
    """Ends where the answer is no, or where nobody can be asked."""
    if not sys.stdin.isatty():
        fail(SettingsError("nobody is there to be asked", place="--yes", remedy="Say --yes."), USAGE)
    if not typer.confirm(question, err=True):
        raise typer.Exit(USAGE)


def _of_stage(found: Sequence[Letter], stage: str | None) -> list[Letter]:
    if stage is not None and stage not in STAGES:
        fail(
            SettingsError(f"no stage is called {shown(stage, 60)}", place="--stage", remedy=choose(stage, STAGES)),
            USAGE,
        )
    return [one for one in found if stage in (None, one.said.stage)]


def _named(found: Sequence[Letter], name: str) -> Letter:
    known = {one.name: one for one in found}
    if name not in known:
        near = choose(name, list(known)[-20:]) if known else "There are none; --since looks further back."
        fail(SettingsError(f"there is no dead letter {name[:60]}", place="ID", remedy=near), USAGE)
    return known[name]


def _found(settings: Settings, since: str) -> list[Letter]:
    age = seconds_of(since)
    if age is None:
        fail(SettingsError(f"cannot read --since {since!r}", place="--since", remedy="Write 15m, 2h or 7d."), USAGE)
    return waited(_bounded(read_letters(settings, time.time() - age), settings))


async def _bounded(work: Awaitable[T], settings: Settings) -> T:
    """What comes of it. Raises BrokerError where no broker answers."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await work
    except (KafkaError, OSError, TimeoutError) as error:
        raise BrokerError(f"no broker answers: {error}", place=settings.broker) from None


async def read_letters(settings: Settings, since: float) -> list[Letter]:
    """All from a time on, the oldest first. Raises BrokerError, KafkaError, OSError, TimeoutError."""
    topic = next(one for one in TOPICS if one.name == "dead-letters")
    name = topic_name(settings, topic.name)
    places = [TopicPartition(name, k) for k in range(partitions_of(settings, topic))]
    found: list[tuple[str, DeadLetter]] = []
    async with reader(settings, places, isolation="read_uncommitted") as consumer:
        if name not in await consumer.topics():
            raise missing(name, settings)
        ends = await consumer.end_offsets(places)
        await seek_since(consumer, places, since)
        async for record in to_end(consumer, ends):
            with suppress(msgspec.MsgspecError, ValueError, RecursionError):
                found.append((f"{record.partition}-{record.offset}", wire.decode(record.value or b"", DeadLetter)))
    resent = await _resent(settings, since) if found else {}
    found.sort(key=lambda one: one[1].at)
    return [Letter(name, said, ref_of(said), tuple(resent.get(name, ()))) for name, said in found]


async def _resent(settings: Settings, since: float) -> dict[str, list[Resent]]:
    """By letter, when it was put back, as the audit says."""
    place, found = TopicPartition(topic_name(settings, "audit"), 0), dict[str, list[Resent]]()
    async with reader(settings, [place]) as consumer:
        ends = await consumer.end_offsets([place])
        await seek_since(consumer, [place], since)
        async for record in to_end(consumer, ends):
            if b'"letter.resend"' not in (record.value or b""):
                continue
            with suppress(msgspec.MsgspecError, ValueError, RecursionError):
                entry = wire.decode(record.value, AuditEntry)
                if (entry.event, entry.status) == ("command", "done"):
                    said = entry.detail
                    one = Resent(entry.at, str(said.get("who")), str(said.get("why")))
                    found.setdefault(str(said.get("letter")), []).append(one)
    return found


async def _reasons(settings: Settings, letters: Sequence[Letter], force: bool) -> dict[str, Refused | None]:
    """By letter, why it is not put back."""
    ended = await _ended(settings, [one.ref for one in letters if one.ref is not None]) if letters else {}
    now = time.time()
    found = {}
    for one in letters:
        said, ref = one.said, one.ref
        place = said.topic, said.partition, said.offset, said.at
        wrong = unfit(Received(*place, original_of(said), received_at=now), settings)
        last = f"{moment(one.resent[-1].at)} UTC by {one.resent[-1].who}" if one.resent else None
        found[one.name] = why_not(
            said,
            _topic(settings, said),
            None if wrong is None else str(wrong),
            now=now,
            ended=ended.get((ref.partition, ref.offset)) if ref is not None else None,
            resent=last,
            force=force,
        )
    return found


async def _ended(settings: Settings, refs: Iterable[Ref]) -> Mapping[tuple[int, int], str]:
    """How problems have ended, by where they arrived."""
    wanted = {(ref.partition, ref.offset): ref.received_at for ref in refs}
    found: dict[tuple[int, int], str] = {}
    if not wanted:
        return found
    names = {topic_name(settings, name): name for name in TERMINAL}
    partitions = sorted({number for number, _ in wanted if 0 <= number < settings.topics.partitions})
    places = [TopicPartition(name, number) for name in names for number in partitions]
    async with reader(settings, places) as consumer:
        ends = await consumer.end_offsets(places)
        await seek_since(consumer, places, min(wanted.values()) - CLOCK_SECONDS)
        async for record in to_end(consumer, ends):
            with suppress(KeyError, ValueError, TypeError):
                source = record.partition, int(dict(record.headers)["ce_sourceoffset"])
                if source in wanted:
                    found[source] = names[record.topic].partition(".")[2]
    return found


def _topic(settings: Settings, said: DeadLetter) -> str:
    """The topic that its record came from, without the namespace."""
    return said.topic.removeprefix(topic_name(settings, ""))


def _decoded(text: str) -> bytes:
    with suppress(ValueError):
        return b64decode(text)
    return b""


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")
