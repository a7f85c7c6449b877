"""Backends by name. Nothing is imported before it is asked for: a worker pays for its own backend alone.

    exact                                   as it is
    cirq.density/depolarizing=0.01          with an argument: what, which or how strong is the backend's to say
    zne(cirq.density/depolarizing=0.01)     wrapped: the same jobs, mitigated

Packages outside add theirs with an entry point, a class that takes no arguments, or one, the text after the slash:

    [project.entry-points."qmosaic.backends"]
    "acme.qpu" = "acme.qmosaic:AcmeBackend"
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoints, entry_points
from inspect import signature
from typing import Any, NamedTuple

from qmosaic.backends.base import Backend, Target
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.text import choose

GROUP = "qmosaic.backends"


class Entry(NamedTuple):
    """A backend that is built in. `argument`: what may stand after the slash; `extra`: what to install for it."""

    target: Target
    place: str
    about: str
    argument: str = ""
    extra: str = ""


BUILT_IN: dict[str, Entry] = {
    "annealing": Entry("classical", "solvers.annealing:Annealing", "simulated annealing (dwave-samplers)"),
    "bifurcation": Entry("classical", "solvers.bifurcation:Bifurcation", "simulated bifurcation in JAX, CPU or GPU"),
    "aqt": Entry("quantum", "clouds.aqt:Aqt", "AQT's cloud", "WORKSPACE/RESOURCE", "aqt"),
    "cirq.clifford": Entry("classical", "clifford.on_cirq:CirqClifford", "Clifford circuits of any size, by tableau"),
    "cirq.density": Entry("quantum", "on_cirq.density:CirqDensity", "density matrices, with noise", "NOISE=STRENGTH,…"),
    "cirq.device": Entry(
        "quantum", "on_cirq.device:CirqDevice", "Google's processors, simulated", "PROCESSOR", "google"
    ),
    "cirq.statevector": Entry("quantum", "on_cirq.statevector:CirqStatevector", "Cirq's state vector simulator"),
    "exact": Entry(
        "classical", "solvers.exact:Exact", "the optimum: all states, or by elimination where terms are sparse"
    ),
    "fake": Entry("classical", "conformance.fake:Fake", "scripted answers, for tests"),
    "google": Entry("quantum", "clouds.google:Google", "Google's Quantum Engine", "PROCESSOR", "google"),
    "ionq": Entry("quantum", "clouds.ionq:Ionq", "IonQ's cloud", "simulator, or qpu.NAME", "ionq"),
    "jax.statevector": Entry("gpu", "on_jax.statevector:JaxStatevector", "state vectors in JAX, many jobs at once"),
    "lanczos": Entry("classical", "solvers.lanczos:Lanczos", "ground states of Pauli sums, by sparse diagonalisation"),
    "qsim": Entry("quantum", "on_cirq.qsim:Qsim", "state vectors in C++, float32 (qsimcirq)", extra="qsim"),
    "stim": Entry(
        "classical", "clifford.on_stim:StimClifford", "Clifford circuits of thousands of qubits", extra="stim"
    ),
    "tabu": Entry("classical", "solvers.tabu:Tabu", "tabu search (dwave-samplers)"),
}
WRAPPERS: dict[str, Entry] = {
    "readout": Entry("quantum", "mitigation.readout:Readout", "readout errors measured and inverted"),
    "zne": Entry("quantum", "mitigation.zero_noise:ZeroNoise", "expectation values extrapolated to no noise"),
}
"""Their `target` counts for nothing: it is that of what they wrap."""


def names() -> list[str]:
    """All backends there are, built in or installed; without arguments, without wrappers."""
    return sorted({*BUILT_IN, *_installed().names})


@cache
def _installed() -> EntryPoints:
    """Those of other packages. To find them, files of every package that is installed are read, which takes 20 ms."""
    return entry_points(group=GROUP)


def is_known(name: str) -> bool:
    """Whether there is a backend of a name, with an argument or wrapped as it may be; nothing is imported for it."""
    return innermost(name).partition("/")[0] in names()


def create(name: str) -> Backend:
    """A new instance. Raises BackendError for an unknown name or argument, or one that does not load."""
    inner = innermost(name)
    try:
        base, slash, argument = inner.partition("/")
        kind, arguments = _class(base), (argument,) if slash else ()
        _check_arguments(inner, kind, arguments)
        return wrapped(name, kind(*arguments))
    except ImportError as error:
        extra = BUILT_IN.get(inner.partition("/")[0], Entry("classical", "", "")).extra
        remedy = f"Install it: pip install 'qmosaic[{extra}]'." if extra else "Install what it needs."
        raise BackendError(f"backend {name!r} cannot be imported: {error}", place=name, remedy=remedy) from error


def innermost(name: str) -> str:
    """What all the wrappers of a name wrap."""
    wrapper, inner = _unwrapped(name)
    return innermost(inner) if wrapper else name


def wrapped(name: str, inner: Backend) -> Backend:
    """A backend in the wrappers of a name, whatever this wraps. Raises BackendError."""
    wrapper, rest = _unwrapped(name)
    if not wrapper:
        return inner
    made: Backend = _load(WRAPPERS[wrapper].place)(wrapped(rest, inner))
    return made


def target_of(name: str) -> Target:
    """The class of targets a backend belongs to; its module is imported only where it is another package's."""
    base = innermost(name).partition("/")[0]
    if base in BUILT_IN:
        return BUILT_IN[base].target
    found: Target = _class(base).capabilities.target
    return found


def by_target(target: Target) -> list[str]:
    """Names of the backends of one class of target. Only those of other packages are imported for it."""
    return [name for name in names() if target_of(name) == target]


def _unwrapped(name: str) -> tuple[str, str]:
    """`zne(x)` as `zne` and `x`; anything else as nothing and itself."""
    wrapper, opened, rest = name.partition("(")
    if opened and wrapper in WRAPPERS and rest.endswith(")"):
        return wrapper, rest[:-1]
    return "", name


def _check_arguments(name: str, kind: Any, arguments: tuple[str, ...]) -> None:
    try:
        signature(kind).bind(*arguments)
    except TypeError as error:
        remedy = "Leave the slash and what follows out." if arguments else "Say after a slash which one is meant."
        raise BackendError(f"{name!r}: {error}", place=name, remedy=remedy) from error


def _class(name: str) -> Any:
    if name in BUILT_IN:
        return _load(BUILT_IN[name].place)
    for entry in _installed().select(name=name):
        return entry.load()
    raise BackendError(f"unknown backend {name!r}", place=name, remedy=choose(name, names()))


def _load(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(f"qmosaic.backends.{module}"), attribute)
