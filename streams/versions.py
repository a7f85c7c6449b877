"""The versions that an outcome names: what computed it."""

from __future__ import annotations

from importlib.metadata import version

VERSIONS = {"qmosaic": version("qmosaic"), "jax": version("jax"), "cirq": version("cirq-core")}
