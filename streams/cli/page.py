"""`qmosaic page`: the live page, from anywhere that reaches the broker."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from qmosaic.codecs.errors import SettingsError
from qmosaic.streams.cli.common import OK, USAGE, BrokerOption, JsonOption, connected, emit, fail, run, say
from qmosaic.streams.settings import Settings

LOOPBACK = "127.0.0.1"
BACKLOG = 64
LOOK_SECONDS, AGAIN_SECONDS, STOP_SECONDS = 5.0, 2.0, 5.0


def page(
    broker: BrokerOption = None,
    host: Annotated[str, typer.Option("--host", help="The address that it listens at.")] = LOOPBACK,
    port: Annotated[int | None, typer.Option("--port", help="Default: page.port, 0 for a free one.", min=0)] = None,
    allow_control: Annotated[
        bool, typer.Option("--allow-control", help="Problems may be submitted, with a token that is printed here.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """The live page of a pipeline, in a browser. Read-only unless --allow-control; Ctrl-C ends it."""
    if not is_installed():
        remedy = "pip install 'qmosaic[page]'"
        fail(SettingsError("the page needs the extra `page`, which is not installed", remedy=remedy), USAGE)
    settings = connected(broker)
    listener = listening(host, settings.page.port if port is None else port)
    token = secrets.token_urlsafe(24) if allow_control else None
    address = address_of(listener)
    if as_json:
        emit({"page": address, **({"token": token} if token else {})})
    else:
        typer.echo(f"page    {address}")
        if token:
            typer.echo(f"token   {token}")
    if not is_loopback(host):
        say(f"note: whoever reaches {host} sees the page: there is no password and no encryption")
    run(_serve(settings, listener, host, token))


@asynccontextmanager
async def beside(settings: Settings, logs: Path, tell: Callable[[str], None]) -> AsyncIterator[str]:
    """The page of a pipeline that has just become ready, in a process of its own that is started when a browser comes.
    Its address; empty where it is switched off, not installed, or its port is taken."""
    if not settings.page.enabled or not is_installed():
        yield ""
        return
    try:
        listener = _bound(LOOPBACK, settings.page.port)
    except (OSError, OverflowError) as error:
        tell(f"no page: cannot listen at {LOOPBACK}:{settings.page.port} (page.port): {error}")
        yield ""
        return
    with listener:
        keeping = asyncio.create_task(_keep(settings, listener, logs / "page.log", tell), name="page")
        try:
            yield address_of(listener)
        finally:
            keeping.cancel()
            await asyncio.wait({keeping}, timeout=STOP_SECONDS)


async def _keep(settings: Settings, listener: socket.socket, log: Path, tell: Callable[[str], None]) -> None:
    """A process with the page whenever somebody connects and there is none. It ends when nobody has looked for some
    time, with this task, and with this process. Until somebody wants it, it costs nothing."""
    from qmosaic.streams.life.environment import of_all
    from qmosaic.streams.watch.logs import open_log, trim

    while True:
        await _somebody(listener)
        ours, theirs = socket.socketpair()
        with ours, open_log(log) as words:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "qmosaic.streams.page.child"),
                    *(str(listener.fileno()), str(theirs.fileno())),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=words,
                    stderr=words,
                    pass_fds=[listener.fileno(), theirs.fileno()],
                    env=of_all(os.environ),
                )
            try:
                await asyncio.to_thread(ours.sendall, msgspec.json.encode(settings) + b"\n")
                while process.returncode is None:
                    trim(log, settings.log_bytes)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(process.wait(), LOOK_SECONDS)
            finally:
                if process.returncode is None:
                    process.kill()  # it has nothing to drain
                    await process.wait()
        if process.returncode:
            tell(f"the page ended with {process.returncode}: see {log}")
            await asyncio.sleep(AGAIN_SECONDS)


async def _somebody(listener: socket.socket) -> None:
    """Until a connection waits to be taken."""
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(listener, came.set)
    try:
        await came.wait()
    finally:
        loop.remove_reader(listener)


async def _serve(settings: Settings, listener: socket.socket, host: str, token: str | None) -> int:
    from qmosaic.streams.page.server import serve

    try:
        await serve(settings, listener, host, token)
    except asyncio.CancelledError:
        say("stopped")
    return OK


def is_installed() -> bool:
    """Whether the extra is there."""
    return find_spec("nicegui") is not None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens: whoever connects before the server is there waits for it. Ends with `USAGE` where the
    address cannot be had."""
    try:
        return _bound(host, port)
    except (OSError, OverflowError) as error:
        remedy = "Name another with --port, or a free one with --port 0."
        fail(SettingsError(f"cannot listen: {error}", place=f"{host}:{port}", remedy=remedy), USAGE)


def _bound(host: str, port: int) -> socket.socket:
    family, kind, proto, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, proto)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def address_of(listener: socket.socket) -> str:
    """For a browser."""
    name, port = listener.getsockname()[:2]
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"
