"""From a sample of the kernel to a sample of the whole problem. NumPy only: the verifier uses it without JAX.

Reduce removes variables in two ways. *Eliminated* ones were minimised out exactly: their best value is a
function of at most two others, and is derived again here. All others outside the kernel keep the value
they have in the incumbent.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float64, Int32, UInt8

from qmosaic.codecs.models.bundle import Bundle, array, bundle


@dataclass(frozen=True, eq=False)
class Lift:
    """`variables[i]` is the variable of the whole problem that kernel variable i stands for.

    Step k eliminated variable v = eliminated[k] with neighbours a, b = neighbours[k] (-1: none): its best
    spin is s_v = -sign(c0 + c1 s_a + c2 s_b), c = coefficients[k], and +1 where that is zero. Steps are in
    the order of elimination, so they are derived in reverse.
    """

    variables: Int32[np.ndarray, " q"]
    eliminated: Int32[np.ndarray, " k"]
    neighbours: Int32[np.ndarray, "k 2"]
    coefficients: Float64[np.ndarray, "k 3"]

    @property
    def kernel_size(self) -> int:
        """Number of kernel variables."""
        return len(self.variables)


def apply(
    lift: Lift, incumbent_bits: UInt8[np.ndarray, " n"], kernel_bits: UInt8[np.ndarray, " q"]
) -> UInt8[np.ndarray, " n"]:
    """The whole sample for a kernel sample: its energy in the whole problem is the kernel's energy."""
    bits = np.array(incumbent_bits, dtype=np.uint8)
    bits[lift.variables] = kernel_bits
    if len(lift.eliminated):
        spins = [*(1 - 2 * bits.astype(np.int64)).tolist(), 0]  # index -1, "no neighbour", reads the 0
        steps = (lift.eliminated[::-1].tolist(), lift.neighbours[::-1].tolist(), lift.coefficients[::-1].tolist())
        for v, (a, b), (c0, c1, c2) in zip(*steps, strict=True):
            spins[v] = -1 if c0 + c1 * spins[a] + c2 * spins[b] > 0 else 1
        bits = (np.array(spins[:-1]) < 0).astype(np.uint8)
    return bits


def pack_lift(lift: Lift) -> Bundle:
    """To the wire."""
    return bundle(vars(lift))


def unpack_lift(packed: Bundle) -> Lift:
    """From the wire. Raises LookupError or ValueError where an array is missing or broken, or is of another shape."""
    lift = Lift(*(array(packed, one.name) for one in fields(Lift)))
    k = len(lift.eliminated) if lift.eliminated.ndim == 1 else -1
    if lift.variables.ndim != 1 or lift.neighbours.shape != (k, 2) or lift.coefficients.shape != (k, 3):
        raise ValueError("no lift: its arrays do not fit one another")
    if any(each.dtype != np.int32 for each in (lift.variables, lift.eliminated, lift.neighbours)):
        raise ValueError("no lift: its variables are no indices")
    return lift


def state_of(bits: UInt8[np.ndarray, " n"]) -> Bundle:
    """A sample as an incumbent's state."""
    return bundle({"bits": np.asarray(bits, dtype=np.uint8)})


def bits_of_state(state: Bundle) -> Any:
    """The sample again (uint8). Raises LookupError or ValueError where there is none."""
    bits = array(state, "bits")
    if bits.dtype != np.uint8 or bits.ndim != 1 or bits.max(initial=0) > 1:
        raise ValueError("expected a sample of bits")
    return bits
