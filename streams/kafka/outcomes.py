"""Outcomes and rejections as they stand in the terminal topics, where anybody may have written something else."""

from __future__ import annotations

import logging

import msgspec
from aiokafka import ConsumerRecord

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.public import Outcome, Rejection
from qmosaic.codecs.text import shown
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.settings import Settings

log = logging.getLogger("qmosaic.client")

TERMINAL: dict[str, type[Outcome] | type[Rejection]] = {
    "outcomes.accepted": Outcome,
    "outcomes.fallback": Outcome,
    "problems.rejected": Rejection,
}


def read_terminal(settings: Settings, record: ConsumerRecord) -> Outcome | Rejection | None:
    """The event of a record of a terminal topic; None, and a line in the log, for what is none of ours."""
    kind = next(kind for name, kind in TERMINAL.items() if topic_name(settings, name) == record.topic)
    try:
        return wire.decode(record.value or b"", kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        said = shown(str(error), 200)
        log.warning("%s %s:%s cannot be read: %s", record.topic, record.partition, record.offset, said)
        return None
