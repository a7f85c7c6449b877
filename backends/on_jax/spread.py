"""A state vector on several devices: amplitudes divided by their first qubits, and what has to cross over.

Functions that take `across` run inside of `divided` on that many devices (2^k), each with its own piece of every state,
or on one alone (1).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int32, Shaped

AXIS = "devices"
# JAX leaves these without types
_spec: Any = PartitionSpec
_permute: Any = jax.lax.ppermute
_sum: Any = jax.lax.psum
_exchange: Any = partial(jax.lax.all_to_all, axis_name=AXIS, split_axis=0, concat_axis=0)
WHOLE, SHARE, SHARE_OF_ROWS = _spec(), _spec(AXIS), _spec(None, AXIS)
"""All of an array on every device; the first axis divided among them; the second."""


def here(across: int) -> Int32[Array, ""]:
    """Which piece this device has: the number of its first qubits."""
    return jax.lax.axis_index(AXIS) if across > 1 else jnp.zeros((), jnp.int32)


def own(rows: Shaped[Array, "rows ..."], across: int) -> Shaped[Array, "own ..."]:
    """This device's share of rows that all of them know."""
    if across == 1:
        return rows
    size = len(rows) // across
    return jax.lax.dynamic_slice_in_dim(rows, here(across) * size, size)


def numbers(size: int, across: int) -> Int32[Array, " size"]:
    """The numbers of the states whose amplitudes are here."""
    return here(across) * size + jnp.arange(size, dtype=jnp.int32)


def moved(part: Shaped[Array, " N"], flips: Any, across: int) -> Shaped[Array, " N"]:
    """The amplitudes of the states that differ in the qubits of the mask `flips`, which is data."""
    size = len(part)
    found = part[jnp.arange(size, dtype=jnp.int32) ^ (flips & (size - 1))]
    for bit in range(log2(across)):
        to = [(device, device ^ (1 << bit)) for device in range(across)]
        wanted = (flips & (size << bit)) != 0
        found = jax.lax.cond(wanted, lambda one, to=to: _permute(one, AXIS, to), lambda one: one, found)
    return found


def reverse(part: Shaped[Array, " N"], across: int) -> Shaped[Array, " N"]:
    """The amplitudes in the opposite order: all qubits flipped."""
    back = part[::-1]
    return _permute(back, AXIS, [(k, across - 1 - k) for k in range(across)]) if across > 1 else back


def combined(matrix: Float[Array, "d d"], part: Float[Array, " N"], across: int) -> Float[Array, " N"]:
    """A matrix on the first qubits, those that tell the devices apart: everyone gets a slice of all the pieces."""
    if across == 1:
        return part
    slices = _exchange(part.reshape(across, -1))
    found: Float[Array, " N"] = _exchange(jnp.matmul(matrix, slices, precision="highest")).ravel()
    return found


def total(value: Shaped[Array, "*shape"], across: int) -> Shaped[Array, "*shape"]:
    """The sum over all devices."""
    found: Shaped[Array, "*shape"] = _sum(value, AXIS) if across > 1 else value
    return found


def everywhere(part: Shaped[Array, " N"], across: int) -> Shaped[Array, " M"]:
    """All pieces, one after the other."""
    return jax.lax.all_gather(part, AXIS, tiled=True) if across > 1 else part


@cache
def mesh(devices: int) -> Mesh:
    """The first so many of JAX's devices."""
    return Mesh(np.array(jax.devices()[:devices]), (AXIS,))


def pieces(devices: int) -> NamedSharding:
    """How a state lies on so many devices."""
    return NamedSharding(mesh(devices), SHARE)


def divided(f: Callable[..., Any], devices: int, arguments: Any, found: Any) -> Callable[..., Any]:
    """`f` on so many devices, each with its share of the arguments and of what is found: `SHARE`, `WHOLE`."""
    if devices == 1:
        return f
    shared: Callable[..., Any] = jax.shard_map(
        f, mesh=mesh(devices), in_specs=arguments, out_specs=found, check_vma=False
    )
    return shared


def device_bytes() -> int | None:
    """Memory of one device; None where it is the machine's."""
    found = jax.devices()[0].memory_stats() or {}
    return found.get("bytes_limit")


def log2(size: int) -> int:
    """The exponent of a power of two."""
    return size.bit_length() - 1
