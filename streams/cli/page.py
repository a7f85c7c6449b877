"""`qmosaic page`: the live page, from anywhere that reaches the broker."""

from __future__ import annotations

import asyncio
import secrets
import socket
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Annotated

import typer

from qmosaic.codecs.errors import SettingsError
from qmosaic.streams.cli.common import OK, USAGE, BrokerOption, JsonOption, connected, emit, fail, run, say
from qmosaic.streams.settings import Settings

BACKLOG = 64


def page(
    broker: BrokerOption = None,
    host: Annotated[str, typer.Option("--host", help="The address that it listens at.")] = "127.0.0.1",
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
        family, kind, proto, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        remedy = "Name another with --port, or a free one with --port 0."
        fail(SettingsError(f"cannot listen: {error}", place=f"{host}:{port}", remedy=remedy), USAGE)
    return listener


def address_of(listener: socket.socket) -> str:
    """For a browser."""
    name, port = listener.getsockname()[:2]
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"
