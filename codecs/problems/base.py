"""What the families' problems have in common as Python values, for the client: `MaxCut(edges=[(0, 1), (1, 2)])`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import msgspec

from qmosaic.codecs.events.reasons import Sense

_NODE = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]}
_ENDS_AND_VALUE = {"prefixItems": [_NODE, _NODE, {"type": "number"}]}
Edge = Annotated[Sequence[Any], msgspec.Meta(min_length=2, max_length=3, extra_json_schema=_ENDS_AND_VALUE)]
Term = Annotated[Sequence[Any], msgspec.Meta(min_length=3, max_length=3, extra_json_schema=_ENDS_AND_VALUE)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class ProblemData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Base: what goes under `problem` in an event are the fields, `sense` aside.

    A subclass says in its docstring what the family is, in the `description` of each field what it means and in
    which unit; `example` is a payload that is valid.
    """

    family: ClassVar[str]
    example: ClassVar[dict[str, Any]]
    sense: Sense | None = None

    def payload(self) -> dict[str, Any]:
        """The event's `problem`."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        fields.pop("sense", None)
        return fields


def described(text: str) -> msgspec.Meta:
    """The description of a field, for people and for the JSON Schema."""
    return msgspec.Meta(description=text)
