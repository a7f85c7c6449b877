"""What follows from a round of control's records before it is written; in whose turn they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from qmosaic.codecs.events.control import AuditEntry, ControlState, Resend
from qmosaic.codecs.events.hops import JobEvent
from qmosaic.codecs.events.ledger import JobEnded, LedgerEntry
from qmosaic.processors.control.books import reservation_text
from qmosaic.streams.hops.hop import RANKS
from qmosaic.streams.kafka.records import Received, Send, Step


@dataclass(eq=False)
class Round:
    """What one round writes, in its order."""

    states: list[tuple[str, ControlState]] = field(default_factory=list)
    entries: list[LedgerEntry] = field(default_factory=list)
    audits: list[AuditEntry] = field(default_factory=list)
    sends: list[Send] = field(default_factory=list)
    steps: list[tuple[int, Step]] = field(default_factory=list)  # of which record
    resends: list[Resend] = field(default_factory=list)

    def add(self, other: Round) -> None:
        """What another part of it writes, behind this."""
        self.states += other.states
        self.entries += other.entries
        self.audits += other.audits
        self.sends += other.sends
        self.resends += other.resends
        self.steps += other.steps


def step_of(event: JobEvent | JobEnded, entry: LedgerEntry, began: float, ended: float) -> Step:
    """A grant, or a booking."""
    attributes: dict[str, Any] = {
        "qmosaic.problem.id": entry.problem_id,
        "qmosaic.tenant": entry.tenant,
        "qmosaic.ledger.event": entry.event,
        "qmosaic.ledger.reservation": entry.reservation,
        "qmosaic.ledger.amounts": reservation_text(entry.amounts),
    }
    if entry.event == "refused":
        attributes |= {"error.type": "refused", "qmosaic.failure.message": entry.why}
    return Step(f"{'grant' if isinstance(event, JobEvent) else 'book'} {entry.backend}", began, ended, attributes)


def turn(record: Received) -> tuple[int, float]:
    """Whose class is higher, then whose deadline is nearer, asks first."""
    headers = record.headers
    try:
        deadline_at = float(headers.get("ce_deadline", b"inf"))
    except ValueError:
        deadline_at = float("inf")
    return RANKS.get(headers.get("ce_priority", b""), 1), deadline_at
