"""`qmosaic explain`: what was decided about a problem, and why; or, of one that waits, where and behind how many."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Annotated, Any

import msgspec
import typer
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from qmosaic.codecs.errors import BrokerError, SettingsError
from qmosaic.codecs.events.hops import Weighed
from qmosaic.codecs.text import shown
from qmosaic.processors.control.explain import CANDIDATE, ROUTE, weighed_text
from qmosaic.streams.cli.common import FAILED, OK, USAGE, BrokerOption, JsonOption, connected, emit, fail, run
from qmosaic.streams.cli.render import console
from qmosaic.streams.cli.times import seconds_of
from qmosaic.streams.observe.story import explained

PATIENCE = 60.0


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


def _show(said: dict[str, Any]) -> None:
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
    if said.get("trace_id"):
        show_line(out, f"qmosaic trace {said['trace_id']}")


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
    for number, one in enumerate(said.get("tried", ()), 1):
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
