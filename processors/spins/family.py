"""What families whose model is a polynomial over spins share: a state is a sample, reduced and lifted alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qmosaic.codecs.events.hops import Answer
from qmosaic.codecs.models.arrays import unpack_bits
from qmosaic.codecs.models.bundle import Bundle
from qmosaic.processors.families.base import Reduction, Task
from qmosaic.processors.spins.lift import apply, bits_of_state, pack_lift, state_of, unpack_lift

_warm: set[tuple[int, bool]] = set()


def lifted_bits(state: Bundle, lift: Bundle, answer: Answer) -> Any:
    """The whole sample for a kernel's answer. Raises ValueError or LookupError where it does not fit."""
    if answer.bits is None:
        raise ValueError("expected a sample")
    steps = unpack_lift(lift)
    kernel_bits = unpack_bits(answer.bits)
    if len(kernel_bits) != steps.kernel_size:
        raise ValueError(f"expected {steps.kernel_size} bits, got {len(kernel_bits)}")
    return apply(steps, bits_of_state(state), kernel_bits)


def reduce(tasks: Sequence[Task]) -> list[Reduction]:
    """By `processors.reduce`, which is imported here and now: it brings JAX."""
    from qmosaic.processors.spins import engine as spins

    found = spins.reduce(tasks, max_kernel_qubits=tasks[0].max_qubits, layers=tasks[0].layers)
    return [
        Reduction(
            state=state_of(one.bits),
            solver=one.solver,
            seconds=one.seconds,
            kernel=one.kernel,
            lift=pack_lift(one.lift),
            gammas=one.gammas,
            betas=one.betas,
            memory=one.memory,
        )
        for one in found
    ]


def warm_up(layers: int, slow: bool) -> None:
    """By `processors.reduce`, once a process, however many families ask."""
    from qmosaic.processors.spins import engine as spins

    if (layers, slow) not in _warm:
        _warm.add((layers, slow))
        spins.warm_up(layers=layers, slow=slow)
