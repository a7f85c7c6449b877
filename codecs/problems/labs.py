"""LABS, as its users write it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec

from qmosaic.codecs.problems.base import ProblemData


class Labs(ProblemData, frozen=True, kw_only=True, omit_defaults=True):
    """Low autocorrelation binary sequences: n signs whose squared autocorrelations sum up to least."""

    family: ClassVar[str] = "labs"
    example: ClassVar[dict[str, Any]] = {"n": 13}
    n: Annotated[int, msgspec.Meta(ge=3, le=128, description="how many elements the sequence has")]
