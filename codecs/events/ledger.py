"""Money and other things that may run out: what jobs cost, what may be spent, and the ledger's entries.

All amounts are integers. They are counted in three units: micro-dollars, milliseconds of a quantum device, and shots.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NamedTuple

import msgspec

Unit = Literal["micros", "device_ms", "shots"]
UNITS: tuple[Unit, ...] = ("micros", "device_ms", "shots")
Window = Literal["hour", "day", "month", "total"]
MOST = 2**53
"""Of any amount: what JSON readers agree on."""
Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
MICROS = 1_000_000
"""In a US dollar."""


class Amounts(msgspec.Struct, frozen=True, omit_defaults=True):
    """So much of each unit. None: nobody knows."""

    micros: Count | None = 0
    device_ms: Count | None = 0
    shots: Count | None = 0

    def of(self, unit: Unit) -> int | None:
        """So much of one unit."""
        amount: int | None = getattr(self, unit)
        return amount

    def known(self, other: Amounts) -> Amounts:
        """These, and the other's where they are not known."""
        found = {unit: self.of(unit) if self.of(unit) is not None else other.of(unit) for unit in UNITS}
        return Amounts(**found)


class Budget(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What may be spent in a window (UTC, by the broker's clock) of each unit; None: as much as one likes.

    `scope`: `all`, `tenant:PATH` (org, org/team, org/team/user: a tenant's jobs count for all that it lies in), or
    `backend:NAME`. From `soft` percent of a cap on, it is told once a window.
    """

    scope: str
    window: Window
    micros: Count | None = None
    device_ms: Count | None = None
    shots: Count | None = None
    soft: Annotated[int, msgspec.Meta(ge=1, le=100)] = 80

    @property
    def name(self) -> str:
        """Scope and window: there is one budget of each."""
        return f"{self.scope} {self.window}"

    def cap(self, unit: Unit) -> int | None:
        """The most of one unit."""
        most: int | None = getattr(self, unit)
        return most

    @property
    def is_empty(self) -> bool:
        """Whether it caps nothing: that takes a budget away."""
        return all(self.cap(unit) is None for unit in UNITS)


class AccountId(NamedTuple):
    """One unit of one budget in one window: `tenant:acme day`, `2026-11-29`, `micros`."""

    budget: str
    window: str
    unit: Unit


class Slot(msgspec.Struct, frozen=True):
    """When a job may be sent, by its vendor's rate: `sends` times at `at` (seconds since the epoch). `of`: the backend
    without its wrappers, to which at most `most` go in a window."""

    of: str
    at: float
    sends: Annotated[int, msgspec.Meta(ge=1)]
    most: Annotated[int, msgspec.Meta(ge=1)]


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the ledger. `at`: seconds since the epoch, by the broker's clock.

    budget    a budget is set, changed, or taken away (it caps nothing); `who` and `why`
    reserved  `amounts` of every account in `accounts` are promised to a job, all of them at once
    refused   there was too little in one of the accounts (`why`): nothing is promised
    settled   the job has ended and cost `amounts`, at most what was reserved; the rest is free again
    released  nothing of it was used; all of it is free again
    unknown   nobody knows how the job ended: all of it stays reserved until somebody finds out
    revised   it cost `amounts` in all, more or less than was settled: the vendor's bill, or a correction
    """

    schema: ClassVar[str] = "qmosaic.ledgerentry/1"
    event: Literal["budget", "reserved", "refused", "settled", "released", "unknown", "revised"]
    at: float
    reservation: str = ""
    amounts: Amounts = Amounts()
    accounts: list[AccountId] = []
    budget: Budget | None = None
    max_cost: Count | None = None  # micro-dollars that the problem itself may cost
    explores: Count | None = None  # millionths of each budget that may find out what pays; None: it does not
    slot: Slot | None = None  # of a reservation, where the vendor has a rate
    problem_id: str = ""
    tenant: str = ""
    backend: str = ""
    deadline_at: float = 0.0
    who: str = ""
    why: str = ""


class JobEnded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """execute.paid → control: how a granted job ended.

    `released`: the vendor never had it; `unknown`: it may still run there. `amounts`: what it took, as far as that is
    known; `vendor_ids`: the vendor's ids of its jobs, with spaces between them.
    """

    schema: ClassVar[str] = "qmosaic.jobended/1"
    reservation: str
    problem_id: str
    ended: Literal["settled", "released", "unknown"]
    amounts: Amounts = Amounts(None, None, None)
    vendor_ids: str = ""
    at: float


def dollars(micros: int) -> str:
    """As people write it: `$0.30`, and as many digits as it takes."""
    sign, micros = ("-" if micros < 0 else ""), abs(micros)
    whole, part = divmod(micros, MICROS)
    digits = f"{part:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}${whole:,}.{digits}"


def micros_of(usd: float) -> int:
    """The least whole number of micro-dollars that is not less. Raises ValueError for what is no amount."""
    if not 0 <= usd * MICROS <= MOST:
        raise ValueError(f"{usd} US dollars")
    scaled = usd * MICROS
    nearest = round(scaled)
    # 0.07 is a little more than seven cents as a float; nobody pays a micro-dollar for that
    return nearest if abs(scaled - nearest) < 1e-3 else int(scaled) + 1
