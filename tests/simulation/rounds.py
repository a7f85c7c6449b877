"""Problems with rounds, in the world of verify: reduce and execute answer what verify sends on its way again."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import cache
from time import monotonic
from typing import Any

import msgspec
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.hops import Encoded, Incumbent, Interim, Reduced, Ref
from qmosaic.processors.reduce import reduce_events
from qmosaic.streams.hops.verify import Verifier
from tests.simulation.broker import Entry
from tests.simulation.loop import START
from tests.simulation.world import PARTITIONS, QUIET, SECONDS, Sent, World, answers, encoded

WANTED = (2, 3, 5, "deadline", "converged")


@cache
def remembering() -> tuple[Incumbent, Reduced]:
    """What reduce makes of a problem with rounds."""
    event = encoded()
    event = msgspec.structs.replace(event, ref=msgspec.structs.replace(event.ref, rounds=2))
    ((incumbent, reduced),) = reduce_events(
        [event], now=START, max_kernel_qubits=6, layers=1, share=0.5, max_seconds=1.0, clock=monotonic
    )
    assert reduced is not None
    assert incumbent.kernel_digest == answers()[0].kernel_digest
    return msgspec.structs.replace(incumbent, seconds=0.1), reduced  # what it took here is chance


class Rounds(World):
    """Most problems ask for rounds. What is sent to reduce is read as it comes, be it committed or not, and now and
    then twice, as reduce does; some of it leads to nothing."""

    def __init__(self, seed: int, verifier: type[Verifier] = Verifier) -> None:
        super().__init__(seed, verifier)
        self._about: dict[tuple[TopicPartition, int, int], int] = {}  # of the round that was on
        remembering()

    async def begin(self) -> None:
        await super().begin()
        for k in range(PARTITIONS):
            self.loop.spawn(None, self._reduce(TopicPartition("problems.encoded", k)))

    def asked(self) -> dict[str, Any]:
        return {"rounds": self.chance.choice(WANTED)} if self.chance.random() < 0.8 else {}

    def incumbent(self) -> Incumbent:
        return remembering()[0]

    async def _reduce(self, place: TopicPartition) -> None:
        read, log = 0, self.broker.logs[place]
        while self.loop.time() < START + SECONDS + QUIET:
            await asyncio.sleep(0.02)
            for entry in log.entries[read:]:
                if entry.value is not None:
                    ref = wire.decode(entry.value, Encoded).ref
                    for _ in range(self.chance.choice((1, 1, 1, 2))):
                        self.loop.spawn(None, self._again(ref))
            read = len(log.entries)

    async def _again(self, ref: Ref) -> None:
        if self.chance.random() < 0.95:
            await self._answer(Sent(TopicPartition("problems", ref.partition), ref.offset, ref, False), ref)

    def needed(self, place: TopicPartition, ref: Ref, offset: int) -> None:
        if ref.round == 1 + len(self.began().get((ref.partition, ref.offset), [])):
            self._about.setdefault((place, ref.offset, ref.round), offset)

    def _check_floors(self, group: str, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        began = self.began()
        self.about = {
            (place, source): offset
            for (place, source, number), offset in self._about.items()
            if number == 1 + len(began.get((place.partition, source), []))
        }
        super()._check_floors(group, offsets)

    # -- what must hold ------------------------------------------------------------------------------------------

    def _committed(self, topic: str) -> list[tuple[TopicPartition, Entry]]:
        return [
            (place, entry)
            for place, log in self.broker.logs.items()
            for entry in log.entries
            if place.topic == topic and entry.value and entry.transaction and entry.transaction.state == "committed"
        ]

    def began(self) -> dict[tuple[int, int], list[int]]:
        """By problem, the rounds that began by the log."""
        out: dict[tuple[int, int], list[int]] = {}
        for _, entry in self._committed("problems.interim"):
            ref = wire.decode(entry.value or b"", Interim).ref
            out.setdefault((ref.partition, ref.offset), []).append(ref.round)
        return out

    def check(self) -> None:
        super().check()
        began, ended = self.began(), self.outcomes()
        for problem, rounds in began.items():
            if rounds != list(range(2, len(rounds) + 2)):
                self.wrong.append(f"of problem {problem} the rounds began as {rounds}")
            told = [one["number"] for one in ended.get(problem, ("", {}))[1].get("rounds", [])]
            if told != list(range(1, len(rounds) + 2)):
                self.wrong.append(f"the outcome of problem {problem} tells of rounds {told}, {rounds} began")
        sent = Counter((ref.partition, ref.offset, ref.round) for ref in self._sent_again())
        if sent != Counter((*problem, number) for problem, rounds in began.items() for number in rounds):
            self.wrong.append(f"sent to reduce are {sent}, and {began} began")
        for one in self.sent:
            place, wanted = (one.place.partition, one.offset), one.ref.rounds if one.ref is not None else 1
            if isinstance(wanted, int) and len(began.get(place, [])) >= max(wanted, 1):
                self.wrong.append(f"problem {place} wanted {wanted} rounds, and {began[place]} began besides the first")
        self._check_audit(began)
        self._check_answers()

    def _sent_again(self) -> list[Ref]:
        return [wire.decode(entry.value or b"", Encoded).ref for _, entry in self._committed("problems.encoded")]

    def _check_answers(self) -> None:
        """A round is over when somebody has answered it, and not before."""
        answered = set[tuple[int, int, int]]()
        lines = [(place, entry) for place, log in self.broker.logs.items() for entry in log.entries if entry.value]
        for place, entry in sorted(lines, key=lambda line: line[1].at):
            if place.topic == "incumbents":
                ref = wire.decode(entry.value or b"", Incumbent).ref
                answered.add((ref.partition, ref.offset, ref.round))
            elif place.topic == "problems.interim":
                ref = wire.decode(entry.value or b"", Interim).ref
                if (ref.partition, ref.offset, ref.round - 1) not in answered:
                    self.wrong.append(
                        f"round {ref.round} of {ref.partition}/{ref.offset} began, the last had no answer"
                    )

    def _check_audit(self, began: dict[tuple[int, int], list[int]]) -> None:
        """A line for each round that is over."""
        said = Counter[tuple[int, int]]()
        for place, entry in self._committed("audit"):
            line = msgspec.json.decode(entry.value or b"{}")
            if line["event"] == "round":
                said[place.partition, line["offset"]] += 1
        if said != Counter({problem: len(rounds) for problem, rounds in began.items()}):
            self.wrong.append(f"the audit tells of rounds {said}, and {began} began")
