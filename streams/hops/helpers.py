"""Processes that work for a worker: started when there is work, let go when there has been none for a while.

Where the supervisor has a zygote (`life.zygote`) a process is a fork of it, with every library imported: there in
20 ms, its memory shared. Elsewhere it is a new interpreter. Either way it is asked on one socket, one piece of work
at a time, and ends with its worker, even by kill -9.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

T = TypeVar("T")
IDLE_SECONDS = 30.0
GOODBYE = b""

zygote: socket.socket | None = None
"""The line on which this process asks for others; set in a worker that is a fork itself."""


class Helpers(Executor):
    """At most `count` processes, each made ready by `setup()` first. BrokenProcessPool where one died at its work."""

    def __init__(self, count: int, setup: Callable[[], object] | None = None) -> None:
        self._setup = setup
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="helper")
        self._lock = threading.Lock()
        self._idle: list[_Helper] = []
        self._busy: set[_Helper] = set()
        self._closed = self._killed = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As any executor."""
        return self._threads.submit(self._run, fn, args, kwargs)

    def _run(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        work = pickle.dumps((fn, args, kwargs))
        while True:
            helper = self._taken()
            try:
                helper.make_ready(self._setup)
                answer = helper.answer(work)
            except BaseException:  # it died, or cannot be made ready
                self._dropped(helper)
                raise
            if answer == GOODBYE:  # its time was over just when this came
                self._dropped(helper)
                continue
            self._returned(helper)
            worked, value = pickle.loads(answer)  # noqa: S301 - of a process of ours
            if not worked:
                raise value
            found: T = value
            return found

    def _taken(self) -> _Helper:
        with self._lock:
            if self._killed:
                raise BrokenProcessPool("its processes were ended")
            while self._idle and not self._idle[-1].waits:
                self._idle.pop().end()
            helper = self._idle.pop() if self._idle else _Helper()
            self._busy.add(helper)
            return helper

    def _returned(self, helper: _Helper) -> None:
        with self._lock:
            self._busy.discard(helper)
            if not self._closed:
                self._idle.append(helper)
                return
        helper.end()

    def _dropped(self, helper: _Helper) -> None:
        with self._lock:
            self._busy.discard(helper)
        helper.end()

    def kill(self) -> None:
        """End what is being worked on, now, and take nothing more."""
        with self._lock:
            self._killed = True
            for helper in self._busy:
                helper.kill()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As any executor."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for helper in idle:
            helper.end(wait)
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)


class _Helper:
    """This side of one process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        ours, theirs = socket.socketpair()
        until, self._alive = os.pipe()
        try:
            _start(self, theirs, until)
        finally:
            theirs.close()
            os.close(until)
        self._line = Connection(ours.detach())
        self._pid, self._is_ready = 0, False
        self._ending = threading.Lock()

    def make_ready(self, setup: Callable[[], object] | None) -> None:
        """Once: hear who it is, and let it do what comes before all work. Raises BrokenProcessPool."""
        if self._is_ready:
            return
        self._pid = int(self._received())
        if setup is not None:
            worked, value = pickle.loads(self.answer(pickle.dumps((setup, (), {}))))  # noqa: S301
            if not worked:
                raise value
        self._is_ready = True

    @property
    def waits(self) -> bool:
        """Whether it waits for work still: it has said nothing, and has not ended."""
        return not self._line.poll()

    def answer(self, work: bytes) -> bytes:
        """What comes of it, pickled. Raises BrokenProcessPool."""
        with suppress(OSError):  # it has ended, perhaps with a goodbye
            self._line.send_bytes(work)
        return self._received()

    def _received(self) -> bytes:
        try:
            return self._line.recv_bytes()
        except (EOFError, OSError):
            raise BrokenProcessPool("a process ended in the middle of its work") from None

    def kill(self) -> None:
        """With -9, whatever it does."""
        with self._ending, suppress(ProcessLookupError):
            if not self._line.closed and not self._pid:
                os.close(self._alive)  # who it is we have not heard yet; it ends by itself
                self._alive = -1
            elif not self._line.closed:
                os.kill(self._pid, signal.SIGKILL)

    def end(self, wait: bool = True) -> None:
        """Let it go, and see its end. Idempotent."""
        with self._ending:
            if not self._line.closed:
                self._line.close()
                if self._alive >= 0:
                    os.close(self._alive)
        if self._process is not None and wait:
            self._process.wait()
        elif self._process is not None:
            threading.Thread(target=self._process.wait, name="reap", daemon=True).start()


def _start(helper: _Helper, theirs: socket.socket, until: int) -> None:
    if zygote is not None:
        with suppress(OSError):  # it is gone; the supervisor makes a new one, for others
            socket.send_fds(zygote, [b"helper"], [theirs.fileno(), until])
            return
    helper._process = subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-m", "qmosaic.streams.hops.helpers", str(theirs.fileno()), str(until)],
        pass_fds=[theirs.fileno(), until],
        stdin=subprocess.DEVNULL,
    )


def serve(line: int, until: int) -> None:
    """The other side: work until there is none for a while, or the worker is gone (the end of `until`)."""
    _stay_with(until)
    connection = Connection(line)
    with suppress(OSError, EOFError):
        connection.send_bytes(str(os.getpid()).encode())
        while connection.poll(IDLE_SECONDS):
            connection.send_bytes(_done(connection.recv_bytes()))
        connection.send_bytes(GOODBYE)


def _done(work: bytes) -> bytes:
    try:
        function, args, kwargs = pickle.loads(work)  # noqa: S301 - of our worker
        return pickle.dumps((True, function(*args, **kwargs)))
    except BaseException as error:  # noqa: BLE001 - SystemExit too: whoever waits is told
        error.add_note("".join(traceback.format_exception(error)))
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301 - one that cannot be sent is told in words
            return pickle.dumps((False, error))
        except Exception:  # noqa: BLE001
            return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))


def _stay_with(until: int) -> None:
    """Ignore Ctrl-C (the worker drains) and end when the worker does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        os.read(until, 1)
        os._exit(0)

    with suppress(OSError):
        # SIGIO, which ends a process: a thread would wait while a task holds Python's lock.
        fcntl.fcntl(until, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(until, fcntl.F_SETFL, fcntl.fcntl(until, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=watch, name="stay-with-worker", daemon=True).start()


if __name__ == "__main__":
    from qmosaic.streams.hops import helpers  # not this copy of it

    helpers.serve(int(sys.argv[1]), int(sys.argv[2]))
    os._exit(0)
