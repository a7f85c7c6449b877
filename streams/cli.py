"""The command line. Exit codes: 0 done; 1 an error of ours or of the environment; 2 wrong usage or input;
3 a problem was rejected; 4 no outcome in time; 130 interrupted.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn
from uuid import uuid4

import msgspec
import orjson
import typer
from rich.table import Table

from qmosaic.codecs import events
from qmosaic.codecs.errors import QmosaicError, SettingsError
from qmosaic.codecs.events import Outcome, Rejection
from qmosaic.codecs.formats.registry import FORMATS, read, writer
from qmosaic.codecs.text import shown
from qmosaic.streams import settings as settings_module
from qmosaic.streams.cli_backends import backends_app
from qmosaic.streams.cli_common import FAILED, INTERRUPTED, LATE, OK, REJECTED, USAGE, JsonOption, emit, fail, say
from qmosaic.streams.cli_families import families_app
from qmosaic.streams.cli_files import file_name, read_bounded, write_within
from qmosaic.streams.parameters import parameters
from qmosaic.streams.render import console, label_of, read_spans, show_outcomes, trace_tree
from qmosaic.streams.settings import EMBEDDED, Settings

app = typer.Typer(
    help="A streaming control plane for hybrid quantum-classical computing on Kafka.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
topics_app = typer.Typer(help="Kafka topics.", no_args_is_help=True)
app.add_typer(topics_app, name="topics")
app.add_typer(families_app, name="families")
app.add_typer(backends_app, name="backends")

Target = Literal["auto", "classical", "gpu", "quantum"]
BrokerOption = Annotated[
    str | None, typer.Option("--broker", help="`embedded`, or HOST:PORT,… of a Kafka.", show_default=False)
]
FilesArgument = Annotated[
    list[Path] | None,
    typer.Argument(help="Problem files; `-` reads standard input. None: --family and --set say it all."),
]
WriteOption = Annotated[
    Path | None,
    typer.Option(
        "--write", help="Write solutions into this folder, where their format has files of them (.tour, .sol)."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the family, e.g. `cardinality=5`; repeatable."),
]
FamilyOption = Annotated[str | None, typer.Option("--family", help="Expect this family; another is an error.")]
FormatOption = Annotated[str | None, typer.Option("--format", help=f"One of: {', '.join(FORMATS)}. Default: detected.")]
DeadlineOption = Annotated[float | None, typer.Option("--deadline", help="Seconds until the outcome must be there.")]
TargetOption = Annotated[Target, typer.Option("--target", help="Where the kernel runs.")]
ShotsOption = Annotated[int | None, typer.Option("--shots", help="Samples of a circuit.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")]
TenantOption = Annotated[str | None, typer.Option("--tenant", help="Who asks.")]
PriorityOption = Annotated[Literal["high", "normal", "low"], typer.Option("--priority", help="Within a hop.")]
SenseOption = Annotated[
    Literal["min", "max"] | None, typer.Option("--sense", help="How the file's values are meant, if the other way.")
]
StagesOption = Annotated[str, typer.Option("--stages", help="Comma-separated; `execute` is all its targets.")]


def load_settings(broker: str | None = None) -> Settings:
    """The settings, `--broker` on top."""
    try:
        settings = settings_module.load()
    except SettingsError as error:
        fail(error, USAGE)
    return msgspec.structs.replace(settings, broker=broker) if broker else settings


def run(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Run to the end; SIGTERM and Ctrl-C cancel, and everything drains on the way out."""

    async def main() -> int:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            return INTERRUPTED

    try:
        code = asyncio.run(main())
    except QmosaicError as error:
        fail(error, USAGE if error.code in ("invalid_file", "invalid_settings") else FAILED)
    raise typer.Exit(code)


def read_files(
    files: list[Path] | None,
    family: str | None,
    fmt: str | None,
    sense: str | None,
    given: list[str] | None,
    options: dict[str, Any],
) -> list[dict[str, Any]]:
    """The events of all problems of all files; exits with `USAGE` where a file cannot be read.

    Without a file, one problem of `family` whose payload is what was `--set`.
    """
    if not files:
        if family is None:
            fail(SettingsError("no file, and no family", remedy="Name a FILE, or --family and --set."), USAGE)
        event: dict[str, Any] = {
            "schema": events.PROBLEM_SCHEMA,
            "family": family,
            "problem": _parameters(family, given),
            "id": uuid4().hex,
            "labels": {"name": " ".join([family, *(given or [])])},
            **({"sense": sense} if sense else {}),
        }
        return [event | {key: value for key, value in options.items() if value is not None}]
    out: list[dict[str, Any]] = []
    for path in files:
        name = "stdin" if str(path) == "-" else shown(path.name)
        try:
            problems = read(read_bounded(path), name, fmt)
        except OSError as error:
            say(f"error: cannot read {path}: {error.strerror}")
            raise typer.Exit(USAGE) from None
        except QmosaicError as error:
            fail(error, USAGE)
        for problem in problems:
            if family is not None and problem.family != family:
                say(
                    f"error: {path} holds a {problem.family[:60]} problem, not {family}. "
                    f"Leave --family out, or name the --format."
                )
                raise typer.Exit(USAGE)
            event = dict(problem.event or {})
            event.setdefault("schema", events.PROBLEM_SCHEMA)
            event.setdefault("family", problem.family)
            event["problem"] = {**problem.problem, **_parameters(problem.family, given)}
            if sense or problem.sense:
                event["sense"] = sense or event.get("sense") or problem.sense
            event["id"] = event.get("id") or uuid4().hex
            event["labels"] = {
                **event.get("labels", {}),
                "file": name,
                "name": problem.name,
                "index": problem.index,
            }
            event |= {key: value for key, value in options.items() if value is not None}
            out.append(event)
    return out


def _parameters(family: str, given: list[str] | None) -> dict[str, Any]:
    try:
        return parameters(family, given or [])
    except SettingsError as error:
        fail(error, USAGE)


async def submit_all(
    settings: Settings, problems: list[dict[str, Any]], wait: bool, as_json: bool, progress: bool
) -> tuple[int, list[Outcome | Rejection]]:
    """Submit; with `wait`, print outcomes as they come. The exit code, and the outcomes."""
    from qmosaic.streams.client import GRACE_SECONDS, Client

    results: list[Outcome | Rejection] = []
    async with Client(settings=settings) as client:
        waiting = {event["id"]: client.expect(event["id"]) for event in problems} if wait else {}
        for event in problems:
            await client.submit(event)
            if not wait:
                told = {"problem_id": event["id"], "family": event["family"], "labels": event["labels"]}
                emit(told) if as_json else typer.echo(shown(event["id"]))
        deadlines = [e["deadline"] for e in problems if isinstance(e.get("deadline"), int | float)]
        patience = max([*deadlines, settings.defaults.deadline_seconds]) + GRACE_SECONDS
        until = time.monotonic() + patience
        pending = set(waiting.values())
        while pending and time.monotonic() < until:
            done, pending = await asyncio.wait(
                pending, timeout=until - time.monotonic(), return_when=asyncio.FIRST_COMPLETED
            )
            for future in done:
                results.append(future.result())
                if as_json:
                    emit(future.result())
                elif progress:
                    one = future.result()
                    say(f"  {len(results)}/{len(problems)}  {one.status:9} {label_of(one)}")
    if len(results) < len(waiting):
        late = sorted(set(waiting) - {one.problem_id for one in results})
        more = f" and {len(late) - 10} more" if len(late) > 10 else ""
        say(f"error: no outcome for {', '.join(one[:100] for one in late[:10])}{more}. Are all stages up?")
        return LATE, results
    return (REJECTED if any(isinstance(one, Rejection) for one in results) else OK), results


def write_solutions(folder: Path | None, problems: list[dict[str, Any]], results: list[Outcome | Rejection]) -> None:
    """The solutions of outcomes as files, named after their problems."""
    if folder is None:
        return
    payloads = {event["id"]: event["problem"] for event in problems}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in results:
            if isinstance(one, Rejection) or one.solution is None or one.objective is None:
                continue
            write = writer(one.family)
            if write is None:
                say(f"note: no format of {one.family[:60]} has files of solutions")
                continue
            name = file_name(str(one.labels.get("name") or one.problem_id))
            try:
                suffix, text = write(payloads[one.problem_id], one.solution, one.objective, name)
            except (LookupError, TypeError, AttributeError):  # whoever wrote the outcome, it is none of this problem
                say(f"note: the solution of {label_of(one)} does not fit the problem")
                continue
            say(f"wrote {write_within(folder, name + suffix, text)}")
    except OSError as error:
        fail(SettingsError(f"cannot write {folder}: {error.strerror}", place="--write"), USAGE)
    except SettingsError as error:
        fail(error, USAGE)


def show(results: list[Outcome | Rejection]) -> None:
    """The table of outcomes."""
    show_outcomes(console(), results)


@app.command()
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
    from qmosaic.streams.supervisor import Supervisor

    def tell(text: str) -> None:
        typer.echo(text, err=True)

    logs = Path(settings.data_dir) / "logs"
    supervisor = Supervisor(settings, stages, scale=scale, logs=logs, tell=tell)
    tell("starting: a first start compiles for about a minute")
    try:
        async with supervisor:
            address = supervisor.settings.broker
            if as_json:
                emit({"broker": address, "stages": stages, "logs": str(logs)})
            else:
                typer.echo(f"ready   broker {address}")
                typer.echo(f"        stages {', '.join(stages)}")
                typer.echo(f"        logs   {logs}")
                if settings.otlp_endpoint:
                    typer.echo(f"        traces {settings.otlp_endpoint}")
                typer.echo(f"try     qmosaic submit FILE --wait --broker {address}")
            await asyncio.Event().wait()
    except asyncio.CancelledError:
        tell("stopped")
    return OK


@app.command()
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
    from qmosaic.streams.supervisor import Supervisor

    def tell(text: str) -> None:
        typer.echo(text, err=True)

    try:
        async with Supervisor(settings, stages, suffix=f"-{instance}", tell=tell):
            tell(f"ready: {', '.join(stages)} at {settings.broker}")
            await asyncio.Event().wait()
    except asyncio.CancelledError:
        tell("stopped")
    return OK


@topics_app.command("create")
def topics_create(broker: BrokerOption = None, as_json: JsonOption = False) -> None:
    """Create every topic that is missing."""
    from qmosaic.streams.admin import create_topics

    settings = load_settings(broker)

    async def work() -> int:
        created = await create_topics(settings)
        if as_json:
            for name in created:
                emit({"created": name})
        else:
            typer.echo(f"created {len(created)}: {', '.join(created)}" if created else "all topics are there")
        return OK

    run(work())


@topics_app.command("show")
def topics_show(broker: BrokerOption = None, as_json: JsonOption = False) -> None:
    """Every topic with partitions, retention, key and schema."""
    from qmosaic.streams.admin import show_topics

    settings = load_settings(broker)

    async def work() -> int:
        rows = await show_topics(settings)
        if as_json:
            for row in rows:
                emit(row)
            return OK
        table = Table("topic", "parts", "days", "key", "schema", box=None, pad_edge=False, header_style="bold")
        for row in rows:
            days = f"{row['retention_seconds'] / 86_400:.3g}"
            table.add_row(row["topic"], str(row["partitions"] or "none"), days, row["key"], row["schema"])
        console().print(table)
        return OK

    run(work())


@app.command()
def submit(
    files: FilesArgument = None,
    broker: BrokerOption = None,
    family: FamilyOption = None,
    fmt: FormatOption = None,
    deadline: DeadlineOption = None,
    target: TargetOption = "auto",
    shots: ShotsOption = None,
    seed: SeedOption = None,
    tenant: TenantOption = None,
    priority: PriorityOption = "normal",
    sense: SenseOption = None,
    given: SetOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Print the outcomes as they come.")] = False,
    write: WriteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish the problems of files to a running pipeline."""
    settings = load_settings(broker)
    problems = read_files(files, family, fmt, sense, given, _options(deadline, target, shots, seed, tenant, priority))

    async def work() -> int:
        code, results = await submit_all(settings, problems, wait, as_json, progress=wait)
        write_solutions(write, problems, results)
        if wait and not as_json:
            show(results)
        return code

    run(work())


@app.command()
def outcomes(
    broker: BrokerOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they come.")] = False,
    since: Annotated[
        str | None, typer.Option("--since", help="RFC 3339 time, or an age such as 30s, 15m, 2h, 1d.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print outcomes and rejections, from the beginning or from --since on."""
    from qmosaic.streams.client import read_outcomes

    settings = load_settings(broker)
    start = _since(since)

    async def work() -> int:
        results: list[Outcome | Rejection] = []
        async for one in read_outcomes(settings, since=start, follow=follow):
            if as_json:
                emit(one)
            elif follow:
                show([one])
            else:
                results.append(one)
        if results:
            show(results)
        return OK

    run(work())


@app.command()
def solve(
    files: FilesArgument = None,
    broker: BrokerOption = None,
    family: FamilyOption = None,
    fmt: FormatOption = None,
    deadline: DeadlineOption = None,
    target: TargetOption = "auto",
    shots: ShotsOption = None,
    seed: SeedOption = None,
    tenant: TenantOption = None,
    priority: PriorityOption = "normal",
    sense: SenseOption = None,
    given: SetOption = None,
    write: WriteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Solve the problems of files without a running pipeline: up, submit --wait, down."""
    settings = load_settings(broker)
    problems = read_files(files, family, fmt, sense, given, _options(deadline, target, shots, seed, tenant, priority))

    async def work(here: Settings) -> int:
        code, results = await submit_all(here, problems, True, as_json, progress=True)
        write_solutions(write, problems, results)
        if not as_json:
            show(results)
        return code

    run(_with_pipeline(settings, work))


async def _with_pipeline(settings: Settings, work: Callable[[Settings], Awaitable[int]]) -> int:
    """A pipeline of its own for the time of `work`, in a folder that is removed after it."""
    from qmosaic.streams.folders import scratch
    from qmosaic.streams.supervisor import Supervisor
    from qmosaic.streams.topology import STAGES

    with scratch() as folder:
        here = msgspec.structs.replace(settings, data_dir=str(folder / "data"))
        typer.echo("starting the pipeline: a first start compiles for about a minute", err=True)
        async with Supervisor(
            here, list(STAGES), logs=folder / "data" / "logs", tell=lambda text: typer.echo(text, err=True)
        ) as supervisor:
            return await work(supervisor.settings)


@app.command()
def demo() -> None:
    """The bundled examples through a pipeline of their own: a table of outcomes, and one trace as a tree."""
    from qmosaic.streams.demo import demo_problems
    from qmosaic.streams.folders import scratch

    with scratch() as folder:
        spans = folder / "spans"
        settings = msgspec.structs.replace(load_settings(EMBEDDED), spans_dir=str(spans))

        async def work(here: Settings) -> int:
            problems = demo_problems()
            typer.echo(f"submitting {len(problems)} problems", err=True)
            code, results = await submit_all(here, problems, True, False, progress=True)
            show(results)
            await asyncio.sleep(1.0)  # the workers write their spans every 0.2 s
            far = [one for one in results if isinstance(one, Outcome) and one.circuit] or results
            console().print()
            console().print(trace_tree(read_spans(spans), far[0].trace_id))
            return code

        run(_with_pipeline(settings, work))


@app.command()
def status(broker: BrokerOption = None, as_json: JsonOption = False) -> None:
    """What waits for each stage, who is alive, and what holds a partition up. Exit code 1: there is a warning."""
    from qmosaic.streams import status_report

    settings = load_settings(broker)
    if settings.broker == EMBEDDED:
        fail(SettingsError("which broker?", remedy="Give --broker HOST:PORT, as `qmosaic up` prints it."), USAGE)

    async def work() -> int:
        found = await status_report.report(settings)
        if as_json:
            emit(status_report.as_json(found))
        else:
            typer.echo("\n".join(status_report.lines(found)))
        return FAILED if found.warnings else OK

    run(work())


@app.command("settings")
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


@app.command()
def topology() -> None:
    """The graph: who reads what and writes what."""
    from qmosaic.streams.topology import describe

    typer.echo(describe())


def _options(
    deadline: float | None,
    target: str,
    shots: int | None,
    seed: int | None,
    tenant: str | None,
    priority: str,
) -> dict[str, Any]:
    return {
        "deadline": deadline,
        "target": None if target == "auto" else target,
        "shots": shots,
        "seed": seed,
        "tenant": tenant,
        "priority": None if priority == "normal" else priority,
    }


def _stages(names: str) -> list[str]:
    from qmosaic.streams.topology import STAGES, stages

    try:
        return stages(names)
    except KeyError as error:
        fail(
            SettingsError(f"no stage is called {error}", remedy=f"Choose from: all, execute, {', '.join(STAGES)}."),
            USAGE,
        )


def _scale(text: str) -> dict[str, int]:
    from qmosaic.streams.topology import stages

    try:
        pairs = [part.split("=") for part in text.split(",") if part.strip()]
        return {stage: int(count) for name, count in pairs for stage in stages(name)}
    except (ValueError, KeyError):
        fail(SettingsError(f"cannot read --scale {text!r}", remedy="Write `verify=2,encode=2`."), USAGE)


def _since(text: str | None) -> float | None:
    if text is None:
        return None
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    try:
        if text[-1:] in units:
            return time.time() - float(text[:-1]) * units[text[-1]]
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        fail(SettingsError(f"cannot read --since {text!r}", remedy="Write 15m, 2h, or 2026-01-31T12:00:00Z."), USAGE)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
