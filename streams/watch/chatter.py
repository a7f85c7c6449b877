"""What the clients' libraries say, in our words: once, and what is expected without a traceback.

aiokafka says a hundred times a second that a broker is away, and never that it is back. Here it is said once, and its
return with the time it took. Whatever else a library warns of is for `log_level = "DEBUG"`; its errors are said once
in a while.
"""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf

from aiokafka import errors

LIBRARIES = ("aiokafka", "faust", "mode", "kafka")
TELEMETRY = "opentelemetry.exporter"
QUIET_SECONDS, TELEMETRY_SECONDS = 30.0, 600.0
LOOK_SECONDS = 0.25
_AWAY = re.compile(r"(?i)unable connect to|unable to request metadata|unable to update metadata|connection.* closed")
_ADDRESS = re.compile(r"""\('([^']+)', (\d+)\)|"([^":]+):(\d+)\"""")
_NODE = re.compile(r"with id (\d+)")

log = logging.getLogger("qmosaic.broker")


class Chatter(logging.Filter):
    """A filter for the handler of a worker's log. `reachable`: whether a broker takes connections at an address."""

    def __init__(self, reachable: Callable[[str, int], bool] | None = None) -> None:
        super().__init__()
        self._reachable = reachable or _reachable
        self._said: dict[tuple[str, object], float] = {}
        self._away: dict[tuple[str, int], float] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            return True
        if record.name.startswith(TELEMETRY):
            return self._is_news_of_telemetry(record)
        library = record.name.partition(".")[0] in LIBRARIES
        if library and not record.exc_info:
            text = record.getMessage()
            if _AWAY.search(text):
                return self._is_away(record, text)
            if record.levelno < logging.ERROR or self._away:
                return False
        now, key = time.monotonic(), (record.name, record.msg)
        if (
            record.name == log.name
            or record.levelno < logging.WARNING
            or record.exc_info
            or now - self._said.get(key, -QUIET_SECONDS) >= QUIET_SECONDS
        ):
            self._said[key] = now
            return True
        return False

    def is_away(self) -> bool:
        """Whether a broker is away now, as far as it was said."""
        return bool(self._away)

    def _is_news_of_telemetry(self, record: logging.LogRecord) -> bool:
        """That something does not get out is said now and then, in a sentence: it is lost, and nothing else happens."""
        now = time.monotonic()
        if record.levelno < logging.WARNING or now - self._said.get((TELEMETRY, ""), -inf) < TELEMETRY_SECONDS:
            return False
        self._said[TELEMETRY, ""] = now
        why = record.exc_info[1] if record.exc_info else record.getMessage()
        record.msg, record.args = "traces or metrics do not reach the collector, and are lost: %.300s", (str(why),)
        record.exc_info = record.exc_text = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True

    def _is_away(self, record: logging.LogRecord, text: str) -> bool:
        found = _ADDRESS.search(text)
        if found is None:
            return False  # another of its complaints says where
        address = found[1] or found[3], int(found[2] or found[4])
        node = _NODE.search(text)
        name = f"broker {node[1]} at" if node else "the broker at"
        with self._lock:
            if address in self._away:
                return False
            self._away[address] = time.monotonic()
        record.name, record.levelno, record.levelname = log.name, logging.WARNING, "WARNING"
        record.msg, record.args = "%s %s:%s is away", (name, *address)
        threading.Thread(target=self._until_back, args=(address, name), name="broker", daemon=True).start()
        return True

    def _until_back(self, address: tuple[str, int], name: str) -> None:
        while not self._reachable(*address):
            time.sleep(LOOK_SECONDS)
        with self._lock:
            seconds = time.monotonic() - self._away.pop(address)
        log.warning("%s %s:%s is back after %.1f s", name, *address, seconds)


def _reachable(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((host, port), 1.0):
        return True
    return False


def expected(error: BaseException) -> str | None:
    """In our words, what ends a worker that is to start anew, where nothing is wrong with the worker; else None."""
    if isinstance(error, errors.ProducerFenced | errors.InvalidProducerEpoch):
        return "fenced by the new owner of its partitions, starting anew"
    if isinstance(error, errors.CommitFailedError | errors.IllegalGenerationError | errors.UnknownMemberIdError):
        return "its group went on without it, starting anew"
    if isinstance(error, errors.KafkaConnectionError | errors.NodeNotReadyError | errors.RequestTimedOutError):
        return f"the broker does not answer, starting anew: {error}"
    return None
