"""A problem's page: its answer, the way it took, what was decided about it and why, its audit, and a picture."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import orjson
from aiokafka.errors import KafkaError
from nicegui import ui
from nicegui.element import Element

from qmosaic.codecs.errors import BrokerError
from qmosaic.codecs.events.public import Outcome, Rejection, Timing
from qmosaic.codecs.events.reasons import CandidateReason
from qmosaic.codecs.text import shown
from qmosaic.processors.control.explain import CANDIDATE, CHANGE, ROUTE
from qmosaic.streams.observe.answers import answer_of
from qmosaic.streams.observe.story import story_of
from qmosaic.streams.observe.words import cost, duration, gained, label_of, number
from qmosaic.streams.page.live import Live
from qmosaic.streams.page.parts import fill, panel, table, text
from qmosaic.streams.page.rows import clock, trace_href
from qmosaic.streams.settings import Settings

PATIENCE = 30.0
"""To read a story, which is looked for in all that the topics have of a day."""
LOOK_BACK = 86_400.0
MOST_NOTES = 30
MOST_SHOWN = 20_000
"""Characters of an event that are shown as they are."""
ORDER = ("encode", "reduce", "route", "execute", "verify")
READING = asyncio.Semaphore(2)
"""So many stories are read at once: each has connections and buffers of its own."""


async def show(settings: Settings, live: Live, problem_id: str) -> None:
    """Read the story of a problem, and tell it where the caller stands. Raises nothing that Kafka raises."""
    title = text("h1", shown(problem_id, 300), "name")
    waiting = text("p", "reading the topics …", "under").props('role="status"')
    try:
        async with READING, asyncio.timeout(PATIENCE):
            story = await story_of(settings, problem_id, since_of(live, problem_id))
    except (BrokerError, KafkaError, OSError, TimeoutError) as error:
        waiting.text = shown(f"The topics cannot be read: {error or 'it takes too long'}", 500)
        return
    said, event = story.said, story.event
    waiting.text = _state(said)
    if event is not None and (name := label_of(event)) != title.text:
        title.text, waiting.text = name, f"{waiting.text} · {shown(problem_id, 300)}"
    if isinstance(event, Outcome):
        _outcome(event, settings.page.traces, story.place)
    elif isinstance(event, Rejection):
        _rejection(event)
    _decision(said)
    _notes(said)
    if event is not None:
        _whole(event)


def since_of(live: Live, problem_id: str) -> float:
    """From when on its story is looked for: a day back, or less where its end is known."""
    found = next((row for row in reversed(live.want().known.ends.rows) if row.problem_id == problem_id), None)
    if found is None or found.seconds is None:
        return time.time() - LOOK_BACK
    return found.at - found.seconds - 120


def _state(said: dict[str, Any]) -> str:
    match said["state"]:
        case "ended":
            return shown(f"{said['status']}: {said['reason']}".replace("_", " "), 200)
        case "waiting":
            own = f", {said['of_its_tenant']} of them of its tenant"
            return shown(f"waits for {said['stage']}, behind {said['behind']} others{own}", 300)
        case "under way":
            return f"under way for {duration(time.time() - said['since'])}"
    return "nothing is known of it in the last day"


def _facts(pairs: Sequence[tuple[str, str]]) -> None:
    with Element("dl").classes("facts"):
        for name, value in pairs:
            if value:
                with Element("div"):
                    text("dt", name)
                    text("dd", shown(value, 300))


def _outcome(one: Outcome, traces: str, place: tuple[int, int] | None) -> None:
    usage, circuit = one.usage, one.circuit
    with panel("Answer"):
        _facts(
            [
                ("objective", f"{number(one.objective)} ({one.sense})" if one.objective is not None else "none"),
                ("baseline", f"{number(one.baseline.objective)} by {one.baseline.solver}" if one.baseline else ""),
                ("gain", gained(one.improvement)),
                ("proposed", number(one.proposed.objective) if one.proposed else ""),
                ("cost", cost(usage.cost_usd) if usage else ""),
                ("ran on", f"{one.target}: {one.backend}" if one.target else "nothing"),
                ("circuit", _circuit(one) if circuit else ""),
                ("time", duration(one.timings.total)),
                ("tenant", one.tenant),
                ("policy", one.policy or ""),
                ("family", one.family),
            ]
        )
        lines = answer_of(one)
        if lines:
            text("pre", "\n".join(shown(line, 1200) for line in lines), "answer")
    if place is not None and one.solution is not None:
        with panel("Picture") as section:
            address = f"/picture/{place[0]}/{place[1]}"
            with Element("picture"):
                Element("source").props(f'media="(prefers-color-scheme: dark)" srcset="{address}?dark=true"')
                image = Element("img").classes("picture").props(f'src="{address}"')
            image.props["alt"] = f"The solution of this {shown(one.family, 30)} problem, drawn"
            image.on("error", section.delete, [])
    with panel("Timeline"):
        _timeline(one)
        href = trace_href(traces, one.trace_id)
        with Element("p").classes("under"):
            if href:
                ui.link(f"trace {one.trace_id}", href, new_tab=True).props('rel="noreferrer"')
            else:
                text("span", f"trace {shown(one.trace_id, 40)}", "mono")


def _circuit(one: Outcome) -> str:
    circuit = one.circuit
    if circuit is None:
        return ""
    size = f"{circuit.qubits} qubits, depth {circuit.depth}"
    return f"{size}, {circuit.two_qubit_gates} two-qubit gates, {circuit.shots} shots"


def _timeline(one: Outcome) -> None:
    """A bar a hop, one after the other: where it waited, where it was worked on."""
    hops = one.timings.hops
    names = [name for name in ORDER if name in hops] + [name for name in list(hops)[:10] if name not in ORDER]
    whole = max(one.timings.total, sum(max(0.0, hops[name].queue) + max(0.0, hops[name].work) for name in names), 1e-9)
    with Element("p").classes("under"):
        text("span", "", "key waited")
        text("span", "waited")
        text("span", "", "key worked")
        text("span", "worked on")
    at = 0.0
    with Element("div").classes("times"):
        for name in names:
            timing: Timing = hops[name]
            text("span", shown(name, 30))
            with Element("div").classes("bar").props('aria-hidden="true"'):
                for kind, seconds in (("waited", timing.queue), ("worked", timing.work)):
                    seconds = max(0.0, seconds)
                    text("i", "", kind).style(f"left:{100 * at / whole:.2f}%;width:{100 * seconds / whole:.2f}%")
                    at += seconds
            text("span", f"waited {duration(timing.queue)}, worked {duration(timing.work)}", "num")
    attempts = one.tried or []
    if attempts:
        tried = table(
            {"backend": "attempt on", "ended": "ended", "seconds": ">time", "cost": ">cost", "message": "message"},
            "",
            wide=("cost",),
        )
        fill(
            tried,
            [
                {
                    "key": index,
                    "backend": shown(attempt.backend, 60),
                    "ended": shown(attempt.ended.replace("_", " "), 40) + (" (had before)" if attempt.cached else ""),
                    "seconds": duration(attempt.seconds),
                    "cost": cost(attempt.cost_usd),
                    "message": shown(attempt.message, 200),
                }
                for index, attempt in enumerate(attempts[:20])
            ],
        )


def _rejection(one: Rejection) -> None:
    with panel("Why it was rejected"):
        _facts([("code", one.code), ("message", one.message), ("place", one.place), ("what to do", one.remedy)])


def _decision(said: dict[str, Any]) -> None:
    reason, considered = said.get("route_reason"), said.get("considered") or {}
    message = said.get("message") if said.get("status") != "rejected" else None
    if not reason and not considered and not message:
        return
    with panel("Decision"):
        if reason:
            rule = f" {said['rule']}" if said.get("rule") else ""
            means = ROUTE.get(reason, "")
            text(
                "p",
                shown(f"{reason.replace('_', ' ')}{rule}: {means}. Policy: {said['policy'] or 'the settings'}.", 500),
            )
        if message:
            text("p", shown(str(message), 500), "dim")
        if considered and isinstance(considered, dict):
            looked = table({"backend": "backend", "why": "why", "change": "what would change it"}, "", wide=("change",))
            looked.classes("wrapped")
            fill(
                looked,
                [
                    {
                        "key": index,
                        "backend": shown(str(name), 60),
                        "why": shown(f"{why}: {CANDIDATE.get(why, '')}".replace("_", " "), 200),
                        "change": CHANGE.get(why, "").replace("`", ""),
                    }
                    for index, (name, why) in enumerate(_reasons(considered))
                ],
            )


def _reasons(considered: dict[Any, Any]) -> list[tuple[str, CandidateReason]]:
    """Backends and why, as far as that is one of the reasons there are: whoever wrote it."""
    pairs = [(str(name), why) for name, why in considered.items() if isinstance(why, str)]
    return [(name, cast(CandidateReason, why)) for name, why in pairs[:40]]


def _notes(said: dict[str, Any]) -> None:
    lines = [
        f"{clock(_at(one))} UTC  {one['event']}: {one.get('said') or one['reason']}"
        for one in said["audit"][:MOST_NOTES]
    ]
    lines += [f"{clock(_at(one))} UTC  ledger: {one['event']} {one['amounts']}" for one in said["ledger"][:MOST_NOTES]]
    slack = said.get("slack")
    if isinstance(slack, int | float):
        lines.append(f"settled {duration(abs(slack))} {'before' if slack >= 0 else 'after'} its deadline")
    if not lines:
        return
    with panel("Audit"), Element("ul").classes("lines"):
        for line in lines:
            text("li", shown(line, 400))


def _at(one: dict[str, Any]) -> float:
    at = one.get("at")
    return at if isinstance(at, int | float) else 0.0


def _whole(event: Outcome | Rejection) -> None:
    """The event as it is on its topic."""
    with panel("Event"), ui.expansion("as JSON").props('dense header-class="q-px-none"'):
        data = orjson.dumps(msgspec.to_builtins(event), option=orjson.OPT_INDENT_2).decode()
        cut = (
            data
            if len(data) <= MOST_SHOWN
            else f"{data[:MOST_SHOWN]}\n… and {len(data) - MOST_SHOWN:,} characters more"
        )
        text("pre", "\n".join(shown(line) for line in cut.split("\n")), "answer").props(
            'tabindex="0" aria-label="The event as JSON"'
        )
