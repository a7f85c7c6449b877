"""Tables and trees of what others wrote: text, whatever is in it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from qmosaic.codecs.events.public import Outcome, Rejection, Timings
from qmosaic.streams.cli.render import MOST_DEEP, show_outcomes, trace_tree

HOSTILE = [
    "a [/x] b",
    "[bold",
    "[link=http://x]y[/link]",
    "[/]",
    "\\[",
    ":smile: [red]",
    "\x1b]52;c;aGk=\x07",
    "\x9b2J",
    "\u202eevil\u2069",
    "two\nlines\r",
    "\u200e\u200f",
    "x" * 100_000,
]


def outcome(text: str) -> Outcome:
    return Outcome(
        problem_id=text, family=text, status="accepted", reason="improved", sense="min", objective=1.5, solution=None,
        feasible=True, baseline=None, improvement=None, target=None, backend=text, route_reason=None, circuit=None,
        confidence=None, timings=Timings({}, 1.0), attempts=1, seed=1, digest="", versions={}, trace_id=text,
        tenant="", labels={"name": text}, notes=[],
    )  # fmt: skip


def rejection(text: str) -> Rejection:
    return Rejection(
        problem_id=text, code=text, message=text, place=text, remedy=text, source={}, original=None, truncated=False,
        trace_id=text, labels={"file": text},
    )  # fmt: skip


def printed(show: Any, width: int) -> str:
    out = Console(file=io.StringIO(), width=width, highlight=False, force_terminal=False)
    show(out)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("text", HOSTILE)
def test_outcomes_show_text_as_text(text: str, width: int) -> None:
    good = outcome("the next one")
    said = printed(lambda out: show_outcomes(out, [outcome(text), rejection(text), good]), width)
    assert "".join(said.split()).count("thenextone") >= 2
    assert all(c.isprintable() or c == "\n" for c in said)
    assert len(said) < 50_000
    if text.startswith(("a ", "[", ":")):
        assert text.replace(" ", "")[:6] in said.replace(" ", "").replace("\n", "")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_trace_shows_text_as_text(text: str) -> None:
    spans = [
        {
            "context": {"trace_id": f"0x{text}", "span_id": str(k)},
            "parent_id": str(k - 1) if k else None,
            "start_time": k,
            "end_time": k + 1,
            "service": text,
            "name": text,
            "attributes": {"qmosaic.backend.name": text},
        }
        for k in range(2000)
    ]
    said = printed(lambda out: out.print(trace_tree(spans, text)), 120)
    assert all(c.isprintable() or c == "\n" for c in said)
    assert said.count("\n") <= MOST_DEEP + 10
