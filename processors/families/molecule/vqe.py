"""The variational search: ADAPT (Grimsley et al. 2019; Tang et al. 2021) or UCCSD, with adjoint gradients in JAX.

States live in the sector of the reference: only the basis states are kept that have its electrons and its Z2
symmetries (or, of a Hamiltonian without known electrons, all of the tapered register). In it a generator is a signed
permutation: (A psi)_j = sign_j psi_partner_j, real and antisymmetric, and its exponential one gather. A complex
Hamiltonian is taken as the real one of twice the size, [[Re, -Im], [Im, Re]].

The gradient by the adjoint method (Jones and Gacon 2020): with phi = H psi at the end, both are taken back through
the circuit, and 2 phi.A psi is read off before each step. So all derivatives together cost about three circuits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float64, Int32

from qmosaic.codecs.models.paulis import PHASES, Masks, PauliOperator, odd, walsh
from qmosaic.processors.families.molecule.fermions import Generator

SIZES = (16, 64, 256, 1024, 4096, 16384, 32768)
"""The state sizes that programs are compiled for."""
LENGTHS = (64, 512)
"""And the numbers of generators."""
GRADIENT = 1e-4
"""ADAPT ends when no generator's derivative is larger, in hartree a radian."""
GAIN = 1e-9
"""And when the last ones gained less, in hartree."""
CLOSE = 1e-5
"""How far above the lowest energy of its sector, in hartree, it may end; else it is stuck, and is kicked."""
KICKS = 4
"""How often at most."""
TOGETHER = 4
"""How many generators ADAPT adds at most before it optimises again, those with at least half the largest derivative."""


@dataclass(frozen=True, eq=False)
class Space:
    """The basis states (ascending) of a sector, and the Hamiltonian between them: real, of size d = D or 2 D."""

    states: Masks
    hamiltonian: Any
    complex: bool

    @classmethod
    def of(cls, operator: PauliOperator, states: Masks) -> Space:
        """The sector of these states."""
        from scipy.sparse import block_array

        matrix = operator.matrix(states)
        if operator.real:
            return cls(states, matrix, False)
        doubled = block_array([[matrix.real, -matrix.imag], [matrix.imag, matrix.real]]).tocsr()
        return cls(states, doubled, True)

    @property
    def size(self) -> int:
        return int(self.hamiltonian.shape[0])

    def table(self, generator: Generator) -> tuple[Int32[np.ndarray, " d"], Float64[np.ndarray, " d"]]:
        """Partners and signs of a generator; sign 0 where it does not act, or would lead out of the sector."""
        source = self.states ^ generator.x
        partner = np.minimum(np.searchsorted(self.states, source), len(self.states) - 1)
        sign = (1.0 - 2.0 * odd(source & generator.z)) * (self.states[partner] == source)
        if generator.occupied is not None:
            full = source & generator.x
            sign = sign * ((full == generator.occupied) | (full == generator.x ^ generator.occupied))
            turn = 0
        else:  # -i times i^|x & z|: a power of i
            turn = ((generator.x & generator.z).bit_count() + 3) & 3
        sign = sign * (1 - (turn & 2))
        if not self.complex:
            return partner.astype(np.int32), sign
        other = len(self.states) * (turn & 1)  # i (re, im) = (-im, re)
        real, imaginary = partner + other, partner + len(self.states) - other
        signs = np.concatenate([sign * (1 - 2 * (turn & 1)), sign])
        return np.concatenate([real, imaginary]).astype(np.int32), signs

    def basis(self, state: int) -> Float64[np.ndarray, " d"]:
        """A basis state as a vector."""
        vector = np.zeros(self.size)
        vector[np.searchsorted(self.states, state)] = 1.0
        return vector


class Pool(Protocol):
    """What ADAPT chooses from."""

    def best(self, psi: Any, phi: Any, most: int) -> tuple[float, list[Generator]]:
        """The largest |derivative| at psi, phi = H psi; and the generators with at least half of it, largest first."""
        ...

    def some(self, rng: np.random.Generator, most: int) -> list[Generator]:
        """Any of them."""
        ...


@dataclass(frozen=True, eq=False)
class Listed:
    """A pool that is a list: excitations. Those that do nothing in the sector are left out."""

    generators: tuple[Generator, ...]
    partners: Int32[np.ndarray, "k d"]
    signs: Float64[np.ndarray, "k d"]

    @classmethod
    def of(cls, space: Space, generators: Sequence[Generator]) -> Listed:
        """With their tables."""
        tables = [(g, *space.table(g)) for g in generators]
        kept = [table for table in tables if table[2].any()]
        shape = (len(kept), space.size)
        partners = np.array([p for _, p, _ in kept], np.int32).reshape(shape)
        return cls(tuple(g for g, _, _ in kept), partners, np.array([s for _, _, s in kept]).reshape(shape))

    def some(self, rng: np.random.Generator, most: int) -> list[Generator]:
        chosen = rng.permutation(len(self.generators))[:most]
        return [self.generators[k] for k in chosen]

    def best(self, psi: Any, phi: Any, most: int) -> tuple[float, list[Generator]]:
        if not self.generators:
            return 0.0, []
        slopes = np.abs(2 * np.einsum("kd,kd,d->k", self.signs, psi[self.partners], phi))
        order = np.argsort(-slopes, kind="stable")[:most]
        return float(slopes[order[0]]), [self.generators[k] for k in order if slopes[k] >= slopes[order[0]] / 2]


@dataclass(frozen=True, eq=False)
class Strings:
    """Every Pauli string whose flips occur in the Hamiltonian, for a whole register: qubit-ADAPT without a list.

    For one flip x the derivatives of all 2^n strings are one Walsh-Hadamard transform:
    2 Im <phi|P|psi> = 2 Im i^|x & z| sum_b (-1)^|z & b| conj(phi[b ^ x]) psi[b]. They all vanish only at an eigenstate:
    nothing that the Hamiltonian could gain by is out of reach.
    """

    qubits: int
    flips: tuple[int, ...]
    complex: bool

    def some(self, rng: np.random.Generator, most: int) -> list[Generator]:
        out = []
        for x in rng.permutation(self.flips)[:most].tolist():
            z = int(rng.integers(1 << self.qubits))
            even = (x & z).bit_count() % 2 == 0
            out.append(Generator(x, z ^ (x & -x) if even and not self.complex else z))
        return out

    def best(self, psi: Any, phi: Any, most: int) -> tuple[float, list[Generator]]:
        if self.complex:
            psi, phi = (v[: len(v) // 2] + 1j * v[len(v) // 2 :] for v in (psi, phi))
        own = np.arange(len(psi), dtype=np.int64)
        weight = np.bitwise_count(own)
        found: list[tuple[float, Generator]] = []
        for x in self.flips:
            phase = PHASES[np.bitwise_count(x & own) & 3]
            slopes = np.abs(2 * (phase * walsh(phi[own ^ x].conj() * psi)).imag)
            # Of strings that do the same here, the one on the fewest qubits
            near = np.flatnonzero(slopes >= slopes.max() * (1 - 1e-6))
            z = int(near[np.argmin(weight[near | x])])
            found.append((float(slopes[z]), Generator(x, z)))
        found.sort(key=lambda item: -item[0])
        return (found[0][0], [g for slope, g in found[:most] if slope >= found[0][0] / 2]) if found else (0.0, [])


@cache
def _programs() -> tuple[Any, Any]:
    """`forward(psi, count, theta, partners, signs)` and `backward(psi, phi, count, theta, partners, signs)`.

    Compiled by shape; only the first `count` generators are applied, so that spare rows cost nothing.
    """
    import jax
    import jax.numpy as jnp

    from qmosaic.backends.programs import program

    def exponential(psi: Any, angle: Any, partner: Any, sign: Any) -> Any:
        return psi + jnp.sin(angle) * sign * psi[partner] + (jnp.cos(angle) - 1) * sign * sign * psi

    @program
    def forward(psi: Any, count: Any, theta: Any, partners: Any, signs: Any) -> Any:
        def step(k: Any, psi: Any) -> Any:
            return exponential(psi, theta[k], partners[k], signs[k])

        return jax.lax.fori_loop(0, count, step, psi)

    @program
    def backward(psi: Any, phi: Any, count: Any, theta: Any, partners: Any, signs: Any) -> Any:
        def step(back: Any, carry: Any) -> Any:
            psi, phi, slopes = carry
            k = count - 1 - back
            angle, partner, sign = theta[k], partners[k], signs[k]
            slopes = slopes.at[k].set(2 * jnp.dot(phi, sign * psi[partner]))
            return exponential(psi, -angle, partner, sign), exponential(phi, -angle, partner, sign), slopes

        return jax.lax.fori_loop(0, count, step, (psi, phi, jnp.zeros_like(theta)))[2]

    return forward, backward


def _exponential(psi: Any, angle: Any, partner: Any, sign: Any) -> Any:
    return psi + np.sin(angle) * sign * psi[partner] + (np.cos(angle) - 1) * sign * sign * psi


def _plain_forward(psi: Any, count: int, theta: Any, partners: Any, signs: Any) -> Any:
    """The same in NumPy, while there is no program."""
    partners, signs = np.asarray(partners), np.asarray(signs)
    for k in range(count):
        psi = _exponential(psi, theta[k], partners[k], signs[k])
    return psi


def _plain_backward(psi: Any, phi: Any, count: int, theta: Any, partners: Any, signs: Any) -> Any:
    partners, signs, slopes = np.asarray(partners), np.asarray(signs), np.zeros_like(theta)
    for k in reversed(range(count)):
        slopes[k] = 2 * np.dot(phi, signs[k] * psi[partners[k]])
        psi, phi = (_exponential(each, -theta[k], partners[k], signs[k]) for each in (psi, phi))
    return slopes


def _bucket(value: int, sizes: tuple[int, ...]) -> int:
    return next(size for size in sizes if size >= value)


class Ansatz:
    """exp(theta_L A_L) .. exp(theta_1 A_1) on a basis state; its tables have the shapes of the compiled programs."""

    def __init__(self, space: Space, reference: int) -> None:
        self.space = space
        self.generators: list[Generator] = []
        self._size = _bucket(space.size, SIZES)
        self._start = np.zeros(self._size)
        self._start[: space.size] = space.basis(reference)
        self._placed: Any = None  # the tables on the device, until they change
        self._reserve(LENGTHS[0])

    def _reserve(self, length: int) -> None:
        self._partners = np.tile(np.arange(self._size, dtype=np.int32), (length, 1))
        self._signs = np.zeros((length, self._size))
        for k, generator in enumerate(self.generators):
            self._put(k, generator)

    def _put(self, k: int, generator: Generator) -> None:
        d = self.space.size
        self._partners[k, :d], self._signs[k, :d] = self.space.table(generator)
        self._placed = None

    @property
    def full(self) -> bool:
        """Whether there is no room for more."""
        return len(self.generators) > LENGTHS[-1] - TOGETHER

    def add(self, generator: Generator) -> None:
        """One more, applied last."""
        self.generators.append(generator)
        if len(self.generators) > len(self._signs):
            self._reserve(_bucket(len(self.generators), LENGTHS))
        else:
            self._put(len(self.generators) - 1, generator)

    def value(self, theta: Float64[np.ndarray, " k"]) -> tuple[float, Float64[np.ndarray, " k"], Any, Any]:
        """Energy and gradient at these angles; and psi, phi = H psi."""
        import jax

        d, k = self.space.size, len(self.generators)
        angles = np.zeros(len(self._signs))
        angles[:k] = theta
        forward, backward = _programs()
        with jax.enable_x64(True):
            if self._placed is None:
                self._placed = jax.device_put((self._partners, self._signs))
            plain = not forward.ready(self._start, k, angles, *self._placed)
            plain = plain or not backward.ready(self._start, self._start, k, angles, *self._placed)
            if plain:
                forward, backward = _plain_forward, _plain_backward
            psi = np.array(forward(self._start, k, angles, *self._placed))
            phi = np.zeros(self._size)
            phi[:d] = self.space.hamiltonian @ psi[:d]
            slopes = np.array(backward(psi, phi, k, angles, *self._placed))
        return float(psi @ phi), slopes[:k], psi[:d], phi[:d]


@dataclass(frozen=True, eq=False)
class Found:
    """What the search ended with: `energy` in hartree, the generators in the order they act, and their angles."""

    energy: float
    generators: tuple[Generator, ...]
    angles: Float64[np.ndarray, " k"]
    evaluations: int


def search(
    space: Space,
    reference: int,
    pool: Pool,
    fixed: Sequence[Generator],
    *,
    lowest: float,
    seed: int,
    seconds: float,
    clock: Callable[[], float],
) -> Found:
    """ADAPT from the pool; or, with `fixed` generators (UCCSD), those alone, all at once.

    `lowest`: the least energy of the sector. Where ADAPT ends above it, all derivatives vanish by some symmetry that
    the sector does not know, and it goes on from random angles of a few random generators. Deterministic by the seed,
    but for the clock, which only says when to stop.
    """
    rng, until = np.random.default_rng(seed), clock() + seconds
    ansatz = Ansatz(space, reference)
    for generator in fixed:
        ansatz.add(generator)
    theta = np.zeros(len(fixed))
    best, evaluations = Found(np.inf, (), theta, 0), 0
    for kicks in range(KICKS + 1):
        if fixed:
            theta, count = _optimised(ansatz, theta, GRADIENT / 100, until, clock)
        else:
            theta, count = _grown(ansatz, theta, pool, until, clock)
        evaluations += count
        energy = ansatz.value(theta)[0]
        if energy < best.energy:
            best = Found(energy, tuple(ansatz.generators), theta, evaluations)
        if fixed or best.energy < lowest + CLOSE or ansatz.full or clock() > until or kicks == KICKS:
            break
        for generator in pool.some(rng, TOGETHER):
            ansatz.add(generator)
        theta = np.append(theta, rng.uniform(-0.5, 0.5, len(ansatz.generators) - len(theta)))
    return best


def energy(space: Space, reference: int, generators: Sequence[Generator], angles: Float64[np.ndarray, " k"]) -> float:
    """That of the state at some angles, in hartree."""
    ansatz = Ansatz(space, reference)
    for generator in generators:
        ansatz.add(generator)
    return ansatz.value(angles)[0]


def _grown(
    ansatz: Ansatz, theta: Float64[np.ndarray, " k"], pool: Pool, until: float, clock: Callable[[], float]
) -> tuple[Float64[np.ndarray, " k"], int]:
    """ADAPT: the generators with the largest derivatives are added, all angles optimised, and again."""
    energy, _, psi, phi = ansatz.value(theta)
    evaluations = 1
    while not ansatz.full:
        before = energy
        slope, chosen = pool.best(psi, phi, TOGETHER)
        if slope < GRADIENT:
            break
        last = ansatz.generators[-TOGETHER:]
        for generator in chosen:
            if generator not in last:
                ansatz.add(generator)
        # Roughly at first: the next ones change the angles anyway. One of the last again says that it was too rough.
        precision = slope / 5 if len(ansatz.generators) > len(theta) else GRADIENT / 100
        theta = np.append(theta, np.zeros(len(ansatz.generators) - len(theta)))
        theta, count = _optimised(ansatz, theta, precision, until, clock)
        energy, _, psi, phi = ansatz.value(theta)
        evaluations += count + 1
        if before - energy < GAIN or clock() > until:
            break
    return theta, evaluations


def _optimised(
    ansatz: Ansatz, theta: Float64[np.ndarray, " k"], gradient: float, until: float, clock: Callable[[], float]
) -> tuple[Float64[np.ndarray, " k"], int]:
    from scipy.optimize import minimize

    def stop(_: Any) -> None:
        if clock() > until:
            raise StopIteration

    options = {"maxiter": 200, "maxcor": 30, "gtol": gradient, "ftol": 1e-13}
    result = minimize(
        lambda angles: ansatz.value(angles)[:2], theta, jac=True, method="L-BFGS-B", callback=stop, options=options
    )
    return np.asarray(result.x, np.float64), int(result.nfev)


def warm_up(slow: bool) -> None:
    """Compile the usual shapes: sectors of up to 1024 states; not `slow`, the smallest."""
    from scipy.sparse import csr_array

    for size in SIZES[:4] if slow else SIZES[:1]:
        space = Space(np.arange(size, dtype=np.int64), csr_array((size, size)), False)
        ansatz = Ansatz(space, 0)
        for length in LENGTHS if slow else LENGTHS[:1]:
            ansatz._reserve(length)
            ansatz.value(np.zeros(0))
