"""The door of the page's server: who may ask, how much may be sent, and what a browser may load.

A page on loopback is asked by every page that a browser has open. A name of somebody else's that is made to point here
(DNS rebinding) comes with that name as `Host`; a script of another page comes with that page as `Origin`, also where it
opens a WebSocket, which no other rule of browsers forbids. Both are refused before anything else looks at the request.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    (
        "default-src 'self'",
        # Vue compiles its templates in the browser, and NiceGUI's page begins with scripts of its own
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""Nothing is loaded from elsewhere, nothing is sent elsewhere, nobody shows the page in a frame."""
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Around the application. `host`: the name that the server was given besides `localhost` and numbers; `most`: bytes
    of one request's body."""

    def __init__(self, app: ASGIApp, host: str, most: int) -> None:
        self.app, self._host, self._most = app, host, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let in, or refuse."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._is_ours(headers):
            await _refuse(scope, receive, send, 403, "this address is not the page's")
            return
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdecimal() and len(length) < 19 and int(length) <= self._most):
            await _refuse(scope, receive, send, 413, f"at most {self._most} bytes")
            return
        scope["headers"] = [(name, value) for name, value in scope["headers"] if not name.startswith(b"x-forwarded")]
        await self.app(scope, self._bounded(receive), _with_headers(send))

    def _is_ours(self, headers: Headers) -> bool:
        host, origin = headers.get("host", ""), headers.get("origin")
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
                return False
        except ValueError:  # brackets that do not close
            return False
        return name in ("localhost", self._host) or _is_number(name)

    def _bounded(self, receive: Receive) -> Receive:
        """What says no length beforehand is cut off."""
        had = 0

        async def bounded() -> Message:
            nonlocal had
            message = await receive()
            if message["type"] == "http.request":
                had += len(message.get("body", b""))
                if had > self._most:
                    return {"type": "http.disconnect"}
            return message

        return bounded


def _is_number(name: str) -> bool:
    """An address in numbers is nobody's name."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _with_headers(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return with_headers


async def _refuse(scope: Scope, receive: Receive, send: Send, code: int, why: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": why})
    else:
        await PlainTextResponse(why, status_code=code)(scope, receive, send)
