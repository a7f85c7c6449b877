"""Files that are packed with gzip (RFC 1952), unpacked up to a bound."""

from __future__ import annotations

import gzip
import io
import zlib

from qmosaic.codecs.errors import FormatError


def unpacked(data: bytes, name: str, limit: int) -> bytes:
    """What is in a file that may be packed. Raises FormatError for what is broken, or has more than `limit` bytes."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            unpacked = file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(f"gzip: {error}", place=name, remedy="Pack it again, or send it unpacked.") from None
    if len(unpacked) > limit:
        raise too_large(name, limit)
    return unpacked


def too_large(name: str, limit: int) -> FormatError:
    """What to say of a file with more bytes."""
    return FormatError(f"expected at most {limit} bytes, got more", place=name, remedy="Split the file.")
