"""A running pipeline for tests: the real supervisor with real workers, in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from qmosaic.streams.life.children import Child
from qmosaic.streams.life.supervisor import Supervisor
from qmosaic.streams.settings import Settings, Topics

T = TypeVar("T")


class Pipeline:
    """Handles of a running supervisor."""

    def __init__(self, settings: Settings, stages: Sequence[str], scale: dict[str, int] | None, logs: Path) -> None:
        self.settings = settings
        self.said: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="pipeline", daemon=True)
        self._thread.start()
        self.logs = logs
        self.supervisor = Supervisor(settings, stages, scale=scale, logs=logs, tell=self.said.append)

    def call(self, work: Coroutine[Any, Any, T], timeout: float = 320.0) -> T:
        """Run on the supervisor's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def child(self, instance: str) -> Child:
        """A worker by its instance name, `verify-0`."""
        return next(child for child in self.supervisor.children if child.instance == instance)

    def signal(self, instance: str, number: signal.Signals) -> None:
        """Send a signal to a worker's process."""
        process = self.child(instance).process
        assert process is not None
        os.kill(process.pid, number)

    def stop(self) -> None:
        """Drain and stop."""
        self.call(self.supervisor.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


def settings_for(broker: str, directory: Path, **more: Any) -> Settings:
    """Settings for one test's pipeline: its own namespace and data folder, two partitions."""
    return Settings(
        broker=broker,
        namespace=f"t{os.urandom(4).hex()}",
        data_dir=str(directory),
        **{"topics": Topics(partitions=2), **more},
    )


@contextmanager
def pipeline(settings: Settings, stages: Sequence[str], scale: dict[str, int] | None = None) -> Iterator[Pipeline]:
    """Up, and down again."""
    running = Pipeline(settings, stages, scale, Path(settings.data_dir) / "logs")
    try:
        running.call(running.supervisor.start())
        running.call(running.supervisor.all_ready())
        yield running
    finally:
        running.stop()
