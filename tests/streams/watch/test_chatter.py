"""What the libraries say, in our words: once, with its end, and errors of their own still with a traceback."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

import pytest
from aiokafka import errors

from qmosaic.streams.watch import chatter
from qmosaic.streams.watch.chatter import Chatter, expected


class Told(logging.Handler):
    """What comes through."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.name} {record.getMessage()}")


@pytest.fixture
def there() -> threading.Event:
    """Whether the broker takes connections."""
    return threading.Event()


@pytest.fixture
def told(there: threading.Event, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    monkeypatch.setattr(chatter, "LOOK_SECONDS", 0.01)
    handler = Told()
    handler.addFilter(Chatter(lambda host, port: there.is_set()))
    root = logging.getLogger()
    root.addHandler(handler)
    before = root.level
    root.setLevel(logging.WARNING)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)
    there.set()


def test_a_broker_that_goes_and_comes_back_is_two_lines(told: Told, there: threading.Event) -> None:
    client = logging.getLogger("aiokafka")
    refused = ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 19092)")
    for _ in range(50):
        client.error("Unable connect to node with id %s: %s", 3, refused)
        client.error("Unable to update metadata from %s", [1, 2, 3])
        client.warning("Got error produce response on topic-partition: %s", "retrying")
        client.error("Failed fetch messages from %s: %s", 3, "NodeNotReadyError")
    there.set()
    give_up = time.monotonic() + 10
    while len(told.lines) < 2 and time.monotonic() < give_up:
        time.sleep(0.01)
    away, back = told.lines
    assert away == "WARNING qmosaic.broker broker 3 at 127.0.0.1:19092 is away"
    assert back.startswith("WARNING qmosaic.broker broker 3 at 127.0.0.1:19092 is back after ")


def test_an_address_without_a_node_and_a_second_time_away(told: Told, there: threading.Event) -> None:
    client = logging.getLogger("aiokafka")
    for k in (2, 4):
        there.clear()
        client.error('Unable connect to "%s:%s": %s', "kafka-1", 9092, "Connection refused")
        there.set()
        give_up = time.monotonic() + 10
        while len(told.lines) < k and time.monotonic() < give_up:
            time.sleep(0.01)
    assert [line.partition("kafka-1:9092 ")[2].split(" ")[1] for line in told.lines] == ["away", "back"] * 2


def test_what_is_none_of_it_is_said_once_in_a_while(told: Told) -> None:
    for _ in range(3):
        logging.getLogger("aiokafka.consumer").error("Unexpected error while fetching data: %s", "it")
        logging.getLogger("faust.app").warning("something or other")
        logging.getLogger("qmosaic.worker").error("%s cannot handle it", "reduce")
        try:
            raise LookupError("of a library")
        except LookupError:
            logging.getLogger("aiokafka").exception("error in consumer iterator")
    assert sorted(told.lines) == [
        *["ERROR aiokafka error in consumer iterator"] * 3,
        "ERROR aiokafka.consumer Unexpected error while fetching data: it",
        "ERROR qmosaic.worker reduce cannot handle it",
    ]


def test_when_debugging_all_is_said(told: Told) -> None:
    logging.getLogger().setLevel(logging.DEBUG)
    logging.getLogger("faust.app").warning("something or other")
    assert told.lines == ["WARNING faust.app something or other"]


def test_what_is_expected_has_words() -> None:
    assert expected(errors.ProducerFenced()) == "fenced by the new owner of its partitions, starting anew"
    assert "does not answer" in str(expected(errors.KafkaConnectionError("no")))
    assert expected(LookupError("a bug")) is None
