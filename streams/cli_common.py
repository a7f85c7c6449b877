"""What the commands share: exit codes, errors, JSON lines."""

from __future__ import annotations

import sys
from typing import Annotated, Any, NoReturn

import msgspec
import orjson
import typer

from qmosaic.codecs.errors import QmosaicError
from qmosaic.codecs.text import shown, shown_json

OK, FAILED, USAGE, REJECTED, LATE, INTERRUPTED = 0, 1, 2, 3, 4, 130

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line on standard output, nothing else.")]


MOST_SAID = 2000
"""Characters of one line on standard error."""


def say(text: str) -> None:
    """One line on standard error."""
    typer.echo(shown(text, MOST_SAID), err=True)


def fail(error: QmosaicError, code: int = FAILED) -> NoReturn:
    """Say what was wrong, where, and what to do; end."""
    say(f"error: {error}")
    raise typer.Exit(code)


def emit(value: Any) -> None:
    """One JSON line on standard output."""
    data = value if isinstance(value, dict) else msgspec.to_builtins(value)
    sys.stdout.write(shown_json(orjson.dumps(data).decode()) + "\n")
    sys.stdout.flush()
