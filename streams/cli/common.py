"""What the commands share: exit codes, errors, JSON lines."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import msgspec
import orjson
import typer

from qmosaic.codecs.errors import BrokerError, QmosaicError, SettingsError
from qmosaic.codecs.text import shown, shown_json
from qmosaic.streams import settings as settings_module
from qmosaic.streams.settings import EMBEDDED, Settings

if TYPE_CHECKING:
    from qmosaic.streams.life.children import Progress

T = TypeVar("T")
OK, FAILED, USAGE, REJECTED, LATE, INTERRUPTED = 0, 1, 2, 3, 4, 130
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line on standard output, nothing else.")]
MOST_SAID = 2000
"""Characters of one line on standard error."""
SAY_SECONDS = 5.0


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


class Starting:
    """How far a start is, on standard error: one line that lives on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._said = time.monotonic()

    def progress(self, how_far: Progress) -> None:
        """Show it."""
        text = shown(f"starting: {how_far}", MOST_SAID)
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[K{text if len(text) <= width else text[: width - 1] + '…'}")
            sys.stderr.flush()
        elif time.monotonic() - self._said >= SAY_SECONDS:
            self._said = time.monotonic()
            say(text)

    def tell(self, text: str) -> None:
        """A line that stays."""
        if self._live:
            sys.stderr.write("\r\x1b[K")
        say(text)

    def done(self) -> None:
        """The line goes."""
        if self._live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


BrokerOption = Annotated[
    str | None, typer.Option("--broker", help="`embedded`, or HOST:PORT,… of a Kafka.", show_default=False)
]


def load_settings(broker: str | None = None) -> Settings:
    """The settings, `--broker` on top."""
    try:
        settings = settings_module.load()
    except SettingsError as error:
        fail(error, USAGE)
    return msgspec.structs.replace(settings, broker=broker) if broker else settings


def pipeline_here(settings: Settings) -> Settings | None:
    """With the address of the pipeline that runs: that of the broker that is named, or of this data folder, or None."""
    from qmosaic.streams.life.place import running

    if settings.broker != EMBEDDED:
        return settings
    found = running(Path(settings.data_dir))
    if found is None:
        return None
    return msgspec.structs.replace(settings, broker=found.broker, namespace=found.namespace)


def connected(broker: str | None = None) -> Settings:
    """The settings, with the address of a broker: the one named, or that of the pipeline of this data folder."""
    settings = load_settings(broker)
    found = pipeline_here(settings)
    if found is None:
        fail(
            BrokerError(
                f"no pipeline runs in {settings.data_dir}",
                remedy="Start one with `qmosaic up`, or name a broker with --broker HOST:PORT (QMOSAIC_BROKER).",
            )
        )
    return found


def run(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Run to the end, with the exit code that comes of it."""
    raise typer.Exit(waited(work))


def waited(work: Coroutine[Any, Any, T]) -> T:
    """What comes of it; SIGTERM and Ctrl-C cancel, and everything drains on the way out. Our errors are said."""
    logging.getLogger("aiokafka").propagate = False  # what it complains of, an error of ours says, once
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())

    interrupted = False

    async def main() -> T:
        task = asyncio.ensure_future(work)

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            task.cancel()

        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, interrupt)
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
        return await task

    try:
        found = asyncio.run(main())
    except asyncio.CancelledError:
        raise typer.Exit(INTERRUPTED) from None
    except QmosaicError as error:
        fail(error, USAGE if error.code in ("invalid_file", "invalid_settings", "refused") else FAILED)
    if interrupted:  # what runs until it is told to end has ended well, and yet by Ctrl-C
        raise typer.Exit(INTERRUPTED)
    return found
