"""What is the network's and what is the vendor's, by real sockets; and what a vendor says of when to come again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import pytest

from qmosaic.backends.clouds.http import Http, Secret, _seconds
from qmosaic.backends.clouds.job import NotAccepted, Unclear, Waits
from qmosaic.backends.clouds.remote import RemoteBackend
from qmosaic.backends.registry import create
from qmosaic.codecs.errors import BackendError
from tests.vendors.cable import Cable
from tests.vendors.ionq import IonqServer
from tests.vendors.server import Fault


def asked(url: str, seconds: float = 5.0) -> Exception:
    """How a request ends."""
    http = Http("made.up", url, {"Authorization": Secret("apiKey key")}, seconds)
    with pytest.raises((NotAccepted, Unclear, BackendError)) as caught:
        asyncio.run(http.ask("POST", "/jobs", {}))
    return caught.value


def network(error: Exception) -> bool:
    return isinstance(error, NotAccepted | Unclear) and error.network


@contextmanager
def silent() -> Iterator[str]:
    """Somebody who takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    error = asked(f"http://127.0.0.1:{port}")
    assert isinstance(error, NotAccepted)  # nothing was sent
    assert network(error)


def test_a_name_that_is_none() -> None:
    error = asked("http://vendor.invalid")
    assert isinstance(error, NotAccepted)
    assert network(error)


def test_no_tls() -> None:
    with IonqServer() as vendor:
        error = asked(vendor.url.replace("http://", "https://"))
    assert isinstance(error, NotAccepted)
    assert network(error)


def test_a_connection_that_is_not_made_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any) -> Any:
        await asyncio.sleep(60)

    monkeypatch.setattr(aiohttp.TCPConnector, "_create_connection", never)
    error = asked("http://127.0.0.1:1", seconds=0.2)
    assert isinstance(error, NotAccepted)
    assert network(error)


def test_broken_off_when_all_of_it_was_sent() -> None:
    with IonqServer() as vendor:
        vendor.key = "key"
        vendor.faults = [Fault("POST", "/jobs", 0)]
        error = asked(vendor.url)
    assert isinstance(error, Unclear)  # it may have been taken
    assert network(error)


@pytest.mark.parametrize("status", [500, 502, 503, 408])
def test_what_a_vendor_says_is_its_own(status: int) -> None:
    with IonqServer() as vendor:
        vendor.key = "key"
        vendor.faults = [Fault("POST", "/jobs", status)]
        error = asked(vendor.url)
    assert isinstance(error, Unclear)
    assert not network(error)


def test_who_takes_a_request_and_is_silent_is_there() -> None:
    with silent() as address:
        error = asked(f"http://{address}", seconds=0.3)
    assert isinstance(error, Unclear)
    assert not network(error)


def test_how_a_vendor_is_is_looked_at() -> None:
    backend = create("ionq/simulator")
    assert isinstance(backend, RemoteBackend)
    backend.limits = Waits(request_seconds=2.0)
    seen = []
    with IonqServer().at_hand() as vendor, Cable(vendor.url) as cable, pytest.MonkeyPatch.context() as patch:
        patch.setenv("QMOSAIC_IONQ_URL", cable.url)
        for word in ("available", "running", "calibrating", "reserved", "offline", "unavailable", "retired"):
            vendor.condition = word
            asyncio.run(backend.look())
            seen.append(backend.condition)
        assert seen == [None, None, "retuning", "retuning", "offline", "offline", "offline"]
        cable.cut()
        asyncio.run(backend.look())
        seen.append(backend.condition)
        cable.mend()
        vendor.revoked = True  # it is there, whatever it thinks of our key
        asyncio.run(backend.look())
        seen.append(backend.condition)
        vendor.revoked, vendor.condition = False, "available"
        asyncio.run(backend.look())
        seen.append(backend.condition)
        assert seen[-3:] == ["unreachable", "offline", None]


@pytest.mark.parametrize(
    ("text", "date", "seconds"),
    [
        ("7", "", 7.0),
        ("0.5", "", 0.5),
        ("-3", "", 0.0),
        ("Mon, 30 Nov 2026 08:02:00 GMT", "Mon, 30 Nov 2026 08:00:30 GMT", 90.0),
        ("Mon, 30 Nov 2026 08:00:00 GMT", "Mon, 30 Nov 2026 08:00:30 GMT", 0.0),
        ("Mon, 30 Nov 2026 08:02:00 GMT", "", None),
        ("Mon, 30 Nov 2026 08:02:00", "Mon, 30 Nov 2026 08:00:30 GMT", None),
        ("inf", "", None),
        ("nan", "", None),
        ("soon", "", None),
        ("", "", None),
    ],
)
def test_when_to_come_again(text: str, date: str, seconds: float | None) -> None:
    assert _seconds(text, date) == seconds
