"""Expectation values of Pauli sums: exactly from a state, or from shots as a device would have to take them.

Shots: terms that agree qubit by qubit are measured together, in one basis (qubit-wise commuting groups, greedily,
heaviest term first); the shots are shared out by weight (Wecker, Hastings and Troyer, Phys. Rev. A 92 (2015) 042303).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Complex, Float64, Int64, Shaped, UInt8

from qmosaic.backends.base import Expectations, Job
from qmosaic.backends.circuits.counting import BLOCK, Matrix, draw, figures, probabilities, rows_of, turn
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import Operation, PauliSum, unitary

Sampler = Callable[[str, int], tuple[UInt8[np.ndarray, "k n"], Int64[np.ndarray, " k"]]]
"""For a basis (a letter for each qubit: I, Z, X or Y) and a number of shots: values of the qubits measured in it, and
how often each was seen."""


class Group(NamedTuple):
    """Terms that one `basis` measures: their places in the list of strings."""

    basis: str
    terms: tuple[int, ...]


class Plan(NamedTuple):
    """All Pauli strings of some observables, what each counts in each of them, and which are measured together."""

    paulis: tuple[str, ...]
    weights: Float64[np.ndarray, "observables terms"]
    constants: Float64[np.ndarray, " observables"]
    groups: tuple[Group, ...]


@lru_cache(maxsize=64)
def plan(observables: tuple[PauliSum, ...]) -> Plan:
    """How to measure some observables."""
    total: dict[str, Float64[np.ndarray, " observables"]] = {}
    constants = np.zeros(len(observables))
    for k, each in enumerate(observables):
        for pauli, coefficient in zip(each.paulis, each.coefficients, strict=True):
            if pauli.strip("I"):
                total.setdefault(pauli, np.zeros(len(observables)))[k] += coefficient
            else:
                constants[k] += coefficient
    paulis = sorted(total, key=lambda pauli: (-np.abs(total[pauli]).sum(), pauli))
    weights = np.array([total[pauli] for pauli in paulis]).reshape(-1, len(observables)).T
    return Plan(tuple(paulis), weights, constants, tuple(_groups(paulis)))


def _groups(paulis: Sequence[str]) -> list[Group]:
    if not paulis:
        return []
    letters = np.array([["IXYZ".index(letter) for letter in pauli] for pauli in paulis], np.uint8)
    bases, members = np.zeros((0, letters.shape[1]), np.uint8), list[list[int]]()
    for k, own in enumerate(letters):
        fits = ((bases == own) | (bases == 0) | (own == 0)).all(axis=1)
        if fits.any():
            place = int(fits.argmax())
            bases[place] = np.maximum(bases[place], own)
            members[place].append(k)
        else:
            bases = np.concatenate([bases, own[None]])
            members.append([k])
    return [
        Group("".join("IXYZ"[letter] for letter in basis), tuple(those))
        for basis, those in zip(bases.tolist(), members, strict=True)
    ]


def shares(plan_: Plan, shots: int) -> list[int]:
    """Shots of each group, in proportion to its weight, at least one. Raises BackendError for too few."""
    if shots < len(plan_.groups):
        raise BackendError(
            f"{shots} shots for observables that need {len(plan_.groups)} circuits",
            place="job.shots",
            remedy=f"Ask for {len(plan_.groups)} or more, or for 0, the exact values.",
        )
    weight = np.array([np.abs(plan_.weights[:, group.terms]).sum() for group in plan_.groups])
    spare = shots - len(weight)
    exact = weight / (weight.sum() or 1.0) * spare
    given = np.floor(exact).astype(np.int64)
    given[np.argsort(given - exact, kind="stable")[: spare - int(given.sum())]] += 1
    return [int(each) + 1 for each in given]


def estimated(observables: tuple[PauliSum, ...], shots: int, sample: Sampler) -> tuple[Any, Any]:
    """Values and standard errors from samples. Raises BackendError for too few shots.

    To the squared deviations of each group one is added of the whole weight, as from one more shot: a group whose few
    shots happen to agree is not free of error.
    """
    how = plan(observables)
    values, variances = how.constants.copy(), np.zeros(len(observables))
    for group, share in zip(how.groups, shares(how, shots), strict=True):
        rows, counts = sample(group.basis, share)
        weights = how.weights[:, group.terms]
        each = weights @ _signs(how, group, rows)
        given = counts.sum()  # may be more than the share
        mean = each @ counts / given
        spread = ((each - mean[:, None]) ** 2) @ counts + np.abs(weights).sum(axis=1) ** 2
        values += mean
        variances += spread / given**2
    return values, np.sqrt(variances)


def from_shares(observables: tuple[PauliSum, ...], shares_of: Callable[[str], Any]) -> Float64[np.ndarray, " v"]:
    """Values as infinitely many shots would give them: `shares_of` a basis are rows as of a `Sampler`, and the
    probability of each."""
    how = plan(observables)
    values = how.constants.copy()
    for group in how.groups:
        rows, given = shares_of(group.basis)
        values += how.weights[:, group.terms] @ (_signs(how, group, rows) @ given)
    return values


def _signs(how: Plan, group: Group, rows: UInt8[np.ndarray, "k n"]) -> Float64[np.ndarray, "terms k"]:
    return np.array(
        [
            1.0 - 2.0 * (rows[:, [q for q, letter in enumerate(how.paulis[k]) if letter != "I"]].sum(axis=1) % 2)
            for k in group.terms
        ]
    )


def exact(observables: tuple[PauliSum, ...], state: Complex[np.ndarray, " N"]) -> Float64[np.ndarray, " v"]:
    """The expectation values in a state (the first qubit the most significant)."""
    how = plan(observables)
    found, norm = np.zeros(len(how.paulis)), 0.0
    for start in range(0, len(state), BLOCK):
        own = state[start : start + BLOCK].conj()
        norm += float((own.real**2 + own.imag**2).sum(dtype=np.float64))
        found += means(how.paulis, start, len(own), partial(_overlap, state, own, start))
    return np.asarray(how.constants + how.weights @ (found / norm))


def _overlap(state: Any, own: Any, start: int, flips: int) -> Any:
    size = len(own)
    first = start ^ (flips & -size)
    other = state[first : first + size]
    if low := flips & (size - 1):
        left, right = _halves(size)
        rows, columns = np.arange(left), np.arange(right)
        other = other.reshape(-1, right)
        other = other[rows ^ (low // right)] if low // right else other
        other = (np.take(other, columns ^ (low % right), axis=1) if low % right else other).ravel()
    return own * other


class _Flipping(NamedTuple):
    """The Pauli strings that flip the same qubits, those of `flips`: their places, the qubits whose parity is their
    sign, and with which factor the real and the imaginary part of what they flip counts."""

    flips: int
    places: Int64[np.ndarray, " k"]
    parities: Int64[np.ndarray, " k"]
    factors: Float64[np.ndarray, "2 k"]
    signs: list[Float64[np.ndarray, "half k"]] | None

    def signs_of(self, halves: tuple[int, int]) -> list[Float64[np.ndarray, "half k"]]:
        """-1 where the parity of a number of the left or of the right bits is odd, else 1; of so many numbers."""
        if self.signs is not None:
            return self.signs
        return [
            1.0 - 2.0 * (np.bitwise_count(np.arange(size)[:, None] & of) & 1)
            for size, of in zip(halves, (self.parities // halves[1], self.parities), strict=True)
        ]


@lru_cache(maxsize=64)
def _by_flips(paulis: tuple[str, ...], halves: tuple[int, int]) -> list[_Flipping]:
    """With their signs, where these are few."""
    groups: dict[int, list[int]] = {}
    for k, pauli in enumerate(paulis):
        groups.setdefault(_mask(pauli, "XY"), []).append(k)
    # <P> = sum_j rho[j^x, j] (-i)^#Y (-1)^(j·z)
    parts = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
    found = [
        _Flipping(
            flips,
            np.array(those),
            np.array([_mask(paulis[k], "YZ") for k in those]),
            np.array([parts[paulis[k].count("Y") % 4] for k in those]).T,
            None,
        )
        for flips, those in groups.items()
    ]
    few = len(paulis) * sum(halves) <= 2**16
    return [each._replace(signs=each.signs_of(halves)) for each in found] if few else found


def means(
    paulis: tuple[str, ...], start: int, size: int, overlap: Callable[[int], Shaped[np.ndarray, " size"]]
) -> Float64[np.ndarray, " paulis"]:
    """What `size` states from `start` on (a power of two, and a multiple of it) add to the expectation value of each
    Pauli string, from `overlap(x)`: rho[j ^ x, j] for all of them.

    The signs of a state are those of the left half of its bits times those of the right half, so all strings with the
    same flips are two matrix products.
    """
    found, halves = np.zeros(len(paulis)), _halves(size)
    for each in _by_flips(paulis, halves):
        entries = overlap(each.flips).reshape(halves)
        rows, columns = each.signs_of(halves)
        sign = 1.0 - 2.0 * (np.bitwise_count(start & each.parities) & 1)
        for part, factor in zip((entries.real, entries.imag), each.factors, strict=True):
            if factor.any():
                found[each.places] += factor * sign * ((part.astype(np.float64) @ columns) * rows).sum(axis=0)
    return found


def _halves(size: int) -> tuple[int, int]:
    """Numbers of the left and of the right half of the bits of numbers below a power of two."""
    right = 2 ** ((size.bit_length() - 1) // 2)
    return size // right, right


def _mask(pauli: str, letters: str) -> int:
    return int("".join("1" if letter in letters else "0" for letter in pauli), 2)


def of_state(job: Job, state: Complex[np.ndarray, " N"], start: float) -> Expectations:
    """The answer to a job with observables, from the final state of its circuit. Raises BackendError."""
    circuit = job.circuit
    if job.shots == 0:
        values = exact(circuit.observables, state)
        errors = np.zeros(len(values))
    else:
        generator = np.random.default_rng(job.seed)
        values, errors = estimated(
            circuit.observables,
            job.shots,
            lambda basis, shots: _sampled(state, basis, shots, generator),
        )
    return Expectations(values, errors, perf_counter() - start, figures(circuit, job.shots))


def _sampled(
    state: Complex[np.ndarray, " N"], basis: str, shots: int, generator: np.random.Generator
) -> tuple[UInt8[np.ndarray, "k n"], Int64[np.ndarray, " k"]]:
    n, gates = len(basis), dict[int, Matrix]()
    for operation in turns(basis):
        (qubit,), matrix = operation.qubits, unitary(operation).astype(state.dtype)
        gates[qubit] = matrix @ gates[qubit] if qubit in gates else matrix
    if gates:
        state = state.copy()
        turn(state.reshape((2,) * n), gates)
    states, counts = draw(probabilities(state), shots, generator)
    return rows_of(states, range(n), n), counts.astype(np.int64)


def turns(basis: str) -> list[Operation]:
    """Gates after which a measurement of Z is one in the basis."""
    return [
        Operation(gate, (qubit,))
        for qubit, letter in enumerate(basis)
        for gate in {"X": ("h",), "Y": ("sdg", "h")}.get(letter, ())
    ]
