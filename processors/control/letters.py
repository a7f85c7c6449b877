"""Dead letters: whose they are, and whether it is of any use to put their record back to where it came from."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error

import msgspec

from qmosaic.codecs.events.control import DeadLetter, Resend
from qmosaic.codecs.events.hops import Ref
from qmosaic.processors.control.orders import RESENDABLE, Refused

CRASHED = "WorkerCrashedError"
"""How the error of a letter begins at whose record workers died."""
ANEW = "Submit the problem anew, under another id: `qmosaic submit`."
FORCE = "--force sends it all the same."
PAID = "jobs.paid"


class _Owned(msgspec.Struct):
    """Whose an internal event is."""

    ref: Ref


_owned = msgspec.json.Decoder(_Owned)


def ref_in(value: bytes) -> Ref:
    """Of an internal event. Raises msgspec.MsgspecError, ValueError or RecursionError for what is none."""
    return _owned.decode(value).ref


def original_of(letter: DeadLetter) -> bytes:
    """The bytes of the record, or their beginning; nothing where they are not what a hop writes."""
    try:
        return b64decode(letter.original, validate=True)
    except (Error, ValueError):
        return b""


def ref_of(letter: DeadLetter) -> Ref | None:
    """Whose it is, where the record still says so."""
    try:
        return ref_in(original_of(letter))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def order_of(name: str, letter: DeadLetter, topic: str) -> Resend:
    """The order that puts its record back. `topic`: its own, without the namespace."""
    ref = ref_of(letter)
    return Resend(
        letter=name,
        topic=topic,
        partition=letter.partition,
        original=letter.original,
        key=letter.key,
        headers=letter.headers,
        problem_id=ref.problem_id if ref is not None else "",
    )


def why_not(
    letter: DeadLetter, topic: str, unfit: str | None, *, now: float, ended: str | None, resent: str | None, force: bool
) -> Refused | None:
    """Why a record is not put back, or None. `topic`: its own, without the namespace; `unfit`: what its stage would
    still say of it; `ended`: how its problem has ended, `resent`: when the letter was, where either is so.

    Whoever forces it decides about all but what cannot be: verify drops what comes of it for a problem that has ended.
    """
    if topic == "problems":
        return Refused("it is a problem, and nobody takes one twice under its id", "topic", ANEW)
    if topic not in RESENDABLE:
        return Refused(f"no stage reads {topic}", "topic", f"These can be resent: {', '.join(RESENDABLE)}.")
    if letter.truncated or not letter.original:
        return Refused("the letter does not hold all of its record", "truncated", ANEW)
    ref = ref_of(letter)
    if unfit is not None or ref is None:
        message = f"{letter.stage} would put it aside again: {unfit or 'it is not an event of ours'}"
        return Refused(message, "original", f"Resend it by a release, and settings, that take it. {ANEW}")
    if force:
        return None
    if ended is not None:
        return Refused(f"its problem has ended ({ended}): nothing would come of it", "problem", f"{ANEW} {FORCE}")
    if ref.deadline_at <= now:
        late = f"the deadline of its problem was {now - ref.deadline_at:.0f} s ago"
        return Refused(late, "deadline", f"{ANEW} {FORCE}")
    if letter.error.startswith(CRASHED):
        return Refused("workers died at it, and may again", "error", f"Mend that first; then {FORCE}")
    if topic == PAID:
        return Refused("it may be paid for", "topic", f"Look at `qmosaic ledger` and at the vendor first; then {FORCE}")
    if resent is not None:
        return Refused(f"it was resent, {resent}", "resent", FORCE)
    return None
