"""The process of the page: a socket, the pages, and one look at the pipeline for all browsers."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from aiokafka.errors import KafkaError
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse, Response
from nicegui import Client, ui

from qmosaic.streams.page import problem
from qmosaic.streams.page.drawing import Pictures
from qmosaic.streams.page.guard import Guard
from qmosaic.streams.page.home import Home
from qmosaic.streams.page.live import Live
from qmosaic.streams.page.parts import head, panel, text
from qmosaic.streams.page.submit import Form, Sender
from qmosaic.streams.settings import Settings

MOST_BROWSERS = 50
"""Pages that are open at once: each has a tree of elements here."""
OVERHEAD = 64 * 1024
"""Bytes of an upload besides its file."""
RECONNECT_SECONDS = 10.0
IDLE_LOOK_SECONDS = 5.0
HISTORY = 50
"""Messages that are kept for a browser whose connection breaks: it has the latest look soon, anyway."""


class Server(uvicorn.Server):
    """A server that leaves signals to whoever runs it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing is captured."""
        yield


async def serve(
    settings: Settings, listener: socket.socket, host: str, token: str | None, idle_seconds: float = math.inf
) -> None:
    """Serve until cancelled, or until nobody has looked for `idle_seconds`. `token`: who has it may submit problems;
    None: nobody may."""
    live, sender = Live(settings), Sender(settings)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _pages(settings, live, sender, token)
    _pictures(app, Pictures(settings))
    ui.run_with(
        app,
        title="qmosaic",
        favicon="data:image/svg+xml," + FAVICON,
        dark=None,
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=RECONNECT_SECONDS,
        message_history_length=HISTORY,
        binding_refresh_interval=None,
        gzip_middleware_factory=None,  # it is on this machine
    )
    guarded = Guard(app, host, settings.limits.event_bytes + OVERHEAD)
    config = uvicorn.Config(
        guarded,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="page")
    looking = asyncio.create_task(live.run(), name="look")
    try:
        while not serving.done() and not looking.done() and live.unwanted < idle_seconds:
            await asyncio.wait({serving, looking}, timeout=IDLE_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for task in (serving, looking):
            if task.done():
                task.result()
    finally:
        looking.cancel()
        server.should_exit = True
        await asyncio.wait({serving, looking}, timeout=5)
        await sender.close()


PICTURE = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "cache-control": "max-age=3600",
}
"""A picture is a picture, also where somebody opens it by itself."""
FAVICON = (
    "%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='7' height='7' rx='1.5' "
    "fill='%233f51c7'/%3E%3Crect x='9' width='7' height='7' rx='1.5' fill='%239db0ff'/%3E%3Crect y='9' width='7' "
    "height='7' rx='1.5' fill='%239db0ff'/%3E%3Ccircle cx='12.5' cy='12.5' r='3.5' fill='%232b9d73'/%3E%3C/svg%3E"
)


def _pages(settings: Settings, live: Live, sender: Sender, token: str | None) -> None:
    control = token is not None

    @ui.page("/")
    def _home() -> Response | None:
        if (full := _full()) is not None:
            return full
        Home(live, traces=settings.page.traces, control=control)
        return None

    @ui.page("/problem/{problem_id:path}")
    async def _problem(problem_id: str, client: Client) -> Response | None:
        if (full := _full()) is not None:
            return full
        head("", control=control)
        await client.connected()
        await problem.show(settings, live, problem_id)
        return None

    @ui.page("/submit")
    def _submit() -> Response | None:
        if (full := _full()) is not None:
            return full
        head("Submit", control=control)
        text("h1", "Submit a problem", "name")
        with panel("Problem"):
            if token is None:
                text("p", "This page is read-only. `qmosaic page --allow-control` can submit problems, too.")
            else:
                Form(settings, sender, token)
        return None


def _pictures(app: FastAPI, pictures: Pictures) -> None:
    @app.get("/picture/{partition}/{offset}")
    async def _picture(partition: int, offset: int, dark: bool = False) -> Response:
        try:
            drawn = (
                await pictures.of(partition, offset, dark) if 0 <= partition < 2**31 and 0 <= offset < 2**63 else None
            )
        except (KafkaError, OSError, TimeoutError):
            drawn = None
        if drawn is None:
            return PlainTextResponse("there is no picture of it", status_code=404)
        return Response(drawn, media_type="image/svg+xml", headers=PICTURE)


def _full() -> Response | None:
    if len(Client.instances) <= MOST_BROWSERS:
        return None
    return PlainTextResponse("too many pages are open", status_code=503)
