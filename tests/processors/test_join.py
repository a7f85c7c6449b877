"""The join of one partition: every problem is settled once, whatever the order, the repeats and the crashes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events.hops import Answer, Failure, Incumbent, Proposal, Ref
from qmosaic.codecs.events.public import Problem
from qmosaic.codecs.models.arrays import Packed
from qmosaic.codecs.models.bundle import Bundle
from qmosaic.processors.admit import Admission, Refusal
from qmosaic.processors.decisions import INPUTS, REJECTED, Decision, Duplicate, Input, Reject, Settled, Unread
from qmosaic.processors.join import MOST_ARRIVED, MOST_ORPHANS, ORPHAN_SECONDS, Join

NO_BITS = Packed("|u1", (0,), "")
BAD = Rejected("invalid_problem", "bad", "$", "mend it")
START: dict[Input, int] = {"problems": 0, "incumbents": 0, "proposals": 0}


def ref_of(offset: int, problem_id: str = "p", digest: str = "d", deadline: float = 30.0) -> Ref:
    return Ref(
        problem_id=problem_id,
        partition=0,
        offset=offset,
        family="maxcut",
        digest=digest,
        tenant="t",
        priority="normal",
        target="auto",
        shots=1,
        seed=1,
        received_at=0.0,
        deadline_at=deadline,
    )


def admission(offset: int, problem_id: str = "p", digest: str = "d", deadline: float = 30.0) -> Admission:
    problem = Problem(family="maxcut", problem={})
    return Admission(ref_of(offset, problem_id, digest, deadline), problem, cast(Any, None))


def refusal(problem_id: str = "p", digest: str = "d") -> Refusal:
    return Refusal(problem_id, digest, BAD)


def incumbent(offset: int, kernel: str | None = "k", **ref: Any) -> Incumbent:
    return Incumbent(
        ref=ref_of(offset, **ref), state=Bundle(), solver="tabu", seconds=0.0, kernel_digest=kernel, lift=None
    )


def proposal(offset: int, kernel: str | None = "k", failed: str | None = None, **ref: Any) -> Proposal:
    return Proposal(
        ref=ref_of(offset, **ref),
        kernel_digest=kernel,
        route=None,
        attempt=1,
        answer=None if failed else Answer(bits=NO_BITS, energy=0.0, confidence=1.0, circuit=None),
        failure=Failure(failed, "stage_failed", "no") if failed else None,
    )


def settled(offset: int, problem_id: str = "p", *, at: float = 0.0, position: int = 0, topic: str = "o") -> Settled:
    return Settled(problem_id, "d", offset, at, topic, position)


# -- one thing at a time ----------------------------------------------------------------------------------------


def test_a_matching_answer_settles() -> None:
    join = Join(START)
    assert join.problem(0, admission(0), "record") == []
    assert join.incumbent(0, incumbent(0), "i") == []
    assert join.proposal(0, proposal(0, "other"), "x") == []
    (decision,) = join.proposal(1, proposal(0), "p")
    assert decision.open.record == "record"
    assert decision.incumbent is not None
    assert decision.proposal is not None
    assert decision.cause is decision.proposal
    assert (decision.incumbent.record, decision.proposal.record) == ("i", "p")
    assert join.open == 0
    assert join.proposal(2, proposal(0), "late") == []


def test_an_incumbent_without_a_kernel_settles() -> None:
    join = Join(START)
    join.problem(0, admission(0), "record")
    (decision,) = join.incumbent(0, incumbent(0, None), "i")
    assert decision.incumbent is decision.cause
    assert decision.proposal is None


@pytest.mark.parametrize("stage", ["encode", "reduce"])
def test_an_early_failure_needs_no_incumbent(stage: str) -> None:
    join = Join(START)
    join.problem(0, admission(0), "record")
    (decision,) = join.proposal(0, proposal(0, failed=stage), "p")
    assert decision.incumbent is None


@pytest.mark.parametrize("stage", ["route", "execute"])
def test_a_late_failure_waits_for_the_incumbent(stage: str) -> None:
    join = Join(START)
    join.problem(0, admission(0), "record")
    assert join.proposal(0, proposal(0, failed=stage), "p") == []
    (decision,) = join.incumbent(0, incumbent(0), "i")
    assert decision.incumbent is not None
    assert decision.proposal is decision.cause


def test_what_comes_before_its_problem_waits_for_it() -> None:
    join = Join(START)
    assert join.proposal(4, proposal(2), "p") == []
    assert join.incumbent(3, incumbent(2), "i") == []
    assert join.floors() == {"problems": 0, "incumbents": 3, "proposals": 4}
    (decision,) = join.problem(2, admission(2), "record")
    assert isinstance(decision, Decision)
    assert decision.proposal is not None


def test_what_waits_for_a_problem_that_is_a_repeat_is_let_go_when_that_is_written() -> None:
    """Until then the audit does not tell of it: a crash would lose it in silence."""
    join = Join(START, [settled(0)])
    join.incumbent(3, incumbent(2), "i")
    (repeat,) = join.problem(2, admission(2), "record")
    assert isinstance(repeat, Duplicate)
    assert join.floors() == START | {"problems": 2, "incumbents": 3}
    join.dropped(repeat)
    assert join.floors() == START | {"problems": 3, "incumbents": 4}


def test_what_comes_for_a_problem_that_is_decided_is_needed_until_that_is_written() -> None:
    """Who dies before it is written leaves the problem to another, who decides anew with all there is."""
    join = Join(START)
    join.problem(0, admission(0, deadline=1.0), "record")
    join.due(1.0)
    assert join.incumbent(5, incumbent(0), "late") == []
    assert join.floors() == START | {"incumbents": 5}
    join.remember(settled(0, position=0))
    assert join.floors() == START | {"problems": 1, "incumbents": 6}


def test_what_waits_for_a_problem_that_is_none_is_let_go_when_that_is_written() -> None:
    """Until then somebody else may find that it is one: who read it may have died at it."""
    join = Join(START, [settled(0)])
    join.incumbent(3, incumbent(2), "i")
    join.problem(2, refusal(), "record")
    assert join.floors()["incumbents"] == 3
    join.remember(settled(2, position=1, topic=REJECTED))
    assert join.floors()["incumbents"] == 4


def test_what_waits_for_a_problem_that_never_comes_is_let_go() -> None:
    join = Join(START)
    join.incumbent(3, incumbent(2, deadline=1e300), "i", 30.0)
    assert join.let_go(30.0 + ORPHAN_SECONDS, range(2)) == []
    assert join.floors()["incumbents"] == 3
    assert join.let_go(30.1 + ORPHAN_SECONDS, range(3)) == []  # it is there, and yet to be read
    (gone,) = join.let_go(30.2 + 2 * ORPHAN_SECONDS, range(2))
    assert gone.record == "i"
    assert join.floors()["incumbents"] == 4


def test_of_many_events_before_their_problem_or_of_one_problem_not_all_are_kept() -> None:
    join = Join(START)
    for k in range(MOST_ARRIVED + 5):
        join.incumbent(k, incumbent(7), f"i{k}")
    join.problem(7, admission(7), "record")
    (one,) = join.waiting()
    assert len(one.incumbents) == MOST_ARRIVED
    for k in range(MOST_ARRIVED + 5):
        join.proposal(k, proposal(7, "another kernel"), f"p{k}")
    assert len(one.proposals) == MOST_ARRIVED
    for k in range(MOST_ORPHANS + 5):
        join.incumbent(100 + k, incumbent(1000 + k), "i")
    assert len(join.let_go(1e6, range(8, 8))) == MOST_ORPHANS
    assert join.floors()["proposals"] == 0  # the one problem still needs its own
    assert join.floors()["incumbents"] == 0


def test_a_record_that_is_still_being_read_keeps_what_belongs_to_it_and_the_floor() -> None:
    join = Join(START)
    join.reading(0, 30.0, "slow", "p")
    join.problem(1, admission(1, "q"), "quick")
    assert join.incumbent(0, incumbent(0, None), "i") == []
    assert join.floors() == {"problems": 0, "incumbents": 0, "proposals": 0}
    assert not join.is_read(0)
    (decision,) = join.problem(0, ref_of(0), "slow")
    assert isinstance(decision, Decision)
    assert decision.open.admission is None
    assert join.is_read(0)
    assert join.positions["problems"] == 2


def test_a_record_that_nobody_has_read_by_its_deadline_is_due() -> None:
    join = Join(START)
    join.reading(0, 30.0, "slow", "p")
    assert join.due(29.0) == []
    (unread,) = join.due(30.0)
    assert isinstance(unread, Unread)
    (reject,) = join.problem(unread.offset, refusal(), unread.record)
    assert isinstance(reject, Reject)
    assert join.is_read(0)


def test_a_terminal_record_of_another_problem_settles_nothing() -> None:
    join = Join(START, [settled(0, "somebody else's")])
    assert join.problem(0, admission(0, "p"), "record") == []
    assert join.open == 1


def test_the_clock_settles_what_is_over_and_nothing_else() -> None:
    join = Join(START)
    for offset, deadline in enumerate([30.0, 10.0, 20.0]):
        join.problem(offset, admission(offset, f"p{offset}", deadline=deadline), "record")
    join.incumbent(0, incumbent(1, "old"), "first")
    join.incumbent(1, incumbent(1, "new"), "second")
    assert join.next_deadline() == 10.0
    assert join.due(9.99) == []
    first, second = cast(list[Decision], join.due(20.0))
    assert [first.open.ref.offset, second.open.ref.offset] == [1, 2]
    assert first.incumbent is not None
    assert first.incumbent.record == "second"
    assert (first.cause, first.proposal, second.incumbent) == (None, None, None)
    assert join.next_deadline() == 30.0


def test_a_repeat_is_dropped_and_a_conflict_rejected() -> None:
    join = Join(START)
    join.problem(0, admission(0), "record")
    (again,) = join.problem(2, admission(2), "again")
    assert isinstance(again, Duplicate)
    assert (again.problem_id, again.offset, again.first_offset) == ("p", 2, 0)
    (conflict,) = join.problem(3, admission(3, digest="e"), "other")
    assert isinstance(conflict, Reject)
    assert (conflict.refusal.rejected.code, conflict.refusal.rejected.place) == ("id_conflict", "$.id")
    assert "offset 0" in conflict.refusal.rejected.message
    assert conflict.refusal.rejected.remedy
    (once_more,) = join.problem(4, admission(4, digest="e"), "other again")
    assert isinstance(once_more, Duplicate)
    assert once_more.first_offset == 3


def test_a_rejected_id_may_come_back_mended() -> None:
    join = Join(START)
    assert isinstance(join.problem(0, refusal(), "bad")[0], Reject)
    assert join.problem(1, admission(1), "mended") == []
    assert join.open == 1


def test_repeats_of_two_bad_records_with_one_id_are_both_known() -> None:
    join = Join(START)
    found = [join.problem(k, refusal(digest=d), "bad")[0] for k, d in enumerate("abab")]
    assert [type(f) for f in found] == [Reject, Reject, Duplicate, Duplicate]


def test_an_answer_goes_with_the_incumbent_of_its_kernel() -> None:
    """Reduce ran twice and found another kernel; the answer is for the first."""
    join = Join(START)
    join.problem(0, admission(0), "record")
    join.incumbent(0, incumbent(0, "k"), "first")
    join.incumbent(1, incumbent(0, "l"), "second")
    (decision,) = join.proposal(0, proposal(0, "k"), "p")
    assert decision.incumbent is not None
    assert decision.incumbent.record == "first"


@pytest.mark.parametrize("start", [0, 3])
def test_what_comes_for_a_settled_problem_holds_nothing_back(start: int) -> None:
    join = Join(START | {"problems": start}, [settled(2)])
    assert join.incumbent(4, incumbent(2), "late") == []
    assert join.floors()["incumbents"] == 5
    join.forget(100.0, most=0)
    assert join.proposal(4, proposal(2), "later") == []
    assert join.floors()["proposals"] == 5


@pytest.mark.parametrize("verdict", [refusal(), admission(0)])
def test_what_is_decided_is_needed_until_it_is_in_the_log(verdict: Any) -> None:
    join = Join(START)
    found = [*join.problem(0, verdict, "record"), *join.incumbent(0, incumbent(0, None), "i")]
    assert len(found) == 1
    assert join.floors()["problems"] == 0
    join.remember(settled(0, topic=REJECTED if isinstance(verdict, Refusal) else "o"))
    assert join.floors() == {"problems": 1, "incumbents": 1, "proposals": 0}


def test_a_record_that_is_none_of_ours_is_passed() -> None:
    join = Join(START)
    join.skip("proposals", 8)
    assert join.floors()["proposals"] == 9


def test_only_what_is_out_of_the_window_is_forgotten() -> None:
    log = [settled(k, f"p{k}", at=float(k), position=10 + k) for k in range(4)]
    start = START | {"problems": 4}
    join = Join(start, log)
    join.forget(2.0, most=10)
    assert join.log_starts() == {"o": 12}
    assert join.problem(4, admission(4, "p1"), "record") == []
    assert isinstance(join.problem(5, admission(5, "p2"), "record")[0], Duplicate)
    other = Join(start, log)
    other.forget(0.0, most=1)
    assert other.log_starts() == {"o": 13}


def test_what_a_restart_would_read_again_is_not_forgotten() -> None:
    join = Join(START)
    join.problem(0, admission(0, "slow", deadline=1e6), "record")
    join.problem(1, admission(1, "p1"), "record")
    join.remember(settled(1, "p1", at=0.0, position=5))
    join.forget(100.0, most=0)
    assert join.log_starts() == {"o": 5}


def test_what_answers_for_a_repeat_is_not_forgotten_before_the_repeat_is_behind() -> None:
    """Else a restart reads the repeat again, without the problem that it repeats, and settles it a second time."""
    join = Join(START | {"problems": 1}, [settled(0, "p", position=3)])
    join.problem(1, admission(1, "slow", deadline=1e6), "record")
    (again,) = join.problem(2, admission(2, "p"), "again")
    assert isinstance(again, Duplicate)
    join.forget(100.0, most=0)
    assert join.log_starts() == {"o": 3}
    join.remember(settled(1, "slow", position=4))
    join.forget(100.0, most=0)
    assert join.log_starts() == {"o": 3}
    join.dropped(again)
    join.forget(100.0, most=0)
    assert join.log_starts() == {"o": 5}


def test_nothing_is_forgotten_before_what_stood_there_is_read() -> None:
    join = Join(START | {"problems": 1}, [settled(0, "p", position=3)], end=2)
    join.forget(100.0, most=0)
    assert isinstance(join.problem(1, admission(1, "p"), "again")[0], Duplicate)


def test_a_rebuild_does_not_grow_with_history() -> None:
    """A topic whose events are all forgotten, or that had none since the last start, still says where to read on."""
    join = Join(START | {"problems": 9}, [settled(8, position=41)], logs={"o": 41, REJECTED: 17})
    join.forget(100.0, most=0)
    assert join.log_starts() == {"o": 42, REJECTED: 17}


def test_clocks_that_disagree_do_not_hide_an_entry() -> None:
    """Two verifiers wrote positions 0 and 1, the second by a clock that is behind."""
    join = Join(START, [settled(0, "a", at=9.0, position=0), settled(1, "b", at=5.0, position=1)])
    assert join.log_starts() == {"o": 0}


# -- everything at once -------------------------------------------------------------------------------------------

WINDOW = 40.0
SKEW = 2.0  # clocks of two verifiers differ by that


@dataclass(frozen=True)
class Produced:
    verdict: Admission | Refusal

    @property
    def key(self) -> tuple[str, str]:
        v = self.verdict
        return (v.ref.problem_id, v.ref.digest) if isinstance(v, Admission) else (v.problem_id, v.digest)


class Partition(RuleBasedStateMachine):
    """Logs that never forget, and a verifier that dies: what it knows afterwards is the logs and what it committed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.problems: dict[int, Produced] = {}
        self.end = 0  # of the problems; a gap is an aborted transaction
        self.others: dict[Input, list[Any]] = {"incumbents": [], "proposals": []}
        self.terminal: list[Settled] = []
        self.dropped: dict[int, Duplicate] = {}
        self.first_read: dict[int, float] = {}
        self.committed: dict[Input, int] = dict(START)
        self.logs: dict[str, int] = {}
        self.skew = 0.0
        self.unread: set[int] = set()  # offsets whose time was over before they were read
        self.join = Join(self.committed)

    # what producers, reduce and execute do

    @initialize(deadline=st.integers(1, 400))
    def one_is_there(self, deadline: int) -> None:
        self.produce("a", "x", deadline, valid=True)

    @rule(name=st.sampled_from("abc"), content=st.sampled_from("xy"), deadline=st.integers(1, 400), valid=st.booleans())
    def produce(self, name: str, content: str, deadline: int, valid: bool) -> None:
        verdict = (
            admission(self.end, name, content, self.now + deadline) if valid else refusal(name, content + " unreadable")
        )
        self.problems[self.end] = Produced(verdict)
        self.end += 1

    @rule()
    def abort(self) -> None:
        self.end += 1

    @rule(data=st.data(), kernel=st.sampled_from(["k", "l", None]))
    def reduce(self, data: st.DataObject, kernel: str | None) -> None:
        offset = data.draw(st.integers(max(0, self.end - 6), self.end - 1))
        self.others["incumbents"].append(incumbent(offset, kernel, deadline=self.deadline(offset)))

    @rule(
        data=st.data(),
        kernel=st.sampled_from(["k", "l"]),
        failed=st.sampled_from([None, None, "reduce", "execute"]),
    )
    def execute(self, data: st.DataObject, kernel: str, failed: str | None) -> None:
        offset = data.draw(st.integers(max(0, self.end - 6), self.end - 1))
        self.others["proposals"].append(proposal(offset, kernel, failed, deadline=self.deadline(offset)))

    def deadline(self, offset: int) -> float:
        verdict = self.problems[offset].verdict if offset in self.problems else None
        return verdict.ref.deadline_at if isinstance(verdict, Admission) else self.now + 5

    # what the verifier does

    @rule(counts=st.tuples(*[st.integers(0, 4)] * 3), beside=st.booleans())
    def work(self, counts: Sequence[int], beside: bool = False) -> None:
        self.commit([*self.read(counts, beside), *self.due()])

    @rule(counts=st.tuples(*[st.integers(0, 4)] * 3), beside=st.booleans())
    def read_and_die(self, counts: Sequence[int], beside: bool) -> None:
        self.read(counts, beside)
        self.join.due(self.now)
        self.start()

    @rule()
    def find_out(self) -> None:
        """What was being read beside is known now."""
        found: list[Decision | Reject | Duplicate] = []
        for offset, produced in self.problems.items():
            if not self.join.is_read(offset):
                verdict = produced.verdict.ref if isinstance(produced.verdict, Admission) else produced.verdict
                found += self.join.problem(offset, verdict, f"problems {offset}")
        self.commit(found)

    def due(self) -> list[Decision | Reject | Duplicate]:
        out: list[Decision | Reject | Duplicate] = []
        for item in self.join.due(self.now):
            if isinstance(item, Unread):
                self.unread.add(item.offset)
                out += self.join.problem(
                    item.offset, refusal(self.problems[item.offset].key[0], f"unread {item.offset}"), item.record
                )
            else:
                out.append(item)
        position = self.join.positions["problems"]
        self.join.let_go(self.now, range(next((k for k in sorted(self.problems) if k >= position), self.end), self.end))
        return out

    @rule(skew=st.sampled_from([-SKEW, 0.0, SKEW]))
    def start(self, skew: float = 0.0) -> None:
        self.skew = skew
        known = [entry for entry in self.terminal if entry.position >= self.logs.get(entry.topic, 0)]
        self.join = Join(self.committed, known, logs=self.logs, end=self.end)

    @rule(seconds=st.sampled_from([0.5, 3.0, 15.0, 50.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    def read(self, counts: Sequence[int], beside: bool = False) -> list[Decision | Reject | Duplicate]:
        found: list[Decision | Reject | Duplicate] = []
        join = self.join
        for name, count in zip(INPUTS, counts, strict=True):
            for _ in range(count):
                at = join.positions[name]
                if name == "problems":
                    offset = next((k for k in sorted(self.problems) if k >= at), None)
                    if offset is None:
                        break
                    self.first_read.setdefault(offset, self.now)
                    if beside:
                        join.reading(offset, self.deadline(offset), f"problems {offset}", self.problems[offset].key[0])
                        continue
                    found += join.problem(offset, self.problems[offset].verdict, f"problems {offset}")
                elif at < len(self.others[name]):
                    step = join.incumbent if name == "incumbents" else join.proposal
                    found += cast(Any, step)(at, self.others[name][at], f"{name} {at}", self.now)
        return found

    def commit(self, found: Sequence[Decision | Reject | Duplicate]) -> None:
        """One transaction, as the verifier does it."""
        for item in found:
            if isinstance(item, Duplicate):
                self.check_duplicate(item)
                self.join.dropped(item)
            elif isinstance(item, Decision):
                self.check_decision(item)
                ref = item.open.ref
                topic = "outcomes.accepted" if item.proposal else "outcomes.fallback"
                self.write(ref.problem_id, ref.digest, ref.offset, topic)
            else:
                assert item.record == f"problems {item.offset}"
                self.write(item.refusal.problem_id, item.refusal.digest, item.offset, REJECTED)
        self.join.forget(self.now + self.skew - WINDOW, most=1000)
        self.committed, self.logs = self.join.floors(), self.join.log_starts()

    def write(self, problem_id: str, digest: str, offset: int, topic: str) -> None:
        assert offset not in {entry.offset for entry in self.terminal}, "settled twice"
        position = sum(entry.topic == topic for entry in self.terminal)
        entry = Settled(problem_id, digest, offset, self.now + self.skew, topic, position)
        self.terminal.append(entry)
        self.join.remember(entry)

    def check_duplicate(self, item: Duplicate) -> None:
        assert item.first_offset < item.offset
        assert self.problems[item.first_offset].key == self.problems[item.offset].key
        assert item.problem_id == self.problems[item.offset].key[0]
        self.dropped[item.offset] = item

    def check_decision(self, item: Decision) -> None:
        ref = item.open.ref
        assert item.open.record == f"problems {ref.offset}"
        arrived = [a for a in (item.incumbent, item.proposal) if a is not None]
        assert all(a.event.ref.offset == ref.offset for a in arrived)
        if item.cause is None:
            assert ref.deadline_at <= self.now
        else:
            assert item.cause in arrived
        if item.proposal is not None and item.proposal.event.answer is not None:
            assert item.incumbent is not None
            assert item.incumbent.event.kernel_digest == item.proposal.event.kernel_digest

    # what must hold at any time

    @property
    def open(self) -> set[int]:
        """Admitted, read, and neither settled nor a repeat: by the model, not by the join."""
        done = {entry.offset for entry in self.terminal} | self.dropped.keys()
        read = {k for k in self.problems if k < self.join.positions["problems"] and self.join.is_read(k)}
        return read - done - self.join._held.keys()

    @invariant()
    def floors_never_pass_what_is_needed(self) -> None:
        done = {entry.offset for entry in self.terminal} | self.dropped.keys()
        read = {k for k in self.problems if k < self.committed["problems"]}
        assert read <= done, "a problem is lost at the next crash"
        for name, events in self.others.items():
            for at in range(self.committed[name]):
                offset = events[at].ref.offset
                many = sum(event.ref.offset == offset for event in events[: at + 1]) > MOST_ARRIVED
                assert offset not in self.problems or offset in done or many, "an event is lost at the next crash"

    @invariant()
    def the_log_is_read_from_far_enough_back(self) -> None:
        for entry in self.terminal:
            if entry.offset >= self.committed["problems"] or entry.at >= self.now - WINDOW + 2 * SKEW:
                assert self.logs[entry.topic] <= entry.position

    @precondition(lambda self: self.problems)
    @rule()
    def nothing_that_could_be_settled_waits(self) -> None:
        self.commit(self.due())
        deadline = self.join.next_deadline()
        assert deadline is None or deadline > self.now
        for offset in self.open:
            seen = {
                name: [e for e in events[: self.join.positions[name]] if e.ref.offset == offset]
                for name, events in self.others.items()
            }
            kernels = {e.kernel_digest for e in seen["incumbents"]}
            assert None not in kernels
            for event in seen["proposals"]:
                assert event.answer is None or event.kernel_digest not in kernels
                assert event.failure is None or (not kernels and event.failure.stage == "execute")
        assert self.join.open == len(self.open)

    def teardown(self) -> None:
        """In the end everything is read and every deadline is over: each problem has had its one end."""
        self.start()
        self.commit(self.read([self.end, *(len(events) for events in self.others.values())]))
        self.now += 1000
        self.commit(self.due())
        assert self.join.open == 0
        ends = {entry.offset: entry for entry in self.terminal}
        assert len(ends) == len(self.terminal)
        for offset, produced in self.problems.items():
            assert offset in ends or offset in self.dropped
            if offset in self.dropped:
                assert offset not in ends
                continue
            end = ends[offset]
            if offset in self.unread:
                assert end.topic == REJECTED
                continue
            assert (end.problem_id, end.digest) == produced.key
            if isinstance(produced.verdict, Refusal):
                assert end.topic == REJECTED
            for earlier, first in ends.items():
                if earlier in self.unread or earlier >= offset or first.problem_id != end.problem_id:
                    continue
                outside = self.first_read[offset] > first.at + WINDOW - 2 * SKEW
                both = {first.topic, end.topic}
                if REJECTED not in both or (both == {REJECTED} and first.digest == end.digest):
                    assert outside, "a repeat inside the window went through"
        assert self.join.floors() == self.join.positions


Partition.TestCase.settings = settings(deadline=None, max_examples=80, stateful_step_count=40)
TestPartition = Partition.TestCase


def test_a_repeat_read_again_after_a_crash_is_still_one() -> None:
    """The long way that chance seldom goes: settled, repeated beside a slow one, out of the window, crash."""
    world = Partition()
    world.produce(name="a", content="x", deadline=100, valid=True)
    world.others["incumbents"].append(incumbent(0, None))
    world.work(counts=(1, 1, 0))
    world.produce(name="slow", content="x", deadline=400, valid=True)
    world.produce(name="a", content="x", deadline=100, valid=True)
    world.work(counts=(2, 0, 0))
    assert world.dropped.keys() == {2}
    world.wait(seconds=2 * WINDOW)
    world.work(counts=(0, 0, 0))
    world.start(skew=0.0)
    world.work(counts=(1, 0, 0))  # the slow one first: what answers for the repeat must outlast this transaction
    world.work(counts=(1, 0, 0))
    world.floors_never_pass_what_is_needed()
    world.teardown()
