"""Named arrays and plain values on the wire: what a family sends itself from hop to hop, in its own terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Shaped

from qmosaic.codecs.models.arrays import Packed, pack, unpack


class Bundle(msgspec.Struct, frozen=True, tag="bundle"):
    """`arrays` are packed, `values` plain JSON. Only the family that made it knows what is in it."""

    arrays: dict[str, Packed] = {}
    values: dict[str, Any] = {}


def bundle(arrays: Mapping[str, Shaped[np.ndarray, "..."]] | None = None, **values: Any) -> Bundle:
    """Pack arrays by name, values beside them. Raises ValueError for a dtype that has no place on the wire."""
    return Bundle({name: pack(array) for name, array in (arrays or {}).items()}, values)


def array(of: Bundle, name: str) -> Any:
    """The array called `name`, read-only. Raises LookupError where there is none, ValueError where it is broken."""
    return unpack(of.arrays[name])
