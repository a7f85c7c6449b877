"""The compressions of Kafka's record batches, undone up to a bound."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress

import cramjam

_XERIAL, _XERIAL_BYTES = b"\x82SNAPPY\0", 16


class CorruptError(Exception):
    """Why a batch cannot be read."""


_FULL = "failed to write whole buffer"  # as cramjam says it where its buffer is too small


def unpack(codec: int, data: bytes, limit: int) -> bytes:
    """What `data` was before the codec of that number compressed it, `limit` bytes at most. Raises CorruptError."""
    try:
        name, decode = _CODECS[codec]
    except KeyError:
        raise CorruptError(f"compressed by codec {codec}, which is none that Kafka knows") from None
    try:
        return decode(data, limit)
    except (cramjam.DecompressionError, OSError, EOFError, zlib.error, struct.error) as error:
        why = (
            f"unpacks to more than {limit:,} bytes"
            if _FULL in str(error)
            else f"cannot be unpacked: {str(error)[:100]}"
        )
        raise CorruptError(f"what {name} compressed {why}") from None


def _gzip(data: bytes, limit: int) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        found = file.read(limit + 1)
    if len(found) > limit:
        raise OSError(_FULL)
    return found


def _snappy(data: bytes, limit: int) -> bytes:
    """Blocks behind the header of xerial's library for Java, or one raw block."""
    if not data.startswith(_XERIAL):
        return _snappy_block(data, limit)
    out, position = bytearray(), _XERIAL_BYTES
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        position += 4
        out += _snappy_block(data[position : position + length], limit - len(out))
        position += length
    return bytes(out)


def _snappy_block(block: bytes, limit: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(block) > limit:
        raise OSError(_FULL)
    return bytes(cramjam.snappy.decompress_raw(block))


def _frames(decompress_into: Callable[[bytes, bytearray], int]) -> Callable[[bytes, int], bytes]:
    """Decoder of lz4 or zstd: into a buffer, as nothing else bounds it; a large one where the first is too small."""

    def decode(data: bytes, limit: int) -> bytes:
        room = 16 * len(data) + 65_536
        if room < limit:
            with suppress(cramjam.DecompressionError):
                out = bytearray(room)
                return bytes(memoryview(out)[: decompress_into(data, out)])
        out = bytearray(limit)
        return bytes(memoryview(out)[: decompress_into(data, out)])

    return decode


_CODECS: dict[int, tuple[str, Callable[[bytes, int], bytes]]] = {
    1: ("gzip", _gzip),
    2: ("snappy", _snappy),
    3: ("lz4", _frames(cramjam.lz4.decompress_into)),
    4: ("zstd", _frames(cramjam.zstd.decompress_into)),
}
