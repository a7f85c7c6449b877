"""qmosaic: a streaming control plane for hybrid quantum-classical computing on Kafka.

async with qmosaic.Client("localhost:9092") as client:
    outcome = await client.solve(qmosaic.MaxCut(edges=[(0, 1), (1, 2), (2, 0)]), deadline=5)
"""

from typing import TYPE_CHECKING

from qmosaic.codecs import problems
from qmosaic.codecs.errors import (
    BackendError,
    BrokerError,
    FormatError,
    ProblemError,
    QmosaicError,
    Rejected,
    SettingsError,
)
from qmosaic.codecs.events.public import Outcome, Problem, Rejection
from qmosaic.codecs.problems import *  # noqa: F403 - the families name what they export

if TYPE_CHECKING:
    from qmosaic.streams.client import Client, SyncClient

__all__ = [
    "BackendError",
    "BrokerError",
    "Client",
    "FormatError",
    "Outcome",
    "Problem",
    "ProblemError",
    "QmosaicError",
    "Rejected",
    "Rejection",
    "SettingsError",
    "SyncClient",
]
__all__ += problems.__all__


def __getattr__(name: str) -> object:
    # Lazily: the pure core must not pull in Kafka clients.
    if name in ("Client", "SyncClient"):
        from qmosaic.streams import client

        return getattr(client, name)
    raise AttributeError(f"module 'qmosaic' has no attribute {name!r}")
