"""A few pages of text over HTTP: `GET`, answered and closed. On a port of this machine, or on a socket in a folder.

Not a web server: no keep-alive, no bodies, nothing from a disk. What is asked is bounded in bytes and in seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

VARIABLE = "QMOSAIC_WATCH"
"""The folder of the sockets on which workers answer their supervisor, in their environment."""
PLAIN = "text/plain; charset=utf-8"
HEAD_BYTES = 16 * 1024
ANSWER_BYTES = 64 * 1024 * 1024
SECONDS = 10.0
"""For a request to come, to be answered and taken."""
AT_ONCE = 16
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Page(NamedTuple):
    """What is answered."""

    body: bytes
    status: int = 200
    kind: str = PLAIN


Pages = Mapping[str, Callable[[str], Awaitable[Page]]]
"""By path; what makes it is told what content the client accepts."""


async def serve(pages: Pages, host: str, port: int) -> asyncio.Server:
    """On a port. Raises OSError where it is taken. On loopback only who asks for loopback gets an answer: a name of
    somebody's own that leads here is a page of theirs that wants to read this."""
    names = LOOPBACK if host in LOOPBACK else ()
    return await asyncio.start_server(partial(_served, pages, names, _Gate()), host, port, limit=HEAD_BYTES)


async def serve_socket(pages: Pages, path: Path) -> asyncio.Server:
    """On a socket in a folder; one that is there was left by the process before."""
    path.unlink(missing_ok=True)  # noqa: ASYNC240 - once, of a folder in memory or nearly
    return await asyncio.start_unix_server(partial(_served, pages, (), _Gate()), path, limit=HEAD_BYTES)


async def asked(path: Path, page: str, accept: str, seconds: float) -> Page:
    """A page of a socket. Raises OSError where nobody is there, TimeoutError where it takes longer than that, and
    ValueError for what is no answer."""
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_unix_connection(path, limit=HEAD_BYTES)
        try:
            writer.write(f"GET {page} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n".encode())
            with suppress(asyncio.IncompleteReadError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                said = _headers(head)
                body = await reader.readexactly(min(ANSWER_BYTES, int(said["content-length"])))
                return Page(body, int(head[0].split()[1]), said["content-type"])
            raise ConnectionError("it hung up")
        finally:
            writer.close()


class _Gate:
    """How many are being answered."""

    count = 0


async def _served(
    pages: Pages, names: tuple[str, ...], gate: _Gate, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    gate.count += 1
    try:
        async with asyncio.timeout(SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            page = Page(b"too many at once\n", 503) if gate.count > AT_ONCE else await _page(pages, names, head)
            reply = (
                f"HTTP/1.1 {page.status} {HTTPStatus(page.status).phrase}\r\nContent-Type: {page.kind}\r\n"
                f"Content-Length: {len(page.body)}\r\nX-Content-Type-Options: nosniff\r\n"
                "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
            )
            writer.write(reply.encode() + (b"" if head[0].startswith("HEAD ") else page.body))
            await writer.drain()
            writer.close()
            await writer.wait_closed()
    except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass  # theirs
    finally:
        gate.count -= 1
        writer.close()


async def _page(pages: Pages, names: tuple[str, ...], head: list[str]) -> Page:
    method, _, rest = head[0].partition(" ")
    path, said = rest.partition(" ")[0].partition("?")[0], _headers(head)
    if names and said.get("host", "").rpartition(":")[0].strip("[]") not in names:
        return Page(b"ask for 127.0.0.1\n", 403)
    if method not in ("GET", "HEAD"):
        return Page(b"GET it\n", 405)
    if path not in pages:
        return Page(f"there is {', '.join(pages)}\n".encode(), 404)
    return await pages[path](said.get("accept", ""))


def _headers(head: list[str]) -> dict[str, str]:
    pairs = (line.partition(":") for line in head[1:])
    return {name.strip().lower(): value.strip() for name, _, value in pairs if name}
