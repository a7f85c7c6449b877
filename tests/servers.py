"""Real servers for the tests: Apache Kafka (`make kafka`) and Jaeger (`make jaeger`), on loopback."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qmosaic.streams.broker import HOST, answers, with_parent

ROOT = Path(__file__).resolve().parent.parent
KAFKA_LIBS = ROOT / ".cache" / "kafka" / "libs"
JAEGER_BINARY = ROOT / ".cache" / "jaeger" / "jaeger"

CLUSTER_ID = base64.urlsafe_b64encode(b"qmosaic.tests.id").decode()[:22]


def free_ports(count: int) -> list[int]:
    """Ports of loopback that are free now, all different."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]


class Server:
    """One child process: started, awaited, stopped or killed, and started again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log_file = directory / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def stop(self, timeout: float = 30.0) -> None:
        """SIGTERM, then SIGKILL after `timeout` seconds."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """SIGKILL: the crash."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def _run(self, command: list[str], ready: Callable[[], bool], timeout: float, **env: str) -> None:
        with self.log_file.open("ab") as log:
            path = shutil.which(command[0])
            assert path is not None, f"{command[0]} is not installed"
            self._process = subprocess.Popen(
                with_parent([path, *command[1:]]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **env},
                start_new_session=True,
            )
        give_up = time.monotonic() + timeout
        while not ready():
            status = self._process.poll()
            if status is not None or time.monotonic() > give_up:
                self.kill()
                tail = self.log_file.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{command[0]} (status {status}) not ready after {timeout:g} s:\n{tail}")
            time.sleep(0.1)


class RealKafka(Server):
    """One Apache Kafka node. A `start()` after `kill()` recovers from a crash: same port, same logs."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port, self._controller_port = free_ports(2)

    @property
    def address(self) -> str:
        """`host:port` for the clients."""
        return f"{HOST}:{self.port}"

    def start(self, timeout: float = 90.0) -> None:
        """Until it answers Kafka requests."""
        java, settings = ["java", "-cp", f"{KAFKA_LIBS}/*"], self.directory / "server.properties"
        if not settings.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            common = (ROOT / "tools" / "kafka" / "server.properties").read_text()
            controller = f"{HOST}:{self._controller_port}"
            settings.write_text(
                f"{common}\nlisteners=PLAINTEXT://{self.address},CONTROLLER://{controller}\n"
                f"controller.quorum.voters=1@{controller}\nlog.dirs={self.directory / 'logs'}\n"
            )
            subprocess.run(
                [*java, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(settings)],
                check=True,
                capture_output=True,
                timeout=timeout,
            )
        # The quick compiler and the small collector: an early start counts here, not the last record/s.
        options = ["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        self._run(
            [java[0], *options, quiet, *java[1:], "kafka.Kafka", str(settings)],
            lambda: answers(HOST, self.port),
            timeout,
        )


class Jaeger(Server):
    """One Jaeger with its traces in memory. Spans go to `otlp_endpoint`, questions to `ask`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._query, self._query_grpc, self._health, self._otlp_grpc, self._otlp = free_ports(5)

    @property
    def otlp_endpoint(self) -> str:
        """Base address of OTLP over HTTP, as in QMOSAIC_OTLP_ENDPOINT."""
        return f"http://{HOST}:{self._otlp}"

    def start(self, timeout: float = 30.0) -> None:
        """Until its health check says OK."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._run(
            [str(JAEGER_BINARY), "--config", str(ROOT / "tools" / "jaeger" / "jaeger.yaml")],
            self._healthy,
            timeout,
            JAEGER_QUERY_PORT=str(self._query),
            JAEGER_QUERY_GRPC_PORT=str(self._query_grpc),
            JAEGER_HEALTH_PORT=str(self._health),
            JAEGER_OTLP_GRPC_PORT=str(self._otlp_grpc),
            JAEGER_OTLP_HTTP_PORT=str(self._otlp),
        )

    def ask(self, path: str) -> Any:
        """The `data` of one answer of the query API, as in `ask("/api/traces?service=qmosaic&limit=5")`."""
        with urllib.request.urlopen(f"http://{HOST}:{self._query}{path}", timeout=10) as answer:
            return json.load(answer)["data"]

    def trace(self, trace_id: str, spans: int, timeout: float = 20.0) -> dict[str, Any]:
        """One trace as the query API tells it, once it has at least `spans` spans (or when `timeout` is over)."""
        give_up = time.monotonic() + timeout
        found: dict[str, Any] = {"spans": [], "processes": {}}
        while len(found["spans"]) < spans and time.monotonic() < give_up:
            with contextlib.suppress(urllib.error.HTTPError):  # 404 until the first span is stored
                found = self.ask(f"/api/traces/{trace_id}")[0]
            time.sleep(0.1)
        return found

    def _healthy(self) -> bool:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://{HOST}:{self._health}/status", timeout=1) as answer,
        ):
            return bool(json.load(answer)["status"] == "StatusOK")
        return False
