"""Commands with the pipeline itself: `up`, `worker`, `status`, `topics`, `topology`, `settings`."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec
import orjson
import typer
from rich.table import Table

from qmosaic.codecs.errors import BrokerError, SettingsError
from qmosaic.codecs.text import choose
from qmosaic.streams.cli.common import (
    OK,
    USAGE,
    BrokerOption,
    JsonOption,
    Starting,
    connected,
    emit,
    fail,
    load_settings,
    run,
)
from qmosaic.streams.cli.render import console
from qmosaic.streams.settings import EMBEDDED, Settings

OPEN_SECONDS = 5.0
"""To find out, before it stops, how many problems are still open."""
StagesOption = Annotated[str, typer.Option("--stages", help="Comma-separated; `execute` is all its targets.")]


def up(
    broker: BrokerOption = None,
    stages: StagesOption = "all",
    scale: Annotated[str, typer.Option("--scale", help="Workers by stage, e.g. `verify=2,encode=2`.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Start everything, supervised; Ctrl-C or SIGTERM drains and stops it."""
    settings = load_settings(broker)
    run(_up(settings, _stages(stages), _scale(scale), as_json))


async def _up(settings: Settings, stages: list[str], scale: dict[str, int], as_json: bool) -> int:
    from qmosaic.streams.cli.page import beside
    from qmosaic.streams.life.children import Progress
    from qmosaic.streams.life.place import held
    from qmosaic.streams.life.supervisor import Supervisor

    starting = Starting()

    def progress(how_far: Progress) -> None:
        emit({"starting": msgspec.to_builtins(how_far)}) if as_json else starting.progress(how_far)

    logs, left = Path(settings.data_dir) / "logs", 0
    supervisor = Supervisor(settings, stages, scale=scale, logs=logs, tell=starting.tell, progress=progress, alone=True)
    try:
        with held(Path(settings.data_dir), settings.namespace) as place:
            # the settings of a supervisor that has started: it knows the broker's address
            async with supervisor, beside(supervisor.settings, logs, starting.tell) as page_address:
                starting.done()
                address = supervisor.settings.broker
                place.announce(address, page_address)
                there = list(dict.fromkeys(stage for child in supervisor.children for stage in child.stages))
                if as_json:
                    emit({"broker": address, "stages": there, "logs": str(logs), "page": page_address})
                else:
                    typer.echo(f"ready   broker {address}")
                    typer.echo(f"        stages {', '.join(there)}")
                    typer.echo(f"        logs   {logs}")
                    if settings.otlp_endpoint:
                        typer.echo(f"        traces {settings.otlp_endpoint}")
                    if settings.metrics.port:
                        typer.echo(f"        metrics {settings.metrics.address}/metrics")
                    if page_address:
                        typer.echo(f"        page   {page_address}")
                    typer.echo("try     qmosaic submit FILE --wait")
                try:
                    await asyncio.Event().wait()
                finally:
                    left = await _still_open(supervisor.settings)
    except asyncio.CancelledError:
        starting.tell(f"stopped{_goes_on(left)}")
    return OK


async def _still_open(settings: Settings) -> int:
    """How many problems have not ended; 0 where that is not known in time."""
    from qmosaic.streams.observe.watching import Watching

    with suppress(BrokerError, TimeoutError):
        async with asyncio.timeout(OPEN_SECONDS), Watching(settings) as watching:
            return (await watching.report()).open
    return 0


def _goes_on(left: int) -> str:
    if not left:
        return ""
    return f": {left:,} problem{' is' if left == 1 else 's are'} still open, and will go on at the next `qmosaic up`"


def worker(
    stages: StagesOption,
    broker: BrokerOption = None,
    instance: Annotated[
        str | None, typer.Option(help="Name of this worker, the same after a restart. Default: the host's.")
    ] = None,
) -> None:
    """One worker for a cluster: workers of the same stage share the work as a consumer group."""
    settings = load_settings(broker)
    if settings.broker == EMBEDDED:
        fail(SettingsError("a worker needs a broker", remedy="Give --broker HOST:PORT, or use `qmosaic up`."), USAGE)
    run(_worker(settings, _stages(stages), instance or os.uname().nodename))


async def _worker(settings: Settings, stages: list[str], instance: str) -> int:
    from qmosaic.streams.life.supervisor import Supervisor

    def tell(text: str) -> None:
        typer.echo(text, err=True)

    try:
        async with Supervisor(settings, stages, suffix=f"-{instance}", tell=tell):
            tell(f"ready: {', '.join(stages)} at {settings.broker}")
            if settings.metrics.port:
                tell(f"metrics: {settings.metrics.address}/metrics")
            await asyncio.Event().wait()
    except asyncio.CancelledError:
        tell("stopped")
    return OK


def compile_programs(as_json: JsonOption = False) -> None:
    """Compile all programs now, for every later start of this user: for an image, or before a demonstration."""
    from qmosaic.streams.hops.jobs import compile_all

    settings, began = load_settings(), time.monotonic()
    compile_all(settings)
    seconds = round(time.monotonic() - began, 1)
    folder = str(settings.compiled_programs)
    emit({"folder": folder, "seconds": seconds}) if as_json else typer.echo(f"compiled in {seconds:g} s: {folder}")


def topics_create(broker: BrokerOption = None, as_json: JsonOption = False) -> None:
    """Create every topic that is missing."""
    from qmosaic.streams.life.topics import create_topics

    settings = connected(broker)

    async def work() -> int:
        created = await create_topics(settings)
        if as_json:
            for name in created:
                emit({"created": name})
        else:
            typer.echo(f"created {len(created)}: {', '.join(created)}" if created else "all topics are there")
        return OK

    run(work())


def topics_show(broker: BrokerOption = None, as_json: JsonOption = False) -> None:
    """Every topic with partitions, retention, key and schema."""
    from qmosaic.streams.life.topics import show_topics

    settings = connected(broker)

    async def work() -> int:
        rows = await show_topics(settings)
        if as_json:
            for row in rows:
                emit(row)
            return OK
        table = Table("topic", "parts", "days", "key", "schema", box=None, pad_edge=False, header_style="bold")
        for row in rows:
            seconds = row["retention_seconds"]
            days = "all" if seconds is None else f"{seconds / 86_400:.3g}"
            table.add_row(row["topic"], str(row["partitions"] or "none"), days, row["key"], row["schema"])
        console().print(table)
        return OK

    run(work())


def status(
    broker: BrokerOption = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, every second, until Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """How a pipeline is: what waits for each stage and how long, who is alive, breakers, budgets, what is in the way.
    Exit code 1: it is not healthy, the last line says why."""
    from qmosaic.streams.cli import status as status_report

    settings = connected(broker)
    run(status_report.watch(settings, as_json) if watch else status_report.once(settings, as_json))


def settings_command(as_json: JsonOption = False) -> None:
    """The settings in force, secrets masked."""
    masked = load_settings().masked()
    if as_json:
        emit(masked)
        return
    sections = {key: value for key, value in masked.items() if isinstance(value, dict)}
    for key, value in masked.items():
        if key not in sections:
            typer.echo(f"{key} = {orjson.dumps(value).decode()}")
    for section, values in sections.items():
        typer.echo(f"\n[{section}]")
        for key, value in values.items():
            typer.echo(f"{key} = {orjson.dumps(value).decode()}")


def topology() -> None:
    """The graph: who reads what and writes what."""
    from qmosaic.streams.topology import describe

    typer.echo(describe())


def _stages(names: str) -> list[str]:
    from qmosaic.streams.topology import STAGES, stages

    try:
        return stages(names)
    except KeyError as error:
        fail(
            SettingsError(f"no stage is called {error}", remedy=choose(error.args[0], ["all", "execute", *STAGES])),
            USAGE,
        )


def _scale(text: str) -> dict[str, int]:
    from qmosaic.streams.topology import stages

    try:
        pairs = [part.split("=") for part in text.split(",") if part.strip()]
        return {stage: int(count) for name, count in pairs for stage in stages(name)}
    except (ValueError, KeyError):
        fail(SettingsError(f"cannot read --scale {text!r}", remedy="Write `verify=2,encode=2`."), USAGE)
