"""`qmosaic plan`: what would be decided about a problem, and why, without running it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace
from rich.markup import escape
from rich.table import Table

from qmosaic.backends.base import Estimate
from qmosaic.codecs.errors import BackendError, ProblemError, QmosaicError
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.hops import JobEvent, Reduced
from qmosaic.codecs.events.ledger import Amounts, dollars, micros_of
from qmosaic.codecs.text import shown
from qmosaic.processors.admit import Record, Refusal, admit
from qmosaic.processors.control.books import Ledger
from qmosaic.processors.control.explain import CANDIDATE, CHANGE, ROUTE, lines_of, turning_points, weighed_text
from qmosaic.processors.control.facts import Facts
from qmosaic.processors.control.grants import needed, why_short
from qmosaic.processors.control.orders import policy_of as ordered_policy_of
from qmosaic.processors.control.policy import Decision, decide
from qmosaic.processors.encode import encode
from qmosaic.processors.reduce import reduce_events
from qmosaic.processors.route import route
from qmosaic.streams.cli.common import (
    OK,
    REJECTED,
    BrokerOption,
    JsonOption,
    emit,
    fail,
    load_settings,
    pipeline_here,
    run,
)
from qmosaic.streams.cli.facts import facts_now
from qmosaic.streams.cli.options import (
    CostOption,
    DeadlineOption,
    FamilyOption,
    FilesArgument,
    FormatOption,
    PriorityOption,
    SeedOption,
    SenseOption,
    SetOption,
    ShotsOption,
    TargetOption,
    TenantOption,
    options_of,
)
from qmosaic.streams.cli.render import console
from qmosaic.streams.cli.submit import read_files
from qmosaic.streams.hops.in_force import policy_of
from qmosaic.streams.settings import Settings


def plan(
    files: FilesArgument = None,
    family: FamilyOption = None,
    fmt: FormatOption = None,
    sense: SenseOption = None,
    given: SetOption = None,
    deadline: DeadlineOption = None,
    target: TargetOption = "auto",
    shots: ShotsOption = None,
    seed: SeedOption = None,
    tenant: TenantOption = None,
    max_cost: CostOption = None,
    priority: PriorityOption = "normal",
    broker: BrokerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Where the problems of files would run, what each candidate takes, and why the others are none. Runs nothing.

    With a pipeline that runs, by who is alive in it, its policy and its budgets; without one, as if all backends of the
    settings were alive.
    """
    settings = load_settings(broker)
    options = options_of(deadline, target, shots, seed, tenant, priority, max_cost)
    events = read_files(files, family, fmt, sense, given, options)

    async def work() -> int:
        here = pipeline_here(settings)
        known = await facts_now(here) if here is not None else None
        for event in events:
            try:
                said = planned(event, here or settings, known)
            except ProblemError as error:
                fail(error, REJECTED)
            emit(said) if as_json else _show(said)
        return OK

    run(work())


def planned(
    event: dict[str, Any], settings: Settings, known: tuple[Facts, str | None, Ledger] | None
) -> dict[str, Any]:
    """What would be decided about a problem event. Raises ProblemError for what is none."""
    now = time.time()
    record = Record("problems", 0, 0, now, wire.dumps(event))
    admission = admit(record, settings.limits, settings.defaults)
    if isinstance(admission, Refusal):
        raise ProblemError(admission.rejected)
    (encoded,) = encode([record], settings.limits, settings.defaults)
    assert encoded is not None
    given = settings.reduce
    ((incumbent, reduced),) = reduce_events(
        [encoded],
        now=now,
        max_kernel_qubits=given.max_kernel_qubits,
        layers=given.layers,
        share=given.share,
        max_seconds=given.max_seconds,
        clock=time.monotonic,
    )
    name = event.get("labels", {}).get("name") or event.get("id", "")
    said: dict[str, Any] = {"problem": name, "family": admission.ref.family}
    if reduced is None:
        return said | {"solved": incumbent.solver, "message": "reduce solves it: nothing is left to decide"}
    if known is None:
        facts, policy, books = Facts(now, _all_alive(settings)), policy_of(settings), Ledger()
    else:
        facts, text, books = known
        policy = policy_of(settings) if text is None else ordered_policy_of(text, settings.paid.backends)
    decision = decide(reduced, facts, policy)
    kernel = {"kind": reduced.kind, "qubits": reduced.variables, "couplings": reduced.couplings}
    said |= {"kernel": kernel, "reason": decision.reason, "means": ROUTE[decision.reason], "policy": policy.version}
    said["rule"] = decision.candidates[0].rule if decision.candidates else ""
    (job,) = route([reduced], facts, policy)
    said["backends"] = _backends(decision, facts.alive, job if isinstance(job, JobEvent) else None, reduced, books)
    if decision.weighed:
        said["explore"] = policy.explore_of(reduced.ref)
    said["otherwise"] = list(turning_points(reduced, facts, policy))
    return said


def _all_alive(settings: Settings) -> dict[Any, dict[str, Any]]:
    """As if a worker of every target ran; what cannot be made here is not."""
    from qmosaic.streams.hops.jobs import sizes_of

    found: dict[Any, dict[str, Any]] = {}
    named = {**settings.execute.backends}
    for target, names in named.items():
        for name in names:
            try:
                found.setdefault(target, {}).update(sizes_of([name]))
            except BackendError:
                continue
    for name in settings.paid.backends:
        backend = _made(name)
        if not isinstance(backend, str):
            found.setdefault("quantum", {})[name] = backend.capabilities.sizes
    return found


def _made(name: str) -> Any:
    """A backend, or why there is none."""
    from qmosaic.backends.registry import create

    try:
        return create(name)
    except QmosaicError as error:
        return str(error)


def _backends(
    decision: Decision, live: Mapping[Any, Any], job: JobEvent | None, reduced: Reduced, books: Ledger
) -> list[dict[str, Any]]:
    rows = []
    for line in lines_of(decision.considered, live):
        row: dict[str, Any] = line._asdict()
        if line.reason in ("taken", "explored", "behind") and job is not None:
            row |= _predicted(line.backend, job, reduced, books)
        weighed = decision.weighed.get(line.backend)
        if weighed is not None:
            row["evidence"] = msgspec.to_builtins(weighed)
            row["means"] += f"; {weighed_text(weighed)}"
        rows.append(row)
    order = {route.backend: k for k, route in enumerate(decision.candidates)}
    rows.sort(key=lambda row: order.get(row["backend"], len(order)))
    for row in rows:
        row["candidate"] = order[row["backend"]] + 1 if row["backend"] in order else None
    return rows


def _predicted(name: str, job: JobEvent, reduced: Reduced, books: Ledger) -> dict[str, Any]:
    """Seconds, cost and fidelity by the backend's own estimate; and whether the budgets have that."""
    from qmosaic.backends.points import estimated
    from qmosaic.processors.execute import jobs_of

    backend = _made(name)
    if isinstance(backend, str):
        return {"estimate": backend}
    try:
        estimate: Estimate = estimated(backend, jobs_of(job))
    except BackendError as error:
        return {"reason": "too_large", "means": str(error), "change": CHANGE["too_large"]}
    finally:
        backend.close()
    found: dict[str, Any] = {
        "seconds": round(estimate.seconds or reduced.work_seconds, 4),
        "fidelity": round(estimate.fidelity, 4),
    }
    if not backend.capabilities.paid:
        return found | {"cost_usd": 0.0}
    found["cost_usd"] = estimate.cost or None
    amounts = Amounts(
        micros=micros_of(estimate.cost) if estimate.cost > 0 else None,
        device_ms=int(1000 * estimate.seconds) or None,
        shots=estimate.shots or None,
    )
    behind = replace(job.route, backend=name, explores=None)
    it = next((one for one in (job.route, *job.candidates) if one.backend == name), behind)
    nobody = replace(reduced.ref, offset=-1)  # it is no problem yet, and has no account
    *_, short = needed(books, nobody, it, amounts, time.time())
    if short is not None:
        reason: Any = "no_price" if short.wanted is None else "over_budget"
        found |= {"reason": reason, "means": f"{CANDIDATE[reason]}: {why_short(short, name)}", "change": CHANGE[reason]}
    return found


def _show(said: dict[str, Any]) -> None:
    out = console()
    out.print(f"[bold]{escape(shown(str(said['problem'])))}[/]  {said['family']}")
    if "solved" in said:
        out.print(f"  {said['message']} ({escape(said['solved'])})")
        return
    kernel = said["kernel"]
    out.print(f"  kernel: {kernel['kind']} of {kernel['qubits']} qubits, {kernel['couplings']} couplings")
    rule = f" [bold]{escape(shown(said['rule']))}[/]" if said["rule"] else ""
    out.print(f"  {said['reason']}{rule}: {escape(said['means'])}")
    table = Table("", "backend", "seconds", "cost", "why", box=None, pad_edge=False, header_style="bold")
    for row in said["backends"]:
        cost = row.get("cost_usd")
        price = (
            "" if "seconds" not in row else "unknown" if cost is None else dollars(micros_of(cost)) if cost else "free"
        )
        seconds = f"{row['seconds']:.3g}" if "seconds" in row else ""
        change = f" (it takes: {row['change']})" if row["change"] and row["candidate"] is None else ""
        why = escape(shown(f"{row['reason']}: {row['means']}{change}"))
        table.add_row(str(row["candidate"] or ""), escape(shown(row["backend"])), seconds, price, why)
    out.print(table)
    if "explore" in said:
        out.print(
            f"  {100 * said['explore']:.3g} % of such kernels, and of each budget, find out what pays", highlight=False
        )
    for line in said["otherwise"]:
        out.print(f"  otherwise {escape(shown(line))}", highlight=False)
