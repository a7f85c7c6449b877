"""Max-cut, as its users write it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from qmosaic.codecs.problems.base import Count, Edge, ProblemData, described


class MaxCut(ProblemData, frozen=True, kw_only=True, omit_defaults=True):
    """Max-cut: split the nodes in two so that the edges between the parts weigh most."""

    family: ClassVar[str] = "maxcut"
    example: ClassVar[dict[str, Any]] = {"edges": [[0, 1], [1, 2], [2, 0, 1.5]]}
    edges: Annotated[
        Sequence[Edge], described("[u, v] or [u, v, weight]; nodes from 0, or names; weight 1 where missing")
    ]
    nodes: Annotated[Count | Sequence[str] | None, described("how many nodes, or their names; default: as seen")] = None
