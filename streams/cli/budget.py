"""`qmosaic budget` and `qmosaic ledger`: what may be spent, what was, and whether the vendors say the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from qmosaic.codecs.errors import BackendError, SettingsError
from qmosaic.codecs.events.control import Resolve, SetBudget, Submitted
from qmosaic.codecs.events.ledger import MICROS, MOST, UNITS, Amounts, Budget, LedgerEntry, Window, micros_of
from qmosaic.codecs.text import shown
from qmosaic.processors.control.books import (
    WINDOWS,
    Reservation,
    amount_text,
    reservation_text,
)
from qmosaic.processors.overview.overview import balances
from qmosaic.streams.cli.common import FAILED, OK, USAGE, BrokerOption, JsonOption, connected, emit, fail, run
from qmosaic.streams.cli.orders import WhyOption, give, ordered
from qmosaic.streams.cli.render import console
from qmosaic.streams.cli.times import moment
from qmosaic.streams.observe.folded import read_ledger

if TYPE_CHECKING:
    from qmosaic.backends.clouds.remote import RemoteBackend

budget_app = typer.Typer(help="What may be spent, by whom, on what.", no_args_is_help=True)

ScopeArgument = Annotated[str, typer.Argument(help="`all`, `tenant:ORG/TEAM/USER` or a part of it, `backend:NAME`.")]
PerOption = Annotated[str, typer.Option("--per", help="`hour`, `day`, `month` (UTC), or `total`.")]
ASK_SECONDS = 30.0
LATE_SECONDS = 120.0
"""A job that is not settled that long after its deadline is asked about."""


@budget_app.command("show", epilog="Example: qmosaic budget show")
def show(broker: BrokerOption = None, as_json: JsonOption = False) -> None:
    """Every budget: its cap, what is free, reserved and spent in this window."""
    settings = connected(broker)

    async def work() -> int:
        ledger, _ = await read_ledger(settings)
        rows = balances(ledger, time.time())
        if as_json:
            for row in rows:
                emit(row._asdict())
            return OK
        if not rows:
            typer.echo("no budget is set: what is paid for is limited by `max_cost_usd` of problems alone")
            return OK
        table = Table("budget", "window", "cap", "free", "reserved", "spent", box=None, pad_edge=False)
        table.header_style = "bold"
        for row in rows:
            cells = (amount_text(row.unit, amount) for amount in (row.cap, row.free, row.reserved, row.spent))
            table.add_row(escape(shown(row.budget)), row.window or "all time", *cells)
        console().print(table)
        return OK

    run(work())


@budget_app.command("set", epilog="Example: qmosaic budget set tenant:acme --per month --usd 500 --why 'contract 7'")
def set_budget(
    scope: ScopeArgument,
    why: WhyOption,
    per: PerOption = "total",
    usd: Annotated[str | None, typer.Option("--usd", help="The most US dollars.")] = None,
    device_seconds: Annotated[str | None, typer.Option("--device-seconds", help="The most seconds of devices.")] = None,
    shots: Annotated[int | None, typer.Option("--shots", help="The most shots.", min=0)] = None,
    soft: Annotated[int, typer.Option("--soft", help="Told from so many percent on.", min=1, max=100)] = 80,
    broker: BrokerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set a budget, in place of the one of the same scope and window. What is not given is not limited."""
    if usd is None and device_seconds is None and shots is None:
        fail(SettingsError("a budget limits something", remedy="Give --usd, --device-seconds or --shots."), USAGE)
    budget = Budget(
        scope=scope,
        window=_window(per),
        micros=None if usd is None else _amount(usd, MICROS, "--usd"),
        device_ms=None if device_seconds is None else _amount(device_seconds, 1000, "--device-seconds"),
        shots=shots,
        soft=soft,
    )
    ordered(broker, as_json, why, SetBudget(budget))


@budget_app.command("remove", epilog="Example: qmosaic budget remove tenant:acme --per month --why 'it left'")
def remove(
    scope: ScopeArgument,
    why: WhyOption,
    per: PerOption = "total",
    broker: BrokerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a budget away."""
    ordered(broker, as_json, why, SetBudget(Budget(scope=scope, window=_window(per))))


def _window(text: str) -> Window:
    if text not in WINDOWS:
        fail(SettingsError(f"no window is called {text!r}", place="--per", remedy=f"Use {', '.join(WINDOWS)}."), USAGE)
    found: Window = msgspec.convert(text, Window)
    return found


def _amount(text: str, scale: int, option: str) -> int:
    """A whole number of the smallest units, exactly as it is written."""
    try:
        scaled = Decimal(text) * scale
    except InvalidOperation:
        scaled = Decimal("NaN")
    if not (scaled.is_finite() and 0 <= scaled <= MOST and scaled == scaled.to_integral_value()):
        remedy = f"Use a number from 0 on, in steps of 1/{scale:,}."
        fail(SettingsError(f"{text!r} is no such amount", place=option, remedy=remedy), USAGE)
    return int(scaled)


def ledger(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Of this one, and of what lies under it.")] = None,
    broker: BrokerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Every entry of the ledger: what was reserved, settled, released, revised; which budgets were set."""
    settings = connected(broker)

    async def work() -> int:
        _, entries = await read_ledger(settings)
        table = Table("at (UTC)", "event", "amounts", "of", "reservation", box=None, pad_edge=False)
        table.header_style = "bold"
        for entry in entries:
            of = entry.budget.scope.removeprefix("tenant:") if entry.budget is not None else entry.tenant
            if tenant is not None and not f"{of}/".startswith(f"{tenant}/"):
                continue
            if as_json:
                emit(entry)
            else:
                table.add_row(moment(entry.at), entry.event, *(escape(shown(text)) for text in _cells(entry)))
        if not as_json:
            console().print(table)
        return OK

    run(work())


def _cells(entry: LedgerEntry) -> tuple[str, str, str]:
    if entry.budget is not None:
        caps = [amount_text(unit, cap) for unit in UNITS if (cap := entry.budget.cap(unit)) is not None]
        return ", ".join(caps) or "taken away", entry.budget.name, f"{entry.who}: {entry.why}"
    amounts = entry.why if entry.event == "refused" else reservation_text(entry.amounts)
    return amounts, f"{entry.problem_id} of {entry.tenant} on {entry.backend}", entry.reservation


@budget_app.command("reconcile", epilog="Example: qmosaic budget reconcile")
def reconcile(
    apply: Annotated[bool, typer.Option("--apply", help="Write what the vendors say into the ledger.")] = False,
    why: WhyOption = "the vendor's own list of jobs",
    broker: BrokerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the ledger with the vendors' own lists of jobs and bills. Exit code 1: they differ.

    It asks the vendors with the keys of this environment, as `execute.paid` does.
    """
    settings = connected(broker)

    async def work() -> int:
        from qmosaic.streams.cli.journal import read_journal

        books, _ = await read_ledger(settings)
        journal = await read_journal(settings)
        late = {
            name: one
            for name, one in books.reservations.items()
            if one.state in ("settled", "revised", "unknown")
            or (one.state == "reserved" and time.time() > one.deadline_at + LATE_SECONDS)
        }
        differ = 0
        for name, one in late.items():
            said, amounts = await _asked(name, one, journal)
            if amounts is not None and (one.is_pending or amounts != one.amounts):
                differ += 1
                if apply:
                    await give(settings, Resolve(name, amounts), why)
            elif one.is_pending:
                differ += 1
            row = {"reservation": name, "backend": one.backend, "ledger": one.state, "vendor": said}
            row |= {"amounts": msgspec.to_builtins(amounts)} if amounts is not None else {}
            if as_json:
                emit(row)
            elif amounts is None or amounts != one.amounts or one.is_pending:
                typer.echo(f"{name}  {shown(one.backend)}: the ledger says {one.state}, {shown(said)}")
        if not as_json:
            typer.echo(f"{len(late)} jobs looked at, {differ} differ{' and were settled' if apply and differ else ''}")
        return FAILED if differ and not apply else OK

    run(work())


async def _asked(name: str, one: Reservation, journal: Mapping[str, Sequence[Submitted]]) -> tuple[str, Amounts | None]:
    """What the vendor says of all jobs under a reservation, and what they took; None: it does not say."""
    from qmosaic.backends.clouds.job import NotAccepted, Unclear
    from qmosaic.backends.clouds.remote import RemoteBackend
    from qmosaic.backends.registry import create, innermost

    try:
        vendor = create(innermost(one.backend))
        if not isinstance(vendor, RemoteBackend):
            return "it is no vendor's", None
        async with asyncio.timeout(ASK_SECONDS):
            ids = [key for key in journal if key == name or key.startswith(f"{name}-")] or [name]
            bills = [await _bill(vendor, key, journal.get(key, ())) for key in ids]
    except (BackendError, NotAccepted, Unclear, TimeoutError, OSError) as error:
        return f"the vendor does not say: {error}", None
    states = ", ".join(sorted({state for state, _ in bills}))
    if all(state == "never there" for state, _ in bills):
        return f"the vendor says {states}", Amounts()
    if any(state in ("queued", "running", "unknown") or usd is None for state, usd in bills):
        return f"the vendor says {states}, and no bill", None
    total = sum(usd for _, usd in bills if usd is not None)
    micros = micros_of(total)
    return f"the vendor says {states}, {amount_text('micros', micros)}", Amounts(
        micros, one.amounts.device_ms, one.amounts.shots
    )


async def _bill(vendor: RemoteBackend, client_id: str, entries: Sequence[Submitted]) -> tuple[str, float | None]:
    """The state of one job at its vendor, and its US dollars where the vendor tells them."""
    vendor_id = next((entry.vendor_id for entry in reversed(entries) if entry.vendor_id), None)
    if vendor_id is None and vendor.can_find:
        vendor_id = await vendor.find(client_id)
        if vendor_id is None:
            return "never there", 0.0
    if vendor_id is None:
        return "unknown", None
    state, _ = await vendor.poll(vendor_id)
    return state, await vendor.bill(vendor_id)
