"""What a kernel is like, for whoever decides where it runs: its kind, its couplings, and the seconds it takes."""

from __future__ import annotations

from qmosaic.backends.circuits.counting import MAX_DEFERRED, is_final, qubits_when_deferred, shot_by_shot_seconds
from qmosaic.backends.clifford.tableau import is_clifford
from qmosaic.backends.estimates import gates_of
from qmosaic.backends.solvers.exact import is_narrow
from qmosaic.codecs.models.circuit import Circuit
from qmosaic.codecs.models.kernel import Kernel, Kind, kind_of, size_of
from qmosaic.codecs.models.polynomial import SpinPolynomial


def kind_in(kernel: Kernel) -> Kind:
    """The kind of a kernel, those told apart that few backends take: narrow polynomials, Clifford circuits."""
    kind = kind_of(kernel)
    if isinstance(kernel, SpinPolynomial):
        return "narrow" if is_narrow(kernel) else kind
    return "clifford" if kind == "circuit" and all(map(is_clifford, kernel.each)) else kind


def couplings_of(kernel: Kernel) -> int:
    """Pairs of variables that are coupled; 0 of a circuit."""
    return len(kernel.J) if isinstance(kernel, SpinPolynomial) else 0


def work_seconds(kernel: Kernel, shots: int) -> float:
    """About how long a simulator on one processor takes: 0.1 s for 16 qubits of QAOA, and twice as long for each more.

    By gates on one and two qubits and amplitudes, as measured with Cirq; a term or a rotation of k letters is
    2 (k - 1) CNOTs and a rotation. Measurements in the middle take qubits, or where they are many, every shot its time.
    """
    if isinstance(kernel, SpinPolynomial) and not kernel.higher:
        return _of_qubits(kernel.n)
    if isinstance(kernel, Circuit) and len(kernel.each) > 1:
        return sum(work_seconds(one, shots) for one in kernel.each)
    qubits = size_of(kernel)
    if isinstance(kernel, Circuit) and not kernel.observables and not is_final(kernel):
        qubits = qubits_when_deferred(kernel)
    if isinstance(kernel, Circuit) and qubits > max(kernel.qubits, MAX_DEFERRED):
        return shot_by_shot_seconds(kernel, shots)
    seconds = gates_of(kernel, layers=2) * (1.5e-4 + 8e-9 * 2.0 ** min(qubits, 64))
    return max(_of_qubits(kernel.n), seconds) if isinstance(kernel, SpinPolynomial) else seconds


def _of_qubits(n: int) -> float:
    return float(0.1 * 2.0 ** min(n - 16, 64))
