"""Reduce, on events: encoded problems in, incumbents and kernels out. The numerical work is the families'."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

from qmosaic.backends.kinds import couplings_of, kind_in, work_seconds
from qmosaic.codecs.events.hops import Encoded, Incumbent, Reduced
from qmosaic.codecs.models.kernel import pack_kernel, size_of
from qmosaic.codecs.models.polynomial import PackedPolynomial, unpack_polynomial
from qmosaic.processors.families.base import Family, Model, Reduction, Task
from qmosaic.processors.families.registry import known
from qmosaic.processors.rounds import share_of

Pair = tuple[Incumbent, Reduced | None]


def reduce_events(
    batch: Sequence[Encoded],
    *,
    now: float,
    max_kernel_qubits: int,
    layers: int,
    share: float,
    max_seconds: float,
    clock: Callable[[], float],
) -> list[Pair]:
    """The incumbent of each problem, and its kernel unless reduce left nothing to decide.

    `share` of the time left to a problem's deadline may be searched, `max_seconds` at most; `now` is in
    seconds since the epoch, `clock` is a monotonic one. Seeds follow from the problem's digest and seed: twice the same
    event, twice the same search. Those whose model is a quadratic polynomial are reduced together, of whatever family.
    """
    groups: dict[str, list[int]] = {}
    for k, event in enumerate(batch):
        together = "spins" if isinstance(event.model, PackedPolynomial) and not event.model.higher else event.ref.family
        groups.setdefault(together, []).append(k)
    out: dict[int, Pair] = {}
    for members in groups.values():
        tasks = [
            Task(
                model=_model(event),
                seed=_seed(event.ref.digest, event.ref.seed),
                seconds=share_of(event.ref) * min(max_seconds, max(0.05, share * (event.ref.deadline_at - now))),
                shots=event.ref.shots,
                target=event.ref.target,
                max_qubits=max_kernel_qubits,
                layers=layers,
                round=event.ref.round if event.ref.rounds != 1 else None,
                start=event.start,
                memory=event.memory,
                clock=clock,
            )
            for event in (batch[k] for k in members)
        ]
        family = _family(batch[members[0]])
        for k, reduction in zip(members, family.reduce(tasks), strict=True):
            out[k] = _events(batch[k], reduction)
    return [out[k] for k in range(len(batch))]


def _family(event: Encoded) -> Family:
    return known(event.ref.family)


def _model(event: Encoded) -> Model:
    return unpack_polynomial(event.model) if isinstance(event.model, PackedPolynomial) else event.model


def _events(event: Encoded, reduction: Reduction) -> Pair:
    kernel = reduction.kernel
    incumbent = Incumbent(
        ref=event.ref,
        state=reduction.state,
        solver=reduction.solver,
        seconds=reduction.seconds,
        kernel_digest=kernel.digest if kernel is not None else None,
        lift=reduction.lift if kernel is not None else None,
        memory=reduction.memory if kernel is not None else None,
    )
    if kernel is None:
        return incumbent, None
    return incumbent, Reduced(
        ref=event.ref,
        kernel=pack_kernel(kernel),
        kernel_digest=kernel.digest,
        kind=kind_in(kernel),
        variables=size_of(kernel),
        couplings=couplings_of(kernel),
        work_seconds=work_seconds(kernel, event.ref.shots),
        gammas=[float(angle) for angle in reduction.gammas],
        betas=[float(angle) for angle in reduction.betas],
    )


def _seed(digest: str, seed: int) -> int:
    return int.from_bytes(sha256(f"{digest}:{seed}".encode()).digest()[:4]) & 0x7FFFFFFF
