"""The families' problems as Python values, for the client: `MaxCut(edges=[(0, 1), (1, 2)])`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import msgspec

from qmosaic.codecs.events import Sense

# An index from 0, or a name.
Node = int | str

_NODE = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]}
_ENDS_AND_VALUE = {"prefixItems": [_NODE, _NODE, {"type": "number"}]}
Edge = Annotated[Sequence[Any], msgspec.Meta(min_length=2, max_length=3, extra_json_schema=_ENDS_AND_VALUE)]
Term = Annotated[Sequence[Any], msgspec.Meta(min_length=3, max_length=3, extra_json_schema=_ENDS_AND_VALUE)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class ProblemData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Base: what goes under `problem` in an event are the fields, `sense` aside."""

    family: ClassVar[str]
    sense: Sense | None = None

    def payload(self) -> dict[str, Any]:
        """The event's `problem`."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        fields.pop("sense", None)
        return fields


class MaxCut(ProblemData, frozen=True, kw_only=True, omit_defaults=True):
    """Max-cut: `edges` as (u, v) or (u, v, weight); `nodes` a count or a list of names."""

    family: ClassVar[str] = "maxcut"
    edges: Sequence[Edge]
    nodes: Count | Sequence[str] | None = None


class Qubo(ProblemData, frozen=True, kw_only=True, omit_defaults=True):
    """QUBO: value = offset + sum of q x_i x_j over `terms` (i, j, q); minimised unless `sense="max"`."""

    family: ClassVar[str] = "qubo"
    terms: Sequence[Term]
    variables: Count | Sequence[str] | None = None
    offset: float = 0.0


class Ising(ProblemData, frozen=True, kw_only=True, omit_defaults=True):
    """Ising: value = offset + sum h_i s_i + sum of J s_i s_j over `J` (i, j, value); s in {+1, -1}."""

    family: ClassVar[str] = "ising"
    J: Sequence[Term] = ()
    h: Sequence[float] | Mapping[str, float] | None = None
    variables: Count | Sequence[str] | None = None
    offset: float = 0.0
