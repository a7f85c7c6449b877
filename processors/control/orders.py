"""Orders of operators: checked, and carried out."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from msgspec.structs import replace

from qmosaic.codecs.errors import SettingsError
from qmosaic.codecs.events.control import (
    AuditEntry,
    BackendSet,
    Command,
    ControlState,
    PolicySet,
    Resend,
    Resolve,
    RollBack,
    SetBackend,
    SetBudget,
    SetPolicy,
)
from qmosaic.codecs.events.ledger import UNITS, Amounts, Budget, LedgerEntry
from qmosaic.codecs.text import choose
from qmosaic.processors.control.books import Ledger, amount_text, window_of
from qmosaic.processors.control.ordered import Ordered
from qmosaic.processors.control.policy import Policy, version_of
from qmosaic.processors.control.policy_file import read_policy

MOST_COMMANDS = 100
"""A command that is among the last so many is not carried out again."""
STALE_SECONDS = 120.0
"""A command that old is not carried out: it may have been sent again."""
LONGEST = 500
"""Characters of who and why."""
PLACE = "control.commands"
RESENDABLE = (
    "problems.encoded", "problems.reduced", "jobs.classical", "jobs.gpu", "jobs.quantum", "jobs.paid",
)  # fmt: skip
"""Topics of stages that put records aside; a problem itself is its sender's to send again."""


class Refused(NamedTuple):
    """Why an order is not carried out: what is wrong, where, and what to do about it."""

    message: str
    place: str
    remedy: str


class Changes(NamedTuple):
    """What an order changes: by key of `control.state`, and in the ledger; what to say of it; and a record to put
    back."""

    states: Mapping[str, ControlState]
    entries: tuple[LedgerEntry, ...]
    said: str
    resend: Resend | None = None


Known = Callable[[str], bool]


def carried_out(
    command: Command, ordered: Ordered, ledger: Ledger, at: float, is_known: Known, names: Collection[str]
) -> Changes | Refused | None:
    """What a command changes, or why it is refused; None: it was answered before. `at`: when it was written, seconds
    since the epoch by the broker's clock. `is_known`: whether there is a backend of a name, of which `names` are some.
    """
    if command.id in ordered.commands:
        return None
    for field, text in (("who", command.who), ("why", command.why)):
        if not 1 <= len(text.strip()) <= LONGEST:
            return Refused(f"a command needs its {field}", field, f"Say it in up to {LONGEST} characters.")
    if not 1 <= len(command.id) <= 64:
        return Refused("a command needs an id", "id", "Use 1 to 64 characters, others for each command.")
    if not -STALE_SECONDS <= at - command.at <= STALE_SECONDS:
        return Refused(
            f"the command is {at - command.at:.0f} s old", "at", "Give it again, if it still holds; check the clock."
        )
    match command.order:
        case SetPolicy():
            return _policy(command, command.order.text, command.order.base, ordered, at, (is_known, names))
        case RollBack():
            found = ordered.policies.get(command.order.number)
            if found is None:
                numbers = ", ".join(map(str, sorted(ordered.policies)[-10:]))
                remedy = f"Choose one of: {numbers}." if numbers else "Nobody has set any yet."
                return Refused(f"there is no policy {command.order.number}", "number", remedy)
            return _policy(command, found.text, command.order.base, ordered, at, (is_known, names))
        case SetBudget():
            return _budget(command, command.order.budget, ledger, at, (is_known, names))
        case Resolve():
            return _resolve(command, command.order, ledger, at)
        case SetBackend():
            return _backend(command, command.order, at, (is_known, names))
        case Resend():
            return _resend(command.order)


def policy_of(text: str, paid: tuple[str, ...], name: str = "policy") -> Policy:
    """The policy that a file says, with its version. Raises SettingsError."""
    said = read_policy(text, name)
    policy = Policy(
        said.rules,
        said.preference,
        paid,
        said.attempts,
        said.tenants,
        said.families,
        explore=said.explore,
        worth=said.worth,
    )
    return replace(policy, version=version_of(policy))


def _policy(
    command: Command, text: str, base: int | None, ordered: Ordered, at: float, backends: tuple[Known, Collection[str]]
) -> Changes | Refused:
    last = ordered.policy.number if ordered.policy is not None else 0
    if base is not None and base != last:
        return Refused(
            f"it was made from policy {base}, and {last} is in force",
            "base",
            "Somebody else has changed it: look at `qmosaic policy show`, and set yours again.",
        )
    try:
        read_policy(text, "policy", *backends)
        version = policy_of(text, ()).version
    except SettingsError as error:
        return Refused(error.message, error.place, error.remedy)
    number = last + 1
    made = PolicySet(number=number, version=version, text=text, who=command.who, why=command.why, at=at)
    return Changes({f"policy/{number}": ControlState(policy=made)}, (), f"policy {number}, version {version}")


def _budget(
    command: Command, budget: Budget, ledger: Ledger, at: float, backends: tuple[Known, Collection[str]]
) -> Changes | Refused:
    kind, _, name = budget.scope.partition(":")
    is_known, names = backends
    if budget.scope != "all" and (kind not in ("tenant", "backend") or not name):
        return Refused(f"no budget is for {budget.scope!r}", "scope", "Write all, tenant:PATH or backend:NAME.")
    if len(budget.scope) > 200:
        return Refused("the scope is longer than 200 characters", "scope", "A tenant has 128 at most.")
    if kind == "backend" and not is_known(name):
        return Refused(f"no backend is called {name!r}", "scope", choose(name, names))
    if budget.is_empty and budget.name not in ledger.budgets:
        there = ", ".join(sorted(ledger.budgets)) or "none"
        return Refused(f"there is no budget {budget.name!r} to take away", "scope", f"There are: {there}.")
    window = window_of(budget.window, max(at, ledger.at))
    for unit in UNITS:
        cap = budget.cap(unit)
        for which, account in ledger.accounts.items():
            if cap is not None and which == (budget.name, window, unit) and cap < account.reserved + account.spent:
                used = amount_text(unit, account.reserved + account.spent)
                return Refused(
                    f"{amount_text(unit, cap)} are less than the {used} that are reserved or spent in this window",
                    unit,
                    f"Set {used} or more; that allows nothing new until the next window. Or drain the backend.",
                )
    entry = LedgerEntry(event="budget", at=max(at, ledger.at), budget=budget, who=command.who, why=command.why)
    return Changes({}, (entry,), f"budget {budget.name} is {'taken away' if budget.is_empty else 'set'}")


def _resolve(command: Command, order: Resolve, ledger: Ledger, at: float) -> Changes | Refused:
    known = ledger.reservations.get(order.reservation)
    if known is None:
        return Refused(
            f"there is no reservation {order.reservation!r}", "reservation", "`qmosaic ledger` lists what there is."
        )
    amounts = Amounts() if order.amounts is None else order.amounts
    entry = LedgerEntry(
        event="revised",
        at=max(at, ledger.at),
        reservation=order.reservation,
        amounts=amounts,
        problem_id=known.problem_id,
        tenant=known.tenant,
        backend=known.backend,
        who=command.who,
        why=command.why,
    )
    return Changes({}, (entry,), f"reservation {order.reservation} is settled")


def _backend(
    command: Command, order: SetBackend, at: float, backends: tuple[Known, Collection[str]]
) -> Changes | Refused:
    is_known, names = backends
    if not is_known(order.backend):
        return Refused(f"no backend is called {order.backend!r}", "backend", choose(order.backend, names))
    if order.state == "maintenance" and not at < order.until > order.since:
        return Refused("the maintenance is over before it begins", "until", "Give an end in the future.")
    made = BackendSet(
        backend=order.backend,
        state=order.state,
        since=order.since,
        until=order.until,
        who=command.who,
        why=command.why,
        at=at,
    )
    return Changes({f"backend/{order.backend}": ControlState(backend=made)}, (), f"{order.backend}: {order.state}")


def _resend(order: Resend) -> Changes | Refused:
    if order.topic not in RESENDABLE:
        return Refused(f"nothing is put back to {order.topic!r}", "topic", choose(order.topic, RESENDABLE))
    try:
        for text in (order.original, order.key or "", *(value for _, value in order.headers)):
            b64decode(text, validate=True)
    except (Error, ValueError):
        return Refused("it is not in base64", "original", "Send the letter's, as it is.")
    place = f"{order.topic}/{order.partition}"
    return Changes({}, (), f"letter {order.letter} is back on {place}", order)


def remembered(ordered: Ordered, command: Command) -> ControlState:
    """The ids of the latest commands, this one the last."""
    return ControlState(commands=[*ordered.commands[-(MOST_COMMANDS - 1) :], command.id])


def answer_to(command: Command, found: Changes | Refused, at: float, offset: int) -> AuditEntry:
    """What the audit says of a command, for who gave it and for who asks later."""
    done = isinstance(found, Changes)
    order, detail = command.order, dict[str, Any]()
    if isinstance(order, Resend):
        detail["letter"] = order.letter[:LONGEST]
    detail |= {"command": command.id, "who": command.who[:LONGEST], "why": command.why[:LONGEST]}
    detail |= {"said": found.said} if isinstance(found, Changes) else found._asdict()
    return AuditEntry(
        event="command",
        problem_id=order.problem_id[:LONGEST] if isinstance(order, Resend) else "",
        tenant="",
        partition=0,
        offset=offset,
        at=at,
        status="done" if done else "refused",
        reason=str(order.__struct_config__.tag),
        detail=detail,
    )
