"""What a hop cannot handle: the dead letter of an event, and what comes instead of what it would have led to."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress

import msgspec

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import DeadLetter
from qmosaic.codecs.events.hops import Failure, JobEvent, Proposal, Ref
from qmosaic.processors.control.letters import ref_in
from qmosaic.processors.execute import advance
from qmosaic.streams.hops.hop import next_send, proposal_send
from qmosaic.streams.kafka.reading import Unreadable
from qmosaic.streams.kafka.records import Received, Send, fits
from qmosaic.streams.settings import Settings

LETTER_BYTES = 1024 * 1024
"""The most of an event that its dead letter keeps."""
HEADER_BYTES = 64 * 1024
"""The most of its headers and its key: all of them, or none."""


class WorkerCrashedError(Exception):
    """A worker, or a process of one, died at this event as often as is allowed."""


def unfit(record: Received, settings: Settings) -> Exception | None:
    """Why a record of an internal topic is none of ours."""
    if isinstance(record.value, Unreadable):
        return ValueError(f"a batch from offset {record.value.first} on cannot be read: {record.value.reason}")
    try:
        ref = ref_in(record.value or b"")
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return ValueError(f"it is not an event of ours: {error}"[:300])
    wrong = fits(ref, record, settings, None, None)
    return None if wrong is None else ValueError(wrong)


def put_aside(stage: str, settings: Settings, record: Received, error: BaseException, at: float) -> list[Send]:
    """The dead letter of an event, and what comes instead, where the event still says whose it is."""
    value, key = record.value or b"", record.key or b""
    headers = [(name, b64encode(said).decode()) for name, said in record.headers.items()]
    fitting = len(key) + sum(len(name) + len(said) for name, said in headers) <= HEADER_BYTES
    letter = DeadLetter(
        stage=stage,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        error=f"{type(error).__name__}: {error}"[:1000],
        original=b64encode(value[:LETTER_BYTES]).decode(),
        at=at,
        truncated=len(value) > LETTER_BYTES or not fitting,
        key=b64encode(key).decode() if record.key is not None and fitting else None,
        headers=headers if fitting else [],
    )
    told = {"error__type": type(error).__name__, "qmosaic__failure__message": letter.error}
    out = [Send("dead-letters", letter, 0, key=stage, attributes=told)]
    with suppress(msgspec.MsgspecError, ValueError, RecursionError):
        ref = ref_in(value)
        if fits(ref, record, settings, None, None) is None:
            crashed = isinstance(error, WorkerCrashedError)
            failure = Failure(stage, "worker_crashed" if crashed else "stage_failed", letter.error[:500])
            out.append(_followed(stage, settings, value, ref, failure))
    return out


def _followed(stage: str, settings: Settings, value: bytes, ref: Ref, failure: Failure) -> Send:
    """What comes instead: of a job its next candidate, and the failure for verify where there is none."""
    if stage.startswith("execute."):
        with suppress(msgspec.MsgspecError, ValueError, RecursionError):
            return next_send(advance(wire.decode(value, JobEvent), failure), 0, settings.paid.backends)
    proposal = Proposal(ref=ref, kernel_digest=None, route=None, attempt=0, answer=None, failure=failure)
    return proposal_send(proposal, 0)
