"""What the tables of the page show, as values: every text is cut, and without what a browser would act on."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import quote

from qmosaic.codecs.text import shown
from qmosaic.processors.control.evidence import beliefs
from qmosaic.processors.control.explain import ROUTE, runs_text
from qmosaic.processors.overview.ends import Row
from qmosaic.processors.overview.overview import Overview, routed_by
from qmosaic.processors.overview.window import SECONDS
from qmosaic.processors.report.findings import size_text
from qmosaic.streams.observe.report import Hop, Report
from qmosaic.streams.observe.words import cost, duration, gained, left, number, percent, rate, share_left

Cells = dict[str, Any]

MOST_ENDS, MOST_ROUTES, MOST_BACKENDS, MOST_BUDGETS, MOST_NOTES = 20, 12, 30, 20, 20
MOST_CELLS = 30
"""Rows that are shown."""
MOST_TEXT = 120
MEANS = dict[str, str](ROUTE.items())
"""Of a reason of route's, which may be any text: whoever wrote it."""
TRACE = re.compile(r"[0-9a-f]{32}")


def text(value: str, most: int = MOST_TEXT) -> str:
    """What others wrote, for a cell."""
    return shown(value, most)


def problem_href(problem_id: str) -> str:
    """The address of a problem's page."""
    return f"/problem/{quote(problem_id, safe='')}"


def trace_href(traces: str, trace_id: str) -> str:
    """The address of a trace in a Jaeger; empty where there is none."""
    return f"{traces.rstrip('/')}/trace/{trace_id}" if traces and TRACE.fullmatch(trace_id) else ""


def clock(at: float) -> str:
    """The time of day of a moment, UTC."""
    try:
        return time.strftime("%H:%M:%S", time.gmtime(at))
    except (ValueError, OverflowError, OSError):
        return ""


def end_rows(known: Overview, traces: str) -> list[Cells]:
    """The latest outcomes, the newest first."""
    return [_end(row, traces) for row in reversed(known.ends.rows[-MOST_ENDS:])]


def _end(row: Row, traces: str) -> Cells:
    return {
        "key": f"{row.at}/{row.problem_id}",
        "at": clock(row.at),
        "href": problem_href(row.problem_id),
        "name": text(row.name),
        "family": text(row.family, 30),
        "status": row.status,
        "reason": text(row.reason.replace("_", " "), 40),
        "objective": number(row.objective),
        "baseline": number(row.baseline),
        "gain": gained(row.gain),
        "cost": cost(row.cost),
        "seconds": duration(row.seconds),
        "target": text(row.target, 20),
        "backend": text(row.backend, 60),
        "trace": trace_href(traces, row.trace_id),
        "trace_id": text(row.trace_id[:8]),
    }


def route_rows(known: Overview, now: float) -> list[Cells]:
    """Where the problems of the last minute went, and why."""
    counts = routed_by(known.ends.window.total(now))
    total = sum(counts.values())
    return [
        {
            "key": f"{target}/{backend}/{reason}",
            "target": text(target, 20),
            "backend": text(backend, 60),
            "reason": text(reason.replace("_", " "), 40),
            "means": MEANS.get(reason, ""),
            "count": f"{count:,}",
            "share": f"{100 * count / total:.0f} %",
        }
        for (target, backend, reason), count in list(counts.items())[:MOST_ROUTES]
    ]


def backend_rows(report: Report) -> list[Cells]:
    """Every backend that is heard of, who runs it, and what keeps jobs from it."""
    found: dict[str, Cells] = {}
    for live in report.live:
        for name in live.backends:
            row = found.setdefault(name, {"key": name, "backend": text(name, 60), "state": "alive", "workers": 0})
            row["target"] = text(live.target, 20)
            row["workers"] += 1
    for ejected in report.ejected:
        row = found.setdefault(ejected.backend, _nobody(ejected.backend))
        rest = f" for {duration(ejected.seconds)}" if ejected.phase == "open" else ""
        row["state"] = f"breaker {ejected.phase.replace('_', ' ')}{rest}, {ejected.times} in a row"
        row["tone"] = "bad" if ejected.phase == "open" else "warn"
    for name, how in report.conditions.items():
        row = found.setdefault(name, _nobody(name))
        row["state"], row["tone"] = how, "warn" if how == "retuning" else "bad"
    for name, why in report.closed.items():
        row = found.setdefault(name, _nobody(name))
        row["state"], row["tone"] = text(why), "warn"
    return sorted(found.values(), key=lambda row: ("tone" not in row, row["backend"]))[:MOST_BACKENDS]


def _nobody(name: str) -> Cells:
    return {"key": name, "backend": text(name, 60), "target": "", "workers": 0}


def budget_rows(report: Report) -> list[Cells]:
    """What is left of every budget."""
    return [
        {
            "key": f"{one.budget}/{one.unit}",
            "budget": text(one.budget),
            "window": one.window or "all time",
            "left": left(one),
            "share": f"{100 * share_left(one):.0f} %",
            "tone": "bad" if share_left(one) <= 0.05 else "warn" if share_left(one) <= 0.2 else "",
        }
        for one in report.budgets[:MOST_BUDGETS]
    ]


def evidence_rows(known: Overview, now: float) -> list[Cells]:
    """What is believed of backends, as control holds it: those with most runs first."""
    found = []
    for one in beliefs(known.ordered.learned, now)[:MOST_CELLS]:
        low, high = one.gain.interval
        found.append(
            {
                "key": f"{one.family}/{one.kind}/{one.size}/{one.backend}",
                "family": text(one.family, 30),
                "kernel": f"{text(one.kind, 20)}, {size_text(one.size)}",
                "backend": text(one.backend, 60),
                "gain": percent(one.gain.mean),
                "interval": f"{percent(low)} to {percent(high)}",
                "runs": runs_text(one.gain.n),
                "tone": "bad" if high < 0 else "good" if low > 0 else "warn",
            }
        )
    return found


def note_rows(known: Overview) -> list[Cells]:
    """The latest of the audit that is no problem's end, the newest first."""
    return [
        {
            "key": f"{index}/{note.at}",
            "at": clock(note.at),
            "event": text(note.event.replace("_", " "), 30),
            "about": text(note.about, 60),
            "said": text(note.said, 160),
            "href": problem_href(note.problem_id) if note.problem_id else "",
        }
        for index, note in enumerate(reversed(known.audits.notes[-MOST_NOTES:]))
    ]


def hop_cells(hop: Hop) -> Cells:
    """A stage of the flow."""
    return {
        "rate": rate(hop.rate),
        "lag": f"{hop.lag:,}",
        "waited": duration(hop.queue_p95) or "–",
        "worked": duration(hop.work_p95) or "–",
    }


def figures(report: Report) -> dict[str, str]:
    """What is known of all of it together, by the names that the page gives them."""
    total, oldest = sum(report.ended.values()), report.oldest
    accepted = f"{100 * report.ended.get('accepted', 0) / total:.0f} %" if total else "–"
    return {
        "problems a second": rate(total / SECONDS),
        "p95 to the answer": duration(report.p95) or "–",
        "accepted": accepted,
        "open": f"{report.open:,}",
        "oldest open": duration(oldest.waiting) if oldest is not None else "–",
        "after the deadline": f"{report.missed:,}",
    }
