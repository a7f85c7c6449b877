"""Ising, as its users write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from qmosaic.codecs.problems.base import Count, ProblemData, Term, described


class Ising(ProblemData, frozen=True, kw_only=True, omit_defaults=True):
    """Ising: value = offset + sum h_i s_i + sum of J s_i s_j, s in {+1, -1}; minimised unless `sense` is max."""

    family: ClassVar[str] = "ising"
    example: ClassVar[dict[str, Any]] = {"h": [0.5, 0, -0.5], "J": [[0, 1, 1], [1, 2, -1]]}
    J: Annotated[Sequence[Term], described("[i, j, value]; spins from 0, or names")] = ()
    h: Annotated[Sequence[float] | Mapping[str, float] | None, described("a field for each spin, or by name")] = None
    variables: Annotated[Count | Sequence[str] | None, described("how many, or their names; default: as seen")] = None
    offset: Annotated[float, described("added to every value")] = 0.0
