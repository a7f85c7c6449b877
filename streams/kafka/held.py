"""Partitions that a foreign open transaction holds: where nothing is read although there is something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

LOOK_SECONDS = 1.0
HELD_SECONDS = 3.0  # a transaction that is open for less is an ordinary one
SAY_AGAIN_SECONDS = 60.0


class Place(NamedTuple):
    """Where a reader stands in a partition: its next offset, that of the first open transaction, and the end."""

    position: int
    stable: int
    end: int


def places(consumer: AIOKafkaConsumer) -> dict[TopicPartition, Place]:
    """Where a reader of committed records stands in each of its partitions, as of its last fetch."""
    found = {}
    subscription = consumer._subscription.subscription
    assignment = subscription and subscription.assignment
    for tp in assignment.tps if assignment else ():
        state = assignment.state_value(tp)
        if state.has_valid_position and state.lso is not None and state.highwater is not None:
            found[tp] = Place(state.position, state.lso, state.highwater)
    return found


def lags(consumer: AIOKafkaConsumer) -> dict[str, int]:
    """By topic, how many records of its partitions a reader has not read, as of its last fetch."""
    found: dict[str, int] = {}
    for tp, place in places(consumer).items():
        found[tp.topic] = found.get(tp.topic, 0) + max(0, place.end - place.position)
    return found


class Held:
    """Which partitions a transaction of somebody else's holds up: nothing behind its first record can be read before it
    ends, by whoever began it, by its timeout (15 minutes at most by default), or by an operator."""

    def __init__(self) -> None:
        self._looked = -LOOK_SECONDS
        self._since: dict[TopicPartition, tuple[int, float]] = {}  # the offset where it stands, and since when
        self._said: dict[TopicPartition, float] = {}

    def look(self, seen: Mapping[TopicPartition, Place], now: float) -> list[str]:
        """What there is to say, a line a partition: that it is held up, that it still is, that it goes on.

        `now`: seconds of a monotonic clock. Looks once in `LOOK_SECONDS`, however often it is called.
        """
        if now - self._looked < LOOK_SECONDS:
            return []
        self._looked = now
        stuck = {tp: place.stable for tp, place in seen.items() if place.stable <= place.position < place.end}
        since = {tp: (at, now) for tp, at in stuck.items()}
        since |= {tp: known for tp, known in self._since.items() if stuck.get(tp) == known[0]}
        lines = [
            f"{tp.topic} {tp.partition} goes on after {now - self._since[tp][1]:.0f} s: the transaction has ended"
            for tp in sorted(self._said)
            if tp in seen and since.get(tp) != self._since[tp]
        ]
        self._since = since
        self._said = {tp: at for tp, at in self._said.items() if since.get(tp, (0, now))[1] <= at}
        for tp, (offset, begun) in sorted(since.items()):
            if now - begun >= HELD_SECONDS and now - self._said.get(tp, -SAY_AGAIN_SECONDS) >= SAY_AGAIN_SECONDS:
                self._said[tp] = now
                lines.append(
                    f"{tp.topic} {tp.partition} is held up at offset {offset} for {now - begun:.0f} s: a producer's "
                    f"transaction is open there, and the {seen[tp].end - offset} records from there on cannot be read "
                    "before it ends"
                )
        return lines
