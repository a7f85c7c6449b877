"""Real servers for the tests: Apache Kafka (`make kafka`) and Jaeger (`make jaeger`), on loopback."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qmosaic.streams.life.broker import HOST, answers, with_parent

ROOT = Path(__file__).resolve().parent.parent
KAFKA_LIBS = ROOT / ".cache" / "kafka" / "libs"
JAEGER_CONFIG = ROOT / "tools" / "jaeger" / "jaeger.yaml"
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
        self._launch(command, **env)
        self._until_ready(ready, timeout)

    def _launch(self, command: list[str], **env: str) -> None:
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

    def _until_ready(self, ready: Callable[[], bool], timeout: float) -> None:
        assert self._process is not None
        give_up = time.monotonic() + timeout
        while not ready():
            status = self._process.poll()
            if status is not None or time.monotonic() > give_up:
                self.kill()
                tail = self.log_file.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.log_file.parent} (status {status}) not ready after {timeout:g} s:\n{tail}")
            time.sleep(0.1)


class RealKafka(Server):
    """One Apache Kafka node. A `start()` after `kill()` recovers from a crash: same port, same logs."""

    def __init__(self, directory: Path, node: int = 1) -> None:
        super().__init__(directory)
        self.node = node
        self.port, self.controller_port, self._internal_port = free_ports(3)
        self.advertised_port = self.port
        self.more: list[str] = []  # lines of server.properties that win over the others
        self.voters = f"1@{HOST}:{self.controller_port}"

    @property
    def address(self) -> str:
        """`host:port` for the clients."""
        return f"{HOST}:{self.advertised_port}"

    def start(self, timeout: float = 90.0) -> None:
        """Until it answers Kafka requests."""
        self.launch(timeout)
        self.until_ready(timeout)

    def launch(self, timeout: float = 90.0) -> None:
        """Start it and do not wait: one of several answers only when most of them are there."""
        java, settings = ["java", "-cp", f"{KAFKA_LIBS}/*"], self.directory / "server.properties"
        if not settings.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            listening = f"PLAINTEXT://{HOST}:{self.port},INTERNAL://{HOST}:{self._internal_port}"
            lines = [
                (ROOT / "tools" / "kafka" / "server.properties").read_text(),
                f"node.id={self.node}",
                f"listeners={listening},CONTROLLER://{HOST}:{self.controller_port}",
                f"advertised.listeners=PLAINTEXT://{self.address},INTERNAL://{HOST}:{self._internal_port}",
                "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
                "inter.broker.listener.name=INTERNAL",
                f"controller.quorum.voters={self.voters}",
                f"log.dirs={self.directory / 'logs'}",
                *self.more,
            ]
            settings.write_text("\n".join(lines) + "\n")
            subprocess.run(
                [*java, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(settings)],
                check=True,
                capture_output=True,
                timeout=timeout,
            )
        # The quick compiler and the small collector: an early start counts here, not the last record/s.
        options = ["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        self._launch([java[0], *options, quiet, *java[1:], "kafka.Kafka", str(settings)])

    def until_ready(self, timeout: float = 90.0) -> None:
        """Until it answers Kafka requests."""
        self._until_ready(lambda: answers(HOST, self.port), timeout)


class KafkaCluster:
    """Three Kafka nodes: everything replicated three times, acknowledged by two.

    `proxied`: clients reach each node through a proxy that can be slow; the nodes reach each other directly.
    """

    def __init__(self, directory: Path, *, proxied: bool = False) -> None:
        self.nodes = [RealKafka(directory / f"kafka-{number}", number) for number in (1, 2, 3)]
        self.proxies = [Proxy(node.port) for node in self.nodes] if proxied else []
        voters = ",".join(f"{node.node}@{HOST}:{node.controller_port}" for node in self.nodes)
        for node, proxy in zip(self.nodes, self.proxies or (None, None, None), strict=True):
            node.voters = voters
            node.advertised_port = proxy.port if proxy else node.port
            node.more = [
                "default.replication.factor=3",
                "min.insync.replicas=2",
                "offsets.topic.replication.factor=3",
                "transaction.state.log.replication.factor=3",
                "transaction.state.log.min.isr=2",
                # A dead broker's partitions, groups and transactions get others when its session is over: by default
                # after 9 s. Whatever the clients do, nothing is written before.
                "broker.session.timeout.ms=4000",
                "broker.heartbeat.interval.ms=500",
            ]

    @property
    def address(self) -> str:
        """Of all nodes."""
        return ",".join(node.address for node in self.nodes)

    def node(self, number: int) -> RealKafka:
        """By its number, 1 to 3."""
        return self.nodes[number - 1]

    def start(self) -> None:
        """Until all answer."""
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.until_ready()

    def stop(self) -> None:
        """The crash of all: nobody needs what they hold."""
        for node in self.nodes:
            node.kill()
        for proxy in self.proxies:
            proxy.stop()


class Proxy:
    """Loopback between clients and a server, `delay` seconds slower in each direction. A thread of its own."""

    def __init__(self, target: int) -> None:
        self.delay = 0.0
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._writers: set[asyncio.StreamWriter] = set()
        starting = asyncio.start_server(self._serve, HOST, 0)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Close every connection."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        self.delay = 0.0
        for writer in self._writers:
            writer.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        if tasks:
            await asyncio.wait(tasks, timeout=5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(HOST, self._target)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, back}
        await asyncio.gather(self._pass(reader, back), self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        emptying = asyncio.create_task(self._empty(waiting, writer))
        data = b"-"
        while data:
            try:
                data = await reader.read(65_536)
            except OSError:
                data = b""
            waiting.put_nowait((self._loop.time() + self.delay, data))
        await emptying

    async def _empty(self, waiting: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        data = b"-"
        while data:
            due, data = await waiting.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            if not writer.is_closing():
                writer.write(data)
        writer.close()


class Jaeger(Server):
    """One Jaeger with its traces in memory. Spans go to `otlp_endpoint`, questions to `ask`. `more`: variables that its
    configuration reads."""

    def __init__(self, directory: Path, config: Path = JAEGER_CONFIG, **more: str) -> None:
        super().__init__(directory)
        self._config, self._more = config, more
        self._query, self._query_grpc, self._health, self._otlp_grpc, self._otlp = free_ports(5)

    @property
    def otlp_endpoint(self) -> str:
        """Base address of OTLP over HTTP, as in QMOSAIC_OTLP_ENDPOINT."""
        return f"http://{HOST}:{self._otlp}"

    @property
    def url(self) -> str:
        """Where its query API answers."""
        return f"http://{HOST}:{self._query}"

    def start(self, timeout: float = 30.0) -> None:
        """Until its health check says OK."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._run(
            [str(JAEGER_BINARY), "--config", str(self._config)],
            self._healthy,
            timeout,
            JAEGER_QUERY_PORT=str(self._query),
            JAEGER_QUERY_GRPC_PORT=str(self._query_grpc),
            JAEGER_HEALTH_PORT=str(self._health),
            JAEGER_OTLP_GRPC_PORT=str(self._otlp_grpc),
            JAEGER_OTLP_HTTP_PORT=str(self._otlp),
            **self._more,
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


class Prometheus(Server):
    """One Prometheus that asks targets once a second, with the rules of deploy/."""

    def __init__(self, directory: Path, *targets: str) -> None:
        super().__init__(directory)
        (self._port,) = free_ports(1)
        self._targets = targets

    def start(self, timeout: float = 60.0) -> None:
        """Until it is ready."""
        config = self.directory / "prometheus.yml"
        config.write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "rule_files": [str(ROOT / "deploy" / "rules.yml")],
                    "scrape_configs": [{"job_name": "qmosaic", "static_configs": [{"targets": list(self._targets)}]}],
                }
            )
        )
        command = [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address={HOST}:{self._port}",
            "--enable-feature=exemplar-storage",
        ]
        self._run(command, self._ready, timeout)

    def ask(self, page: str, **words: str) -> Any:
        """The `data` of one answer of its API, as in `ask("query", query="up")`."""
        url = f"http://{HOST}:{self._port}/api/v1/{page}?{urllib.parse.urlencode(words)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def _ready(self) -> bool:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://{HOST}:{self._port}/-/ready", timeout=1) as answer,
        ):
            return bool(answer.status == 200)
        return False
