"""Reduce, on events: encoded problems in, incumbents and kernels out. The numerical work is the families'."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from math import ceil, log2

from qmosaic.backends.circuits.counting import MAX_DEFERRED, held, is_final, shot_by_shot_seconds
from qmosaic.backends.clifford.tableau import is_clifford
from qmosaic.backends.estimates import gates_of
from qmosaic.backends.solvers.exact import is_narrow
from qmosaic.codecs.events.hops import Encoded, Incumbent, Reduced
from qmosaic.codecs.models.circuit import Circuit
from qmosaic.codecs.models.kernel import Kernel, Kind, kind_of, pack_kernel, size_of
from qmosaic.codecs.models.polynomial import PackedPolynomial, SpinPolynomial, unpack_polynomial
from qmosaic.processors.families.base import Family, Model, Reduction, Task
from qmosaic.processors.families.registry import known

Pair = tuple[Incumbent, Reduced | None]


def reduce_events(
    batch: Sequence[Encoded],
    *,
    now: float,
    max_kernel_qubits: int,
    layers: int,
    share: float,
    max_seconds: float,
) -> list[Pair]:
    """The incumbent of each problem, and its kernel unless reduce left nothing to decide.

    `share` of the time left to a problem's deadline may be searched, `max_seconds` at most; `now` is in
    seconds since the epoch. Seeds follow from the problem's digest and seed: twice the same event, twice the
    same search. Problems whose model is a quadratic polynomial are reduced together, whatever their families are.
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
                seconds=min(max_seconds, max(0.05, share * (event.ref.deadline_at - now))),
                shots=event.ref.shots,
                target=event.ref.target,
                max_qubits=max_kernel_qubits,
                layers=layers,
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
    )
    if kernel is None:
        return incumbent, None
    return incumbent, Reduced(
        ref=event.ref,
        kernel=pack_kernel(kernel),
        kernel_digest=kernel.digest,
        kind=_kind(kernel),
        variables=size_of(kernel),
        couplings=_couplings(kernel),
        size=_work(kernel, event.ref.shots),
        gammas=[float(angle) for angle in reduction.gammas],
        betas=[float(angle) for angle in reduction.betas],
    )


def _kind(kernel: Kernel) -> Kind:
    kind = kind_of(kernel)
    if isinstance(kernel, SpinPolynomial):
        return "narrow" if is_narrow(kernel) else kind
    return "clifford" if kind == "circuit" and is_clifford(kernel) else kind


def _couplings(kernel: Kernel) -> int:
    return len(kernel.J) if isinstance(kernel, SpinPolynomial) else 0


def _work(kernel: Kernel, shots: int) -> int:
    """How long a simulator takes, in qubits: 16 is a tenth of a second, and one more is twice as long.

    By gates on one and two qubits and amplitudes, as measured with Cirq; a term or a rotation of k letters is
    2 (k - 1) CNOTs and a rotation. Measurements in the middle take qubits, or where they are many, every shot its time.
    """
    if isinstance(kernel, SpinPolynomial) and not kernel.higher:
        return kernel.n
    qubits = size_of(kernel)
    if isinstance(kernel, Circuit) and not kernel.observables and not is_final(kernel):
        qubits = held(kernel)
    if isinstance(kernel, Circuit) and qubits > max(kernel.qubits, MAX_DEFERRED):
        seconds = shot_by_shot_seconds(kernel, shots)
    else:
        seconds = gates_of(kernel, layers=2) * (1.5e-4 + 8e-9 * 2.0 ** min(qubits, 64))
    work = max(1, ceil(16 + log2(max(seconds, 1e-6) / 0.1)))
    return max(kernel.n, work) if isinstance(kernel, SpinPolynomial) else work


def _seed(digest: str, seed: int) -> int:
    return int.from_bytes(sha256(f"{digest}:{seed}".encode()).digest()[:4]) & 0x7FFFFFFF
