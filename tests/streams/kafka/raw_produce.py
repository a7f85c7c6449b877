"""Batches as no client would write them, and the request that sends them as they are."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Sequence
from typing import Any

import cramjam
from aiokafka.codec import gzip_encode, snappy_encode
from aiokafka.record.util import calc_crc32c, encode_varint

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
TIMESTAMP = 1_700_000_000_000
Headers = Sequence[tuple[bytes | None, bytes | None]]


def varint(value: int) -> bytes:
    """Zigzag, as in a record."""
    out = bytearray()
    encode_varint(value, out.append)
    return bytes(out)


def sized(data: bytes | None) -> bytes:
    """Length and bytes; None is −1."""
    return varint(-1) if data is None else varint(len(data)) + data


def record(
    value: bytes | None, *, key: bytes | None = None, headers: Headers = (), delta: int = 0, count: int | None = None
) -> bytes:
    """One record of a batch. `count` of headers, where it is to lie."""
    listed = b"".join(sized(name) + sized(said) for name, said in headers)
    body = b"\0" + varint(0) + varint(delta) + sized(key) + sized(value)
    body += varint(len(headers) if count is None else count) + listed
    return varint(len(body)) + body


def records(*values: bytes) -> bytes:
    """Records of these values, in order."""
    return b"".join(record(value, delta=k) for k, value in enumerate(values))


def compressed(codec: int, payload: bytes) -> bytes:
    """As a producer's client does it."""
    encode: Any = {
        NONE: bytes,
        GZIP: gzip_encode,
        SNAPPY: snappy_encode,
        LZ4: cramjam.lz4.compress,
        ZSTD: cramjam.zstd.compress,
    }[codec]
    return bytes(encode(payload))


def batch(
    payload: bytes,
    count: int = 1,
    *,
    codec: int = NONE,
    last: int | None = None,
    magic: int = 2,
    crc: int | None = None,
    base: int = 0,
    length: int | None = None,
    attributes: int = 0,
    producer_id: int = -1,
    timestamp: int = TIMESTAMP,
) -> bytes:
    """A batch around a payload that is compressed already; what is given lies, the rest is right."""
    delta = count - 1 if last is None else last
    epoch, sequence = (-1, -1) if producer_id < 0 else (0, 0)
    checked = struct.pack(
        ">hiqqqhii", codec | attributes, delta, timestamp, timestamp, producer_id, epoch, sequence, count
    )
    checked += payload
    crc = calc_crc32c(checked) if crc is None else crc
    rest = struct.pack(">ibI", 0, magic, crc) + checked
    return struct.pack(">qi", base, len(rest) if length is None else length) + rest


def produce(address: str, topic: str, partition: int, raw: bytes, *, timeout: float = 20.0) -> int:
    """Send it (Produce, version 3, acks all); the broker's error code, −1 where it closed the connection."""
    host, _, port = address.rpartition(":")
    name = topic.encode()
    body = struct.pack(">hhih", 0, 3, 7, 4) + b"test"  # api, version, correlation, client id
    body += struct.pack(">hhi", -1, -1, 10_000)  # no transactional id, acks, timeout
    body += struct.pack(">ih", 1, len(name)) + name + struct.pack(">iii", 1, partition, len(raw)) + raw
    with contextlib.suppress(ConnectionError), socket.create_connection((host, int(port)), timeout) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        head = connection.recv(4, socket.MSG_WAITALL)
        if len(head) == 4:
            answer = connection.recv(struct.unpack(">i", head)[0], socket.MSG_WAITALL)
            # correlation, one topic: its name, one partition: its number, the code
            return int(struct.unpack_from(">h", answer, 4 + 4 + 2 + len(name) + 4 + 4)[0])
    return -1
