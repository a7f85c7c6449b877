"""Arrays inside internal events: base64 of the little-endian bytes, dtype and shape beside them.

orjson moves such a string about forty times faster than the same values as JSON numbers.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from math import prod
from typing import Any, Literal, get_args

import msgspec
import numpy as np
from jaxtyping import Integer, Shaped, UInt8

Dtype = Literal["<f8", "<f4", "<i8", "<i4", "|u1", "|i1"]
_WIRE: dict[np.dtype[Any], Dtype] = {
    np.dtype(name).newbyteorder(order): name for name in get_args(Dtype) for order in "<>"
}


RANK, IDLE = 8, 4096
"""The most axes of an array; and the most bytes that a shape without elements would have, its zeros taken for ones."""


class Packed(msgspec.Struct, frozen=True):
    """One array on the wire."""

    dtype: Dtype
    shape: tuple[int, ...]
    data: str


def pack(array: Shaped[np.ndarray, "..."]) -> Packed:
    """Pack a numeric array. Raises ValueError where its dtype, in either byte order, is none of `Dtype`."""
    name = _WIRE.get(array.dtype)
    if name is None:
        raise ValueError(f"no arrays of {array.dtype} in events, only of {', '.join(get_args(Dtype))}")
    return Packed(name, array.shape, b64encode(array.astype(name, copy=False).tobytes()).decode())


def unpack(packed: Packed) -> Any:
    """The array again, read-only. Raises ValueError where bytes and shape disagree, before either is used."""
    shape, item = packed.shape, np.dtype(packed.dtype).itemsize
    if len(shape) > RANK or not all(0 <= side < 2**31 for side in shape):
        raise ValueError("no shape of an array")
    if 0 in shape and prod(side or 1 for side in shape) * item > IDLE:
        raise ValueError("a large array without elements")
    raw = _raw(packed.data, prod(shape) * item, f"{packed.dtype}{list(shape)}")
    return np.frombuffer(raw, dtype=packed.dtype).reshape(packed.shape)


def _raw(data: str, expected: int, what: str) -> bytes:
    """The bytes, whose number is known: it is compared before they are decoded."""
    if len(data) != -(-expected // 3) * 4:
        raise ValueError(f"expected {expected} bytes for {what}, got {len(data)} characters of base64")
    raw = b64decode(data, validate=True)
    if len(raw) != expected:
        raise ValueError(f"expected {expected} bytes for {what}, got {len(raw)}")
    return raw


def bits_of_states(states: Integer[np.ndarray, " k"], n: int) -> UInt8[np.ndarray, "k n"]:
    """The n <= 64 bits of each number, highest first."""
    assert n <= 64
    width = -(-n // 8)
    octets = states.astype(">u8").view(np.uint8).reshape(len(states), 8)
    return np.ascontiguousarray(np.unpackbits(octets[:, 8 - width :], axis=1)[:, 8 * width - n :])


def pack_bits(bits: UInt8[np.ndarray, " n"]) -> Packed:
    """Pack 0/1 values, eight a byte; `shape` keeps the number of bits."""
    data = b64encode(np.packbits(bits).tobytes()).decode()
    return Packed("|u1", (len(bits),), data)


def unpack_bits(packed: Packed) -> UInt8[np.ndarray, " n"]:
    """The 0/1 values of `pack_bits`. Raises ValueError where bytes and length disagree."""
    (n,) = packed.shape
    if not 0 <= n < 2**31:
        raise ValueError("no number of bits")
    return np.unpackbits(np.frombuffer(_raw(packed.data, (n + 7) // 8, f"{n} bits"), dtype=np.uint8), count=n)
