"""`qsim` passes the suites."""

import pytest

from qmosaic.backends.base import Backend
from qmosaic.backends.conformance.circuits import CircuitKernelConformance
from qmosaic.backends.conformance.samples import CircuitConformance
from qmosaic.backends.registry import create

pytest.importorskip("qsimcirq")


class TestPolynomials(CircuitConformance):
    def make(self) -> Backend:
        return create("qsim")


class TestCircuits(CircuitKernelConformance):
    def make(self) -> Backend:
        return create("qsim")
