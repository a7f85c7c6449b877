"""Kernels: what an execution target is given. Either a polynomial to minimise or a circuit to run."""

from __future__ import annotations

from typing import Literal

from qmosaic.codecs.models.circuit import Circuit
from qmosaic.codecs.models.polynomial import PackedPolynomial, SpinPolynomial, pack_polynomial, unpack_polynomial

Kernel = SpinPolynomial | Circuit
PackedKernel = PackedPolynomial | Circuit
Kind = Literal["spins", "narrow", "circuit", "clifford", "variational"]


def pack_kernel(kernel: Kernel) -> PackedKernel:
    """To the wire."""
    return pack_polynomial(kernel) if isinstance(kernel, SpinPolynomial) else kernel


def unpack_kernel(packed: PackedKernel) -> Kernel:
    """From the wire."""
    return unpack_polynomial(packed) if isinstance(packed, PackedPolynomial) else packed


def kind_of(kernel: Kernel) -> Kind:
    """What a backend must be able to take. Whether a circuit is `clifford`, a tableau has to say; whether a polynomial
    is `narrow`, an order to eliminate its variables in."""
    if isinstance(kernel, SpinPolynomial):
        return "spins"
    return "variational" if kernel.variational else "circuit"


def size_of(kernel: Kernel) -> int:
    """Qubits a circuit of it takes, one for each variable of a polynomial."""
    return kernel.n if isinstance(kernel, SpinPolynomial) else kernel.qubits
