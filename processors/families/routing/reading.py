"""A routing problem's payload: distances, names, and the fleet."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from math import fsum

import msgspec
import numpy as np

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.problems.route import Node, Route
from qmosaic.processors.families.base import Limits
from qmosaic.processors.families.payload import invalid, shown, twice, unwritable
from qmosaic.processors.families.routing.tours import Distances, Fleet, fits

LARGEST = 2.0**52
"""Tours up to this length: whole distances are added exactly."""
FIELDS = tuple(name for name in Route.__struct_fields__ if name != "sense")


def read_distances(data: Route, limits: Limits) -> Distances | Rejected:
    """The distances of a payload, by coordinates and a metric or as listed; or what is wrong with them."""
    if (data.coordinates is None) == (data.matrix is None):
        return invalid("expected coordinates or a matrix, one of them", "", "Send `coordinates` or `matrix`.")
    field_ = "matrix" if data.coordinates is None else "coordinates"
    listed: Sequence[Sequence[float]] = data.matrix if data.matrix is not None else data.coordinates or ()
    n = len(listed)
    if n == 0:
        return Rejected("empty_problem", "there is no node at all", f"$.problem.{field_}", "Send at least one node.")
    pairs = n * (n - 1) // (1 if data.directed else 2)
    if n > limits.variables or pairs > limits.couplings:
        return Rejected(
            "too_large",
            f"{n} nodes are {pairs} distances, the limits are {limits.variables} and {limits.couplings}",
            f"$.problem.{field_}",
            "Send a smaller problem, or raise limits.variables and limits.couplings.",
        )
    if data.matrix is not None:
        return _listed(data)
    if data.directed:
        return invalid("distances between points are the same both ways", ".directed", "Send a matrix.")
    table = np.array(listed, dtype=np.float64)
    reach = (90.0, 180.0) if data.metric == "geo" else (1e12, 1e12)
    if len(at := np.argwhere(~(np.abs(table) <= reach))):
        k, axis = (int(i) for i in at[0])
        return invalid(
            f"{listed[k][axis]:g} is beyond ±{reach[axis]:g}",
            f".coordinates[{k}][{axis}]",
            "With geo, send latitude and longitude as DDD.MM." if data.metric == "geo" else "Scale the points down.",
        )
    return Distances(table, data.metric)


def _listed(data: Route) -> Distances | Rejected:
    rows = data.matrix or ()
    n = len(rows)
    if data.metric != "euclidean":
        return invalid("a matrix has no metric", ".metric", "Leave it out, or send coordinates.")
    for k, row in enumerate(rows):
        if len(row) != n:
            return invalid(f"expected {n} values, got {len(row)}", f".matrix[{k}]", "Send a square matrix.")
    table = np.array(rows, dtype=np.float64)
    if len(at := np.argwhere(~np.isfinite(table) | (table < 0))):
        i, j = (int(k) for k in at[0])
        if i != j or not np.isfinite(table[i, j]):
            return invalid(
                f"{rows[i][j]:g} is no distance", f".matrix[{i}][{j}]", "Send finite numbers, none negative."
            )
    np.fill_diagonal(table, 0.0)
    if not data.directed and len(at := np.argwhere(table != table.T)):
        i, j = (int(k) for k in at[0])
        return invalid(
            f"{rows[i][j]:g} from {i} to {j}, {rows[j][i]:g} back",
            f".matrix[{i}][{j}]",
            "Correct the matrix, or set `directed` where both are meant.",
        )
    if table.max(initial=0.0) * n > LARGEST:
        return invalid(
            "the distances add up to more than a float64 holds exactly", ".matrix", "Scale the distances down."
        )
    return Distances(table, None)


def read_names(data: Route, n: int) -> tuple[Node, ...] | Rejected:
    """The names of the `n` nodes, 0 to n - 1 where there are none given; or what is wrong with them."""
    if data.nodes is None:
        return tuple(range(n))
    if len(data.nodes) != n:
        return invalid(f"expected {n} names, got {len(data.nodes)}", ".nodes", "Name every node.")
    names = tuple(data.nodes)
    if (k := twice(names)) is not None:
        return invalid(f"{shown(names[k])} is there twice", f".nodes[{k}]", "Give every node its own name.")
    if (k := unwritable(names)) is not None:
        return invalid(f"{shown(names[k])} is no name", f".nodes[{k}]", "Send valid UTF-8, or integers of 64 bits.")
    return names


def read_fleet(data: Route, start: int, names: Sequence[Node]) -> Fleet | Rejected | None:
    """The vehicles of a payload, None where it has none; or what is wrong with them. `start`: the depot's place."""
    if data.demands is None or data.capacity is None:
        for name in ("demands", "capacity", "vehicles"):
            if getattr(data, name) is not None:
                return invalid(
                    f"{name} without {'capacity' if name == 'demands' else 'demands and capacity'}",
                    f".{name}",
                    "Send demands and capacity, or leave all out for one tour.",
                )
        return None
    n = len(names)
    if not 0 < data.capacity <= LARGEST:
        return invalid(f"expected a positive number, got {data.capacity:g}", ".capacity", "Say what a vehicle holds.")
    if data.vehicles is not None and data.vehicles < 1:
        return invalid(f"expected at least 1, got {shown(data.vehicles)}", ".vehicles", "Leave it out for no limit.")
    if len(data.demands) != n:
        return invalid(f"expected {n} values, got {len(data.demands)}", ".demands", "Send one for each node.")
    if n == 1:
        return Rejected("empty_problem", "there is no customer", "$.problem", "Send the depot and at least one more.")
    for k, demand in enumerate(data.demands):
        if not 0 <= demand < np.inf:
            return invalid(f"{demand:g} is no demand", f".demands[{k}]", "Send finite numbers, none negative.")
        if k == start and demand:
            return invalid(f"the depot {shown(names[k])} has the demand {demand:g}", f".demands[{k}]", "Set it to 0.")
        if demand > data.capacity:
            return invalid(
                f"node {shown(names[k])} demands {demand:g}, a vehicle holds {data.capacity:g}",
                f".demands[{k}]",
                "Split the demand, or raise the capacity.",
            )
    vehicles = min(data.vehicles or n - 1, n - 1)
    if (total := fsum(data.demands)) > vehicles * fits(data.capacity):
        return invalid(
            f"the demands are {total:g}, {vehicles} vehicles hold {vehicles * data.capacity:g}",
            ".vehicles",
            "Raise vehicles or capacity.",
        )
    return Fleet(np.array(data.demands, dtype=np.float64), float(data.capacity), vehicles)


def digest_of(names: Sequence[Node], distances: Distances, directed: bool, start: int, fleet: Fleet | None) -> str:
    """A digest of all that makes two routing problems the same (hex)."""
    limits = None if fleet is None else (fleet.capacity, fleet.vehicles)
    plain = ("qmosaic.route/1", names, distances.table.shape, distances.metric, directed, start, limits)
    hasher = sha256(msgspec.json.encode(plain))
    for numbers in (distances.table, fleet.demands if fleet else np.zeros(0)):
        hasher.update((np.ascontiguousarray(numbers, dtype="<f8") + 0.0).tobytes())
    return hasher.hexdigest()[:32]
