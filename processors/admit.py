"""The check at the door, run by encode and by verify alike: is this record a problem, whose, until when?"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events.hops import Ref
from qmosaic.codecs.events.ledger import MICROS
from qmosaic.codecs.events.public import Problem
from qmosaic.codecs.events.wire import Envelope, claimed_id, envelope, parse_problem
from qmosaic.processors.families.base import HasRounds, Instance, IsVariational, Limits
from qmosaic.processors.families.registry import FAMILIES, family, known

LIGHT_BYTES = 16 * 1024
"""A record beyond this is never light."""
BRIEF_BYTES = 2 * 1024
"""A record up to this needs no look into its problem, in the families where size says it all."""
BRIEF_FAMILIES = frozenset({"maxcut", "qubo", "ising", "labs", "portfolio", "route"})
MESSAGE, PLACE, REMEDY = 500, 200, 500
"""The most characters of a rejection's texts, which may quote what was sent."""
MOST_USD = 1_000_000_000
LABEL_BYTES = 64 * 1024
"""The labels of a rejected problem come back up to this; its original bytes hold them in any case."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record of a topic. `timestamp`: seconds since the epoch."""

    topic: str
    partition: int
    offset: int
    timestamp: float
    value: bytes | None
    headers: dict[str, bytes] = {}

    @property
    def default_id(self) -> str:
        """The id of a problem that brings none: where it arrived."""
        return f"{self.topic}-{self.partition}-{self.offset}"


class Defaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a problem gets where it does not say."""

    deadline_seconds: float = 30.0
    shots: int = 1024


@dataclass(frozen=True, eq=False)
class Admission:
    """A valid problem, ready to be encoded or verified."""

    ref: Ref
    problem: Problem
    instance: Instance


@dataclass(frozen=True)
class Refusal:
    """An invalid one: which id its rejection carries, a digest of its bytes, its tenant and labels if it had any."""

    problem_id: str
    digest: str
    rejected: Rejected
    tenant: str = ""
    labels: dict[str, Any] = field(default_factory=dict)


def is_light(value: bytes | None, limits: Limits) -> bool:
    """Whether `admit` takes milliseconds at most, and whatever is done with the problem on an event loop later on."""
    if value is None or len(value) > LIGHT_BYTES:
        return value is None
    said = envelope(value)
    if said is None:
        return True  # not one event at all: refused at the first look
    if len(value) <= BRIEF_BYTES and said.family in BRIEF_FAMILIES:
        return True
    kind = FAMILIES.get(said.family)
    if kind is None:
        return False  # somebody else's family, or none: nothing is known of it
    problem = parse_problem(value, limits.event_bytes)
    return isinstance(problem, Rejected) or kind.light(problem)


def refuse(record: Record, rejected: Rejected, problem: Problem | None = None) -> Refusal:
    """The refusal of a record, under the id that it claims. Its texts are cut: they may quote what was sent."""
    cut = Rejected(
        rejected.code, _cut(rejected.message, MESSAGE), _cut(rejected.place, PLACE), _cut(rejected.remedy, REMEDY)
    )
    digest = sha256(record.value or b"").hexdigest()[:32]
    problem_id = claimed_id(record.value) or record.default_id
    if problem is None or len(record.value or b"") > LABEL_BYTES:
        return Refusal(problem_id, digest, cut)
    return Refusal(problem_id, digest, cut, problem.tenant[:128], problem.labels)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def admit_safely(record: Record, limits: Limits, defaults: Defaults) -> tuple[Admission | Refusal, Exception | None]:
    """`admit`, and the error where a family raised one: then the record is refused, and the others go on."""
    try:
        return admit(record, limits, defaults), None
    except Exception as error:  # noqa: BLE001 - of a family or a plug-in, on input from outside: anything may come
        message = f"reading it raised {type(error).__name__}"
        return refuse(record, Rejected("stage_failed", message, "$", "Report it with the event: this is a bug.")), error


def admit(record: Record, limits: Limits, defaults: Defaults) -> Admission | Refusal:
    """Validate one record. Pure: the deadline is judged by the record's own timestamp."""
    problem = parse_problem(record.value, limits.event_bytes)
    if isinstance(problem, Rejected):
        return refuse(record, problem)
    problem_id = problem.id or record.default_id
    wrong = _check_options(problem, limits)
    if wrong is not None:
        return refuse(record, wrong, problem)
    deadline_at = _deadline(problem.deadline, record.timestamp, limits, defaults)
    if isinstance(deadline_at, Rejected):
        return refuse(record, deadline_at, problem)
    kind = family(problem.family)
    instance = kind if isinstance(kind, Rejected) else kind.parse(problem, limits)
    if isinstance(instance, Rejected):
        return refuse(record, instance, problem)
    rounds = 1 if problem.rounds is msgspec.UNSET else problem.rounds
    if rounds != 1 and not isinstance(instance, HasRounds | IsVariational):
        return refuse(record, _no_rounds(problem.family), problem)
    if problem.shots == 0 and not known(problem.family).exact_shots:
        return refuse(record, _no_shots(problem.family), problem)
    seed = problem.seed if problem.seed is not None else int(instance.digest[:8], 16) & 0x7FFFFFFF
    ref = Ref(
        problem_id=problem_id,
        partition=record.partition,
        offset=record.offset,
        family=problem.family,
        digest=instance.digest,
        tenant=problem.tenant,
        priority=problem.priority,
        target=problem.target,
        shots=problem.shots if problem.shots is not None else defaults.shots,
        seed=seed,
        received_at=record.timestamp,
        deadline_at=deadline_at,
        max_cost=_micros(problem.max_cost_usd),
        cache="fresh" if problem.cache is msgspec.UNSET else problem.cache,
        rounds=rounds,
    )
    return Admission(ref, problem, instance)


def deadline_claimed(said: Envelope | None, timestamp: float, limits: Limits, defaults: Defaults) -> float:
    """Until when a record wants its outcome (seconds since the epoch), before it is known to be a problem."""
    found = _deadline(said.deadline if said else None, timestamp, limits, defaults)
    return timestamp + defaults.deadline_seconds if isinstance(found, Rejected) else found


def _check_options(problem: Problem, limits: Limits) -> Rejected | None:
    if problem.id is not None and not 1 <= len(problem.id) <= 256:
        return Rejected("invalid_event", f"an id of {len(problem.id)} characters", "$.id", "Use 1 to 256 characters.")
    if not 1 <= len(problem.tenant) <= 128:
        return Rejected(
            "invalid_event",
            f"a tenant of {len(problem.tenant)} characters",
            "$.tenant",
            "Use 1 to 128 characters.",
        )
    if problem.shots is not None and not 0 <= problem.shots <= limits.shots:
        return Rejected("invalid_event", f"{problem.shots} shots", "$.shots", f"Ask for 1 to {limits.shots} shots.")
    if problem.max_cost_usd and not 0 <= problem.max_cost_usd <= MOST_USD:
        message = f"a cost of {problem.max_cost_usd} US dollars"
        return Rejected("invalid_event", message, "$.max_cost_usd", f"Allow 0 to {MOST_USD:,} US dollars.")
    if problem.seed is not None and not 0 <= problem.seed < 2**31:
        return Rejected("invalid_event", f"seed {problem.seed}", "$.seed", "Use a seed from 0 to 2147483647.")
    return None


def _micros(usd: float | msgspec.UnsetType | None) -> int | None:
    """Whole micro-dollars, no more than was said; 0.07 is meant as it is written, though a float is a little off."""
    return None if usd is None or usd is msgspec.UNSET else int(usd * MICROS + 1e-3)


def _no_shots(family: str) -> Rejected:
    message = f"0 shots, but {family} has no exact expectation to ask for"
    return Rejected("invalid_event", message, "$.shots", "Ask for 1 or more.")


def _no_rounds(family: str) -> Rejected:
    message = f"rounds, but an answer to a {family} is not improved by another one"
    return Rejected("invalid_event", message, "$.rounds", "Leave rounds out.")


def _deadline(given: float | str | None, timestamp: float, limits: Limits, defaults: Defaults) -> float | Rejected:
    seconds: float
    if given is None:
        seconds = defaults.deadline_seconds
    elif isinstance(given, str):
        try:
            moment = datetime.fromisoformat(given.upper())  # RFC 3339 allows t and z
        except ValueError:
            return Rejected(
                "invalid_event",
                f"{given!r} is not an RFC 3339 time",
                "$.deadline",
                "Send 2026-01-31T12:00:00Z or seconds.",
            )
        if moment.tzinfo is None:
            return Rejected("invalid_event", f"{given!r} has no time zone", "$.deadline", "Add Z or an offset.")
        seconds = moment.timestamp() - timestamp
    else:
        seconds = given
    if not seconds > 0:
        return Rejected(
            "deadline_past",
            f"the deadline was over {-seconds:.3f} s before the event arrived",
            "$.deadline",
            "Send a number of seconds above 0, or a time in the future; check the producer's clock.",
        )
    if seconds > limits.deadline_seconds:
        return Rejected(
            "invalid_event",
            f"a deadline {seconds:.0f} s away, the limit is {limits.deadline_seconds:.0f} s",
            "$.deadline",
            "Ask for an earlier one, or raise limits.deadline_seconds.",
        )
    return timestamp + seconds
