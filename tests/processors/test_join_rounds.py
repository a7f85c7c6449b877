"""The join of problems with rounds: events of one round decide about it alone, and a restart knows which one is on."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.hops import Incumbent, Interim, Proposal, Ref
from qmosaic.processors.decisions import INTERIM, Began, Decision, Reject
from qmosaic.processors.join import Join
from tests.codecs.test_events import GOLDEN
from tests.processors.test_join import START, incumbent, proposal, ref_of, refusal, settled

THREE = replace(ref_of(0), rounds=3)


def of(event: Incumbent | Proposal, number: int) -> Any:
    return replace(event, ref=replace(THREE, round=number, seed=number))


def interim(number: int, ref: Ref = THREE) -> Interim:
    """What is written when a round begins."""
    written = wire.decode((GOLDEN / "internal" / "interim.json").read_bytes(), Interim)
    return replace(written, ref=replace(ref, round=number, seed=number))


def begun() -> tuple[Join, Decision]:
    """With the first round decided."""
    join = Join(START)
    join.problem(0, THREE, "record")
    join.incumbent(0, of(incumbent(0), 1), "i1")
    (decision,) = join.proposal(0, of(proposal(0), 1), "p1")
    return join, decision


def test_a_round_is_decided_by_its_own_events() -> None:
    join, decision = begun()
    assert join.open == 0
    assert join.went_on(decision.open, interim(2), 5) == []
    assert join.open == 1
    assert join.proposal(1, of(proposal(0), 1), "late") == []
    assert join.incumbent(1, of(incumbent(0), 2), "i2") == []
    assert join.proposal(2, of(proposal(0), 1), "late again") == []
    (second,) = join.proposal(3, of(proposal(0), 2), "p2")
    assert second.incumbent is not None
    assert second.proposal is not None
    assert (second.incumbent.record, second.proposal.record) == ("i2", "p2")
    assert second.open.interim == interim(2)


def test_its_records_hold_the_floors_through_all_rounds() -> None:
    join, decision = begun()
    join.went_on(decision.open, interim(2), 5)
    join.incumbent(1, of(incumbent(0), 2), "i2")
    assert join.floors() == {"problems": 0, "incumbents": 0, "proposals": 0}
    assert join.log_starts() == {INTERIM: 5}
    join.remember(settled(0))
    assert join.floors() == {"problems": 1, "incumbents": 2, "proposals": 1}
    assert join.log_starts() == {INTERIM: 6, "o": 0}


def test_the_clock_ends_a_later_round_too() -> None:
    join, decision = begun()
    assert join.due(31.0) == []  # it is being judged
    join.went_on(decision.open, interim(2), 5)
    assert join.next_deadline() == 30.0
    join.incumbent(1, of(incumbent(0), 2), "i2")
    (last,) = join.due(31.0)
    assert isinstance(last, Decision)
    assert last.proposal is None
    assert last.incumbent is not None
    assert last.incumbent.record == "i2"
    assert last.open.round == 2


def test_events_of_the_next_round_wait_for_it() -> None:
    """Reduce may have read what a transaction that was aborted had sent."""
    join = Join(START)
    join.problem(0, THREE, "record")
    join.incumbent(0, of(incumbent(0), 2), "i2")
    assert join.proposal(0, of(proposal(0), 2), "p2") == []
    join.incumbent(1, of(incumbent(0), 1), "i1")
    (first,) = join.proposal(1, of(proposal(0), 1), "p1")
    assert first.proposal is not None
    assert first.proposal.record == "p1"
    assert join.incumbent(2, of(incumbent(0), 3), "i3") == []  # of no use yet
    (second,) = join.went_on(first.open, interim(2), 0)
    assert second.proposal is not None
    assert second.proposal.record == "p2"


def test_what_comes_while_a_round_is_judged_is_kept_for_the_next() -> None:
    join, decision = begun()
    join.incumbent(1, of(incumbent(0), 2), "i2")
    assert join.proposal(1, of(proposal(0), 2), "p2") == []
    assert join.floors()["incumbents"] == 0
    assert len(join.went_on(decision.open, interim(2), 5)) == 1


def test_a_restart_knows_which_round_is_on() -> None:
    join = Join(START, began=[Began(interim(2), 5), Began(interim(3), 8)])
    assert join.incumbent(0, of(incumbent(0), 1), "i1") == []
    assert join.proposal(0, of(proposal(0), 1), "p1") == []
    join.problem(0, THREE, "record")
    join.incumbent(1, of(incumbent(0), 2), "i2")
    assert join.proposal(1, of(proposal(0), 2), "p2") == []
    join.incumbent(2, of(incumbent(0), 3), "i3")
    (decision,) = join.proposal(2, of(proposal(0), 3), "p3")
    assert decision.open.interim == interim(3)
    assert join.log_starts() == {INTERIM: 8}


def test_rounds_of_what_is_settled_are_forgotten() -> None:
    join = Join(START, [settled(0)], [Began(interim(2), 5)])
    assert join.log_starts() == {INTERIM: 6, "o": 0}
    assert join.problem(0, THREE, "record") == []
    behind = Join({**START, "problems": 4}, began=[Began(interim(2), 5)])
    assert behind.log_starts() == {INTERIM: 6}


def test_a_problem_that_was_read_once_is_not_refused_later() -> None:
    join = Join(START, began=[Began(interim(2), 5)])
    assert join.problem(0, refusal(), "record") == []
    (one,) = join.waiting()
    assert (one.round, one.ref.round, one.ref.seed) == (2, 1, interim(2).best.seed)
    other = Join(START, began=[Began(interim(2), 5)])
    (found,) = other.problem(0, refusal("another"), "record")
    assert isinstance(found, Reject)


def test_a_round_of_another_problem_is_none_of_its() -> None:
    join = Join(START, began=[Began(interim(2, replace(THREE, digest="other")), 5)])
    join.problem(0, THREE, "record")
    (one,) = join.waiting()
    assert one.round == 1


def test_a_problem_without_rounds_takes_the_first_alone() -> None:
    join = Join(START)
    join.problem(0, ref_of(0), "record")
    join.incumbent(0, of(incumbent(0), 2), "i2")
    assert join.proposal(0, of(proposal(0), 2), "p2") == []
    assert join.floors()["incumbents"] == 1
