"""A Kafka broker inside the package, for a laptop, a demo and the tests.

The broker is noida-db's, one binary from PyPI that speaks Kafka's protocol and keeps its records in
memory and in one file of `data_dir`. It is no production broker: one node, and no session timeouts (a
member of a group that dies without a word is never removed). docker-compose.yml has the real one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from qmosaic.codecs.errors import BrokerError
from qmosaic.streams.life.environment import of_process
from qmosaic.streams.life.folders import UMASK, make_private
from qmosaic.streams.watch.logs import open_log

HOST = "127.0.0.1"
SAVING_THREAD, SAVING_NICENESS = "autosave", 15
# prctl(PR_SET_PDEATHSIG, SIGTERM), unless the parent died before the request took hold.
_ASK_AND_BECOME = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)
os.getppid() == int(sys.argv[1]) or os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedBroker:
    """One broker process on loopback. `start()` it, give clients its `address`, `stop()` it.

    `data_dir` is made when absent; a start on the same directory finds the topics, records and group
    offsets of the last run. `port` 0 takes a free one at the first start and keeps it. The broker has a
    process group of its own, so that Ctrl-C in a terminal reaches the workers and not the broker they still
    need; not a session of its own, for Linux shares the processor out by session first, and saving is to come behind
    the workers. On Linux it also ends with the *thread* that called `start()`, so that a parent killed with -9
    leaves nothing behind: call `start()` from the main thread.
    """

    def __init__(self, data_dir: Path, port: int = 0) -> None:
        self.data_dir = data_dir
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """`host:port`, what Kafka clients call the bootstrap server."""
        return f"{HOST}:{self.port}"

    @property
    def log_file(self) -> Path:
        """Where the broker's own words go."""
        return self.data_dir / "broker.log"

    def start(self, timeout: float = 10.0) -> None:
        """Start and wait until the broker answers Kafka requests, `timeout` seconds at most.

        Raises BrokerError: no binary for this platform, port in use, directory in use, no answer in time;
        SettingsError: the directory is another user's.
        """
        binary = _binary()
        self.port = _claim(self.port)
        make_private(self.data_dir)
        command = [str(binary), "start", "--only", "kafka", "--kafka-port", str(self.port)]
        with contextlib.suppress(FileNotFoundError):
            self.log_file.replace(
                self.log_file.with_name(f"{self.log_file.name}.1")
            )  # the last words of the one before
        with open_log(self.log_file) as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own binary, no shell
                with_parent([*command, "--host", HOST, "--data-dir", str(self.data_dir)]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
                env=of_process(os.environ),
                umask=UMASK,
            )
        give_up = time.monotonic() + timeout
        while not answers(HOST, self.port):
            if self._process.poll() is not None:
                raise self._failure(f"the broker ended at once with status {self._process.returncode}")
            if time.monotonic() > give_up:
                self.stop()
                raise self._failure(f"the broker did not answer within {timeout:g} s")
            time.sleep(0.02)
        _save_behind(self._process.pid)

    def poll(self) -> int | None:
        """The exit status once the broker has ended, None while it runs or before the first start."""
        return None if self._process is None else self._process.poll()

    def stop(self, timeout: float = 10.0) -> None:
        """Let the broker write its file and end; killed after `timeout` seconds. Idempotent."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _failure(self, message: str) -> BrokerError:
        lines = self.log_file.read_text(errors="replace").splitlines()
        # The dynamic loader's remark about a newer C library is no fault and would hide the cause.
        tail = "; ".join([line for line in lines if line and "weak version" not in line][-5:])
        return BrokerError(
            f"{message}: {tail or 'it said nothing'}",
            place=str(self.log_file),
            remedy="Free the port or the directory, or give the address of a Kafka of your own.",
        )


def answers(host: str, port: int, timeout: float = 1.0) -> bool:
    """Whether a Kafka broker answers there: one ApiVersions request (KIP-35), the protocol's greeting."""
    request = struct.pack(">hhih", 18, 0, 1, -1)  # api key, version, correlation id, null client id
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = connection.recv(8, socket.MSG_WAITALL)
        return len(answer) == 8 and struct.unpack(">ii", answer)[1] == 1
    return False


def _save_behind(broker: int) -> None:
    """Let the broker's thread that writes its file come behind all that has work to do (Linux only).

    It writes everything that the broker holds, every few seconds, and takes half a processor once that is a hundred
    megabytes. Beside workers that are busy it gets a tenth of one at most, and all it wants as soon as they wait. The
    rest of the broker goes on meanwhile, but for the moment in which the thread copies what it will write.
    """
    for thread in Path(f"/proc/{broker}/task").glob("*"):
        with contextlib.suppress(OSError):  # it may be gone by now
            if (thread / "comm").read_text().strip() == SAVING_THREAD:
                os.setpriority(os.PRIO_PROCESS, int(thread.name), SAVING_NICENESS)


def _binary() -> Path:
    package = find_spec("noida_db")
    if package is not None and package.origin is not None:
        binary = Path(package.origin).with_name("noida-db")
        if binary.is_file():
            # Some installers drop the executable bit of package data.
            if not os.access(binary, os.X_OK):
                binary.chmod(0o755)
            return binary
    raise BrokerError(
        f"the embedded broker (noida-db) is not installed or has no binary for {sys.platform}",
        remedy="Run `pip install noida-db`, or give the address of a Kafka of your own.",
    )


def _claim(port: int) -> int:
    """A port that is free now: the one asked for, or any when 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise BrokerError(
                f"port {port} cannot be used: {os.strerror(error.errno or 0)}",
                place=f"{HOST}:{port}",
                remedy="Name another port, or 0 for any free one.",
            ) from error
        return int(probe.getsockname()[1])


def with_parent(command: Sequence[str]) -> list[str]:
    """The command, told to get SIGTERM from the kernel when the thread that starts it is gone (Linux only).

    By a small program that asks for it and becomes the command: what `preexec_fn` does would fork this process,
    and a fork of a process with JAX's threads may hang.
    """
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _ASK_AND_BECOME, str(os.getpid()), *command]
