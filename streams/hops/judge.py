"""What a record is, and what an answer is worth: milliseconds' work here, the rest in a process beside."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from qmosaic.codecs.errors import RejectCode, Rejected
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.hops import Incumbent, Proposal, Ref
from qmosaic.codecs.events.reasons import OutcomeReason
from qmosaic.processors.admit import Admission, Refusal, admit_safely, is_light, refuse
from qmosaic.processors.decisions import Decision, Input
from qmosaic.processors.families.base import QUICK
from qmosaic.processors.rounds import joined
from qmosaic.processors.terminal import Verdict, admit_record, judge, judge_record, outcome_verdict
from qmosaic.processors.verify import unjudged
from qmosaic.streams.hops import crashes
from qmosaic.streams.hops.beside import Beside, BesideError, WorkError
from qmosaic.streams.hops.crashes import Notebook
from qmosaic.streams.kafka.connect import written_bytes
from qmosaic.streams.kafka.context import trace_of
from qmosaic.streams.kafka.reading import Unreadable
from qmosaic.streams.kafka.records import Received, fits, whole
from qmosaic.streams.settings import Settings
from qmosaic.streams.watch.logs import about, sentence

log = logging.getLogger("qmosaic.verify")

Item = TypeVar("Item")
Made = TypeVar("Made")

VERSIONS = {"qmosaic": version("qmosaic"), "jax": version("jax"), "cirq": version("cirq-core")}
"""What computed an outcome."""

REMEDIES: dict[RejectCode, str] = {
    "too_large": "Send a smaller problem.",
    "unreadable": "Check the producer: its checksums, and its compression (none, gzip, snappy, lz4 or zstd).",
}
BESIDE_REASONS: dict[str, OutcomeReason] = {"worker_crashed": "worker_crashed", "deadline_past": "deadline"}

AT_ONCE = 16
"""So many small ones are worked on before whatever else waits for the event loop has its turn."""
BESIDE_SECONDS = 3.0
"""Before its deadline, at most: what is judged beside may wait for others, or for a new process."""


class Judge:
    """Admits records and judges decisions. Never raises for what a family, a codec or a plug-in raises."""

    def __init__(
        self, settings: Settings, instance: str, clock: Callable[[], float], beside: Callable[[int, float], Beside]
    ) -> None:
        self.limits, self.defaults = settings.limits, settings.defaults
        self.crashes = Notebook(Path(settings.data_dir) / "crashes", "verify", instance)
        self._most = written_bytes(settings)
        self._settings, self._clock, self._made = settings, clock, beside

    def start(self) -> None:
        """Start the process beside. Needs a running loop."""
        self._beside = self._made(self._settings.beside.memory_bytes, self._settings.beside.seconds)

    def stop(self) -> None:
        """Give up what is under way."""
        self._beside.stop()

    # -- what a record is ----------------------------------------------------------------------------------------

    def believed(self, name: Input, record: Received, end: int | None) -> Incumbent | Proposal | str:
        """An event of an internal topic as far as it fits, for nobody has signed it; or why it is not believed.

        `end`: of the problems of its partition, where it is known.
        """
        kind: type[Incumbent] | type[Proposal] = Incumbent if name == "incumbents" else Proposal
        if isinstance(record.value, Unreadable):
            return f"a batch from offset {record.value.first} on: {record.value.reason}"
        try:
            event = wire.decode(record.value or b"", kind)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            return f"it is not an event of ours: {error}"[:300]
        return fits(event.ref, record, self._settings, record.partition, end) or event

    def refused(self, record: Received) -> Refusal | None:
        """The refusal of a record that nobody should look into."""
        if isinstance(record.value, Unreadable):
            return refusal(record, "unreadable", f"the batch of records cannot be read: {record.value.reason}")
        if self.crashes.is_culprit(record):
            return refusal(record, "worker_crashed", f"a worker died {crashes.MOST} times while it read or judged it")
        return None

    def is_light(self, record: Received) -> bool:
        """Whether it takes milliseconds to admit."""
        return is_light(record.value, self.limits)

    async def admitted(self, light: Sequence[Received]) -> list[Admission | Refusal]:
        """What light records are."""
        with self.crashes.holding(light):
            verdicts = await _in_turns(lambda record: admit_safely(record, self.limits, self.defaults), light)
        for record, (_, error) in zip(light, verdicts, strict=True):
            if error is not None:
                _say(record, "admitting", error)
        return [verdict for verdict, _ in verdicts]

    async def admitted_beside(self, record: Received, deadline_at: float) -> Ref | Refusal | None:
        """What any other record is; None where its deadline came first."""
        read = whole(record)
        try:
            return await self._beside.run(deadline_at, admit_record, read, self.limits, self.defaults)
        except BesideError as error:
            if error.code == "deadline_past":
                return None  # the clock refuses it
            code: RejectCode = "worker_crashed" if error.code == "worker_crashed" else "too_large"
            return refusal(read, code, f"reading it: {error.message}")
        except WorkError as error:
            _say(record, "admitting", error)
            return refusal(read, "stage_failed", f"reading it raised {str(error).partition(':')[0]}")

    # -- what an answer is worth ---------------------------------------------------------------------------------

    def is_large(self, decision: Decision) -> bool:
        """Whether it takes more than milliseconds to judge, or is not even known here.

        Then it goes to a process: in a thread it would take turns with the loop for Python's lock.
        """
        admission = decision.open.admission
        return admission is None or admission.instance.size > QUICK

    async def judged(self, decisions: Sequence[Decision], overloaded: set[int]) -> list[Verdict]:
        """The verdicts on small problems. `overloaded`: the identities of decisions that were taken early."""
        with self.crashes.holding(decision.open.record for decision in decisions):
            return await _in_turns(lambda decision: self._judge(decision, id(decision) in overloaded), decisions)

    def _judge(self, decision: Decision, overloaded: bool) -> Verdict:
        assert decision.open.admission is not None
        verdict = judge(
            decision.open.admission,
            decision.incumbent.event if decision.incumbent else None,
            decision.proposal.event if decision.proposal else None,
            self._most,
            interim=decision.open.interim,
            **self._known(decision, overloaded),
        )
        if verdict.error:
            _say(decision.open.record, "judging", verdict.error)
        return verdict

    async def judged_beside(self, decision: Decision, overloaded: bool) -> Verdict:
        """Judge it all; if that takes too much, the incumbent alone; if that does, nothing."""
        record, ref = whole(decision.open.record), decision.open.ref
        incumbent = decision.incumbent.record.value if decision.incumbent else None
        proposal = decision.proposal.record.value if decision.proposal else None
        known, verdict = self._known(decision, overloaded), None
        known["until"] -= early(ref.deadline_at, record)
        interim = None if decision.open.interim is None else wire.encode(decision.open.interim)
        for answer in dict.fromkeys((proposal, None)):
            why, note, verdict = await self._tried(ref, record, incumbent, answer, known, interim)
            if verdict is not None:
                break
            _say(record, "judging", note)
            known = {**known, "late": why}
        if verdict is None:
            return self.unjudged(decision, why, note)
        if verdict.error:
            _say(record, "judging", verdict.error)
        return verdict

    async def _tried(
        self,
        ref: Ref,
        record: Received,
        incumbent: bytes | None,
        proposal: bytes | None,
        known: dict[str, Any],
        interim: bytes | None,
    ) -> tuple[OutcomeReason, str, Verdict | None]:
        """The verdict, or why there is none: an outcome's reason, and a note."""
        given = (record, self.limits, self.defaults, incumbent, proposal, self._most, known, interim)
        try:
            return "deadline", "", await self._beside.run(ref.deadline_at, judge_record, *given)
        except BesideError as error:
            return BESIDE_REASONS.get(error.code, "stage_failed"), f"judging it: {error.message}", None
        except WorkError as error:
            _say(record, "judging", error)
            return "stage_failed", f"judging it raised {str(error).partition(':')[0]}", None

    def unjudged(self, decision: Decision, reason: OutcomeReason, note: str) -> Verdict:
        """The verdict where nothing could be judged, or nothing of the round that is on."""
        ref, known = decision.open.ref, self._known(decision, False)
        del known["until"]
        outcome = unjudged(ref, reason, notes=[note], **known)
        if ref.rounds != 1:
            outcome = joined(ref, decision.open.interim, outcome, known["now"])
        labels = wire.labels_of(whole(decision.open.record).value or b"{}")
        return outcome_verdict(outcome, self._most, labels=labels)

    def _known(self, decision: Decision, overloaded: bool) -> dict[str, Any]:
        """What `judge` is told besides the problem."""
        now = self._clock()
        ref = decision.cause.event.ref if decision.cause else None
        known = {
            "now": now,
            "queue": now - ref.sent_at if ref else 0.0,
            "trace_id": f"{trace_of(decision.open.record).trace_id:032x}",
            "versions": VERSIONS,
            "tick": time.perf_counter,
            "until": decision.open.ref.deadline_at - self._settings.verify.margin_seconds,
        }
        return {**known, "late": "overloaded"} if overloaded else known


async def _in_turns(work: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
    """On the event loop, a few at a time. In a thread it takes turns with the loop for Python's lock: whatever sorts an
    array lets go of it, and where the loop is busy it is 5 ms until it has it back."""
    made = []
    for count, item in enumerate(items, 1):
        made.append(work(item))
        if count % AT_ONCE == 0:
            await asyncio.sleep(0)
    return made


def early(deadline_at: float, record: Received) -> float:
    """How long before its deadline (and the margin) a problem is settled that is judged beside."""
    return min(BESIDE_SECONDS, 0.2 * max(deadline_at - record.timestamp, 0.0))


def refusal(record: Received, code: RejectCode, message: str) -> Refusal:
    """The refusal of a record that was not looked into, or not to its end."""
    remedy = REMEDIES.get(code, "Report it with the event: this is a bug.")
    return refuse(record, Rejected(code, message, "$", remedy))


def end_of(verdict: Verdict) -> dict[str, str]:
    """What the spans of a problem's end say of it: one that is not accepted is to be seen at a look."""
    said: dict[str, str] = {"qmosaic.outcome.status": verdict.status, "qmosaic.outcome.reason": verdict.reason}
    if verdict.detail.get("backend"):
        said["qmosaic.backend.name"] = verdict.detail["backend"]
    if verdict.status != "accepted":
        said["error.type"] = verdict.reason
        if message := verdict.detail.get("failure") or verdict.detail.get("message"):
            said["qmosaic.failure.message"] = message[:500]
    return said


def _say(record: Received, doing: str, error: object) -> None:
    log.error(
        "%s a problem failed, %s %s:%s: %s",
        doing,
        record.topic,
        record.partition,
        record.offset,
        sentence(error) if isinstance(error, Exception) else error,
        exc_info=error if isinstance(error, Exception) and log.isEnabledFor(logging.INFO) else None,
        extra=about(whole(record)),
    )
