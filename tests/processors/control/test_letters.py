"""Dead letters: what is of use to be put back, and what is refused, with the remedy."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from msgspec.structs import replace

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import Command, DeadLetter, Resend
from qmosaic.codecs.events.hops import Encoded
from qmosaic.codecs.models.bundle import Bundle
from qmosaic.processors.control.books import Books
from qmosaic.processors.control.letters import order_of, original_of, ref_of, why_not
from qmosaic.processors.control.ordered import Orders
from qmosaic.processors.control.orders import RESENDABLE, Changes, Refused, answer_to, carried_out
from qmosaic.streams.topology import STAGES
from tests.processors.test_join import ref_of as ref_at

EVENT = Encoded(ref=replace(ref_at(7, "petersen"), deadline_at=100.0), model=Bundle(), size=3)
LETTER = DeadLetter(
    stage="reduce",
    topic="ns.problems.encoded",
    partition=1,
    offset=7,
    error="ValueError: no",
    original=b64encode(wire.encode(EVENT)).decode(),
    at=50.0,
    key="cA==",
    headers=[("traceparent", "MDA=")],
)


def refused(letter: DeadLetter = LETTER, topic: str = "problems.encoded", **more: Any) -> str | None:
    given = {"unfit": None, "now": 60.0, "ended": None, "resent": None, "force": False, **more}
    found = why_not(letter, topic, given.pop("unfit"), **given)
    assert found is None or (found.message and found.remedy)
    return None if found is None else found.place


def test_what_can_be_put_back_is_every_input_of_a_worker_but_problems() -> None:
    assert set(RESENDABLE) == {stage.reads[0] for stage in STAGES.values() if stage.handler} - {"problems"}


def test_one_that_is_whole_in_time_and_open_is_put_back() -> None:
    assert refused() is None
    assert ref_of(LETTER) == EVENT.ref
    assert original_of(LETTER) == wire.encode(EVENT)


@pytest.mark.parametrize(
    ("letter", "topic", "more", "place"),
    [
        (LETTER, "problems", {}, "topic"),
        (LETTER, "audit", {}, "topic"),
        (replace(LETTER, truncated=True), "problems.encoded", {}, "truncated"),
        (replace(LETTER, original=""), "problems.encoded", {}, "truncated"),
        (replace(LETTER, original="AA=="), "problems.encoded", {}, "original"),
        (replace(LETTER, original="\ud800"), "problems.encoded", {}, "original"),
        (LETTER, "problems.encoded", {"unfit": "its times cannot be"}, "original"),
    ],
)
def test_what_cannot_be_is_refused_even_by_force(
    letter: DeadLetter, topic: str, more: dict[str, Any], place: str
) -> None:
    assert refused(letter, topic, **more) == place
    assert refused(letter, topic, **more, force=True) == place


@pytest.mark.parametrize(
    ("letter", "topic", "more", "place"),
    [
        (LETTER, "problems.encoded", {"ended": "fallback"}, "problem"),
        (LETTER, "problems.encoded", {"now": 100.0}, "deadline"),
        (replace(LETTER, error="WorkerCrashedError: it died"), "problems.encoded", {}, "error"),
        (LETTER, "jobs.paid", {}, "topic"),
        (LETTER, "problems.encoded", {"resent": "today, by ada"}, "resent"),
    ],
)
def test_what_is_of_no_use_or_dangerous_takes_force(
    letter: DeadLetter, topic: str, more: dict[str, Any], place: str
) -> None:
    assert refused(letter, topic, **more) == place
    assert refused(letter, topic, **more, force=True) is None


def carried(order: Resend) -> Changes | Refused | None:
    given = Command(id="c", who="ada", why="a test", at=1.0, order=order)
    return carried_out(given, Orders.start, Books.start, 1.0, {"exact"}.__contains__, ["exact"])


def test_the_order_has_the_record_and_its_answer_names_letter_and_problem() -> None:
    order = order_of("1-3", LETTER, "problems.encoded")
    assert (order.original, order.key, order.headers) == (LETTER.original, LETTER.key, LETTER.headers)
    found = carried(order)
    assert isinstance(found, Changes)
    assert found.resend == order
    answer = answer_to(Command(id="c", who="ada", why="a test", at=1.0, order=order), found, 1.0, 0)
    assert (answer.status, answer.reason, answer.problem_id) == ("done", "letter.resend", "petersen")
    assert (answer.detail["letter"], answer.detail["who"], answer.detail["why"]) == ("1-3", "ada", "a test")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"topic": "problems"}, "topic"),
        ({"topic": "ledger"}, "topic"),
        ({"original": "!"}, "original"),
        ({"key": "ä"}, "original"),
        ({"headers": [("a", "=")]}, "original"),
    ],
)
def test_an_order_of_a_stranger_is_refused(change: dict[str, Any], place: str) -> None:
    found = carried(replace(order_of("1-3", LETTER, "problems.encoded"), **change))
    assert isinstance(found, Refused)
    assert found.place == place
