"""QUBO, as its users write it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from qmosaic.codecs.problems.base import Count, ProblemData, Term, described


class Qubo(ProblemData, frozen=True, kw_only=True, omit_defaults=True):
    """QUBO: value = offset + sum of q x_i x_j, x in {0, 1}; minimised unless `sense` is max."""

    family: ClassVar[str] = "qubo"
    example: ClassVar[dict[str, Any]] = {"terms": [[0, 0, -1], [1, 1, -1], [0, 1, 2]]}
    terms: Annotated[Sequence[Term], described("[i, j, q]; variables from 0, or names; [i, i, q] is linear")]
    variables: Annotated[Count | Sequence[str] | None, described("how many, or their names; default: as seen")] = None
    offset: Annotated[float, described("added to every value")] = 0.0
