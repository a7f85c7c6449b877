"""What the HTTP services share: a thread with a server in it, jobs, faults on demand, and points where it waits."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import pytest
from aiohttp import web

Point = Literal["received", "accepted", "polling"]
KEY = "key-that-nobody-may-see"
WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Fault:
    """What happens to the next request of a method on a path that begins so: before the service has done what was
    asked, or after it. `status` 0: the connection is broken off."""

    method: str
    path: str
    status: int
    when: Literal["before", "after"] = "before"
    headers: dict[str, str] = field(default_factory=dict)
    body: str = "{}"


@dataclass
class Posted:
    """A job at the vendor. `asked`: how often its state was asked for."""

    id: str
    name: str
    body: Any
    state: str = "queued"
    asked: int = 0
    posted_at: float = field(default_factory=time.time)


class VendorServer:
    """`with Service() as vendor:` runs it; `vendor.url` is its address. Attributes may be set while it runs.

    `key`: the one that it takes; `endless`: jobs run and never end; `odd`: a status that nobody knows; `fails`: jobs
    fail; `drops`: jobs are not taken; `polls`: questions until a job is done, and `slow` more for each qubit;
    `circuits`: of how many circuits of a job there are results; `in_hand`: requests without an answer.
    """

    def __init__(self) -> None:
        self.jobs: list[Posted] = []
        self.requests: list[tuple[str, str]] = []
        self.faults: list[Fault] = []
        self.key = KEY
        self.revoked = self.endless = self.odd = self.fails = self.drops = False
        self.polls = 2
        self.slow = 0
        self.circuits = sys.maxsize
        self.url = ""
        self.held: set[Point] = set()
        self.in_hand = 0
        self.reached: dict[Point, threading.Event] = {
            "received": threading.Event(),
            "accepted": threading.Event(),
            "polling": threading.Event(),
        }
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    backend = ""
    """Name of a backend that asks it."""

    def environment(self) -> dict[str, str]:
        """Variables with which the backend finds it, and may."""
        raise NotImplementedError

    def routes(self) -> list[web.RouteDef]:
        """Of the service."""
        raise NotImplementedError

    def authorized(self, request: web.Request) -> bool:
        """Whether a request has the key."""
        raise NotImplementedError

    def is_poll(self, request: web.Request) -> bool:
        """Whether it asks how a job is doing."""
        raise NotImplementedError

    def qubits(self, job: Posted) -> int:
        """Of a job's circuit."""
        raise NotImplementedError

    @contextmanager
    def at_hand(self, **more: str) -> Iterator[Self]:
        """It runs, and the environment says where, and `more`."""
        with self, pytest.MonkeyPatch.context() as patch:
            for variable, value in (self.environment() | more).items():
                patch.setenv(variable, value)
            yield self

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(WAIT_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self.held.clear()
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(WAIT_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_SECONDS)
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(middlewares=[self._around])
        app.add_routes(self.routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        self._socket = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(self._runner, self._socket).start()
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    async def _stop(self) -> None:
        # asyncio leaves a connection open for ever that was accepted, but is not attached, when its server closes
        self._loop.remove_reader(self._socket)
        accepted = [task for task in asyncio.all_tasks() if "_accept_connection" in repr(task.get_coro())]
        await asyncio.gather(*accepted)
        await self._runner.cleanup()

    @web.middleware
    async def _around(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.in_hand += 1
        try:
            return await self._answered(request, handler)
        finally:
            self.in_hand -= 1

    async def _answered(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        await request.read()  # all of it is here: what is broken off now was sent
        if self.revoked or not self.authorized(request):
            sent = request.headers.get("Authorization", "")
            return web.json_response({"message": f"key {sent} is not valid"}, status=401)
        sends = request.method == "POST"
        fault = next((f for f in self.faults if f.method == request.method and request.path.startswith(f.path)), None)
        if fault is not None:
            self.faults.remove(fault)
            if fault.when == "before":
                return self._failed(request, fault)
        if sends:
            await self._pass("received")
            if self.drops:
                return web.Response(status=503)
        if self.is_poll(request):
            await self._pass("polling")
        answer = await handler(request)
        if sends:
            await self._pass("accepted")
        return answer if fault is None else self._failed(request, fault)

    def _failed(self, request: web.Request, fault: Fault) -> web.Response:
        if fault.status == 0 and request.transport is not None:
            request.transport.abort()
        return web.Response(status=fault.status or 500, headers=fault.headers, text=fault.body)

    async def _pass(self, point: Point) -> None:
        self.reached[point].set()
        while point in self.held:
            await asyncio.sleep(0.01)

    async def let_go(self) -> None:
        """Hold nothing any more, and see what was held to its end, whoever has given up waiting for it."""
        self.held = set()
        async with asyncio.timeout(WAIT_SECONDS):
            while self.in_hand:
                await asyncio.sleep(0.01)

    def post(self, name: str, body: Any) -> Posted:
        """Take a job."""
        job = Posted(f"job-{len(self.jobs)}-{time.time_ns()}", name, body)
        self.jobs.append(job)
        return job

    def job(self, vendor_id: str) -> Posted:
        """By its id. Raises HTTPNotFound."""
        for job in self.jobs:
            if job.id == vendor_id:
                return job
        raise web.HTTPNotFound

    def advance(self, job: Posted) -> str:
        """Its state, a question later."""
        job.asked += 1
        if job.state in ("queued", "running"):
            done = job.asked > self.polls + self.slow * self.qubits(job) and not self.endless
            job.state = ("failed" if self.fails else "completed") if done else "running" if job.asked > 1 else "queued"
        return job.state
