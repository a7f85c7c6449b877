"""What verify writes of what it decided: the end of a problem, or its next round, and what its join is told of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from qmosaic.codecs.events import public
from qmosaic.codecs.events.control import AuditEntry
from qmosaic.codecs.events.hops import Encoded, Interim
from qmosaic.processors.decisions import REJECTED, Decision, Open, Reject, Settled
from qmosaic.processors.join import Join
from qmosaic.processors.rounds import began
from qmosaic.processors.terminal import (
    Onward,
    Verdict,
    rejected_entry,
    rejection_verdict,
    round_entry,
    settled_entry,
)
from qmosaic.streams.hops.judge import end_of
from qmosaic.streams.kafka.context import trace_of
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.reading import Unreadable
from qmosaic.streams.kafka.records import Received, headers_for_turns, whole, whose
from qmosaic.streams.settings import Settings
from qmosaic.streams.watch.sensor import End, Ended, Sensor


@dataclass(frozen=True, eq=False)
class Line:
    """A record. `partition` None: by its key."""

    topic: str
    value: bytes
    key: str
    kind: str
    partition: int | None
    extra: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Settlement:
    """The end of a problem."""

    entry: Settled

    def told(self, join: Join, position: int) -> list[Decision]:
        """It stands at this position of its topic."""
        join.remember(msgspec.structs.replace(self.entry, position=position))
        return []


@dataclass(frozen=True, eq=False)
class Going:
    """Another round of a problem."""

    open: Open
    interim: Interim

    def told(self, join: Join, position: int) -> list[Decision]:
        """It stands at this position of the log of rounds; what is decided by that."""
        return join.went_on(self.open, self.interim, position)


@dataclass(frozen=True, eq=False)
class Write:
    """What a transaction writes of one decision: lines, the first of which the join remembers, and one for the audit.
    `offset`: of the problem's record."""

    lines: tuple[Line, ...]
    audit: AuditEntry
    offset: int
    step: Settlement | Going
    ends: tuple[End, ...]


class Ends:
    """Makes them, and tells the sensor. `clock`: seconds since the epoch."""

    def __init__(self, settings: Settings, sensor: Sensor, clock: Callable[[], float]) -> None:
        self._settings, self._sensor, self._clock = settings, sensor, clock

    def outcome(self, number: int, decision: Decision, verdict: Verdict) -> Write:
        """Of a verdict on a problem of partition `number`."""
        if verdict.onward is not None:
            return self._onward(number, decision, verdict, verdict.onward)
        one, ref = decision.open, decision.open.ref
        entry = Settled(ref.problem_id, ref.digest, ref.offset, self._clock(), verdict.topic, -1)
        arrived = [a.record for a in (decision.incumbent, decision.proposal) if a is not None]
        said = {**end_of(verdict), **whose(ref)}
        last = (self._round(one, verdict, []),) if ref.rounds != 1 else ()
        topic = topic_name(self._settings, verdict.topic)
        end = self._sensor.settled(Ended(one.record, arrived, topic, ref.problem_id, said, ref, verdict.summary))
        line = _terminal(number, entry, verdict, public.OUTCOME_SCHEMA)
        return Write((line,), settled_entry(verdict, ref, entry.at), ref.offset, Settlement(entry), (end, *last))

    def _onward(self, number: int, decision: Decision, verdict: Verdict, onward: Onward) -> Write:
        one, begins = decision.open, onward.interim.ref
        arrived = [a.record for a in (decision.incumbent, decision.proposal) if a is not None]
        said = {**headers_for_turns(begins), "ce_size": str(onward.size)}
        lines = (
            Line(verdict.topic, verdict.value, begins.problem_id, Interim.schema, number, {}),
            Line("problems.encoded", onward.encoded, begins.problem_id, Encoded.schema, None, said),
        )
        audit = round_entry(verdict, one.ref, self._clock())
        end = self._round(one, verdict, arrived)
        return Write(lines, audit, one.ref.offset, Going(one, onward.interim), (end,))

    def _round(self, one: Open, verdict: Verdict, arrived: list[Received]) -> End:
        said = {**end_of(verdict), **whose(one.ref), "qmosaic.round.number": one.round}
        return self._sensor.rounded(one.record, arrived, said, one.round, began(one.ref, one.interim))

    def rejection(self, number: int, item: Reject) -> Write:
        """Of a record that is refused."""
        record, refusal = whole(item.record), item.refusal
        first = record.value.first if isinstance(record.value, Unreadable) else record.offset
        verdict = rejection_verdict(record, refusal, f"{trace_of(record).trace_id:032x}", first=first)
        entry = Settled(refusal.problem_id, refusal.digest, item.offset, self._clock(), REJECTED, -1)
        audit = rejected_entry(verdict, refusal, number, item.offset, entry.at)
        said = {**end_of(verdict), "qmosaic.problem.id": refusal.problem_id, "qmosaic.tenant": refusal.tenant}
        topic = topic_name(self._settings, REJECTED)
        end = self._sensor.settled(Ended(item.record, [], topic, entry.problem_id, said))
        line = _terminal(number, entry, verdict, public.REJECTION_SCHEMA)
        return Write((line,), audit, item.offset, Settlement(entry), (end,))


def _terminal(number: int, entry: Settled, verdict: Verdict, kind: str) -> Line:
    extra = {"ce_digest": entry.digest, "ce_sourceoffset": str(entry.offset)}
    return Line(verdict.topic, verdict.value, entry.problem_id, kind, number, extra)
