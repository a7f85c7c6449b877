"""The process that workers and their helpers are forked from: `python -m qmosaic.streams.life.zygote FD`.

It imports what they need once, and does nothing else: no threads, no event loop, no connection. A fork of it is there
in some milliseconds and shares its memory. It is asked on sockets, one message a record (SOCK_SEQPACKET):

    supervisor ─► {"load": ["jax"]} · {"stage": …, "instance": …} + descriptors   ─► {"pid": …}, later {"ended": …}
    worker     ─► "helper" + descriptors

Linux only: elsewhere a fork of a process that has numerical libraries in it is not safe, and each worker is a new
interpreter. So is one whose environment is not that of all, and the one that has the vendors' keys.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module

import msgspec

from qmosaic.streams.hops import helpers

BASE = (
    "qmosaic.streams.life.worker",
    "qmosaic.streams.life.child",
    "qmosaic.streams.hops.verify",
    "qmosaic.processors.terminal",
)
"""What every process needs."""
MORE = {
    "jax": ("qmosaic.backends.on_jax.statevector", "qmosaic.processors.spins.engine"),
    "cirq": ("qmosaic.backends.on_cirq.statevector", "qmosaic.backends.clifford.on_cirq"),
}
"""What some need, by name."""
LARGEST = 1 << 20


class Load(msgspec.Struct, tag="load", frozen=True):
    """Import more, for those that are forked from now on."""

    names: tuple[str, ...]


class Fork(msgspec.Struct, tag="fork", frozen=True):
    """Make a worker; two descriptors: its lifeline, and where its words go."""

    stage: str
    instance: str


class Forked(msgspec.Struct, tag="forked", frozen=True):
    """The answer: its process."""

    pid: int


class Ended(msgspec.Struct, tag="ended", frozen=True):
    """One has ended: its exit code, negative for a signal."""

    pid: int
    code: int


class Zygote:
    """Serves until the supervisor is gone. `serve` returns in a fork, with what that is to do."""

    def __init__(self, supervisor: socket.socket) -> None:
        self._supervisor = supervisor
        self._selector = selectors.DefaultSelector()
        self._lines: list[socket.socket] = [supervisor]
        self._woken, woke = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._woke = woke

    def serve(self) -> Callable[[], None]:
        """In the zygote itself: what is to be done when nobody needs it any more."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._woke, warn_on_full_buffer=False)
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._selector.register(self._supervisor, selectors.EVENT_READ, self._supervisor)
        while True:
            found = [key for key, _ in self._selector.select()]
            first = [key for key in found if key.data in (None, self._supervisor)]
            for key in first or found:  # the workers' helpers have time: what they need may be imported just now
                if key.data is None:
                    self._reap()
                    continue
                try:
                    message, descriptors, *_ = socket.recv_fds(key.data, LARGEST, 2)
                except OSError:
                    message, descriptors = b"", []
                if not message and key.data is self._supervisor:
                    return lambda: None
                if not message:
                    self._forget(key.data)
                    continue
                work = self._asked(message, descriptors)
                for descriptor in descriptors if work is None else ():
                    os.close(descriptor)
                if work is not None:
                    return work

    def _asked(self, message: bytes, descriptors: list[int]) -> Callable[[], None] | None:
        """In a fork: its work."""
        if message == b"helper":
            return self._forked(lambda: helpers.serve(*descriptors), None)
        asked = msgspec.json.decode(message, type=Load | Fork)
        if isinstance(asked, Load):
            for name in asked.names:
                for module in MORE[name]:
                    with suppress(ImportError):  # an extra that is not there: whoever needs it says so
                        import_module(module)
            _settle()
            return None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def work() -> None:
            from qmosaic.streams.life import child

            line, words = descriptors
            os.dup2(words, 1)
            os.dup2(words, 2)
            os.close(words)
            _name_process(asked.instance)
            helpers.zygote = theirs
            child.run(asked.stage, asked.instance, line)

        forked = self._forked(work, ours)
        if forked is None:
            theirs.close()
            self._lines.append(ours)
            self._selector.register(ours, selectors.EVENT_READ, ours)
        return forked

    def _forked(self, work: Callable[[], None], not_its: socket.socket | None) -> Callable[[], None] | None:
        pid = os.fork()
        if pid:
            if not_its is not None:
                self._say(Forked(pid))
            return None
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        os.close(self._woken)
        os.close(self._woke)
        for line in (*self._lines, *([not_its] if not_its else ())):
            line.close()
        _reseed()
        return work

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._woken, 4096)
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                self._say(Ended(pid, os.waitstatus_to_exitcode(status)))

    def _say(self, message: Forked | Ended) -> None:
        with suppress(OSError):  # it is gone, and so are we, soon
            self._supervisor.send(msgspec.json.encode(message))

    def _forget(self, line: socket.socket) -> None:
        self._selector.unregister(line)
        self._lines.remove(line)
        line.close()


def _settle() -> None:
    """What is there now is never collected, nor touched by a collection: its pages stay shared."""
    gc.collect()
    gc.freeze()


def _reseed() -> None:
    """Forks must not draw the same numbers. Python's own generators see to that by themselves."""
    import numpy as np

    np.random.seed()


def _name_process(name: str) -> None:
    """What `ps` and `top` call it."""
    with suppress(OSError), open("/proc/self/comm", "w") as comm:
        comm.write(name[:15])


def main() -> None:
    zygote = Zygote(socket.socket(fileno=int(sys.argv[1])))
    _name_process("qmosaic-zygote")
    for module in BASE:
        import_module(module)
    _settle()
    work = zygote.serve()
    try:
        work()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
