"""`qmosaic families`."""

from __future__ import annotations

import orjson
import typer
from rich.markup import escape
from rich.table import Table

from qmosaic.codecs.errors import SettingsError
from qmosaic.codecs.formats.registry import FORMATS
from qmosaic.codecs.problems import FAMILIES
from qmosaic.codecs.problems.base import ProblemData
from qmosaic.codecs.text import choose
from qmosaic.streams.cli.common import USAGE, JsonOption, emit, fail
from qmosaic.streams.cli.parameters import fields_of
from qmosaic.streams.cli.render import console

families_app = typer.Typer(help="Problem families: fields, units, formats, an example.")


@families_app.callback(invoke_without_command=True)
def families(context: typer.Context, as_json: JsonOption = False) -> None:
    """The problem families; `families show NAME` tells all about one."""
    if context.invoked_subcommand:
        return
    if as_json:
        for kind in FAMILIES.values():
            emit({"family": kind.family, "about": _about(kind), "formats": _formats(kind.family)})
        return
    table = Table("family", "about", "files", box=None, pad_edge=False, header_style="bold")
    for kind in FAMILIES.values():
        table.add_row(kind.family, escape(_about(kind)), ", ".join(_formats(kind.family)))
    console().print(table)


@families_app.command("show")
def families_show(name: str, as_json: JsonOption = False) -> None:
    """Fields with their types and units, file formats and an example event."""
    if name not in FAMILIES:
        fail(SettingsError(f"no family is called {name!r}", remedy=choose(name, FAMILIES)), USAGE)
    kind = FAMILIES[name]
    example = {"family": name, "problem": kind.example}
    if as_json:
        emit(
            {
                "family": name,
                "about": _about(kind),
                "fields": fields_of(kind),
                "formats": _formats(name),
                "example": example,
            }
        )
        return
    typer.echo(f"{kind.__doc__}\n")
    table = Table("field", "type", "default", "means", box=None, pad_edge=False, header_style="bold")
    for field in fields_of(kind):
        default = "required" if field["required"] else "" if field["default"] is None else str(field["default"])
        table.add_row(*(escape(text) for text in (field["field"], field["type"], default, field["description"])))
    console().print(table)
    typer.echo(f"\nfiles    {', '.join(_formats(name)) or 'JSON events'}")
    typer.echo(f"example  {orjson.dumps(example).decode()}")


def _about(kind: type[ProblemData]) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


def _formats(family: str) -> list[str]:
    return [one.name for one in FORMATS.values() if family in one.families]
