"""`qmosaic problem`: one problem's whole story, from all topics: its end, its way, why, what is in the audit."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import msgspec
import typer
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qmosaic.codecs.errors import BrokerError, SettingsError
from qmosaic.codecs.events.public import Outcome, Rejection
from qmosaic.codecs.text import shown
from qmosaic.streams.cli.common import FAILED, OK, USAGE, BrokerOption, JsonOption, connected, emit, fail, run
from qmosaic.streams.cli.explain import PATIENCE, near, say_unknown, show_line, show_state, show_why, trace_line
from qmosaic.streams.cli.letters import Letter, read_letters
from qmosaic.streams.cli.render import console
from qmosaic.streams.cli.times import moment, seconds_of
from qmosaic.streams.observe.answers import answer_of
from qmosaic.streams.observe.story import story_of

MOST_ENTRIES, MOST_LABELS = 12, 10
"""Of the audit and of the ledger, the latest; and labels."""


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
                like = await near(settings, problem_id, begin) if said["state"] == "unknown" else []
        except (KafkaError, OSError, TimeoutError) as error:
            raise BrokerError(f"the broker stopped answering: {error}", place=settings.broker) from None
        link = f"{jaeger.rstrip('/')}/trace/{said['trace_id']}" if jaeger and said.get("trace_id") else None
        if as_json:
            more = {"outcome": msgspec.to_builtins(end), "letters": [one.brief() for one in letters]}
            emit({**said, **more, "link": link, "near": like})
        elif said["state"] == "unknown":
            say_unknown(problem_id, like)
        else:
            _show(console(), said, end, letters, link or trace_line(settings, said))
        return OK if said["state"] != "unknown" else FAILED

    run(work())


def _is_of(letter: Letter, problem_id: str) -> bool:
    return letter.ref is not None and letter.ref.problem_id == problem_id


def _show(
    out: Console, said: dict[str, Any], end: Outcome | Rejection | None, letters: list[Letter], trace: str | None
) -> None:
    def heading(text: str) -> None:
        out.print(Text(text, style="bold"))

    def latest(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if len(entries) > MOST_ENTRIES:
            show_line(out, f"… {len(entries) - MOST_ENTRIES} entries before: --json has them")
        return entries[-MOST_ENTRIES:]

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
    entries = sorted(said["audit"], key=lambda one: float(one["at"]))
    for one in latest(entries):
        why = one.get("said") or one.get("message") or one["reason"]
        show_line(out, f"{moment(one['at'])}  {one['event']}: {why}")
    if said["ledger"]:
        heading("ledger")
    for one in latest(said["ledger"]):
        show_line(out, f"{moment(one['at'])}  {one['event']} {one['amounts']}")
    if letters:
        heading("dead letters")
    for letter in letters:
        show_line(out, f"{moment(letter.said.at)}  {letter.name} of {letter.said.stage}: {letter.said.error}")
        show_line(out, f"qmosaic dead-letters show {letter.name}")
    if trace is not None:
        heading("trace")
        out.print(Text(f"  {shown(trace, 500)}", overflow="fold"))


def _show_end(out: Console, end: Outcome) -> None:
    """The answer, what it gained, and how long each hop had it."""
    baseline = end.baseline.objective if end.baseline is not None else None
    gain = f", baseline {baseline:g}, improvement {end.improvement or 0:g}" if baseline is not None else ""
    if end.objective is not None:
        show_line(out, f"{end.family}, {end.sense}: {end.objective:.10g}{gain}")
    labels = ", ".join(f"{name}={value}" for name, value in list(end.labels.items())[:MOST_LABELS])
    more = f", … and {len(end.labels) - MOST_LABELS} more" if len(end.labels) > MOST_LABELS else ""
    show_line(out, f"tenant {end.tenant}" + (f"; labels {labels}{more}" if labels else ""))
    for text in (*answer_of(end), *end.notes[:5]):
        show_line(out, text)
    table = Table("hop", "waited", "worked", box=None, pad_edge=False, header_style="bold")
    for hop, one in end.timings.hops.items():
        table.add_row(Text(shown(hop, 40)), f"{one.queue:.3f} s", f"{one.work:.3f} s")
    out.print(table)
