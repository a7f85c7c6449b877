"""Every backend that ships passes the public suite."""

from qmosaic.backends.base import Backend
from qmosaic.backends.conformance.fake import Fake
from qmosaic.backends.conformance.samples import BackendConformance, CircuitConformance
from qmosaic.backends.on_cirq.statevector import CirqStatevector
from qmosaic.backends.on_jax.statevector import JaxStatevector
from qmosaic.backends.solvers.annealing import Annealing
from qmosaic.backends.solvers.bifurcation import Bifurcation
from qmosaic.backends.solvers.exact import Exact
from qmosaic.backends.solvers.tabu import Tabu


class TestAnnealing(BackendConformance):
    def make(self) -> Backend:
        return Annealing()


class TestBifurcation(BackendConformance):
    def make(self) -> Backend:
        return Bifurcation(warm_variables=(16,))


class TestCirqStatevector(CircuitConformance):
    def make(self) -> Backend:
        return CirqStatevector()


class TestExact(BackendConformance):
    def make(self) -> Backend:
        return Exact()


class TestFake(BackendConformance):
    def make(self) -> Backend:
        return Fake()


class TestJaxStatevector(CircuitConformance):
    def make(self) -> Backend:
        return JaxStatevector(warm_qubits=4, warm_layers=(1,), warm_shots=256)


class TestJaxStatevectorInDoublePrecision(CircuitConformance):
    def make(self) -> Backend:
        return JaxStatevector("complex128", warm_qubits=4, warm_layers=(1,), warm_shots=256)


class TestTabu(BackendConformance):
    def make(self) -> Backend:
        return Tabu()
