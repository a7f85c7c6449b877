"""`qmosaic backends`: what there is, what one takes, and whether it works here and now."""

from __future__ import annotations

import asyncio
from time import perf_counter, time
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from qmosaic.backends import registry
from qmosaic.backends.base import Backend, Capabilities, Expectations, Job, Result, run_sync
from qmosaic.codecs.errors import BackendError, SettingsError
from qmosaic.codecs.events.control import SetBackend
from qmosaic.codecs.models.circuit import Circuit, Operation, PauliSum
from qmosaic.codecs.models.kernel import Kernel
from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.codecs.text import shown
from qmosaic.streams.cli.common import FAILED, USAGE, BrokerOption, JsonOption, emit, fail, load_settings, pipeline_here
from qmosaic.streams.cli.facts import facts_now
from qmosaic.streams.cli.orders import WhyOption, ordered
from qmosaic.streams.cli.render import console
from qmosaic.streams.cli.times import moment_of, seconds_of

backends_app = typer.Typer(help="Execution targets: simulators, solvers, devices.")

NameArgument = Annotated[str, typer.Argument(help="Its name, with an argument after a slash where it takes one.")]
SHOTS = 1000
LEAST_WIDTHS = {"backend": 24, "target": 9, "about": 16}
"""Of columns, where all of them have no room: names are folded, never cut."""


@backends_app.callback(invoke_without_command=True)
def backends(context: typer.Context, as_json: JsonOption = False) -> None:
    """The backends; `backends show NAME` tells what one takes, `backends check NAME` tries it."""
    if not context.invoked_subcommand:
        backends_list(as_json)


@backends_app.command("list")
def backends_list(as_json: JsonOption = False) -> None:
    """All backends there are, built in or installed, and the wrappers around them; and where a pipeline runs, which of
    them it has, and what keeps jobs from them: an order, their breaker, their vendor's word, the network."""
    state = _state()
    rows = [_row(name) for name in registry.names()]
    rows += [
        {"name": f"{name}(NAME)", "target": "", "about": entry.about, "extra": entry.extra}
        for name, entry in registry.WRAPPERS.items()
    ]
    for row in rows:
        row["state"] = state.pop(row["name"], "")
    rows += [{"name": name, "target": "", "about": "", "extra": "", "state": said} for name, said in state.items()]
    if as_json:
        for row in rows:
            emit(row)
        return
    columns = ("backend", "target", *(("state",) if any(row["state"] for row in rows) else ()), "about", "needs")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", min_width=LEAST_WIDTHS.get(column))
    keys = {"backend": "name", "needs": "extra"}
    for row in rows:
        table.add_row(*(escape(shown(row[keys.get(column, column)])) for column in columns))
    console().print(table)


def _state() -> dict[str, str]:
    """By name, of the backends of the pipeline that runs here; nothing where none does."""
    settings = pipeline_here(load_settings())
    if settings is None:
        return {}
    facts, _, _ = asyncio.run(facts_now(settings))
    found = {name: "alive" for names in facts.alive.values() for name in names}
    found |= {name: f"breaker {phase.replace('_', ' ')}" for name, phase in facts.breakers.items()}
    found |= {name: f"next job in {at - facts.at:.0f} s" for name, at in facts.not_before.items() if at > facts.at}
    return found | dict(facts.conditions) | dict(facts.closed)


def _row(name: str) -> dict[str, str]:
    entry = registry.BUILT_IN.get(name)
    if entry is None:
        return {"name": name, "target": registry.target_of(name), "about": "of another package", "extra": ""}
    shown = f"{name}/{entry.argument}" if entry.argument else name
    return {"name": shown, "target": entry.target, "about": entry.about, "extra": entry.extra}


@backends_app.command("show")
def backends_show(name: NameArgument, as_json: JsonOption = False) -> None:
    """What a backend takes: sizes, gates, connectivity, noise."""
    backend = _create(name)
    said = _described(backend.capabilities)
    if as_json:
        emit({"name": backend.name, **said})
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for key, value in {"name": backend.name, **said}.items():
        table.add_row(key.replace("_", " "), escape(shown(_text(value))))
    console().print(table)
    backend.close()


def _described(capabilities: Capabilities) -> dict[str, Any]:
    pairs = capabilities.connectivity
    return {
        "target": capabilities.target,
        "qubits": capabilities.sizes,
        "batch": capabilities.batch,
        "gates": list(capabilities.gates) or "any",
        "connectivity": "all to all" if pairs is None else pairs,
        "noise": capabilities.noise or "none",
        "paid": capabilities.paid,
    }


def _text(value: Any) -> str:
    match value:
        case dict():
            return ", ".join(f"{kind}: {most}" for kind, most in value.items())
        case bool():
            return "yes" if value else "no"
        case tuple():
            shown = " ".join(f"{a}-{b}" for a, b in value[:12])
            return f"{len(value)} pairs: {shown}{' …' if len(value) > 12 else ''}"
        case list():
            return ", ".join(value)
    return str(value)


@backends_app.command("drain", epilog="Example: qmosaic backends drain ionq/qpu.forte-1 --why 'it is noisy'")
def backends_drain(
    name: NameArgument, why: WhyOption, broker: BrokerOption = None, as_json: JsonOption = False
) -> None:
    """It gets no more jobs; what waits for it already is still run."""
    ordered(broker, as_json, why, SetBackend(name, "draining"))


@backends_app.command("enable", epilog="Example: qmosaic backends enable ionq/qpu.forte-1 --why 'calibrated'")
def backends_enable(
    name: NameArgument, why: WhyOption, broker: BrokerOption = None, as_json: JsonOption = False
) -> None:
    """It gets jobs again: after a drain, or instead of a maintenance."""
    ordered(broker, as_json, why, SetBackend(name, "enabled"))


@backends_app.command("maintain", epilog="Example: qmosaic backends maintain aqt/default/ibex --for 2h --why 'laser'")
def backends_maintain(
    name: NameArgument,
    why: WhyOption,
    lasts: Annotated[str, typer.Option("--for", help="How long, e.g. `90m`, `2h`, `1d`.")],
    begins: Annotated[str | None, typer.Option("--from", help="When, RFC 3339; now unless it is said.")] = None,
    broker: BrokerOption = None,
    as_json: JsonOption = False,
) -> None:
    """It gets no jobs for a while, then gets them again by itself."""
    seconds = seconds_of(lasts)
    since = time() if begins is None else moment_of(begins)
    if since is None or seconds is None:
        remedy = "Write --for 90m, and --from 2026-12-01T22:00:00Z where it does not begin now."
        fail(SettingsError("no such time", place="--for" if seconds is None else "--from", remedy=remedy), USAGE)
    ordered(broker, as_json, why, SetBackend(name, "maintenance", since, since + seconds))


@backends_app.command("check")
def backends_check(
    name: NameArgument,
    as_json: JsonOption = False,
    pay: Annotated[bool, typer.Option("--pay", help="Run the jobs on a backend that costs, too.")] = False,
) -> None:
    """Try a backend: its health, then a small job of each kind it takes, whose answer is known. Exit code 1: wrong."""
    backend = _create(name)
    wrong = 0
    for said in _checks(backend, pay):
        wrong += not said["ok"]
        if as_json:
            emit({"backend": backend.name, **said})
        else:
            mark = ("ok   ", "green") if said["ok"] else ("wrong", "red")
            console().print(Text.assemble(mark, f"  {said['check']:<12} {shown(said['said'])}"))
    backend.close()
    if wrong:
        raise typer.Exit(FAILED)


def _create(name: str) -> Backend:
    try:
        return registry.create(name)
    except BackendError as error:
        fail(error, USAGE)


def _checks(backend: Backend, pay: bool) -> Any:
    """What is found, one after the other: `check`, `ok`, `said`."""
    start = perf_counter()
    try:
        health = backend.health()
        yield {"check": "health", "ok": health.ok, "said": health.message or "takes jobs"}
        if backend.capabilities.paid and not pay:
            yield {"check": "jobs", "ok": True, "said": "not run, for they cost: --pay runs them"}
            return
        backend.warm_up()
    except BackendError as error:
        yield {"check": "health", "ok": False, "said": str(error)}
        return
    yield {"check": "warm-up", "ok": True, "said": f"{perf_counter() - start:.1f} s"}
    for kind, kernel in _kernels().items():
        if kind not in backend.capabilities.sizes:
            continue
        yield {"check": kind, **_tried(backend, kernel)}


def _kernels() -> dict[str, Kernel]:
    """x = 01 is the one optimum, and what the circuits end in."""
    flip = (Operation("x", (1,)),)
    measure = Operation("measure", (0, 1), bits=(0, 1))
    zz = PauliSum(2, ("ZI", "IZ"), (1.0, 2.0))
    return {
        "spins": SpinPolynomial.of(2, h=[-1, 1]),
        "circuit": Circuit(2, 2, (*flip, measure)),
        "clifford": Circuit(2, 2, (*flip, measure)),
        "variational": Circuit(2, 0, flip, (zz,), variational=True),
    }


def _tried(backend: Backend, kernel: Kernel) -> dict[str, Any]:
    # with these angles one layer brings every field of size 1 to its optimum exactly
    angles = np.full(1, np.pi / 4)
    exact = isinstance(kernel, Circuit) and bool(kernel.observables)
    job = Job(kernel, 0 if exact else SHOTS, 1, gammas=angles, betas=-angles)
    start = perf_counter()
    try:
        estimate = backend.estimate(job)
        (answer,) = run_sync(backend, [backend.prepare(job)])
    except BackendError as error:
        return {"ok": False, "said": str(error)}
    seconds = perf_counter() - start
    ok, found = _judged(answer, estimate.fidelity)
    return {"ok": ok, "said": f"{found}, {1000 * seconds:.0f} ms"}


def _judged(answer: Result | Expectations, fidelity: float) -> tuple[bool, str]:
    """Whether it is the known answer, as far as the noise lets it be."""
    if isinstance(answer, Expectations):
        value = float(answer.values[0])
        # a solver may know better than the circuit: -3 is the least there is
        return value <= -1 + 0.1 + 2 * (1 - fidelity), f"{value:.3f}"
    right = float(answer.counts[(answer.samples == [0, 1]).all(axis=1)].sum() / answer.counts.sum())
    return right >= 0.8 * fidelity, f"{100 * right:.1f} % right"
