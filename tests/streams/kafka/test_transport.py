"""What a worker's consumer does instead of Faust's: hand a record over at once where nothing has to be waited for."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import faust.transport.consumer
import mode
import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from qmosaic.streams.kafka import transport
from qmosaic.streams.kafka.transport import Consumer, Inbound, Tables
from qmosaic.streams.life.app import faust_app
from qmosaic.streams.settings import Settings
from qmosaic.streams.topology import STAGES


class Alone(Consumer):
    """Without an app: only what it waits for."""

    def __init__(self) -> None:
        mode.Service.__init__(self)

    def _new_topicpartition(self, topic: str, partition: int) -> Any:
        raise NotImplementedError


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many tasks were started so far."""
    started = []
    original = asyncio.BaseEventLoop.create_task

    def counting(self: asyncio.BaseEventLoop, *args: object, **options: object) -> object:
        started.append(args)
        return original(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_task", counting)
    return lambda: len(started)


async def test_what_has_nothing_to_wait_for_starts_no_task(tasks: Callable[[], int]) -> None:
    async def at_once() -> str:
        return "there"

    never, before = asyncio.Event(), tasks()
    first = at_once()
    found = await Alone().wait_first(first, never.wait())
    assert (found.done, found.results, found.stopped, tasks()) == ([first], ["there"], False, before)


async def test_what_waits_several_times_is_waited_for() -> None:
    async def later() -> str:
        await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        return "there"

    found = await Alone().wait_first(later(), asyncio.Event().wait())
    assert found.results == ["there"]


async def test_what_is_overtaken_is_cancelled_and_may_clean_up() -> None:
    said = []

    async def long() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            said.append("cancelled")
            raise

    suspended = asyncio.Event()
    asyncio.get_running_loop().call_later(0.005, suspended.set)
    found = await Alone().wait_first(long(), suspended.wait())
    await asyncio.sleep(0)
    assert (found.results, said) == ([True], ["cancelled"])


@pytest.mark.parametrize("pauses", [0, 1])
async def test_an_error_comes_through(pauses: int) -> None:
    async def fails() -> None:
        for _ in range(pauses):
            await asyncio.sleep(0.001)
        raise KeyError("no such")

    with pytest.raises(KeyError, match="no such"):
        await Alone().wait_first(fails(), asyncio.Event().wait())


async def test_a_consumer_that_stops_starts_nothing_new() -> None:
    async def at_once() -> str:
        return "there"

    consumer = Alone()
    consumer._stopped.set()
    assert (await consumer.wait_first(at_once(), asyncio.Event().wait())).stopped


async def test_a_worker_without_tables_does_not_wait_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = faust_app(Settings(data_dir=str(tmp_path)), STAGES["encode"], "encode-0")
    assert isinstance(app.tables, Tables)
    began: list[str] = []

    async def begin() -> None:
        began.append("recovery")

    async def pause(self: object, seconds: float) -> None:
        began.append(f"a pause of {seconds} s")

    monkeypatch.setattr(mode.Service, "sleep", pause)
    monkeypatch.setattr(app.tables.recovery, "start", begin)
    monkeypatch.setattr(app.tables, "_update_channels", begin)
    await app.tables.on_start()
    assert began == ["recovery", "recovery"]


def test_faust_finds_what_it_looks_for_in_our_monitor() -> None:
    source = "".join(map(inspect.getsource, (faust.transport.consumer, driver)))
    asked = set(re.findall(r"monitor\.([a-z_]+)", source))
    assert "stream_inbound_time" in asked
    assert [name for name in asked if not hasattr(Inbound(), name)] == []


async def test_a_look_at_the_partitions_takes_one_turn_and_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer, looked = Alone(), []
    places = {TP("problems", partition) for partition in range(12)}
    monkeypatch.setattr(consumer, "assignment", lambda: places)
    monkeypatch.setattr(consumer, "verify_event_path", lambda now, tp: looked.append(tp))
    looking = consumer.verify_all_partitions_active()
    with pytest.raises(StopIteration):
        looking.send(None)
    assert set(looked) == places


async def test_there_is_a_commit_where_something_was_done_and_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer, commits = Alone(), asyncio.Queue[None]()
    consumer._done, consumer.commit_interval = asyncio.Event(), 0.01

    async def commit() -> None:
        commits.put_nowait(None)

    monkeypatch.setattr(consumer, "commit", commit)
    monkeypatch.setattr(transport, "COMMIT_SECONDS", 3600.0)
    handler: Any = Consumer._commit_handler
    task: asyncio.Task[None] = asyncio.create_task(handler.fun(consumer))
    message = cast("Any", SimpleNamespace(acked=True))
    await asyncio.sleep(0.1)
    assert commits.empty()
    for _ in range(2):
        consumer.ack(message)
        await asyncio.wait_for(commits.get(), 60)
    await asyncio.sleep(0.1)
    assert commits.empty()
    monkeypatch.setattr(transport, "COMMIT_SECONDS", 0.01)
    consumer.ack(message)  # from now on it looks by itself, too
    for _ in range(3):
        await asyncio.wait_for(commits.get(), 60)
    task.cancel()


async def test_a_record_that_comes_to_its_stream_is_remembered(tmp_path: Path) -> None:
    app = faust_app(Settings(data_dir=str(tmp_path)), STAGES["encode"], "encode-0")
    place, unread = TP("problems", 3), cast("Any", None)
    app.sensors.add(app.monitor)
    app.sensors.on_stream_event_in(place, 7, unread, unread)
    assert isinstance(app.monitor, Inbound)
    assert set(app.monitor.stream_inbound_time) == {place}
