"""Reduce, on events: encoded problems in, incumbents and kernels out. The numerical work is in `reduce`."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from qmosaic.codecs.arrays import pack_bits
from qmosaic.codecs.events import Encoded, Incumbent, Reduced
from qmosaic.codecs.model import pack_ising, unpack_ising
from qmosaic.processors.lift import pack_lift
from qmosaic.processors.reduce import Task, reduce


def reduce_events(
    batch: Sequence[Encoded],
    *,
    now: float,
    max_kernel_qubits: int,
    layers: int,
    share: float,
    max_seconds: float,
) -> list[tuple[Incumbent, Reduced | None]]:
    """The incumbent of each problem, and its kernel unless presolve left nothing to decide.

    `share` of the time left to a problem's deadline may be searched, `max_seconds` at most; `now` is in
    seconds since the epoch. Seeds follow from the problem's digest and seed: twice the same event, twice the
    same search.
    """
    tasks = [
        Task(
            model=unpack_ising(event.model),
            seed=_seed(event.ref.digest, event.ref.seed),
            seconds=min(max_seconds, max(0.05, share * (event.ref.deadline_at - now))),
        )
        for event in batch
    ]
    out: list[tuple[Incumbent, Reduced | None]] = []
    for event, reduced in zip(batch, reduce(tasks, max_kernel_qubits=max_kernel_qubits, layers=layers), strict=True):
        kernel = reduced.kernel
        incumbent = Incumbent(
            ref=event.ref,
            bits=pack_bits(reduced.bits),
            solver=reduced.solver,
            seconds=reduced.seconds,
            kernel_digest=kernel.digest if kernel is not None else None,
            lift=pack_lift(reduced.lift) if kernel is not None else None,
        )
        if kernel is None:
            out.append((incumbent, None))
            continue
        job = Reduced(
            ref=event.ref,
            kernel=pack_ising(kernel),
            kernel_digest=kernel.digest,
            variables=kernel.n,
            couplings=len(kernel.J),
            gammas=[float(angle) for angle in reduced.gammas],
            betas=[float(angle) for angle in reduced.betas],
        )
        out.append((incumbent, job))
    return out


def _seed(digest: str, seed: int) -> int:
    return int.from_bytes(sha256(f"{digest}:{seed}".encode()).digest()[:4]) & 0x7FFFFFFF
