"""The join of one partition: problems, incumbents and proposals in, decisions out. No I/O, no clock.

The state is what the logs say: an event belongs to a problem by the offset at which the problem arrived, which
travels with it. `floors` tells how far each input may be committed: never past a record that an unsettled
problem needs, so that a new owner of the partition reads it again and ends with the same state.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Container, Iterable, Mapping
from typing import Any

import msgspec

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events.hops import Incumbent, Interim, Proposal, Ref
from qmosaic.processors.admit import Admission, Refusal
from qmosaic.processors.decisions import (
    INPUTS,
    INTERIM,
    Arrived,
    Began,
    Decision,
    Duplicate,
    Input,
    Open,
    Reject,
    Settled,
    Unread,
)
from qmosaic.processors.remembered import Remembered, hashed

# An incumbent or a proposal may be read before its problem. If the problem never comes, what waits for it is let go
# this long after it was read.
ORPHAN_SECONDS = 60.0
MOST_ARRIVED = 8
"""Incumbents, and proposals, that are kept for one problem: each hop may run twice, not without end."""
MOST_ORPHANS = 10_000
"""Events kept that were read before their problem. Beyond, they are let go: a problem without them falls back."""


class Join:
    """State of one partition. `start`: the committed offsets, where reading begins.

    `settled` is what the terminal topics say from `logs` on, by topic, and `began` the rounds that began, in their
    order. Nothing is forgotten before the problems up to offset `end` are read: what stood in the topic at the start
    was in part judged before it.
    """

    def __init__(
        self,
        start: Mapping[Input, int],
        settled: Iterable[Settled] = (),
        began: Iterable[Began] = (),
        *,
        logs: Mapping[str, int] | None = None,
        end: int = 0,
    ) -> None:
        self.positions = dict(start)
        self._end = end
        self._open: dict[int, Open] = {}
        self._deciding: dict[int, Open] = {}  # decided, and that is not in the log yet
        self._began: dict[int, Began] = {}  # by problem, the last round that began
        self._reading: dict[int, Any] = {}  # records that somebody is still finding out about
        # By the id that they claim, in the order they came in: these, and those that were found out before them.
        self._lines: dict[bytes, deque[int]] = {}
        self._held: dict[int, tuple[Admission | Ref | Refusal, Any]] = {}
        self._orphans: dict[int, list[tuple[Input, Arrived]]] = {}
        self._orphaned: deque[tuple[float, int]] = deque()  # since when each of them waits, and for which problem
        self._deadlines: list[tuple[float, int]] = []
        # Records read that must be read again after a crash: offsets in order, and by problem.
        self._pending: dict[Input, OrderedDict[int, None]] = {name: OrderedDict() for name in INPUTS}
        self._needs: dict[int, list[tuple[Input, int]]] = {}
        self._ahead: dict[int, bytes] = {}  # settled, and yet to be read again: offset → hash of the id
        entries = sorted(settled, key=lambda one: (one.at, one.position))
        self._remembered = Remembered(entries, logs or {})
        for entry in entries:
            self._is_settled(entry)
        for one in began:
            self._remembered.reaches(INTERIM, one.position)
            offset = one.interim.ref.offset
            if offset >= self.positions["problems"] and offset not in self._ahead:
                self._began[offset] = one

    @property
    def open(self) -> int:
        """How many problems wait for an answer."""
        return len(self._open)

    def waiting(self) -> Iterable[Open]:
        """The problems that wait for an answer, in the order they came in."""
        return self._open.values()

    def reading(self, offset: int, deadline_at: float | None, record: Any, problem_id: str) -> None:
        """A record of the problems topic was read that claims an id; `problem` will say what it is, in whatever order.

        At `deadline_at` it is `Unread`. Records of one id are taken in the order they came in, however long it takes.
        """
        self.positions["problems"] = offset + 1
        self._reading[offset] = record
        self._lines.setdefault(hashed(problem_id), deque()).append(offset)
        self._need(offset, "problems", offset)
        if deadline_at is not None:
            heapq.heappush(self._deadlines, (deadline_at, offset))

    def is_read(self, offset: int) -> bool:
        """Whether nobody needs to find out any more what a record is."""
        return offset not in self._reading

    @property
    def ahead(self) -> Container[int]:
        """Offsets of problems that are yet to be read, and settled already, as the terminal topics say."""
        return self._ahead

    def was_settled(self, offset: int, problem_id: str) -> bool:
        """Whether a record of the problems topic was settled before the restart that made us read it again."""
        if self._ahead.get(offset) != hashed(problem_id):
            return False
        del self._ahead[offset]
        self.positions["problems"] = max(self.positions["problems"], offset + 1)
        return True

    def problem(
        self, offset: int, verdict: Admission | Ref | Refusal, record: Any
    ) -> list[Decision | Reject | Duplicate]:
        """What a record of the problems topic is. `Ref`: a problem, to be admitted again when it is judged."""
        self.positions["problems"] = max(self.positions["problems"], offset + 1)
        self._reading.pop(offset, None)
        key = hashed(_ref(verdict).problem_id)
        line = self._lines.get(key)
        if line is None:
            return self._found(offset, verdict, record)
        self._held[offset] = verdict, record
        if offset not in line:
            line.append(offset)
            self._need(offset, "problems", offset)
        out: list[Decision | Reject | Duplicate] = []
        while line and line[0] in self._held:
            first = line.popleft()
            out += self._found(first, *self._held.pop(first))
        if not line:
            del self._lines[key]
        return out

    def _found(
        self, offset: int, verdict: Admission | Ref | Refusal, record: Any
    ) -> list[Decision | Reject | Duplicate]:
        ref = _ref(verdict)
        if self.was_settled(offset, ref.problem_id):
            self._release(offset)
            return []
        self._ahead.pop(offset, None)  # somebody said it was, of another problem
        orphans = self._orphans.pop(offset, [])
        began = self._began.get(offset)
        if began is not None and began.interim.ref.problem_id != ref.problem_id:
            began = None
        if began is not None and isinstance(verdict, Refusal):  # it was read before, and has an answer
            verdict = ref = _first(began.interim)
        if isinstance(verdict, Refusal):
            # What came for it is needed until that is written: the next owner may be able to read it.
            return [self._reject(offset, verdict, record)]
        assert isinstance(ref, Ref)
        claimed = self._remembered.claim(ref.problem_id, ref.digest, offset)
        if claimed is not None:
            first, is_same = claimed
            if is_same:
                return [self._repeat(ref.problem_id, offset, first, record)]
            labels = verdict.problem.labels if isinstance(verdict, Admission) else {}
            return [self._reject(offset, _conflict(ref, labels, first), record)]
        self._need(offset, "problems", offset)
        one = self._open[offset] = Open(ref, verdict if isinstance(verdict, Admission) else None, record)
        one.interim = began.interim if began is not None and began.interim.ref.digest == ref.digest else None
        heapq.heappush(self._deadlines, (ref.deadline_at, offset))
        for name, arrived in orphans:
            (one.incumbents if name == "incumbents" else one.proposals).append(arrived)
        return [*self._decide(one)]

    def incumbent(self, offset: int, event: Incumbent, record: Any, now: float = 0.0) -> list[Decision]:
        """A record of the incumbents topic was read, at `now`."""
        return self._arrived("incumbents", offset, event.ref, Arrived(event, record), now)

    def proposal(self, offset: int, event: Proposal, record: Any, now: float = 0.0) -> list[Decision]:
        """A record of the proposals topic was read, at `now`."""
        return self._arrived("proposals", offset, event.ref, Arrived(event, record), now)

    def skip(self, name: Input, offset: int) -> None:
        """A record that is none of ours was read: it could not be understood."""
        self.positions[name] = offset + 1

    def next_deadline(self) -> float | None:
        """When the earliest open problem's time is over, in seconds since the epoch."""
        waits = (self._open, self._reading)
        if len(self._deadlines) > 2 * sum(map(len, waits)) + 64:  # those of settled problems may lie far ahead
            self._deadlines = [one for one in self._deadlines if any(one[1] in those for those in waits)]
            heapq.heapify(self._deadlines)
        while self._deadlines and not any(self._deadlines[0][1] in those for those in waits):
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def due(self, now: float, most: int | None = None) -> list[Decision | Unread]:
        """Problems whose time is over at `now`, the earliest `most` of them."""
        out: list[Decision | Unread] = []
        while (deadline := self.next_deadline()) is not None and deadline <= now and len(out) != most:
            offset = heapq.heappop(self._deadlines)[1]
            if offset in self._reading:
                out.append(Unread(offset, self._reading[offset]))
            else:
                out.append(self.close(self._open[offset]))
        return out

    def close(self, one: Open) -> Decision:
        """Decide an open problem now, with the incumbent there is."""
        there = one.now(one.incumbents)
        return self._close(one, there[-1] if there else None, None, None)

    def went_on(self, one: Open, interim: Interim, position: int) -> list[Decision]:
        """Another round of a problem has begun, as is in the log now at a position. Its decision, if its events are
        there already."""
        offset = one.ref.offset
        self._deciding.pop(offset, None)
        self._remembered.reaches(INTERIM, position)
        self._began[offset] = Began(interim, position)
        one.interim = interim
        one.incumbents, one.proposals = one.now(one.incumbents), one.now(one.proposals)
        self._open[offset] = one
        heapq.heappush(self._deadlines, (one.ref.deadline_at, offset))
        return self._decide(one)

    def let_go(self, now: float, ahead: range) -> list[Arrived]:
        """Events of a problem that does not come any more: read `ORPHAN_SECONDS` ago, and it is not `ahead`, among the
        offsets of the problems topic that are there and yet to be read."""
        out: list[Arrived] = []
        for _ in range(len(self._orphaned)):
            since, source = self._orphaned[0]
            if since + ORPHAN_SECONDS >= now:
                break
            self._orphaned.popleft()
            if source not in self._orphans:
                continue
            if source in self._reading or source in self._held or source in ahead:
                self._orphaned.append((now, source))
                continue
            out += [arrived for _, arrived in self._orphans.pop(source)]
            self._release(source)
        return out

    def remember(self, entry: Settled) -> None:
        """A terminal event is in the log: its problem is closed, its id known."""
        self._remembered.add(entry)
        self._is_settled(entry)

    def _is_settled(self, entry: Settled) -> None:
        if entry.offset >= self.positions["problems"]:
            self._ahead[entry.offset] = hashed(entry.problem_id)
        self._deciding.pop(entry.offset, None)
        self._began.pop(entry.offset, None)
        self._release(entry.offset)

    def dropped(self, one: Duplicate) -> None:
        """That a record was a repeat is written: it is not needed any more."""
        self._release(one.offset)

    def forget(self, before: float, most: int) -> None:
        """Let go of settled ids older than `before`, and beyond the newest `most`, once no re-read needs them."""
        if self.positions["problems"] < self._end:
            return
        self._remembered.forget(before, most, self.floors()["problems"])

    def floors(self) -> dict[Input, int]:
        """How far each input may be committed."""
        # Offsets are needed in the order they were read, so the first is the lowest.
        return {name: next(iter(self._pending[name]), self.positions[name]) for name in INPUTS}

    def log_starts(self) -> dict[str, int]:
        """By terminal topic, and that of rounds, the first position that a rebuild must read; a topic never seen is
        left out."""
        out = self._remembered.starts()
        if self._began:
            out[INTERIM] = min(one.position for one in self._began.values())
        return out

    def _reject(self, offset: int, refusal: Refusal, record: Any) -> Reject | Duplicate:
        first = self._remembered.reject(refusal.problem_id, refusal.digest, offset)
        if first != offset:
            return self._repeat(refusal.problem_id, offset, first, record)
        self._need(offset, "problems", offset)
        return Reject(refusal, offset, record)

    def _repeat(self, problem_id: str, offset: int, first: int, record: Any) -> Duplicate:
        self._remembered.repeat(first, offset)
        self._need(offset, "problems", offset)
        return Duplicate(problem_id, offset, first, record)

    def _arrived(self, name: Input, offset: int, ref: Ref, arrived: Arrived, now: float) -> list[Decision]:
        self.positions[name] = offset + 1
        one = self._open.get(ref.offset) or self._deciding.get(ref.offset)
        if one is None:
            began = self._began.get(ref.offset)
            if began is not None and ref.round < began.interim.ref.round:
                return []  # it was decided about
            if self._is_expected(ref.offset) and len(self._orphans) < MOST_ORPHANS:
                if ref.offset not in self._orphans:
                    self._orphaned.append((now, ref.offset))
                waiting = self._orphans.setdefault(ref.offset, [])
                if sum(other is name for other, _ in waiting) < MOST_ARRIVED:
                    waiting.append((name, arrived))
                    self._need(ref.offset, name, offset)
            return []  # else it is settled already, or about to be
        there = one.incumbents if name == "incumbents" else one.proposals
        same = sum(other.event.ref.round == ref.round for other in there)
        if not one.takes(ref.round) or same >= MOST_ARRIVED:
            return []
        self._need(ref.offset, name, offset)
        there.append(arrived)
        return self._decide(one) if ref.offset in self._open else []

    def _is_expected(self, offset: int) -> bool:
        """Whether the problem at an offset is yet to be read, or found out about."""
        waits = offset in self._reading or offset in self._held
        return waits or (offset >= self.positions["problems"] and offset not in self._ahead)

    def _decide(self, one: Open) -> list[Decision]:
        """The decision, as soon as what is there suffices for one."""
        incumbents = one.now(one.incumbents)
        last = incumbents[-1] if incumbents else None
        for proposal in one.now(one.proposals):
            event: Proposal = proposal.event
            if event.failure is not None and (last is not None or event.failure.stage in ("encode", "reduce")):
                return [self._close(one, last, proposal, proposal)]
            matching = [i for i in incumbents if i.event.kernel_digest == event.kernel_digest]
            if event.answer is not None and matching:
                return [self._close(one, matching[-1], proposal, proposal)]
        for incumbent in incumbents:
            if incumbent.event.kernel_digest is None:
                return [self._close(one, incumbent, None, incumbent)]
        return []

    def _close(self, one: Open, incumbent: Arrived | None, proposal: Arrived | None, cause: Arrived | None) -> Decision:
        # Out of `_open`, so that it is decided once; its records are needed until the outcome is in the log, those that
        # come meanwhile, too: there may be another round, and another owner may have to decide again.
        self._open.pop(one.ref.offset, None)
        self._deciding[one.ref.offset] = one
        return Decision(one, incumbent, proposal, cause)

    def _need(self, source: int, name: Input, offset: int) -> None:
        if offset not in self._pending[name]:
            self._pending[name][offset] = None
            self._needs.setdefault(source, []).append((name, offset))

    def _release(self, source: int) -> None:
        for name, offset in self._needs.pop(source, ()):
            self._pending[name].pop(offset, None)


def _ref(verdict: Admission | Ref | Refusal) -> Ref | Refusal:
    return verdict.ref if isinstance(verdict, Admission) else verdict


def _first(interim: Interim) -> Ref:
    """What a problem is, by a later round of it."""
    return msgspec.structs.replace(interim.ref, round=1, seed=interim.best.seed)


def _conflict(ref: Ref, labels: dict[str, Any], first: int) -> Refusal:
    rejected = Rejected(
        "id_conflict",
        f"the id {ref.problem_id!r} was used before, at offset {first}, with other content",
        "$.id",
        "Use a new id for a new problem; send the same content again to repeat one.",
    )
    return Refusal(ref.problem_id, ref.digest, rejected, ref.tenant, labels)
