"""Fermions on qubits: the same as ladder operators written out; excitations, gradients, orbitals of a geometry."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmosaic.codecs.models.paulis import PauliOperator, strings
from qmosaic.processors.families.molecule import vqe
from qmosaic.processors.families.molecule.fermions import (
    Generator,
    Integrals,
    active,
    alpha_mask,
    conserved,
    excitations,
    jordan_wigner,
    restricted,
    sector,
)
from qmosaic.processors.families.molecule.symmetries import lowest
from tests.processors.families.molecules import dense

FAST = settings(deadline=None, max_examples=12)


def random_integrals(m: int, seed: int, alpha: int = 1, beta: int = 1) -> Integrals:
    rng = np.random.default_rng(seed)
    one = rng.normal(size=(m, m))
    two = rng.normal(size=(m,) * 4)
    two = two + two.transpose(1, 0, 2, 3)
    two = two + two.transpose(0, 1, 3, 2)
    return Integrals(one + one.T, two + two.transpose(2, 3, 0, 1), float(rng.normal()), alpha, beta)


def annihilators(n: int) -> list[Any]:
    Z, A, I = np.diag([1, -1]), np.array([[0, 1], [0, 0]]), np.eye(2)  # noqa: E741
    return [reduce(np.kron, [Z] * p + [A] + [I] * (n - p - 1)) for p in range(n)]


def second_quantised(integrals: Integrals) -> Any:
    """The definition in `Integrals`, by ladder operators."""
    m = len(integrals.one)
    a = annihilators(2 * m)
    total = integrals.core * np.eye(4**m)
    for p, q in np.ndindex(m, m):
        for s in (0, 1):
            total = total + integrals.one[p, q] * a[2 * p + s].T @ a[2 * q + s]
    for p, q, r, t in np.ndindex(m, m, m, m):
        for s, u in np.ndindex(2, 2):
            product = a[2 * p + s].T @ a[2 * r + u].T @ a[2 * t + u] @ a[2 * q + s]
            total = total + 0.5 * integrals.two[p, q, r, t] * product
    return total


@pytest.mark.parametrize("m", [1, 2, 3])
def test_jordan_wigner_is_the_hamiltonian_of_the_ladder_operators(m: int) -> None:
    integrals = random_integrals(m, seed=m)
    operator = jordan_wigner(integrals)
    found = dense(list(zip(operator.strings(), operator.coefficients.tolist(), strict=True)))
    assert found == pytest.approx(second_quantised(integrals), abs=1e-9)
    assert conserved(operator, alpha_mask(2 * m, "interleaved"))


def test_what_does_not_conserve_the_electrons_is_noticed() -> None:
    operator = jordan_wigner(random_integrals(2, 5))
    assert not conserved(operator, alpha_mask(4, "blocked"))
    hop = PauliOperator.of_strings(4, ["XZXI", "YZYI"], [1.0, 1.0])
    assert conserved(hop, alpha_mask(4, "interleaved"))
    assert not conserved(PauliOperator.of_strings(4, ["XZXI"], [1.0]), alpha_mask(4, "interleaved"))


def test_a_frozen_core_is_the_sector_where_it_is_full() -> None:
    whole = random_integrals(3, 7, alpha=2, beta=2)
    part = active(whole, [1], [0, 2])
    assert (part.alpha, part.beta) == (1, 1)
    big, small = second_quantised(whole), second_quantised(part)
    full = [s for s in range(64) if s & 0b001100 == 0b001100]  # orbital 1: qubits 2 and 3
    # Moved past the two full spin orbitals nothing changes its sign.
    assert big[np.ix_(full, full)] == pytest.approx(small, abs=1e-9)


def test_sectors_and_restricted_determinants() -> None:
    spins = alpha_mask(6, "interleaved")
    states = sector(6, spins, 2, 1)
    assert len(states) == 9
    assert all(f"{s:06b}"[::2].count("1") == 2 and f"{s:06b}"[1::2].count("1") == 1 for s in states)
    assert [f"{s:06b}" for s in restricted(6, spins, states)] == [
        "001011", "001110", "100011", "101100", "110010", "111000"
    ]  # fmt: skip


def matrix_of(generator: Generator, n: int) -> Any:
    space = vqe.Space.of(PauliOperator.of_strings(n, ["Z" * n], [1.0]), np.arange(1 << n, dtype=np.int64))
    partner, sign = space.table(generator)
    out = np.zeros((1 << n, 1 << n))
    out[np.arange(1 << n), partner] = sign
    return out


def exponential(generator: Generator, n: int, angle: float) -> Any:
    A = matrix_of(generator, n)
    return np.eye(1 << n) + np.sin(angle) * A + (1 - np.cos(angle)) * A @ A


@FAST
@given(st.integers(0, 10_000), st.floats(-3, 3))
def test_an_excitation_is_that_of_the_ladder_operators_and_its_rotations(pick: int, angle: float) -> None:
    n = 6
    pool = excitations(n, alpha_mask(n, "interleaved"))
    generator = pool[pick % len(pool)]
    assert generator.occupied is not None
    a = annihilators(n)
    bits = [i for i in range(n) if generator.x >> (n - 1 - i) & 1]
    full = [i for i in bits if generator.occupied >> (n - 1 - i) & 1]
    empty = [i for i in bits if i not in full]
    up = reduce(np.matmul, [a[i].T for i in empty] + [a[i] for i in full])
    A = matrix_of(generator, n)
    assert any(pytest.approx(A) == sign * (up - up.T) for sign in (1, -1))
    assert exponential(generator, n, angle) == pytest.approx(_expm(A, angle), abs=1e-9)
    turned = np.eye(1 << n, dtype=complex)
    for x, z, a_ in generator.rotations(angle):
        P = dense([(strings(n, [x], [z])[0], 1.0)])
        turned = (np.cos(a_ / 2) * np.eye(1 << n) - 1j * np.sin(a_ / 2) * P) @ turned
    assert turned == pytest.approx(exponential(generator, n, angle), abs=1e-9)


def _expm(A: Any, angle: float) -> Any:
    values, vectors = np.linalg.eig(angle * A)
    return (vectors @ np.diag(np.exp(values)) @ np.linalg.inv(vectors)).real


def test_uccsd_excites_from_the_reference_and_the_pool_conserves() -> None:
    spins = alpha_mask(8, "blocked")
    reference = int("11001100", 2)
    pool = excitations(8, spins, reference)
    assert len(pool) == 8 + 2 + 16  # singles, doubles of one spin, doubles of both
    for generator in pool:
        assert generator.occupied is not None
        assert generator.occupied & reference == generator.occupied
        moved = reference ^ generator.x
        assert (moved & spins).bit_count() == 2
        assert (moved & ~spins).bit_count() == 2
    assert len(excitations(8, spins)) > len(pool)


@pytest.mark.parametrize("imaginary", [False, True])
def test_the_adjoint_gradient_is_the_derivative(imaginary: bool) -> None:
    n, rng = 3, np.random.default_rng(11)
    letters = [("".join(rng.choice(list("IXYZ"), n)), float(rng.normal())) for _ in range(9)]
    if not imaginary:
        letters = [(p, c) for p, c in letters if p.count("Y") % 2 == 0]
    operator = PauliOperator.of_strings(n, [p for p, _ in letters], [c for _, c in letters])
    space = vqe.Space.of(operator, np.arange(8, dtype=np.int64))
    assert space.complex is imaginary
    ansatz = vqe.Ansatz(space, 5)
    pool = [Generator(x, z) for x in range(1, 8) for z in range(8) if imaginary or (x & z).bit_count() % 2]
    chosen = [pool[k] for k in rng.integers(len(pool), size=12)]
    for generator in chosen:
        ansatz.add(generator)
    theta = rng.normal(size=12)
    energy, slopes, psi, phi = ansatz.value(theta)
    steps = 1e-5 * np.eye(12)
    numeric = [(ansatz.value(theta + d)[0] - ansatz.value(theta - d)[0]) / 2e-5 for d in steps]
    assert slopes == pytest.approx(numeric, abs=1e-7)
    # The same state and energy by whole matrices
    state = np.zeros(8, complex)
    state[5] = 1
    for generator, angle in zip(chosen, theta.tolist(), strict=True):
        for x, z, turn in generator.rotations(angle):
            P = dense([(strings(n, [x], [z])[0], 1.0)])
            state = np.cos(turn / 2) * state - 1j * np.sin(turn / 2) * (P @ state)
    assert energy == pytest.approx(float(np.vdot(state, dense(letters) @ state).real), abs=1e-9)
    # and what a pool says of the next generator is the derivative at angle 0.
    slope, (best, *_) = vqe.Strings(n, tuple(range(1, 8)), imaginary).best(psi, phi, 4)
    ansatz.add(best)
    assert abs(ansatz.value(np.append(theta, 0.0))[1][-1]) == pytest.approx(slope, abs=1e-9)


def test_a_stuck_search_is_kicked() -> None:
    # At an eigenstate all derivatives vanish, though it is not the lowest.
    operator = PauliOperator.of_strings(2, ["ZZ", "ZI"], [1.0, 0.5])
    space = vqe.Space.of(operator, np.arange(4, dtype=np.int64))
    pool = vqe.Strings(2, (1, 2, 3), False)
    lowest_energy = lowest(space.hamiltonian)[0]
    found = vqe.search(space, 0, pool, (), lowest=lowest_energy, seed=1, seconds=20, clock=iter(range(10**6)).__next__)
    assert found.energy == pytest.approx(lowest_energy, abs=2e-5)


def test_orbitals_of_a_geometry() -> None:
    pytest.importorskip("pyscf")
    from qmosaic.processors.families.molecule import geometry

    lih = [("H", 0.0, 0.0, 1.595), ("Li", 0.0, 0.0, 0.0)]
    assert geometry.basis_functions(lih, "sto-3g") == 6
    first = geometry.integrals(lih, "sto-3g", 2, 2, 0, [], range(6))
    again = geometry.integrals(lih, "sto-3g", 2, 2, 0, [], range(6))
    assert np.array_equal(first.one, again.one)
    # The degenerate pair, 2p_x and 2p_y, has a frame of its own: no integral between them.
    assert abs(first.two[3, 4, 0, 0]) < 1e-8
    frozen = geometry.integrals(lih, "sto-3g", 2, 2, 0, [0], range(1, 3))
    assert frozen.two == pytest.approx(active(first, [0], [1, 2]).two, abs=1e-7)
    assert frozen.one == pytest.approx(active(first, [0], [1, 2]).one, abs=1e-7)
    assert frozen.core == pytest.approx(active(first, [0], [1, 2]).core, abs=1e-7)
    with pytest.raises(geometry.GeometryError, match="no basis set 'sto-99g' is known"):
        geometry.basis_functions(lih, "sto-99g")
    with pytest.raises(geometry.GeometryError, match="no basis set 'cc-pcvdz' for H"):
        geometry.basis_functions(lih, "cc-pcvdz")


def test_every_named_basis_is_there() -> None:
    pytest.importorskip("pyscf")
    from qmosaic.processors.families.molecule import geometry

    for name in geometry.BASES:
        assert geometry.basis_named(f" {name.upper().replace('-', '_')} ") == name
        assert geometry.basis_functions([("C", 0.0, 0.0, 0.0)], name) > 0, name


def basis_texts(folder: Path) -> list[str]:
    """What PySCF takes for a basis besides its name: numbers to evaluate, in three dialects, and files."""
    touch = f"__import__('pathlib').Path({str(folder / 'ran')!r}).touch()"
    (folder / "mine.dat").write_text("H    S\n      1.0   1.0\nEND\n")
    return [
        f"H    S\n1.0,{touch}\n",
        f"#BASIS SET: (1s) -> [1s]\nH S\n {touch} 1.0\n",
        f"H nelec 0\nH ul\n2 1.0 {touch}\n#ECP",
        f"H SZV-GTH\n1\n1 0 0 1 1\n{touch} 1.0\n",
        str(folder / "mine.dat"),
        "../../../../../../../../../../etc/passwd",
        "sto-3g@1s",
        "unc-sto-3g",
        "sto-3g\n",
        "",
    ]


def test_a_basis_is_a_name_of_the_list_and_no_program_or_path(tmp_path: Path) -> None:
    pytest.importorskip("pyscf")
    from qmosaic.processors.families.molecule import geometry

    hydrogen = [("H", 0.0, 0.0, 0.0)]
    for text in basis_texts(tmp_path):
        with pytest.raises(geometry.GeometryError, match="is known here"):
            geometry.basis_functions(hydrogen, text)
        with pytest.raises(geometry.GeometryError, match="is known here"):
            geometry.integrals(hydrogen, text, 1, 0, 0, [], [0])
    assert not (tmp_path / "ran").exists()


def test_pyscf_evaluates_nothing_even_if_the_list_were_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyscf")
    from qmosaic.processors.families.molecule import geometry

    monkeypatch.setattr(geometry, "basis_named", lambda text: text)
    for text in basis_texts(tmp_path)[:4]:
        with pytest.raises((geometry.GeometryError, ValueError, RuntimeError)):  # PySCF's own for what it cannot read
            geometry.integrals([("H", 0.0, 0.0, 0.0)], text, 1, 0, 0, [], [0])
    assert not (tmp_path / "ran").exists()
