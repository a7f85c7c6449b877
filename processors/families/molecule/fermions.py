"""Electrons on qubits: integrals, active space, Jordan-Wigner, the sector of given electrons, excitations. NumPy only.

Spin orbitals are qubits, in either ordering: interleaved (OpenFermion: qubit 2p is spatial orbital p with spin alpha,
2p + 1 beta) or blocked (all alpha, then all beta). Masks as in `codecs.paulis`: qubit i of n is bit n-1-i.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from jaxtyping import Float64

from qmosaic.codecs.models.paulis import PHASES, Masks, PauliOperator, odd

Ordering = Literal["interleaved", "blocked"]


@dataclass(frozen=True, eq=False)
class Integrals:
    """H = core + sum one_pq a+_p a_q + 1/2 sum two_pqrs a+_p a+_r a_s a_q, over spins; two in chemists' order (pq|rs).

    Real orbitals, in hartree; `alpha`, `beta`: electrons of either spin.
    """

    one: Float64[np.ndarray, "m m"]
    two: Float64[np.ndarray, "m m m m"]
    core: float
    alpha: int
    beta: int


def active(full: Integrals, frozen: list[int], chosen: list[int]) -> Integrals:
    """The orbitals `chosen`, in the field of the doubly occupied `frozen` ones; all others are left empty.

    core += 2 sum_i h_ii + sum_ij 2 (ii|jj) - (ij|ji),   h_pq += sum_i 2 (pq|ii) - (pi|iq)
    """
    inner = np.ix_(frozen, frozen)
    field = 2 * np.einsum("pqii->pq", full.two[:, :, frozen][:, :, :, frozen])
    field -= np.einsum("piiq->pq", full.two[:, frozen][:, :, frozen])
    core = full.core + float(np.trace((2 * full.one + field)[inner]))
    one = (full.one + field)[np.ix_(chosen, chosen)]
    two = full.two[np.ix_(chosen, chosen, chosen, chosen)]
    return Integrals(one, two, core, full.alpha - len(frozen), full.beta - len(frozen))


def alpha_mask(n: int, ordering: Ordering) -> int:
    """The qubits with spin alpha; the others are beta."""
    return sum(1 << (n - 1 - i) for i in (range(0, n, 2) if ordering == "interleaved" else range(n // 2)))


def orbitals(n: int, spins: int) -> list[int]:
    """The bits of a mask, as masks of one bit each, in the order of the qubits: by spatial orbital, of one spin."""
    return [1 << k for k in range(n - 1, -1, -1) if spins >> k & 1]


def jordan_wigner(integrals: Integrals) -> PauliOperator:
    """The Hamiltonian on qubits (Jordan and Wigner 1928), interleaved; the core's energy is in the identity.

    a_p = Z_0 .. Z_{p-1} (X_p + i Y_p)/2, multiplied out as X^x Z^z, where all coefficients are real:
    sum_pq g_pq E_pq + 1/2 sum (pq|rs) E_pq E_rs with g_pq = h_pq - 1/2 sum_r (pr|rq), E_pq = sum over spins a+_p a_q.
    """
    m = len(integrals.one)
    n = 2 * m
    p, q, spin = (index.ravel() for index in np.indices((m, m, 2)))
    x, z, value = _hops(n, 2 * p + spin, 2 * q + spin)  # [m * m * 2, 4]: E_pq is 8 strings
    x, z, value = (array.reshape(m * m, 8) for array in (x, z, value))
    single = integrals.one - 0.5 * np.einsum("prrq->pq", integrals.two)
    double = 0.5 * integrals.two.reshape(m * m, m * m)
    left, right = np.nonzero(np.abs(double) > 1e-14)
    xs = [np.zeros(1, np.int64), x.ravel()]
    zs = [np.zeros(1, np.int64), z.ravel()]
    values = [np.array([integrals.core]), (single.reshape(-1, 1) * value).ravel()]
    x1, z1, x2, z2 = x[left][:, :, None], z[left][:, :, None], x[right][:, None], z[right][:, None]
    xs.append((x1 ^ x2).ravel())
    zs.append((z1 ^ z2).ravel())
    weight = double[left, right][:, None, None] * value[left][:, :, None] * value[right][:, None]
    values.append((weight * (1 - 2 * odd(z1 & x2))).ravel())
    x, z, value = np.concatenate(xs), np.concatenate(zs), np.concatenate(values)
    count = np.bitwise_count(x & z).astype(np.int64)
    even = count % 2 == 0  # the odd ones cancel: the Hamiltonian is real
    return PauliOperator.of(n, x[even], z[even], (value * (1 - (count & 2)))[even])


def _hops(n: int, p: Masks, q: Masks) -> tuple[Masks, Masks, Float64[np.ndarray, " k"]]:
    """a+_p a_q as four products X^x Z^z each: masks and coefficients of shape [k, 4]."""
    bit_p, bit_q = 1 << (n - 1 - p), 1 << (n - 1 - q)
    before_p, before_q = _before(n, p), _before(n, q)
    x = np.broadcast_to((bit_p ^ bit_q)[:, None], (len(p), 4))
    zs, values = [], []
    for own, sign in ((0, 1), (1, 1)):  # a+_p = Z.. (X + XZ)/2
        for other, turn in ((0, 1), (1, -1)):  # a_q = Z.. (X - XZ)/2
            left, right = before_p ^ (own * bit_p), before_q ^ (other * bit_q)
            zs.append(left ^ right)
            # (Z^b X Z^o)(Z^b' X Z^o'): every Z moved right past an X that it meets changes the sign
            crossed = odd(before_p & bit_p) ^ odd(left & bit_q) ^ odd(before_q & bit_q)
            values.append(0.25 * sign * turn * (1 - 2 * crossed))
    return x, np.stack(zs, axis=1), np.stack(values, axis=1)


def _before(n: int, qubit: Masks) -> Masks:
    """The qubits before one."""
    return ((1 << n) - 1) ^ ((1 << (n - qubit)) - 1)


def sector(n: int, spins: int, alpha: int, beta: int) -> Masks:
    """All determinants with `alpha` electrons in the qubits `spins` and `beta` in the others; ascending."""
    states = np.arange(1 << n, dtype=np.int64)
    others = ((1 << n) - 1) ^ spins
    return np.asarray(states[(np.bitwise_count(states & spins) == alpha) & (np.bitwise_count(states & others) == beta)])


def restricted(n: int, spins: int, states: Masks) -> Masks:
    """The determinants of a sector with the fewest open shells: what restricted Hartree-Fock can be."""
    others = ((1 << n) - 1) ^ spins
    pairs = zip(orbitals(n, spins), orbitals(n, others), strict=True)
    doubly = sum(((states & (a | b)) == (a | b)).astype(np.int64) for a, b in pairs)
    return np.asarray(states[doubly == np.max(doubly)])


@dataclass(frozen=True)
class Generator:
    """A real antisymmetric A, to be exponentiated: A^2 = -1 where it acts, so exp(tA) = 1 + sin(t) A + (1 - cos t) A^2.

    An excitation T - T+ moves between `occupied` (those of the qubits `x` that are full) and its complement in x:
        A |b> = (-1)^|z & b| |b ^ x>   where b & x is one of the two, else 0;
    with `occupied` None it is a Pauli string, A = -i P(x, z), which acts everywhere.
    """

    x: int
    z: int
    occupied: int | None = None

    def rotations(self, angle: float) -> list[tuple[int, int, float]]:
        """exp(angle A) as commuting rotations exp(-i a/2 P(x, z)): their (x, z, a).

        The condition is a projector, 2^(1-k) times the sum of (-1)^|o & S| Z^S over the even subsets S of the k bits
        of x; times X^x Z^z each of its terms is a string.
        """
        if self.occupied is None:
            return [(self.x, self.z, 2 * angle)]
        bits = [1 << k for k in range(self.x.bit_length()) if self.x >> k & 1]
        out = []
        for size in range(0, len(bits) + 1, 2):
            for subset in combinations(bits, size):
                mask = sum(subset)
                z = self.z ^ mask
                turns = (self.occupied & mask).bit_count() + ((self.x & z).bit_count() - 1) // 2
                out.append((self.x, z, 2 * angle * (-1.0) ** turns * 2.0 ** (1 - len(bits))))
        return out


def excitations(n: int, spins: int, reference: int | None = None) -> list[Generator]:
    """Single and double excitations that conserve the electrons of either spin.

    With a reference only those from its full spin orbitals into its empty ones (the pool of UCCSD), doubles first;
    without, all (generalised).
    """
    masks = [1 << (n - 1 - i) for i in range(n)]
    by_spin = [[bit for bit in masks if bool(bit & spins) == up] for up in (True, False)]
    singles = [pair for group in by_spin for pair in combinations(group, 2)]
    moves: list[tuple[int, int]] = []
    for k, one in enumerate(singles):
        for other in singles[k + 1 :]:
            four = {*one, *other}
            if len(four) < 4:
                continue
            # Two moves of one spin each; of the same spin, they pair up in every way, once.
            moves.append((one[0] | other[0], one[1] | other[1]))
            moves.append((one[0] | other[1], one[1] | other[0]))
    pool = {frozenset(move): move for move in [*moves, *singles]}
    if reference is not None:
        pool = {
            key: (a, b) if a & reference == a else (b, a)
            for key, (a, b) in pool.items()
            if (a & reference == a and not b & reference) or (b & reference == b and not a & reference)
        }
    return [_excitation(n, a, b) for a, b in pool.values()]


def _excitation(n: int, source: int, target: int) -> Generator:
    """T - T+ for the move of electrons from the bits `source` to `target`, up to its sign."""
    x = source | target
    before = 0
    for k in range(n):
        if x >> k & 1:
            before ^= ((1 << n) - 1) ^ ((1 << (k + 1)) - 1)
    # Within x the sign is fixed up to that of T against T+: one bit of it, on which the two differ.
    return Generator(x, (before & ~x) | (x & -x), source)


def conserved(operator: PauliOperator, spins: int) -> bool:
    """Whether the operator conserves the electrons of either spin, those in the qubits `spins` and in the others.

    It does where it commutes with the sum of Z over each: [P, Z_i] = 2 P Z_i if P flips i, and these must cancel.
    """
    phases = operator.coefficients * PHASES[np.bitwise_count(operator.x & operator.z) & 3]
    for group in (spins, ((1 << operator.n) - 1) ^ spins):
        x, z, value = [], [], []
        for bit in orbitals(operator.n, group):
            flipped = (operator.x & bit) != 0
            x.append(operator.x[flipped])
            z.append(operator.z[flipped] ^ bit)
            value.append(phases[flipped])
        keys, place = np.unique((np.concatenate(x) << operator.n) | np.concatenate(z), return_inverse=True)
        left = np.zeros(len(keys), np.complex128)
        np.add.at(left, place, np.concatenate(value))
        if np.abs(left).max(initial=0.0) > 1e-7 * max(1.0, float(np.abs(operator.coefficients).sum())):
            return False
    return True
