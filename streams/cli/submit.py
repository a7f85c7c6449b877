"""Commands with problems: `submit`, `outcomes`, `solve`, `demo`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import msgspec
import typer

from qmosaic.codecs.errors import ProblemError, QmosaicError, SettingsError
from qmosaic.codecs.events import public, wire
from qmosaic.codecs.events.public import Outcome, Rejection
from qmosaic.codecs.formats.base import event_of
from qmosaic.codecs.formats.registry import read
from qmosaic.codecs.text import shown
from qmosaic.processors.admit import Defaults, Record, Refusal, admit
from qmosaic.processors.families.base import Limits
from qmosaic.streams.cli.common import (
    LATE,
    OK,
    REJECTED,
    USAGE,
    BrokerOption,
    JsonOption,
    Starting,
    connected,
    emit,
    fail,
    load_settings,
    run,
    say,
)
from qmosaic.streams.cli.files import read_bounded
from qmosaic.streams.cli.options import (
    CacheOption,
    CostOption,
    DeadlineOption,
    FamilyOption,
    FilesArgument,
    FormatOption,
    PlotOption,
    PriorityOption,
    RoundsOption,
    SeedOption,
    SenseOption,
    SetOption,
    ShotsOption,
    TargetOption,
    TenantOption,
    WriteOption,
    options_of,
)
from qmosaic.streams.cli.parameters import parameters
from qmosaic.streams.cli.plot import Plot, plot_of, write_pictures
from qmosaic.streams.cli.render import (
    OutcomeLines,
    console,
    read_spans,
    show_answers,
    show_outcomes,
    trace_tree,
)
from qmosaic.streams.cli.solutions import write_solutions
from qmosaic.streams.cli.times import given_moment
from qmosaic.streams.observe.words import label_of
from qmosaic.streams.settings import EMBEDDED, Settings

MOST_NAMED = 10
"""Ids in a sentence."""


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
            "schema": public.PROBLEM_SCHEMA,
            "family": family,
            "problem": _parameters(family, given),
            "id": uuid4().hex,
            "labels": {"name": " ".join([family, *(given or [])])},
            **({"sense": sense} if sense else {}),
        }
        event |= {key: value for key, value in options.items() if value is not None}
        _check_rounds(event)
        return [event]
    out: list[dict[str, Any]] = []
    for path in files:
        name = "stdin" if str(path) == "-" else shown(path.name.removesuffix(".gz"))
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
            event = event_of(problem, name)
            event["problem"] = {**problem.problem, **_parameters(problem.family, given)}
            if sense:
                event["sense"] = sense
            event["id"] = event.get("id") or uuid4().hex
            event |= {key: value for key, value in options.items() if value is not None}
            _check_rounds(event)
            out.append(event)
    return out


def _check_rounds(event: dict[str, Any]) -> None:
    """What has no rounds is refused here, in the words of the door; whatever else is wrong, the door says."""
    if event.get("rounds", 1) == 1:
        return
    found = admit(Record("problems", 0, 0, time.time(), wire.dumps(event)), Limits(), Defaults())
    if isinstance(found, Refusal) and found.rejected.place == "$.rounds":
        fail(ProblemError(found.rejected), REJECTED)


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
            elif progress and not as_json:
                say(f"  sent  {event['id']}  {label_of_event(event)}")
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
        say(f"error: no outcome for {_named(late)}. Are all stages up?")
        return LATE, results
    return (REJECTED if any(isinstance(one, Rejection) for one in results) else OK), results


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
    return ", ".join(one[:100] for one in ids[:MOST_NAMED]) + more


def show(results: list[Outcome | Rejection]) -> None:
    """The table of outcomes, and the answers."""
    out = console()
    show_outcomes(out, results)
    show_answers(out, results)


def label_of_event(event: dict[str, Any]) -> str:
    """What a person calls a problem that is sent."""
    labels = event["labels"]
    return shown(str(labels.get("name") or labels.get("file") or event["family"]), 60)


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
    max_cost: CostOption = None,
    cache: CacheOption = "fresh",
    rounds: RoundsOption = None,
    priority: PriorityOption = "normal",
    sense: SenseOption = None,
    given: SetOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Print the outcomes as they come.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Print the ids and return, as without --wait: `qmosaic explain ID` asks.")
    ] = False,
    write: WriteOption = None,
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish the problems of files to a running pipeline."""
    if wait and detach:
        fail(SettingsError("--wait and --detach are opposites", remedy="Give one of them."), USAGE)
    if plot is not None and not wait:
        fail(SettingsError("--plot without --wait", remedy="Add --wait: a picture needs the outcome."), USAGE)
    options = options_of(deadline, target, shots, seed, tenant, priority, max_cost, cache, rounds)
    problems = read_files(files, family, fmt, sense, given, options)
    pictures = plot_of(plot, len(problems))
    settings = connected(broker)

    run(_answered(settings, problems, wait, as_json, write, pictures))


def outcomes(
    broker: BrokerOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they come.")] = False,
    since: Annotated[
        str | None, typer.Option("--since", help="RFC 3339 time, or an age such as 30s, 15m, 2h, 1d.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print outcomes and rejections: all there are, those --since a time, or with --follow those that come."""
    from qmosaic.streams.client import read_ends

    start = given_moment(since, "--since")
    settings = connected(broker)
    if follow and start is None:
        start = time.time()

    async def work() -> int:
        results: list[tuple[float, Outcome | Rejection]] = []
        lines = OutcomeLines(console())
        async for at, one in read_ends(settings, since=start, follow=follow):
            if as_json:
                emit(one)
            elif follow:
                lines.add(one)
            else:
                results.append((at, one))
        if results:
            results.sort(key=lambda pair: pair[0])
            show([one for _, one in results])
        elif not as_json and not follow:
            say(f"nothing has ended {'yet' if start is None else 'since then: --since looks further back'}")
        return OK

    run(work())


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
    max_cost: CostOption = None,
    cache: CacheOption = "fresh",
    rounds: RoundsOption = None,
    priority: PriorityOption = "normal",
    sense: SenseOption = None,
    given: SetOption = None,
    write: WriteOption = None,
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> None:
    """Solve the problems of files without a running pipeline: up, submit --wait, down."""
    settings = load_settings(broker)
    options = options_of(deadline, target, shots, seed, tenant, priority, max_cost, cache, rounds)
    problems = read_files(files, family, fmt, sense, given, options)
    pictures = plot_of(plot, len(problems))

    run(
        _with_pipeline(
            settings,
            stages_for(problems),
            lambda here: _answered(here, problems, True, as_json, write, pictures),
        )
    )


async def _answered(
    settings: Settings,
    problems: list[dict[str, Any]],
    wait: bool,
    as_json: bool,
    write: Path | None,
    pictures: Plot | None,
) -> int:
    """Submit; with `wait`, tell what came of it, in every form that was asked for."""
    try:
        code, results = await submit_all(settings, problems, wait, as_json, progress=wait)
    except asyncio.CancelledError:  # Ctrl-C ends the waiting, and nothing else
        named = _named([one["id"] for one in problems])
        say(f"not waited for any longer, `qmosaic problem ID` says how it is: {named}")
        raise
    write_solutions(write, problems, results)
    if wait and not as_json:
        show(results)
    await asyncio.to_thread(write_pictures, pictures, problems, results)
    return code


async def _with_pipeline(settings: Settings, stages: Sequence[str], work: Callable[[Settings], Awaitable[int]]) -> int:
    """A pipeline of its own for the time of `work`, in a folder that is removed after it."""
    from qmosaic.streams.life.folders import scratch
    from qmosaic.streams.life.supervisor import Supervisor

    starting = Starting()
    with scratch() as folder:
        here = msgspec.structs.replace(settings, data_dir=str(folder / "data"))
        async with Supervisor(
            here, stages, logs=folder / "data" / "logs", tell=starting.tell, progress=starting.progress
        ) as supervisor:
            await supervisor.workers_ready()
            starting.done()
            return await work(supervisor.settings)


def stages_for(problems: Sequence[dict[str, Any]]) -> list[str]:
    """The stages that these problems need: all targets, unless each names one, or is a circuit."""
    from qmosaic.streams.topology import STAGES

    targets = set[str]()
    for event in problems:
        given = event.get("target") or "auto"
        circuit = event["family"] in ("circuit", "molecule")
        targets |= {given} if given != "auto" else {"quantum"} if circuit else {"classical", "gpu", "quantum"}
    return [name for name in STAGES if not name.startswith("execute.") or name.removeprefix("execute.") in targets]


def demo() -> None:
    """The bundled examples through a pipeline of their own: a table of outcomes, one trace as a tree, and its live
    page, which on a terminal stays until Ctrl-C."""
    from qmosaic.streams.cli.demo import demo_problems
    from qmosaic.streams.cli.page import beside, is_installed
    from qmosaic.streams.life.folders import scratch
    from qmosaic.streams.topology import STAGES

    with scratch() as folder:
        spans = folder / "spans"
        settings = msgspec.structs.replace(load_settings(EMBEDDED), spans_dir=str(spans))

        async def work(here: Settings) -> int:
            async with beside(here, Path(here.data_dir) / "logs", say) as page:
                if page:
                    typer.echo(f"page    {page}")
                elif not is_installed():
                    say("no page: pip install 'qmosaic[page]' brings it")
                problems = demo_problems()
                typer.echo(f"submitting {len(problems)} problems", err=True)
                code, results = await submit_all(here, problems, True, False, progress=True)
                show(results)
                await asyncio.sleep(1.0)  # the workers write their spans every 0.2 s
                far = [one for one in results if isinstance(one, Outcome) and one.circuit] or results
                console().print()
                console().print(trace_tree(read_spans(spans), far[0].trace_id))
                if page and console().is_terminal:
                    typer.echo(
                        f"\nthe page shows them, too; this one: {page}problem/{far[0].problem_id}  Ctrl-C ends it"
                    )
                    with suppress(asyncio.CancelledError):
                        await asyncio.Event().wait()
                return code

        run(_with_pipeline(settings, list(STAGES), work))
