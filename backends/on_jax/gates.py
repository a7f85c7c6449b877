"""Gates on state vectors in JAX. Nothing compiles for a circuit: its gates are data (`on_jax.steps`).

For a number of qubits one program applies any list of steps, and one for each group of qubits a matrix.

In complex64, or in complex128 (`double`) where JAX is told so; `across`: devices that share a state (`on_jax.spread`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Complex, Float64

from qmosaic.backends.on_jax import spread
from qmosaic.backends.on_jax.spread import SHARE, WHOLE, divided
from qmosaic.backends.on_jax.steps import GROUP, Step, Turn, steps
from qmosaic.backends.programs import program
from qmosaic.codecs.models.circuit import Circuit, Operation

State = Complex[jax.Array, " N"]
BLOCK = 256
"""Steps of one call."""
AHEAD = 64
"""Calls that are given out before one is waited for."""
SIZES = (6, 8, 10, 12, 14)
"""Numbers of qubits that programs are compiled for, and each above."""
PIECE = 16
"""Qubits whose amplitudes are turned together on a CPU: they stay in a cache, and memory is one state."""
LONG = 2**12
"""Numbers of the bits below a group from which on its matrix is applied in real arithmetic on a CPU."""
APART = 22
"""Qubits up to which a matrix makes a new state on a CPU; from there on it does its work in place."""


def size(qubits: int) -> int:
    """The number of qubits a circuit is run with: the additional ones stay |0>."""
    return next((each for each in SIZES if each >= qubits), qubits)


@cache
def _program(across: int) -> Callable[..., State]:
    """All steps of a list, in place."""
    if across == 1:
        return _run_alone
    run = divided(partial(_run, across=across), across, (SHARE, WHOLE, WHOLE, WHOLE), SHARE)
    return jax.jit(run, donate_argnums=0)


@program(donate_argnums=0)
def _run_alone(state: State, count: Any, masks: Any, numbers: Any) -> State:
    return _run(state, count, masks, numbers, 1)


def _run(state: State, count: Any, masks: Any, numbers: Any, across: int) -> State:
    index = spread.numbers(len(state), across)

    def step(k: Any, psi: Any) -> Any:
        if across == 1 and len(psi) > 2**PIECE and jax.default_backend() == "cpu":
            return _by_pieces(psi.reshape(-1, 2**PIECE), masks[k], numbers[k]).ravel()
        stay, move = _factors(index, masks[k], numbers[k])
        x = masks[k, 0]
        return jax.lax.cond(x == 0, lambda: stay * psi, lambda: stay * psi + move * spread.moved(psi, x, across))

    result: State = jax.lax.fori_loop(0, count, step, state)
    return result


def _factors(index: Any, masks: Any, numbers: Any) -> tuple[Any, Any]:
    """D and O of a step for these states; 1 and 0 where it does not act."""
    odd = (jax.lax.population_count(index & masks[1]) & 1).astype(bool)
    on = (index & masks[2]) == masks[2]
    even_d, odd_d, even_o, odd_o = numbers
    return jnp.where(on, jnp.where(odd, odd_d, even_d), 1), jnp.where(on, jnp.where(odd, odd_o, even_o), 0)


def _by_pieces(psi: Any, masks: Any, numbers: Any) -> Any:
    """A step in place, two pieces at a time: those that x leads from one to the other, or any two. The next two are
    read after the last were written: else XLA would copy the state."""
    far, near = masks[0] >> PIECE, masks[0] & (2**PIECE - 1)
    index = jnp.arange(2**PIECE, dtype=jnp.int32)
    top = jnp.where(far == 0, 1, 1 << (31 - jax.lax.clz(far)))
    pairs = len(psi) // 2

    def pair(i: Any) -> tuple[Any, Any]:
        one = i % top + i // top * top * 2
        return one, one ^ jnp.maximum(far, 1)

    def turned(i: Any, carry: Any) -> Any:
        psi, *pieces = carry
        places = pair(i)
        others = [jnp.where(far == 0, pieces[k], pieces[1 - k]) for k in (0, 1)]
        for place, piece, other in zip(places, pieces, others, strict=True):
            stay, move = _factors(place << PIECE | index, masks, numbers)
            psi = jax.lax.dynamic_update_index_in_dim(psi, stay * piece + move * other[index ^ near], place, 0)
        return psi, *(psi[place] for place in pair(jnp.minimum(i + 1, pairs - 1)))

    return jax.lax.fori_loop(0, pairs, turned, (psi, *(psi[place] for place in pair(0))))[0]


def weights(state: State, bit: int) -> Float64[np.ndarray, " 2"]:
    """The weights of all states with the bit of a mask 0, and with it 1."""
    return np.asarray(_weigher(devices_of(state))(state, np.int32(bit)), np.float64)


@cache
def _weigher(across: int) -> Callable[..., Any]:
    if across == 1:
        return _weights_alone
    return jax.jit(divided(partial(_weights, across=across), across, (SHARE, WHOLE), WHOLE))


def _weights(state: State, bit: Any, across: int) -> Any:
    each = jnp.real(state * state.conj())
    one = (spread.numbers(len(state), across) & bit) != 0
    sums = jnp.stack([jnp.where(one, 0, each).sum(), jnp.where(one, each, 0).sum()])
    return spread.total(sums, across)


@program
def _weights_alone(state: State, bit: Any) -> Any:
    return _weights(state, bit, 1)


@program(static_argnums=2, donate_argnums=0)
def _turned(psi: State, matrix: Any, group: int) -> State:
    """A matrix on a group of bits; of what no cache holds in place, a piece at a time."""
    d, after = len(matrix), 2 ** (GROUP * group)
    if len(psi) <= 2**APART or jax.default_backend() != "cpu":
        apart: State = _product(matrix, psi.reshape(-1, d, after)).ravel()
        return apart
    width = min(after, 2**PIECE // d)
    rows = 2**PIECE // (d * width)
    whole = psi.reshape(-1, d, after)
    columns = after // width

    def piece(k: Any, whole: Any) -> Any:
        place = k // columns * rows, 0, k % columns * width
        part = jax.lax.dynamic_slice(whole, place, (rows, d, width))
        return jax.lax.dynamic_update_slice(whole, _product(matrix, part), place)

    turned: State = jax.lax.fori_loop(0, len(psi) // 2**PIECE, piece, whole).ravel()
    return turned


def _product(matrix: Any, part: Any) -> Any:
    before, d, after = part.shape
    if after < LONG or jax.default_backend() != "cpu":
        return jnp.einsum("ed,bda->bea", matrix, part, precision="highest")
    # XLA's real products are twice as fast there
    real, imag = matrix.real, matrix.imag
    both = jnp.broadcast_to(jnp.block([[real, -imag], [imag, real]]), (before, 2 * d, 2 * d))
    parts = jnp.concatenate([part.real, part.imag], axis=1)
    found = jnp.einsum("bed,bda->bea", both, parts, precision="highest")
    return jax.lax.complex(found[:, :d], found[:, d:])


def begin(qubits: int, double: bool = False, across: int = 1) -> State:
    """All qubits |0>."""
    state: State = _zeros(across)(size(qubits), jnp.complex128 if double else jnp.complex64)
    return state


@cache
def _zeros(across: int) -> Callable[..., State]:
    if across == 1:
        return _zeros_alone
    return jax.jit(_first, static_argnums=(0, 1), out_shardings=spread.pieces(across))


def _first(qubits: int, dtype: Any) -> State:
    first: State = (spread.numbers(2**qubits, 1) == 0).astype(dtype)
    return first


@program(static_argnums=(0, 1))
def _zeros_alone(qubits: int, dtype: Any) -> State:
    return _first(qubits, dtype)


def devices_of(state: State) -> int:
    """How many share it."""
    return len(state.devices())


def plan(operations: Sequence[Operation], qubits: int, across: int = 1) -> list[Step | Turn]:
    """Gates without measurements, for `advance`. States on several devices take one step at a time."""
    return steps(operations, qubits, size(qubits), fused=across == 1)


def advance(state: State, todo: Sequence[Step | Turn], going_on: Callable[[], bool] = lambda: True) -> State:
    """The state after a plan; it takes the place of the old one. Raises TimeoutError when `going_on` says no."""
    for calls, item in enumerate(_calls(todo)):
        if not going_on():
            raise TimeoutError
        if isinstance(item, Turn):
            state = _turned(state, item.matrix.astype(state.dtype), item.group)
        else:
            state = _stepped(state, item)
        if calls % AHEAD == AHEAD - 1:
            state.block_until_ready()  # else the clock would only see how fast work is given out
    return state


def _calls(todo: Sequence[Step | Turn]) -> Iterator[Turn | list[Step]]:
    """One after the other, steps together."""
    waiting: list[Step] = []
    for item in todo:
        if waiting and (isinstance(item, Turn) or len(waiting) == BLOCK):
            yield waiting
            waiting = []
        if isinstance(item, Turn):
            yield item
        else:
            waiting.append(item)
    if waiting:
        yield waiting


def _stepped(state: State, todo: Sequence[Step]) -> State:
    masks = np.zeros((BLOCK, 3), np.int32)
    numbers = np.zeros((BLOCK, 4), state.dtype)
    for k, each in enumerate(todo):
        masks[k] = each.x, each.z, each.c
        numbers[k] = *each.d, *each.o
    return _program(devices_of(state))(state, len(todo), masks, numbers)


def final_state(
    circuit: Circuit, going_on: Callable[[], bool] = lambda: True, double: bool = False, across: int = 1
) -> Complex[np.ndarray, " N"]:
    """The final state of a circuit without measurements (they are passed over), qubit 0 the most significant."""
    gates = [each for each in circuit.operations if each.gate not in ("measure", "reset")]
    return reached(circuit.qubits, plan(gates, circuit.qubits, across), going_on, double, across)


def reached(
    qubits: int, todo: Sequence[Step | Turn], going_on: Callable[[], bool], double: bool, across: int
) -> Complex[np.ndarray, " N"]:
    """The state to which a plan leads from |0>, as by `final_state`."""
    return np.asarray(advance(begin(qubits, double, across), todo, going_on))[: 2**qubits]


def warm_up(least: int, most: int, double: bool = False) -> None:
    """Compile the programs of circuits of so many qubits."""
    for n in sorted({size(each) for each in range(least, most + 1)}):
        whole = [Turn(group, np.eye(2 ** min(GROUP, n - GROUP * group))) for group in range(-(-n // GROUP))]
        state = advance(begin(n, double), [Step(0, 1, 0, (1, 1), (0, 0)), *whole])
        weights(state, 1)
