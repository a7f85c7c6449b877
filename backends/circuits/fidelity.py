"""How much of a QAOA circuit's signal was left in its samples: the fidelity of a run, as far as its answer tells.

    F = (<C> of the samples − <C> of the mixed state) / (<C> without noise − <C> of the mixed state)

at the angles that ran. Depolarising noise that leaves the state with probability F shrinks the expectation by exactly
that; other noise by about as much, less where it spares the qubits that terms are on, so that F is mostly above the
chance that nothing went wrong. It is the measure of Harrigan et al. 2021, "Quantum approximate optimization of
non-planar graph problems on a planar superconducting processor". Without noise it is 1, but for the shots' own noise.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Complex128, Float64

from qmosaic.backends.base import Job, Result
from qmosaic.backends.circuits.qaoa import held
from qmosaic.codecs.models.polynomial import SpinPolynomial

MOST_QUBITS = 16
"""Up to which a circuit is computed here: a tenth of a second or so."""
SIGNAL = 5.0
"""Standard errors that the mean of so many samples has without noise, which the signal must have at least; else nothing
can be told."""


def fidelity_of(job: Job, result: Result) -> float | None:
    """Of a run's samples; None where nothing can be told: the kernel is none to minimise, is too large, has a circuit
    that holds constraints, or no signal."""
    kernel = job.kernel
    if not isinstance(kernel, SpinPolynomial) or kernel.n > MOST_QUBITS or held(kernel) or not len(job.gammas):
        return None
    states = np.arange(1 << kernel.n)[:, None] >> np.arange(kernel.n - 1, -1, -1) & 1
    energies = kernel.energy(states.astype(np.uint8))
    mixed = float(energies.mean())
    chances = np.abs(_state(energies - mixed, job)) ** 2
    noiseless, shots = float(chances @ energies), int(result.counts.sum())
    mean = float(result.counts @ result.energies) / shots
    error = float(np.sqrt(chances @ (energies - noiseless) ** 2 / shots))
    if abs(noiseless - mixed) <= max(SIGNAL * error, 1e-9 * float(np.abs(energies).max())):
        return None
    return (mean - mixed) / (noiseless - mixed)


def _state(energies: Float64[np.ndarray, " N"], job: Job) -> Complex128[np.ndarray, " N"]:
    """The circuit's, by the convention of `backends.base`."""
    n = (len(energies) - 1).bit_length()
    state = np.full(len(energies), len(energies) ** -0.5, np.complex128)
    for gamma, beta in zip(job.gammas.tolist(), job.betas.tolist(), strict=True):
        state = state * np.exp(-1j * gamma * energies)
        for qubit in range(n):
            pairs = state.reshape(1 << qubit, 2, -1)
            state = (np.cos(beta) * pairs - 1j * np.sin(beta) * pairs[:, ::-1]).reshape(-1)
    return state
