"""`qmosaic policy`: the policy in force and those before it, another one, and whether a file is one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from qmosaic.codecs.errors import SettingsError
from qmosaic.codecs.events.control import RollBack, SetPolicy
from qmosaic.codecs.text import shown
from qmosaic.processors.control.orders import policy_of as set_policy_of
from qmosaic.processors.control.policy_file import MOST_BYTES, PolicyFile, read_policy, write_policy
from qmosaic.streams.cli.common import (
    OK,
    USAGE,
    BrokerOption,
    JsonOption,
    connected,
    emit,
    fail,
    load_settings,
    pipeline_here,
    run,
)
from qmosaic.streams.cli.files import read_bounded
from qmosaic.streams.cli.orders import WhyOption, ordered
from qmosaic.streams.cli.render import console
from qmosaic.streams.cli.times import moment
from qmosaic.streams.observe.folded import read_ordered

FileArgument = Annotated[Path, typer.Argument(help="A TOML file.")]
policy_app = typer.Typer(help="Which backend has a kernel, and who has it next.", no_args_is_help=True)


@policy_app.command("show", epilog="Example: qmosaic policy show > policy.toml")
def show(broker: BrokerOption = None, as_json: JsonOption = False) -> None:
    """The policy in force, as a file of it is written: the one that was set last, or where none was, the settings'."""
    from qmosaic.streams.hops.in_force import policy_of

    settings = load_settings(broker)
    here = pipeline_here(settings)

    async def work() -> int:
        last = (await read_ordered(here)).policy if here is not None else None
        policy = policy_of(settings) if last is None else set_policy_of(last.text, settings.paid.backends)
        number = last.number if last is not None else 0
        if as_json:
            emit({"number": number, **msgspec.to_builtins(policy)})
            return OK
        if last is not None:
            typer.echo(f"# policy {number}, version {last.version}, set {moment(last.at)} UTC by {shown(last.who)}")
            typer.echo(f"# {shown(last.why)}")
            typer.echo(last.text, nl=False)
            return OK
        given = settings.route
        typer.echo(f"# of the settings, version {policy.version}")
        said = PolicyFile(
            given.attempts,
            given.rules,
            given.preference,
            given.tenants,
            given.families,
            given.explore,
            given.worth,
        )
        typer.echo(write_policy(said), nl=False)
        return OK

    run(work())


@policy_app.command("set", epilog="Example: qmosaic policy set policy.toml --why 'acme pays for devices'")
def set_policy(
    file: FileArgument,
    why: WhyOption,
    base: Annotated[
        int | None, typer.Option("--base", help="The number of the policy it was made from: refused if it is another.")
    ] = None,
    broker: BrokerOption = None,
    as_json: JsonOption = False,
) -> None:
    """A new policy for all route workers, from now on, without a restart. Exit code 2: it is none, or was refused."""
    text = _text_of(file)
    _read(text, file)
    ordered(broker, as_json, why, SetPolicy(text, base))


@policy_app.command("rollback", epilog="Example: qmosaic policy rollback 3 --why 'the new one is slow'")
def rollback(
    number: Annotated[int, typer.Argument(help="As `qmosaic policy history` lists them.")],
    why: WhyOption,
    broker: BrokerOption = None,
    as_json: JsonOption = False,
) -> None:
    """An earlier policy again, under a new number."""
    ordered(broker, as_json, why, RollBack(number))


@policy_app.command("history", epilog="Example: qmosaic policy history")
def history(broker: BrokerOption = None, as_json: JsonOption = False) -> None:
    """The policies that were set: number, version, when, by whom, why."""
    settings = connected(broker)

    async def work() -> int:
        ordered = await read_ordered(settings)
        table = Table("number", "version", "set (UTC)", "who", "why", box=None, pad_edge=False, header_style="bold")
        for number in sorted(ordered.policies, reverse=True):
            one = ordered.policies[number]
            if as_json:
                emit(one)
            else:
                said = (escape(shown(text)) for text in (one.who, one.why))
                table.add_row(str(number), one.version, moment(one.at), *said)
        if not as_json:
            console().print(table) if ordered.policies else typer.echo("none was set: the settings' is in force")
        return OK

    run(work())


@policy_app.command("check", epilog="Example: qmosaic policy check policy.toml")
def check(file: FileArgument, as_json: JsonOption = False) -> None:
    """Whether a file is a policy; exit code 2, with the line, if it is not. Backends must be known by name here."""
    found = _read(_text_of(file), file)
    rules = len(found.rules) + sum(len(one.rules) for one in (*found.tenants.values(), *found.families.values()))
    if as_json:
        emit({"file": str(file), "rules": rules, "attempts": found.attempts})
    else:
        typer.echo(f"{file}: {rules} rules, {found.attempts} attempt{'s' if found.attempts > 1 else ''} at most")


def _text_of(file: Path) -> str:
    try:
        return read_bounded(file, MOST_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        fail(SettingsError(f"cannot read {file}: {error}", place=str(file)), USAGE)


def _read(text: str, file: Path) -> PolicyFile:
    from qmosaic.backends.registry import is_known, names

    try:
        return read_policy(text, str(file), is_known, names())
    except SettingsError as error:
        fail(error, USAGE)
