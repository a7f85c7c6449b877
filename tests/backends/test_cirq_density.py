"""`cirq.density`: the suites without noise, and what the noise does."""

from __future__ import annotations

from qmosaic.backends.base import Backend
from qmosaic.backends.registry import create
from qmosaic.backends.testing import CircuitConformance
from qmosaic.backends.testing_circuits import CircuitKernelConformance


class TestPolynomials(CircuitConformance):
    def make(self) -> Backend:
        return create("cirq.density")


class TestCircuits(CircuitKernelConformance):
    def make(self) -> Backend:
        return create("cirq.density")
