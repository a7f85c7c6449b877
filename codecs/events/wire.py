"""Every event on the wire, public and internal, and how it becomes bytes (orjson) and back (msgspec).

Public events (`Problem`, `Outcome`, `Rejection`) are plain JSON numbers and stay readable for ever: a
published major version is never edited. Internal events carry arrays packed (`arrays.Packed`); all their
workers are of one release. Unknown fields are ignored by every reader; of a problem the original bytes are kept.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import orjson

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events.public import PROBLEM_SCHEMA, Problem

T = TypeVar("T")


def encode(event: msgspec.Struct) -> bytes:
    """Value to bytes."""
    return orjson.dumps(msgspec.to_builtins(event))


def dumps(event: dict[str, Any]) -> bytes:
    """A problem event that is a dict already to bytes."""
    return orjson.dumps(event)


def decode(data: bytes, kind: type[T]) -> T:
    """Bytes to a value of `kind`. Raises msgspec.ValidationError or orjson.JSONDecodeError."""
    return msgspec.convert(orjson.loads(data), kind)


def number(value: float) -> float | int:
    """An integral float as int, so that 564.0 prints as 564."""
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else float(value)


class Envelope(msgspec.Struct, frozen=True):
    """What a problem event says of itself, read without looking into the problem: quick, however large it is."""

    family: str = ""
    priority: str = ""
    deadline: float | str | None = None
    tenant: str = "default"
    id: str | None = None


_envelopes = msgspec.json.Decoder(Envelope)
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
DEEP_BYTES = 256 * 1024
"""The id of a record that is deeper than msgspec reads is looked for up to this size."""


def envelope(data: bytes | None) -> Envelope | None:
    """The envelope of a problem record; None where it has none that fits."""
    try:
        return _envelopes.decode((data or b"").removeprefix(BYTE_ORDER_MARK))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def claimed_id(data: bytes | None, said: Envelope | None = None) -> str | None:
    """The id that a record gives itself, valid problem or not: its sender waits for an answer to that.

    `said`: its envelope, where that has been read: large records are looked through once.
    """
    if said is not None and said.id is not None:
        return said.id if 1 <= len(said.id) <= 256 else None
    text = (data or b"").removeprefix(BYTE_ORDER_MARK)
    try:
        claimed = _ids.decode(text).id
    except RecursionError:  # what lies beside it is deeper than msgspec goes, perhaps not than orjson does
        claimed = _id_of_deep(text)
    except (msgspec.MsgspecError, ValueError):
        return None
    return claimed if isinstance(claimed, str) and 1 <= len(claimed) <= 256 else None


def _id_of_deep(text: bytes) -> Any:
    if len(text) > DEEP_BYTES:
        return None  # it would be taken to pieces as a whole
    try:
        loaded = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return loaded.get("id") if isinstance(loaded, dict) else None


class _Id(msgspec.Struct):
    id: Any = None


class _Labels(msgspec.Struct):
    labels: msgspec.Raw = msgspec.Raw(b"{}")


_ids, _labels = msgspec.json.Decoder(_Id), msgspec.json.Decoder(_Labels)


def labels_of(data: bytes) -> bytes:
    """The labels of a valid problem event as they were written: JSON may grow by several times when it is rewritten."""
    return bytes(_labels.decode(data.removeprefix(BYTE_ORDER_MARK)).labels)


MAX_DEPTH = 100
"""How deep lists and objects of an event may lie in each other. orjson reads 1,024 levels and writes 254."""


def _nested(value: Any) -> list[tuple[str, Any]]:
    """The lists and objects in a list or an object, with their keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [(str(key), inner) for key, inner in items if isinstance(inner, list | dict)]


def too_deep(data: bytes, loaded: dict[str, Any]) -> str | None:
    """The place of something that lies deeper than `MAX_DEPTH` in an event; None if nothing does."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return None
    level: list[Any] = [loaded]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is list or type(inner) is dict
        ]
        if not level:
            return None
    path: list[str] = []  # of one of them: down to where nothing deep is left, and back
    stack = [iter(_nested(loaded))]
    while len(stack) <= MAX_DEPTH:
        key, inner = next(stack[-1], (None, None))
        if key is None:
            stack.pop()
            path.pop()
            continue
        path.append(key)
        stack.append(iter(_nested(inner)))
    return f"$.{'.'.join(path)}"


def parse_problem(data: bytes | None, max_bytes: int) -> Problem | Rejected:
    """The bytes of a problem record to a `Problem`, or the exact reason why not."""
    if data is None or not data.strip():
        return Rejected(
            "empty_value", "the record has no value", "$", "Send the problem as a JSON object in the value."
        )
    if len(data) > max_bytes:
        return Rejected(
            "too_large",
            f"the event has {len(data)} bytes, the limit is {max_bytes}",
            "$",
            "Send a smaller problem, or raise limits.event_bytes.",
        )
    marked, data = len(data), data.removeprefix(BYTE_ORDER_MARK)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        start = error.start + marked - len(data)
        return Rejected(
            "not_utf8",
            f"byte {start} is not UTF-8",
            f"byte {start}",
            "Encode the JSON text as UTF-8.",
        )
    try:
        loaded = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        return Rejected(
            "not_json",
            f"not JSON: {error.msg}",
            f"line {error.lineno} column {error.colno}",
            "Send one JSON object. NaN and Infinity are not JSON; weights must be finite.",
        )
    if not isinstance(loaded, dict):
        return Rejected(
            "invalid_event",
            f"expected an object, got {type(loaded).__name__}",
            "$",
            'Send {"family": …, "problem": {…}}.',
        )
    if (deep := too_deep(data, loaded)) is not None:
        return Rejected(
            "invalid_event",
            f"lists and objects lie deeper than {MAX_DEPTH} levels in each other",
            deep,
            "Send a flatter event.",
        )
    schema = loaded.get("schema", PROBLEM_SCHEMA)
    if schema != PROBLEM_SCHEMA:
        return Rejected(
            "unsupported_schema",
            f"schema {schema!r} is not known here",
            "$.schema",
            f"Send {PROBLEM_SCHEMA!r}, or leave schema out.",
        )
    try:
        problem = msgspec.convert(loaded, Problem)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at ")
        return Rejected(
            "invalid_event",
            message,
            place.strip("`") or "$",
            "See the fields of qmosaic.problem/1 in docs/events.md.",
        )
    return problem
