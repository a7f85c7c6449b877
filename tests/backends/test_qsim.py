"""`qsim` passes the suites."""

import pytest

from qmosaic.backends.base import Backend
from qmosaic.backends.registry import create
from qmosaic.backends.testing import CircuitConformance
from qmosaic.backends.testing_circuits import CircuitKernelConformance

pytest.importorskip("qsimcirq")


class TestPolynomials(CircuitConformance):
    def make(self) -> Backend:
        return create("qsim")


class TestCircuits(CircuitKernelConformance):
    def make(self) -> Backend:
        return create("qsim")
