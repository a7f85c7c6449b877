"""The viewer of traces of `make viewer` takes what the pipeline sends (`make test-viewer`)."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

import qmosaic
from qmosaic.streams.client import Client
from qmosaic.streams.life.broker import HOST
from tests.servers import ROOT, Server, free_ports
from tests.streams.harness import pipeline, settings_for

BINARY = ROOT / ".cache" / "otelite" / "bin" / "otelite"
STAGES = ["encode", "reduce", "route", "execute.classical", "verify"]

pytestmark = [pytest.mark.viewer, pytest.mark.broker]


class Viewer(Server):
    """One with its traces in a folder."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._page, self._grpc, self._otlp = free_ports(3)
        self.otlp_endpoint = f"http://{HOST}:{self._otlp}"

    def start(self, timeout: float = 30.0) -> None:
        """Until its page answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._run(
            [str(BINARY), "serve", "--addr", f"{HOST}:{self._page}", "--storage-path", str(self.directory)],
            self._answers,
            timeout,
            OTELITE_OTLP_GRPC_PORT=str(self._grpc),
            OTELITE_OTLP_HTTP_PORT=str(self._otlp),
            HOME=str(self.directory),
        )

    def _answers(self) -> bool:
        with suppress(OSError):
            return bool(self.ask("/api/traces?limit=1"))
        return False

    def ask(self, path: str) -> Any:
        """What its page asks."""
        with urllib.request.urlopen(f"http://{HOST}:{self._page}{path}", timeout=10) as answer:
            return json.load(answer)


@pytest.fixture
def viewer(tmp_path: Path) -> Iterator[Viewer]:
    if not BINARY.exists():
        pytest.skip("no viewer here: make viewer")
    server = Viewer(tmp_path / "viewer")
    server.start()
    yield server
    server.stop()


async def test_it_shows_a_problem_with_all_its_hops(broker: str, viewer: Viewer, tmp_path: Path) -> None:
    settings = settings_for(broker, tmp_path, otlp_endpoint=viewer.otlp_endpoint)
    with pipeline(settings, STAGES):
        async with Client(settings=settings) as client:
            edges = [(k, (k + step) % 13) for k in range(13) for step in (1, 3, 4)]
            outcome = await client.solve(qmosaic.MaxCut(edges=edges), deadline=60, target="classical")
        services: set[str] = set()
        give_up = time.monotonic() + 30
        while len(services) < len(STAGES) + 1 and time.monotonic() < give_up:
            await asyncio.sleep(0.2)
            with suppress(HTTPError):  # 404 until the first span is there
                spans = viewer.ask(f"/api/traces/{outcome.trace_id}")["spans"]
                services = {span["resource"]["attributes"]["service.name"] for span in spans}
    assert services >= {"qmosaic", *(f"qmosaic-{stage}" for stage in STAGES)}
