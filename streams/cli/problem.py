"""`qmosaic problem`: one problem's whole story, from all topics: its end, its way, why, what is in the audit."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from difflib import get_close_matches
from typing import Annotated, Any

import msgspec
import typer
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qmosaic.codecs.errors import BrokerError, SettingsError
from qmosaic.codecs.events.public import Outcome, Rejection
from qmosaic.codecs.text import LONGEST_NAME, shown
from qmosaic.streams.cli.common import FAILED, OK, USAGE, BrokerOption, JsonOption, connected, emit, fail, run, say
from qmosaic.streams.cli.explain import PATIENCE, show_line, show_state, show_why
from qmosaic.streams.cli.letters import Letter, read_letters
from qmosaic.streams.cli.render import console
from qmosaic.streams.cli.times import moment, seconds_of
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.outcomes import TERMINAL
from qmosaic.streams.kafka.repeats import seek_since
from qmosaic.streams.kafka.tail import reader, to_end
from qmosaic.streams.observe.answers import answer_of
from qmosaic.streams.observe.story import story_of
from qmosaic.streams.settings import Settings

MOST_IDS = 2000
"""The latest ids, among which those that are like an unknown one are looked for."""


def problem(
    problem_id: Annotated[str, typer.Argument(help="The id of a problem.")],
    since: Annotated[str, typer.Option("--since", help="How far back to look, e.g. `15m`, `2h`, `7d`.")] = "1d",
    jaeger: Annotated[
        str | None, typer.Option("--jaeger", metavar="URL", help="Jaeger's address, for a link to the trace.")
    ] = None,
    broker: BrokerOption = None,
    as_json: JsonOption = False,
) -> None:
    """One problem's whole story: its end or where it waits, timings, decision, attempts, audit, ledger, dead letters,
    trace. Exit code 1: nothing is known of it."""
    settings, age = connected(broker), seconds_of(since)
    if age is None:
        fail(SettingsError(f"cannot read --since {since!r}", place="--since", remedy="Write 15m, 2h or 7d."), USAGE)
    begin = time.time() - age

    async def work() -> int:
        try:
            async with asyncio.timeout(2 * PATIENCE):
                said, end, _ = await story_of(settings, problem_id, begin)
                letters = [one for one in await read_letters(settings, begin) if _is_of(one, problem_id)]
                near = await _near(settings, problem_id, begin) if said["state"] == "unknown" else []
        except (KafkaError, OSError, TimeoutError) as error:
            raise BrokerError(f"the broker stopped answering: {error}", place=settings.broker) from None
        link = f"{jaeger.rstrip('/')}/trace/{said['trace_id']}" if jaeger and said.get("trace_id") else None
        if as_json:
            more = {"outcome": msgspec.to_builtins(end), "letters": [one.brief() for one in letters]}
            emit({**said, **more, "link": link, "near": near})
        elif said["state"] == "unknown":
            guess = f" Did you mean {', '.join(near)}?" if near else ""
            remedy = "--since looks further back; `qmosaic outcomes --json` has the ids."
            say(f"error: nothing is known of {problem_id[:200]}.{guess} {remedy}")
        else:
            _show(console(), said, end, letters, link)
        return OK if said["state"] != "unknown" else FAILED

    run(work())


def _is_of(letter: Letter, problem_id: str) -> bool:
    return letter.ref is not None and letter.ref.problem_id == problem_id


async def _near(settings: Settings, problem_id: str, since: float) -> list[str]:
    """Up to three ids of problems that have ended which are like this one, or hold it."""
    places = [
        TopicPartition(topic_name(settings, name), k) for name in TERMINAL for k in range(settings.topics.partitions)
    ]
    keys: deque[str] = deque(maxlen=MOST_IDS)
    async with reader(settings, places) as consumer:
        ends = await consumer.end_offsets(places)
        await seek_since(consumer, places, since)
        async for record in to_end(consumer, ends):
            keys.append((record.key or b"")[: 4 * LONGEST_NAME].decode(errors="replace"))
    holding = [key for key in dict.fromkeys(keys) if problem_id in key]
    like = get_close_matches(problem_id, dict.fromkeys(keys)) if len(problem_id) <= LONGEST_NAME else []
    return [*holding, *(key for key in like if key not in holding)][:3]


def _show(
    out: Console, said: dict[str, Any], end: Outcome | Rejection | None, letters: list[Letter], link: str | None
) -> None:
    def heading(text: str) -> None:
        out.print(Text(text, style="bold"))

    show_state(out, said)
    if isinstance(end, Rejection):
        show_line(out, f"{end.place}: {end.message}")
        show_line(out, end.remedy)
    elif end is not None:
        _show_end(out, end)
    if said.get("route_reason") or said.get("tried") or said.get("considered"):
        heading("why there")
        show_why(out, said)
        if said.get("message"):
            show_line(out, said["message"])
    if said["audit"]:
        heading("audit")
    for one in sorted(said["audit"], key=lambda one: float(one["at"])):
        why = one.get("said") or one.get("message") or one["reason"]
        show_line(out, f"{moment(one['at'])}  {one['event']}: {why}")
    if said["ledger"]:
        heading("ledger")
    for one in said["ledger"]:
        show_line(out, f"{moment(one['at'])}  {one['event']} {one['amounts']}")
    if letters:
        heading("dead letters")
    for letter in letters:
        show_line(out, f"{moment(letter.said.at)}  {letter.name} of {letter.said.stage}: {letter.said.error}")
        show_line(out, f"qmosaic dead-letters show {letter.name}")
    if said.get("trace_id"):
        heading("trace")
        show_line(out, f"qmosaic trace {said['trace_id']}")
    if link is not None:
        out.print(Text(f"  {shown(link, 500)}", overflow="fold"))


def _show_end(out: Console, end: Outcome) -> None:
    """The answer, what it gained, and how long each hop had it."""
    baseline = end.baseline.objective if end.baseline is not None else None
    gain = f", baseline {baseline:g}, improvement {end.improvement or 0:g}" if baseline is not None else ""
    if end.objective is not None:
        show_line(out, f"{end.family}, {end.sense}: {end.objective:.10g}{gain}")
    for text in (*answer_of(end), *end.notes[:5]):
        show_line(out, text)
    table = Table("hop", "waited", "worked", box=None, pad_edge=False, header_style="bold")
    for hop, one in end.timings.hops.items():
        table.add_row(Text(shown(hop, 40)), f"{one.queue:.3f} s", f"{one.work:.3f} s")
    out.print(table)
