"""Circuits as state vectors in JAX. Nothing compiles for a circuit: its gates are data (`jax_steps`). For a number of
qubits one program applies any list of steps, and one for each group of qubits a matrix.

Measurements and resets in the middle are followed in branches, outside of the program (`Branches`).
In complex64, or in complex128 (`double`) where JAX is told so; `across`: devices that share a state (`jax_spread`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Complex, Float, Float64, UInt8

from qmosaic.backends import jax_spread, measurement
from qmosaic.backends.base import Expectations, Job, Result
from qmosaic.backends.circuits import draw, final, marginal, merged, probabilities, result_of, rows_of, unmeasured
from qmosaic.backends.jax_spread import SHARE, WHOLE, divided
from qmosaic.backends.jax_steps import GROUP, Step, Turn, steps
from qmosaic.codecs.circuit import Circuit, Operation
from qmosaic.codecs.errors import BackendError

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
"""Amplitudes in a row."""
APART = 22
"""Qubits up to which a matrix makes a new state on a CPU; from there on it does its work in place."""
MAX_BRANCHES = 8192
"""Branches of one circuit."""
MAX_WAITING_BYTES = 2**30
"""Of the states of branches that are still to be followed."""
NEVER = 1e-9
"""A result that is less likely is an effect of rounding."""


def size(qubits: int) -> int:
    """The number of qubits a circuit is run with: the additional ones stay |0>."""
    return next((each for each in SIZES if each >= qubits), qubits)


@cache
def _program(across: int) -> Callable[..., State]:
    """All steps of a list, in place."""
    run = divided(partial(_run, across=across), across, (SHARE, WHOLE, WHOLE, WHOLE), SHARE)
    return jax.jit(run, donate_argnums=0)


def _run(state: State, count: Any, masks: Any, numbers: Any, across: int) -> State:
    index = jax_spread.numbers(len(state), across)

    def step(k: Any, psi: Any) -> Any:
        if across == 1 and len(psi) > 2**PIECE and jax.default_backend() == "cpu":
            return _by_pieces(psi.reshape(-1, 2**PIECE), masks[k], numbers[k]).ravel()
        stay, move = _factors(index, masks[k], numbers[k])
        x = masks[k, 0]
        return jax.lax.cond(x == 0, lambda: stay * psi, lambda: stay * psi + move * jax_spread.moved(psi, x, across))

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


@cache
def _weigher(across: int) -> Callable[..., Any]:
    """Weights of all states with the bit 0, and with the bit 1."""

    def weights(state: State, bit: Any) -> Any:
        each = jnp.real(state * state.conj())
        one = (jax_spread.numbers(len(state), across) & bit) != 0
        sums = jnp.stack([jnp.where(one, 0, each).sum(), jnp.where(one, each, 0).sum()])
        return jax_spread.total(sums, across)

    return jax.jit(divided(weights, across, (SHARE, WHOLE), WHOLE))


@partial(jax.jit, static_argnums=2, donate_argnums=0)
def _turned(psi: State, matrix: Any, group: int) -> State:
    """A matrix on a group of bits; of what no cache holds in place, a piece at a time."""
    d, after = len(matrix), 2 ** (GROUP * group)
    if len(psi) <= 2**APART or jax.default_backend() != "cpu":
        apart: State = _product(matrix, psi.reshape(-1, d, after)).ravel()
        return apart
    width = min(after, 2**PIECE // d)
    across = 2**PIECE // (d * width)
    whole = psi.reshape(-1, d, after)
    columns = after // width

    def piece(k: Any, whole: Any) -> Any:
        place = k // columns * across, 0, k % columns * width
        part = jax.lax.dynamic_slice(whole, place, (across, d, width))
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
    def zeros(qubits: int, dtype: Any) -> State:
        first: State = (jax_spread.numbers(2**qubits, 1) == 0).astype(dtype)
        return first

    return jax.jit(zeros, static_argnums=(0, 1), out_shardings=jax_spread.pieces(across))


def _across(state: State) -> int:
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
    return _program(_across(state))(state, len(todo), masks, numbers)


def final_state(
    circuit: Circuit, going_on: Callable[[], bool] = lambda: True, double: bool = False, across: int = 1
) -> Complex[np.ndarray, " N"]:
    """Of a circuit without measurements (they are passed over), qubit 0 the most significant."""
    gates = [each for each in circuit.operations if each.gate not in ("measure", "reset")]
    return _reached(circuit.qubits, plan(gates, circuit.qubits, across), going_on, double, across)


def _reached(
    qubits: int, todo: Sequence[Step | Turn], going_on: Callable[[], bool], double: bool, across: int
) -> Complex[np.ndarray, " N"]:
    return np.asarray(advance(begin(qubits, double, across), todo, going_on))[: 2**qubits]


@dataclass(frozen=True)
class Leaf:
    """Where a branch ends: its `weight`, the bits already known, and the distribution of those measured at the end
    (`bits`, the first the most significant)."""

    weight: Any
    known: UInt8[np.ndarray, " width"]
    bits: tuple[int, ...]
    probabilities: Float[np.ndarray, " M"]


@dataclass(eq=False)
class Branches:
    """Follows a circuit: a measurement in the middle divides a branch in two, by `divide(weight, probability of 1)`."""

    circuit: Circuit
    divide: Callable[[Any, float], tuple[Any, Any]]
    going_on: Callable[[], bool] = lambda: True
    double: bool = False
    across: int = 1
    waiting: list[tuple[Any, int, Any, UInt8[np.ndarray, " width"]]] = field(default_factory=list)

    def leaves(self, weight: Any) -> Iterator[Leaf]:
        """Raises BackendError where they get too many, TimeoutError when `going_on` says no."""
        operations, width = _single_measurements(self.circuit)
        late = final(operations)
        self.waiting = [(weight, 0, begin(self.circuit.qubits, self.double, self.across), np.zeros(width, np.uint8))]
        for _ in range(MAX_BRANCHES):
            if not self.waiting:
                return
            yield self._follow(operations, late, *self.waiting.pop())
        if self.waiting:
            raise BackendError(
                f"measurements in the middle divide the circuit into more than {MAX_BRANCHES} branches",
                place="job.kernel",
                remedy="Ask for fewer shots, or measure less in the middle.",
            )

    def _follow(
        self,
        operations: Sequence[Operation],
        late: frozenset[int],
        weight: Any,
        place: int,
        state: Any,
        known: UInt8[np.ndarray, " width"],
    ) -> Leaf:
        n, todo, ends = self.circuit.qubits, list[Operation](), list[tuple[int, int]]()
        for here in range(place, len(operations)):
            operation = operations[here]
            if operation.condition is not None:
                bits, value = operation.condition
                if any(known[bit] != value >> k & 1 for k, bit in enumerate(bits)):
                    continue
            if operation.gate != "measure":
                todo.append(operation)
                continue
            (qubit,), (bit,) = operation.qubits, operation.bits
            if here in late:
                ends.append((qubit, bit))
                continue
            state = advance(state, plan(todo, n, self.across), self.going_on)
            todo = []
            weight, state, known = self._divided(weight, here + 1, state, known, 1 << (n - 1 - qubit), bit)
        state = advance(state, plan(todo, n, self.across), self.going_on)
        found = marginal(probabilities(np.asarray(state)[: 2**n]), [qubit for qubit, _ in ends])
        written = [bit for _, bit in ends]
        known = known[: self.circuit.bits].copy()
        known[written] = 0  # whatever was measured into them before
        return Leaf(weight, known, tuple(written), found)

    def _divided(
        self, weight: Any, place: int, state: Any, known: UInt8[np.ndarray, " width"], qubit: int, bit: int
    ) -> tuple[Any, Any, UInt8[np.ndarray, " width"]]:
        zero, one = np.asarray(_weigher(_across(state))(state, np.int32(qubit)), np.float64)
        share = one / (zero + one)
        parts = self.divide(weight, 0.0 if share < NEVER else 1.0 if share > 1 - NEVER else float(share))
        chosen = 0 if parts[0] else 1
        branches = []
        for value in (0, 1):
            after = known.copy()
            after[bit] = value
            factor = 1 / np.sqrt(one if value else zero) if parts[value] else 0.0
            d = (0.0, factor) if value else (factor, 0.0)
            branches.append((after, Step(0, qubit, 0, d, (0, 0))))
        if all(parts):
            after, step = branches[1]
            if (len(self.waiting) + 1) * state.nbytes > MAX_WAITING_BYTES:
                raise BackendError(
                    "measurements in the middle divide the circuit into more branches than memory holds",
                    place="job.kernel",
                    remedy="Use fewer qubits, or measure less in the middle.",
                )
            self.waiting.append((parts[1], place, advance(jnp.array(state, copy=True), [step]), after))
        after, step = branches[chosen]
        return parts[chosen], advance(state, [step]), after


def _single_measurements(circuit: Circuit) -> tuple[list[Operation], int]:
    """Measurements of one qubit each, and no resets: these are measurements into bits of their own (after those of the
    circuit), and an x where that is 1. Also how many bits that makes."""
    out: list[Operation] = []
    touched, width = set[int](), circuit.bits
    for operation in circuit.operations:
        condition = operation.condition
        if operation.gate == "measure":
            out += [
                Operation("measure", (qubit,), bits=(bit,), condition=condition)
                for qubit, bit in zip(operation.qubits, operation.bits, strict=True)
            ]
        elif operation.gate == "reset":
            for qubit in touched.intersection(operation.qubits):
                asked, value = condition or ((), 0)
                out.append(Operation("measure", (qubit,), bits=(width,), condition=condition))
                one = ((*asked, width), value | 1 << len(asked))
                out.append(Operation("x", (qubit,), condition=one))
                width += 1
        else:
            out.append(operation)
        if operation.gate != "barrier":
            touched.update(operation.qubits)
    return out, width


def sampled(
    circuit: Circuit, shots: int, generator: np.random.Generator, double: bool = False, across: int = 1
) -> tuple[UInt8[np.ndarray, "k bits"], Any]:
    """Values of the classical bits in `shots` runs, and how often each was seen. Raises BackendError.

    A measurement in the middle divides the shots binomially, so no branch is followed that no shot takes.
    """

    def divide(shots_: int, one: float) -> tuple[int, int]:
        ones = int(generator.binomial(shots_, one))
        return shots_ - ones, ones

    rows, counts = [], []
    for leaf in Branches(circuit, divide, double=double, across=across).leaves(shots):
        states, seen = draw(leaf.probabilities, leaf.weight, generator)
        rows.append(rows_of(states, leaf.bits, circuit.bits) | leaf.known)
        counts.append(seen)
    return np.concatenate(rows), np.concatenate(counts).astype(np.int64)


def distribution(
    circuit: Circuit, going_on: Callable[[], bool]
) -> tuple[UInt8[np.ndarray, "k bits"], Float64[np.ndarray, " k"]]:
    """Every value of the classical bits that happens, and its probability. Raises BackendError for too many branches,
    TimeoutError when `going_on` says no."""
    rows, shares = [], []
    for leaf in Branches(circuit, lambda weight, one: (weight * (1 - one), weight * one), going_on).leaves(1.0):
        states = np.flatnonzero(leaf.probabilities > NEVER / len(leaf.probabilities))
        rows.append(rows_of(states, leaf.bits, circuit.bits) | leaf.known)
        shares.append(leaf.weight * leaf.probabilities[states])
    if len(rows) == 1:
        return rows[0], shares[0]
    return merged(np.concatenate(rows), np.concatenate(shares))


class Prepared(NamedTuple):
    """A job whose kernel is a circuit, the devices that share its state, and the plan where it is known beforehand."""

    job: Job
    across: int
    plan: Sequence[Step | Turn] | None = None


def prepare(job: Job, across: int = 1) -> Prepared:
    """Raises BackendError for a circuit that cannot be run."""
    if not job.circuit.observables:
        return Prepared(job, across)
    return Prepared(job, across, plan(unmeasured(job.circuit).operations, job.circuit.qubits, across))


def run(prepared: Prepared, double: bool = False) -> Result | Expectations:
    """The answer to a prepared job. Raises BackendError."""
    start, (job, across, todo) = perf_counter(), prepared
    if todo is not None:
        return measurement.of_state(job, _reached(job.circuit.qubits, todo, lambda: True, double, across), start)
    rows, counts = sampled(job.circuit, job.shots, np.random.default_rng(job.seed), double, across)
    return result_of(job.circuit, rows, counts, perf_counter() - start)


def warm_up(least: int, most: int, double: bool = False) -> None:
    """Compile the programs of circuits of so many qubits."""
    for n in sorted({size(each) for each in range(least, most + 1)}):
        whole = [Turn(group, np.eye(2 ** min(GROUP, n - GROUP * group))) for group in range(-(-n // GROUP))]
        state = advance(begin(n, double), [Step(0, 1, 0, (1, 1), (0, 0)), *whole])
        np.asarray(_weigher(1)(state, np.int32(1)))
