"""The books: a fold over the ledger. At every entry and for every account, `cap = free + reserved + spent`.

As two-phase transfers in TigerBeetle: a reservation is made in all accounts that apply or in none, and resolved at
most once, by what was used (at most what was reserved) or by its release; what comes later is a revision. An account is
one unit of one budget in one window; windows roll by the clock of the records. A problem's own `max_cost` is an
account, too, and so is the share of each budget that jobs may take which find out what pays. Entries that come twice
change nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from immutables import Map

from qmosaic.codecs.events.ledger import UNITS, AccountId, Amounts, Budget, LedgerEntry, Unit, Window, dollars
from qmosaic.processors.control.rates import after

KEPT_SECONDS = 40 * 86_400.0
"""A reservation that is resolved is known that long after its deadline: a vendor's bill may come late. A refusal is
known until the deadline: after it the same job would be refused anyway."""
SWEEP_SECONDS = 3600.0


class Account(NamedTuple):
    """Whole numbers of one unit."""

    cap: int
    free: int
    reserved: int
    spent: int


class Reservation(NamedTuple):
    """What a job may use, or has used: `state` is the last that was written of it."""

    state: str
    amounts: Amounts
    accounts: tuple[AccountId, ...]
    tenant: str
    backend: str
    problem_id: str
    deadline_at: float
    at: float

    @property
    def is_pending(self) -> bool:
        """Whether it is not resolved yet."""
        return self.state in ("reserved", "unknown")


class Ledger(NamedTuple):
    """The state of the fold. `at`: the time of the latest entry, seconds since the epoch. `sent`: by backend that has a
    rate, when its latest jobs might go (`rates`)."""

    budgets: Map[str, Budget] = Map()
    accounts: Map[AccountId, Account] = Map()
    reservations: Map[str, Reservation] = Map()
    at: float = 0.0
    swept_at: float = 0.0
    sent: Map[str, tuple[float, ...]] = Map()

    @property
    def pending(self) -> dict[str, Reservation]:
        """Reservations that are not resolved."""
        return {key: one for key, one in self.reservations.items() if one.is_pending}

    def account(self, which: AccountId) -> Account:
        """As it is, or as it will be when it is used first."""
        found = self.accounts.get(which)
        if found is not None:
            return found
        budget = self.budgets.get(which.budget)
        cap = budget.cap(which.unit) if budget is not None else None
        return Account(cap or 0, cap or 0, 0, 0)


class Books:
    """The fold."""

    start = Ledger()

    def step(self, state: Ledger, event: LedgerEntry, at: float = 0.0) -> Ledger:
        """The state after one more entry. `at` is not used: an entry has its own time."""
        state = _swept(state._replace(at=max(state.at, event.at)))
        if event.event == "budget":
            return _budget(state, event.budget) if event.budget is not None else state
        known = state.reservations.get(event.reservation)
        if event.event in ("reserved", "refused"):
            return state if known is not None else _reserved(state, event)
        if known is None or known.state == "refused":
            return state
        if event.event == "revised":
            return _revised(state, event, known)
        if not known.is_pending:
            return state
        if event.event == "unknown":
            changed = known._replace(state="unknown")
            return state._replace(reservations=state.reservations.set(event.reservation, changed))
        used = Amounts() if event.event == "released" else event.amounts.known(known.amounts)
        return _resolved(state, event, known, used)


def _budget(state: Ledger, budget: Budget) -> Ledger:
    """The caps of this window move by what the budget's do; of another window they are as they were."""
    gone = [which for which in state.accounts if _of_budget(which) == budget.name and budget.cap(which.unit) is None]
    state = _without(state, gone)
    accounts, window = state.accounts, window_of(budget.window, state.at)
    for unit in UNITS:
        which, cap = AccountId(budget.name, window, unit), budget.cap(unit)
        account = accounts.get(which)
        if cap is None:
            continue
        if account is not None:
            accounts = accounts.set(which, account._replace(cap=cap, free=account.free + cap - account.cap))
        else:
            accounts = accounts.set(which, Account(cap, cap, 0, 0))
    if budget.is_empty:
        budgets = state.budgets.delete(budget.name) if budget.name in state.budgets else state.budgets
    else:
        budgets = state.budgets.set(budget.name, budget)
    return state._replace(budgets=budgets, accounts=accounts)


def _without(state: Ledger, gone: Collection[AccountId]) -> Ledger:
    """What was reserved or spent in accounts that are taken away counts in them no more."""
    if not gone:
        return state
    accounts, reservations = state.accounts, state.reservations
    for which in gone:
        accounts = accounts.delete(which)
    for key, one in state.reservations.items():
        if not set(gone).isdisjoint(one.accounts):
            kept = tuple(which for which in one.accounts if which not in gone)
            reservations = reservations.set(key, one._replace(accounts=kept))
    return state._replace(accounts=accounts, reservations=reservations)


def _reserved(state: Ledger, event: LedgerEntry) -> Ledger:
    state = with_allowances(state, map(AccountId._make, event.accounts), event.explores)
    accounts = state.accounts
    for which in map(AccountId._make, event.accounts):
        account = accounts.get(which)
        if account is None and which.budget.startswith(PROBLEM):
            cap = event.max_cost or 0
            account = Account(cap, cap, 0, 0)
        account = account or state.account(which)
        amount = event.amounts.of(which.unit) or 0
        accounts = accounts.set(which, account._replace(free=account.free - amount, reserved=account.reserved + amount))
    one = Reservation(
        event.event,
        event.amounts,
        tuple(map(AccountId._make, event.accounts)),
        event.tenant,
        event.backend,
        event.problem_id,
        event.deadline_at,
        event.at,
    )
    sent, slot = state.sent, event.slot
    if slot is not None:
        sent = sent.set(slot.of, after(sent.get(slot.of, ()), slot.at, slot.sends, slot.most))
    return state._replace(accounts=accounts, reservations=state.reservations.set(event.reservation, one), sent=sent)


def _resolved(state: Ledger, event: LedgerEntry, known: Reservation, used: Amounts) -> Ledger:
    """Of what was reserved so much is spent, the rest is free again."""
    accounts = state.accounts
    for which in known.accounts:
        account, held = accounts[which], known.amounts.of(which.unit) or 0
        spent = min(used.of(which.unit) or 0, held)
        accounts = accounts.set(
            which,
            Account(account.cap, account.free + held - spent, account.reserved - held, account.spent + spent),
        )
    changed = known._replace(state=event.event, amounts=within(known, used))
    return state._replace(accounts=accounts, reservations=state.reservations.set(event.reservation, changed))


def within(known: Reservation, used: Amounts) -> Amounts:
    """What was used, at most what was reserved of what any account counts; the rest is only told."""
    counted = {which.unit for which in known.accounts}
    found = {
        unit: min(used.of(unit) or 0, known.amounts.of(unit) or 0) if unit in counted else used.of(unit) or 0
        for unit in UNITS
    }
    return Amounts(**found)


def _revised(state: Ledger, event: LedgerEntry, known: Reservation) -> Ledger:
    """What a resolved job cost in all. It may be more than there was: then `free` is below zero."""
    if known.is_pending:
        state = _resolved(state, event, known, Amounts())
        known = known._replace(amounts=Amounts())
    accounts, now = state.accounts, event.amounts.known(known.amounts)
    for which in known.accounts:
        account = accounts[which]
        more = (now.of(which.unit) or 0) - (known.amounts.of(which.unit) or 0)
        accounts = accounts.set(which, account._replace(free=account.free - more, spent=account.spent + more))
    changed = known._replace(state="revised", amounts=now)
    return state._replace(accounts=accounts, reservations=state.reservations.set(event.reservation, changed))


def _swept(state: Ledger) -> Ledger:
    """Once an hour: without what nobody asks for any more. An account stays while something of it is reserved."""
    if state.at - state.swept_at < SWEEP_SECONDS:
        return state
    reservations = state.reservations
    for key, one in state.reservations.items():
        kept = 0.0 if one.state == "refused" else KEPT_SECONDS
        if not one.is_pending and state.at > one.deadline_at + kept:
            reservations = reservations.delete(key)
    needed = {which for one in reservations.values() for which in one.accounts}
    accounts = state.accounts
    for which in state.accounts:
        budget = state.budgets.get(_of_budget(which))
        current = budget is not None and which.window == window_of(budget.window, state.at)
        if not current and which not in needed:
            accounts = accounts.delete(which)
    return state._replace(accounts=accounts, reservations=reservations, swept_at=state.at)


# -- which budgets a job counts for ------------------------------------------------------------------------------------

PROBLEM = "problem:"
EXPLORING = "exploring:"
MILLION = 1_000_000


def scopes(tenant: str, backend: str) -> list[str]:
    """What a job counts for: all, the tenant's path from its beginning, the backend."""
    parts = tenant.split("/")
    paths = ["/".join(parts[: k + 1]) for k in range(len(parts))]
    return ["all", *(f"tenant:{path}" for path in paths), f"backend:{backend}"]


LAST_MOMENT = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
"""What is written to be later than a calendar goes is taken for then."""


def window_of(window: Window, at: float) -> str:
    """The window of a moment (seconds since the epoch), UTC: `2026-11-29T14`, `2026-11-29`, `2026-11`, or nothing."""
    if window == "total":
        return ""
    moment = datetime.fromtimestamp(min(max(at, 0.0), LAST_MOMENT), UTC)
    return moment.strftime({"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}[window])


WINDOWS: tuple[Window, ...] = ("hour", "day", "month", "total")


def budgets_for(state: Ledger, tenant: str, backend: str) -> Iterator[Budget]:
    """Those that a job counts for."""
    for scope in scopes(tenant, backend):
        for window in WINDOWS:
            budget = state.budgets.get(f"{scope} {window}")
            if budget is not None:
                yield budget


def _of_budget(which: AccountId) -> str:
    """The budget that an account, or the allowance, is of."""
    return which.budget.removeprefix(EXPLORING)


def allowances(accounts: Iterable[AccountId]) -> list[AccountId]:
    """The accounts that jobs which find out what pays need something of besides."""
    return [which._replace(budget=EXPLORING + which.budget) for which in accounts]


def with_allowances(state: Ledger, accounts: Iterable[AccountId], explores: int | None) -> Ledger:
    """With allowances of `explores` millionths of what their budgets cap now; what is reserved and spent in them stays,
    so that less may be free than nothing."""
    if explores is None:
        return state
    found = state.accounts
    for which in accounts:
        budget = state.budgets.get(_of_budget(which))
        if not which.budget.startswith(EXPLORING) or budget is None:
            continue
        cap = (budget.cap(which.unit) or 0) * min(explores, MILLION) // MILLION
        account = found.get(which, Account(cap, cap, 0, 0))
        found = found.set(which, account._replace(cap=cap, free=account.free + cap - account.cap))
    return state._replace(accounts=found)


def accounts_for(
    state: Ledger, tenant: str, backend: str, at: float, problem: str = "", max_cost: int | None = None
) -> list[AccountId]:
    """All accounts that a job needs something of; `problem`: its own name, where it has a `max_cost`."""
    found = [
        AccountId(budget.name, window_of(budget.window, at), unit)
        for budget in budgets_for(state, tenant, backend)
        for unit in UNITS
        if budget.cap(unit) is not None
    ]
    return [*found, AccountId(f"{PROBLEM}{problem}", "", "micros")] if max_cost is not None else found


class Short(NamedTuple):
    """Why there is no grant: this account has `free` left of its `cap` and `wanted` (None: nobody knows) is more."""

    account: AccountId
    cap: int
    free: int
    wanted: int | None


def shortage(
    state: Ledger, accounts: Iterable[AccountId], amounts: Amounts, max_cost: int | None = None
) -> Short | None:
    """The first account that has too little, or None."""
    for which in accounts:
        account = state.accounts.get(which)
        if account is None and which.budget.startswith(PROBLEM):
            account = Account(max_cost or 0, max_cost or 0, 0, 0)
        account = account or state.account(which)
        wanted = amounts.of(which.unit)
        if wanted is None or wanted > account.free:
            return Short(which, account.cap, account.free, wanted)
    return None


def beyond_soft(state: Ledger, accounts: Iterable[AccountId]) -> set[AccountId]:
    """Those of which more than the budget's soft limit is reserved or spent."""
    found = set()
    for which in accounts:
        budget, account = state.budgets.get(which.budget), state.accounts.get(which)
        if budget is None or account is None or not account.cap:
            continue
        if 100 * (account.reserved + account.spent) >= budget.soft * account.cap:
            found.add(which)
    return found


def unbalanced(state: Ledger) -> list[AccountId]:
    """Accounts that break the rule: none, ever. And what is reserved in an account is what its reservations hold."""
    held: dict[AccountId, int] = {}
    for one in state.pending.values():
        for which in one.accounts:
            held[which] = held.get(which, 0) + (one.amounts.of(which.unit) or 0)
    return [
        which
        for which, account in state.accounts.items()
        if account.cap != account.free + account.reserved + account.spent or account.reserved != held.get(which, 0)
    ]


def amount_text(unit: Unit, amount: int) -> str:
    """For people: `$0.30`, `1,200 ms of the device`, `4,000 shots`."""
    if unit == "micros":
        return dollars(amount)
    return f"{amount:,} {'ms of the device' if unit == 'device_ms' else 'shots'}"


def reservation_text(amounts: Amounts) -> str:
    """All that is known of some amounts, for people."""
    return ", ".join(amount_text(unit, amount) for unit in UNITS if (amount := amounts.of(unit))) or "nothing"
