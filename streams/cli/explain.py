"""`qmosaic explain`: what was decided about a problem, and why; or, of one that waits, where and behind how many."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from difflib import get_close_matches
from typing import Annotated, Any

import msgspec
import typer
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from qmosaic.codecs.errors import BrokerError, SettingsError
from qmosaic.codecs.events.hops import Weighed
from qmosaic.codecs.text import LONGEST_NAME, shown
from qmosaic.processors.control.explain import CANDIDATE, ROUTE, weighed_text
from qmosaic.streams.cli.common import FAILED, OK, USAGE, BrokerOption, JsonOption, connected, emit, fail, run, say
from qmosaic.streams.cli.render import console
from qmosaic.streams.cli.times import seconds_of
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.outcomes import TERMINAL
from qmosaic.streams.kafka.repeats import seek_since
from qmosaic.streams.kafka.tail import reader, to_end
from qmosaic.streams.observe.story import explained
from qmosaic.streams.settings import Settings

PATIENCE = 60.0
MOST_IDS = 2000
"""The latest ids, among which those that are like an unknown one are looked for."""
MOST_ATTEMPTS_SHOWN = 12


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
                like = await near(settings, problem_id, time.time() - age) if said["state"] == "unknown" else []
        except (KafkaError, OSError, TimeoutError) as error:
            raise BrokerError(f"the broker stopped answering: {error}", place=settings.broker) from None
        if as_json:
            emit(said)
        elif said["state"] == "unknown":
            say_unknown(problem_id, like)
        else:
            _show(said, trace_line(settings, said))
        return OK if said["state"] != "unknown" else FAILED

    run(work())


def trace_line(settings: Settings, said: dict[str, Any]) -> str | None:
    """How to see its trace; None: none that is kept anywhere is known of here."""
    trace_id = said.get("trace_id")
    if not trace_id or not (settings.spans_dir or settings.otlp_endpoint):
        return None
    return f"qmosaic trace {trace_id}" + ("" if settings.spans_dir else " --jaeger URL")


def say_unknown(problem_id: str, like: list[str]) -> None:
    """Nothing is known of an id; perhaps it is one of these."""
    guess = f" Did you mean {', '.join(like)}?" if like else ""
    remedy = "--since looks further back; `qmosaic outcomes` has the ids."
    say(f"error: nothing is known of {problem_id[:200]}.{guess} {remedy}")


async def near(settings: Settings, problem_id: str, since: float) -> list[str]:
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


def _show(said: dict[str, Any], trace: str | None) -> None:
    out = console()
    show_state(out, said)
    show_why(out, said)
    for one in said["audit"]:
        if one["event"] in ("refused", "soft_limit", "overrun", "duplicate", "put_aside"):
            show_line(out, f"{one['event']}: {one.get('said') or one['reason']}")
    for one in said["ledger"]:
        show_line(out, f"ledger: {one['event']} {one['amounts']}")
    if said.get("message"):
        show_line(out, said["message"])
    if trace is not None:
        show_line(out, trace)


def show_line(out: Console, text: str) -> None:
    """One line, and what is left of it where it is long, indented."""
    out.print(Padding(Text(shown(text, 500)), (0, 0, 0, 2), expand=False))


def show_state(out: Console, said: dict[str, Any]) -> None:
    """How it ended, or where it waits, and behind how many."""
    out.print(f"[bold]{escape(shown(said['problem'], 200))}[/]  {escape(shown(_state(said)))}", highlight=False)
    if said["state"] == "waiting":
        others = f"behind {said['behind']} others, {said['of_its_tenant']} of them of its tenant {said['tenant']}"
        show_line(out, others)
        if said["seconds_left"] is not None:
            show_line(out, f"{said['seconds_left']} s are left to its deadline")


def show_why(out: Console, said: dict[str, Any]) -> None:
    """The decision, with all that was considered, and the attempts."""
    reason = said.get("route_reason")
    if reason:
        rule = f" ({said['rule']})" if said.get("rule") else ""
        show_line(out, f"{reason}{rule}: {ROUTE.get(reason, '')}; policy {said['policy']}")
    considered = said.get("considered") or {}
    if considered:
        table = Table("backend", "why", box=None, pad_edge=False, header_style="bold")
        for name, why in considered.items():
            because = f"{why}: {CANDIDATE.get(why, '')}{_evidence(said, name)}"
            table.add_row(escape(shown(name)), escape(shown(because, 300)))
        out.print(table)
    if isinstance(said.get("explores"), float):
        show_line(out, f"of the {100 * said['explores']:.3g} % that find out what pays")
    tried = list(enumerate(said.get("tried", ()), 1))
    if len(tried) > MOST_ATTEMPTS_SHOWN:
        show_line(out, f"… {len(tried) - MOST_ATTEMPTS_SHOWN} attempts before: --json has them")
    for number, one in tried[-MOST_ATTEMPTS_SHOWN:]:
        seconds = f", {one['seconds']:.3g} s" if one.get("seconds") is not None else ""
        cost = f", ${one['cost_usd']:g}" if one.get("cost_usd") is not None else ""
        because = f": {one['message']}" if one.get("message") else ""
        show_line(out, f"attempt {number}: {one['backend']} {one['ended']}{seconds}{cost}{because}")


def _evidence(said: dict[str, Any], name: str) -> str:
    """What was known of a backend when it was decided about, where evidence decided."""
    with suppress(msgspec.ValidationError, AttributeError):  # whoever may write to the audit may write anything
        one = (said.get("weighed") or {}).get(name)
        return f"; {weighed_text(msgspec.convert(one, Weighed))}" if one is not None else ""
    return ""


def _state(said: dict[str, Any]) -> str:
    match said["state"]:
        case "ended":
            took = f", {said['timings']['total']:.3g} s" if "timings" in said else ""
            return f"{said['status']}: {said['reason']}{took}"
        case "waiting":
            return f"waits for {said['stage']}"
        case "under way":
            return f"is under way, for {time.time() - said['since']:.1f} s"
    return "nothing is known of it: --since looks further back"
