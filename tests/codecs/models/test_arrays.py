"""Arrays on the wire: every dtype comes back as it went, and damage is a ValueError."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qmosaic.codecs.models.arrays import Dtype, Packed, pack, pack_bits, unpack, unpack_bits

FAST = settings(deadline=None, max_examples=50)


@pytest.mark.parametrize("dtype", get_args(Dtype))
@FAST
@given(data=st.data(), big_endian=st.booleans())
def test_round_trip(dtype: str, data: st.DataObject, big_endian: bool) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
    array = data.draw(hnp.arrays(np.dtype(dtype), shape))
    given_ = array.astype(array.dtype.newbyteorder(">")) if big_endian else array
    back = unpack(pack(given_))
    assert back.dtype == np.dtype(dtype)
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


def test_what_is_not_contiguous_keeps_its_order() -> None:
    array = np.arange(12, dtype=np.int32).reshape(3, 4).T[::2]
    np.testing.assert_array_equal(unpack(pack(array)), array)


def test_the_bytes_are_little_endian() -> None:
    assert pack(np.array([1], dtype=">i4")) == Packed("<i4", (1,), b64encode(b"\x01\0\0\0").decode())


def test_an_unpacked_array_is_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        unpack(pack(np.zeros(3)))[0] = 1


@pytest.mark.parametrize("array", [np.array([True]), np.array([1j]), np.array(["a"]), np.array([1], dtype=np.uint16)])
def test_another_dtype_is_refused(array: Any) -> None:
    with pytest.raises(ValueError, match="no arrays of"):
        pack(array)


@pytest.mark.parametrize(("shape", "size"), [((2,), 8), ((1,), 9), ((0,), 8)])
def test_bytes_that_do_not_fill_the_shape_are_told(shape: tuple[int, ...], size: int) -> None:
    with pytest.raises(ValueError, match=f"expected {8 * shape[0]} bytes for <f8.*, got "):
        unpack(Packed("<f8", shape, b64encode(bytes(size)).decode()))


@FAST
@given(hnp.arrays(np.uint8, st.integers(0, 40), elements=st.integers(0, 1)))
def test_bits_round_trip_eight_a_byte(bits: Any) -> None:
    packed = pack_bits(bits)
    assert len(packed.data) == len(b64encode(bytes((len(bits) + 7) // 8)))
    np.testing.assert_array_equal(unpack_bits(packed), bits)


def test_bit_0_is_the_first_of_its_byte() -> None:
    assert pack_bits(np.array([1, 0, 0, 0, 0, 0, 0, 0, 1], dtype=np.uint8)).data == b64encode(b"\x80\x80").decode()


@pytest.mark.parametrize(
    "packed",
    [
        Packed("<f8", (-1, -1), b64encode(bytes(8)).decode()),
        Packed("<f8", (1,), "not base64!!"),
        Packed("<f8", (1,), "é"),
        Packed("<f8", (2**62, 4), ""),
        Packed("<f8", (2**31, 0), ""),
        Packed("<f8", (10**300,), ""),
        Packed("|u1", (10**9, 10**9, 0), ""),
        Packed("|u1", (1,) * 100_000, b64encode(bytes(1)).decode()),
        Packed("|u1", (1,), "\ud800==="),
    ],
)
def test_a_damaged_array_is_a_value_error(packed: Packed) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # base64's and ours
        unpack(packed)


@pytest.mark.parametrize(
    "packed",
    [
        Packed("|u1", (9,), b64encode(bytes(1)).decode()),
        Packed("|u1", (8,), b64encode(bytes(2)).decode()),
        Packed("|u1", (-3,), ""),
        Packed("|u1", (2, 4), b64encode(bytes(1)).decode()),
        Packed("|u1", (), b64encode(bytes(1)).decode()),
        Packed("|u1", (-8,), b64encode(bytes(1)).decode()),
        Packed("|u1", (10**300,), ""),
        Packed("|u1", (2**62,), ""),
        Packed("|u1", (8,), "%%%%"),
    ],
)
def test_damaged_bits_are_a_value_error(packed: Packed) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        unpack_bits(packed)
