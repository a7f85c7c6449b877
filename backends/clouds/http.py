"""HTTP with a vendor: bounded, retried where it may be, and the secrets never shown."""

from __future__ import annotations

import os
from email.utils import parsedate_to_datetime
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec

from qmosaic.backends.clouds.job import NotAccepted, Unclear
from qmosaic.codecs.errors import BackendError

CONNECT_SECONDS = 3.0


class Secret:
    """A text that does not show in reprs, logs or errors."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "Secret(***)"

    def reveal(self) -> str:
        """The text."""
        return self._text


def secret(variable: str) -> Secret:
    """From the environment, or from the file that `<variable>_FILE` names. Raises BackendError."""
    text = os.environ.get(variable, "")
    if path := os.environ.get(f"{variable}_FILE"):
        try:
            text = Path(path).read_text()
        except (OSError, UnicodeDecodeError):
            raise BackendError("the file of the key cannot be read", place=f"{variable}_FILE") from None
    if not text.strip():
        raise BackendError("no key is set", place=variable, remedy=f"Set {variable}, or {variable}_FILE to its file.")
    return Secret(text.strip())


class Http:
    """Requests to a vendor, JSON both ways. Each has a connection of its own and is sent once: where the
    connection cannot be made, nothing was sent, and no pool sends it again over another one."""

    def __init__(self, name: str, base: str, headers: dict[str, Secret], seconds: float) -> None:
        self._name, self._base, self._headers, self._seconds = name, base.rstrip("/"), headers, seconds

    async def ask(self, method: str, path: str, body: Any = None, missing: bool = False) -> Any:
        """The answer's JSON; None for 404 where it may be `missing`.

        Raises NotAccepted (429, no connection), Unclear (5xx, broken off, no JSON), BackendError (other 4xx); what is
        the network's says so. Neither headers nor the body appear in them.
        """
        import aiohttp

        headers = {key: value.reveal() for key, value in self._headers.items()}
        bound = aiohttp.ClientTimeout(total=self._seconds, connect=min(CONNECT_SECONDS, self._seconds / 2))
        where = f"{method} {path}"
        broken_off = aiohttp.ClientOSError, aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError
        try:
            async with (
                aiohttp.ClientSession(timeout=bound, connector=aiohttp.TCPConnector(force_close=True)) as session,
                session.request(
                    method, f"{self._base}{path}", json=body, headers=headers, allow_redirects=False
                ) as answer,
            ):
                status, text = answer.status, await answer.read()
                retry_after, date = (answer.headers.get(name, "") for name in ("Retry-After", "Date"))
        except aiohttp.ClientConnectorError as error:  # its name, the way there, or TLS
            raise NotAccepted(f"{where}: no connection: {error.strerror or error}", network=True) from None
        except aiohttp.ConnectionTimeoutError:
            raise NotAccepted(f"{where}: no connection in {bound.connect:g} s", network=True) from None
        except (aiohttp.ClientError, TimeoutError) as error:  # a vendor who has the request and is silent is not away
            raise Unclear(f"{where}: {type(error).__name__}", network=isinstance(error, broken_off)) from None
        if status == 429:
            raise NotAccepted(f"{where}: 429", _seconds(retry_after, date))
        if status == 404 and missing:
            return None
        if status >= 500 or status == 408:
            raise Unclear(f"{where}: {status}")
        if status >= 300:
            said = text[:400].decode(errors="replace")
            for value in headers.values():  # a server may repeat what it was sent
                said = said.replace(value, "***").replace(value.rpartition(" ")[2], "***")
            remedy = "Check the key." if status in (401, 403) else ""
            raise BackendError(f"{where}: {status} {said[:200]}", place=self._name, remedy=remedy)
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            raise Unclear(f"{where}: {status}, but no JSON") from None


def _seconds(text: str, date: str) -> float | None:
    """The seconds that a Retry-After header says, or those to its time from that of the answer (RFC 9110, 10.2.3)."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(text) - parsedate_to_datetime(date)).total_seconds()
        except (TypeError, ValueError):
            return None
    return max(0.0, seconds) if isfinite(seconds) else None
