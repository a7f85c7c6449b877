"""The settings as the pure core takes them."""

from __future__ import annotations

import msgspec

from qmosaic.processors.admit import Defaults
from qmosaic.processors.families.base import Limits
from qmosaic.streams.settings import Settings


def limits_of(settings: Settings) -> Limits:
    """The settings as the core takes them."""
    return Limits(**msgspec.structs.asdict(settings.limits))


def defaults_of(settings: Settings) -> Defaults:
    """The settings as the core takes them."""
    return Defaults(**msgspec.structs.asdict(settings.defaults))
