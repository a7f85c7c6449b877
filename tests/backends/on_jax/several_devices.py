"""Run by test_several_devices.py where JAX sees four devices: the same jobs there and on one."""

from collections.abc import Iterator

import jax
import numpy as np

from qmosaic.backends.base import Answer, Backend, Expectations, Job, Result, run_sync
from qmosaic.backends.conformance.samples import job_of, random_kernel, random_polynomial
from qmosaic.backends.on_jax import statevector
from qmosaic.backends.on_jax.statevector import JaxStatevector
from qmosaic.codecs.models.circuit import Circuit, Operation, PauliSum


def jobs() -> Iterator[Job]:
    """Spins with and without fields, terms of higher order and held constraints, circuits of both kinds."""
    kernels = [random_kernel(6, 0), random_kernel(7, 1, fields=False), random_kernel(8, 2, fields=False)]
    kernels += [random_polynomial(6, (2, 3, 5), 3), random_polynomial(7, (2, 4), 4)]
    kernels += [random_polynomial(6, (2,), 5, held=(3, 3))]
    yield from (job_of(kernel, layers=2, shots=300) for kernel in kernels)
    n = 7
    gates = [Operation("h", (0,)), *(Operation("cx", (q, q + 1)) for q in range(n - 1))]
    gates += [Operation("ry", (q,), (0.3 * q,)) for q in range(n)]
    gates += [
        Operation("rotation", (0, 3, 6), (0.7,), pauli="XYZ"),
        Operation("cswap", (6, 0, 1)),
        Operation("x", (0,)),
    ]
    values = PauliSum(n, ("ZZIIIII", "XIIIIIX", "IIYIYII"), (1.0, 0.5, -0.3))
    yield Job(Circuit(n, 0, tuple(gates), (values,)), 0, 1)
    middle = [Operation("measure", (0,), bits=(0,)), Operation("x", (6,), condition=((0,), 1))]
    ends = [Operation("measure", (q,), bits=(q,)) for q in range(1, n)]
    yield Job(Circuit(n, n, (*gates, *middle, *ends)), 500, 2)


def answers(backend: Backend) -> list[Answer]:
    """Of all jobs, in one batch."""
    return list(run_sync(backend, [backend.prepare(job) for job in jobs()]))


def agree(one: Answer, other: Answer) -> None:
    """The same seeds draw the same samples, but where rounding decides: at most few of them."""
    if isinstance(one, Expectations):
        assert isinstance(other, Expectations)
        np.testing.assert_allclose(one.values, other.values, atol=1e-5)
        return
    assert isinstance(one, Result)
    assert isinstance(other, Result)
    seen = [
        {row.tobytes(): int(count) for row, count in zip(each.samples, each.counts, strict=True)}
        for each in (one, other)
    ]
    moved = sum(abs(seen[0].get(row, 0) - seen[1].get(row, 0)) for row in {*seen[0], *seen[1]})
    assert moved <= 4, f"{moved} of {one.counts.sum()} samples differ"


def main() -> None:
    """Raises AssertionError where they differ."""
    assert len(jax.devices()) == 4
    alone, batches, tiny = JaxStatevector(), JaxStatevector(), JaxStatevector(device_bytes=1)
    alone.__dict__["_devices"] = 1
    small = statevector.SMALL
    for several, shared, statevector.SMALL in ((batches, (4, 1), small), (batches, (4, 1), 0), (tiny, (1, 4), 0)):
        shape = several.prepare(next(jobs())).shape
        assert (shape.devices, shape.across) == shared
        for one, other in zip(answers(alone), answers(several), strict=True):
            agree(one, other)
    *_, circuit, _ = jobs()
    alone, tiny = JaxStatevector("complex128"), JaxStatevector("complex128", device_bytes=1)
    alone.__dict__["_devices"] = 1
    one, other = (run_sync(each, [each.prepare(circuit)])[0] for each in (alone, tiny))
    assert isinstance(one, Expectations)
    assert isinstance(other, Expectations)
    np.testing.assert_allclose(one.values, other.values, atol=1e-13)


if __name__ == "__main__":
    main()
