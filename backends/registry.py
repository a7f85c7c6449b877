"""Backends by name. Nothing is imported before it is asked for: a worker pays for its own backend alone.

Packages outside add theirs with an entry point, a class that takes no arguments:

    [project.entry-points."qmosaic.backends"]
    "acme.qpu" = "acme.qmosaic:AcmeBackend"
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from qmosaic.backends.base import Backend, Target
from qmosaic.codecs.errors import BackendError

GROUP = "qmosaic.backends"

BUILT_IN: dict[str, tuple[Target, str]] = {
    "annealing": ("classical", "qmosaic.backends.annealing:Annealing"),
    "cirq.clifford": ("classical", "qmosaic.backends.clifford:CirqClifford"),
    "cirq.statevector": ("quantum", "qmosaic.backends.cirq_statevector:CirqStatevector"),
    "exact": ("classical", "qmosaic.backends.exact:Exact"),
    "fake": ("classical", "qmosaic.backends.fake:Fake"),
    "jax.statevector": ("gpu", "qmosaic.backends.jax_statevector:JaxStatevector"),
    "lanczos": ("classical", "qmosaic.backends.lanczos:Lanczos"),
    "tabu": ("classical", "qmosaic.backends.tabu:Tabu"),
}


def names() -> list[str]:
    """All backends there are, built in or installed."""
    return sorted({*BUILT_IN, *entry_points(group=GROUP).names})


def create(name: str) -> Backend:
    """A new instance. Raises BackendError for an unknown name, or one that does not load."""
    try:
        return _class(name)()
    except ImportError as error:
        raise BackendError(
            f"backend {name!r} cannot be imported: {error}", place=name, remedy="Install what it needs."
        ) from error


def by_target(target: Target) -> list[str]:
    """Names of the backends of one class of target. Only those of other packages are imported for it."""
    return [name for name in names() if _target(name) == target]


def _target(name: str) -> Target:
    return BUILT_IN[name][0] if name in BUILT_IN else _class(name).capabilities.target


def _class(name: str) -> type[Backend]:
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name][1].partition(":")
        return cast(type[Backend], getattr(import_module(module), attribute))
    for entry in entry_points(group=GROUP, name=name):
        return cast(type[Backend], entry.load())
    raise BackendError(f"unknown backend {name!r}", place=name, remedy=f"Choose one of: {', '.join(names())}.")
