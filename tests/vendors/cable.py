"""A cable between a worker and a vendor's service, which may be cut: then nobody answers there, and what runs over it
is broken off."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self
from urllib.parse import urlsplit

WAIT_SECONDS = 10.0


class Cable:
    """`with Cable(vendor.url) as cable:` lays it; `cable.url` is its near end."""

    def __init__(self, url: str) -> None:
        self._far = urlsplit(url)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._wires: set[asyncio.StreamWriter] = set()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self.mend()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_SECONDS)
        self._loop.close()

    def cut(self) -> None:
        """From now on connections are refused."""
        self._call(self._cut())

    def mend(self) -> None:
        """And now they are not."""
        self._call(self._mend())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_SECONDS)

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for wire in list(self._wires):
            wire.transport.abort()

    async def _mend(self) -> None:
        self._server = await asyncio.start_server(self._laid, "127.0.0.1", self._port)

    async def _laid(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, away = await asyncio.open_connection(self._far.hostname, self._far.port)
        self._wires |= {writer, away}
        await asyncio.gather(_carry(reader, away), _carry(there, writer))
        self._wires -= {writer, away}


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    target.close()
