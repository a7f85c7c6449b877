"""`qmosaic policy`: the policy in force, and whether a file is one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from qmosaic.codecs.errors import SettingsError
from qmosaic.processors.control.policy_file import MOST_BYTES, PolicyFile, read_policy, write_policy
from qmosaic.streams.cli.common import USAGE, JsonOption, emit, fail, load_settings
from qmosaic.streams.cli.files import read_bounded

policy_app = typer.Typer(help="Which backend has a kernel, and who has it next.", no_args_is_help=True)


@policy_app.command("show", epilog="Example: qmosaic policy show > policy.toml")
def show(as_json: JsonOption = False) -> None:
    """The policy in force, as a file of it is written."""
    from qmosaic.streams.hops.route import policy_of

    settings = load_settings()
    policy = policy_of(settings)
    if as_json:
        emit(msgspec.to_builtins(policy))
        return
    given = settings.route
    typer.echo(f"# version {policy.version}")
    said = PolicyFile(given.attempts, given.rules, given.preference, given.tenants, given.families)
    typer.echo(write_policy(said), nl=False)


@policy_app.command("check", epilog="Example: qmosaic policy check policy.toml")
def check(file: Annotated[Path, typer.Argument(help="A TOML file.")], as_json: JsonOption = False) -> None:
    """Whether a file is a policy; exit code 2, with the line, if it is not. Backends must be known by name here."""
    from qmosaic.backends.registry import innermost, names

    def is_known(name: str) -> bool:
        return innermost(name).partition("/")[0] in names()  # with an argument, or wrapped

    try:
        text = read_bounded(file, MOST_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        fail(SettingsError(f"cannot read {file}: {error}", place=str(file)), USAGE)
    try:
        found = read_policy(text, str(file), is_known, names())
    except SettingsError as error:
        fail(error, USAGE)
    rules = len(found.rules) + sum(len(one.rules) for one in (*found.tenants.values(), *found.families.values()))
    if as_json:
        emit({"file": str(file), "rules": rules, "attempts": found.attempts})
    else:
        typer.echo(f"{file}: {rules} rules, {found.attempts} attempt{'s' if found.attempts > 1 else ''} at most")
