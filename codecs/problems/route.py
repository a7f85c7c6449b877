"""Routes, as their users write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from qmosaic.codecs.problems.base import ProblemData, described

Metric = Literal["euclidean", "euc_2d", "ceil_2d", "geo", "att"]
Node = int | str
Point = Annotated[Sequence[float], msgspec.Meta(min_length=2, max_length=2)]


class Route(ProblemData, frozen=True, kw_only=True, omit_defaults=True):
    """Routes: the shortest tour through all nodes or, with demands, the shortest routes of vehicles from a depot."""

    family: ClassVar[str] = "route"
    example: ClassVar[dict[str, Any]] = {
        "nodes": ["depot", "a", "b", "c"],
        "coordinates": [[0, 0], [3, 4], [6, 0], [0, 5]],
        "demands": [0, 2, 2, 1],
        "capacity": 3,
        "vehicles": 2,
    }
    coordinates: Annotated[
        Sequence[Point] | None, described("[x, y] of each node; with geo, latitude and longitude as DDD.MM")
    ] = None
    metric: Annotated[
        Metric,
        described(
            "the distance of two points: euclidean (exact) or one of TSPLIB's rules euc_2d (rounded), ceil_2d "
            "(rounded up), geo (kilometres on the globe), att (pseudo-Euclidean)"
        ),
    ] = "euclidean"
    matrix: Annotated[
        Sequence[Sequence[float]] | None,
        described("instead of coordinates: distances from row to column, none negative; the diagonal does not count"),
    ] = None
    directed: Annotated[bool, described("whether the matrix may differ by direction")] = False
    demands: Annotated[Sequence[float] | None, described("what each node is to be brought; 0 at the depot")] = None
    capacity: Annotated[float | None, described("what a vehicle holds, in the unit of the demands")] = None
    vehicles: Annotated[int | None, described("how many vehicles there are at most; default: no limit")] = None
    depot: Annotated[Node | None, described("the node where routes begin and end; default: the first")] = None
    nodes: Annotated[
        Sequence[Node] | None, described("the nodes' numbers or names, in the order of the data; default: from 0")
    ] = None
