"""A pipeline watched from outside: what its topics tell, followed, and what the broker is asked, put together."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from qmosaic.codecs.errors import BrokerError
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import BackendStatus, ControlState, WorkersStatus
from qmosaic.codecs.events.ledger import LedgerEntry
from qmosaic.processors.admit import deadline_claimed
from qmosaic.processors.overview.audits import Stretches, Told, settled_between
from qmosaic.processors.overview.ends import Ended
from qmosaic.processors.overview.overview import Event, Overview, Overviews
from qmosaic.processors.overview.window import SECONDS
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.outcomes import TERMINAL
from qmosaic.streams.kafka.records import CLOCK_SECONDS
from qmosaic.streams.kafka.tail import Source, Tails
from qmosaic.streams.observe.asking import Broker
from qmosaic.streams.observe.report import Lag, Oldest, Report, report_of
from qmosaic.streams.settings import Settings

MOST_BACK = 20_000
"""Records of a partition that are read at a start: of a minute with more of them the rates begin too low."""
STATUS_BACK = 200
ENDED, TOLD = msgspec.json.Decoder(Ended), msgspec.json.Decoder(Told)


class Watching:
    """`async with Watching(settings) as watching: watching.known, await watching.report()`. `rest_seconds`: between two
    looks at the topics, by whoever watches for long: each look costs the broker and its readers.

    Raises BrokerError where no broker answers, or stops answering.
    """

    def __init__(self, settings: Settings, rest_seconds: float = 0.0) -> None:
        self._settings, self._broker, self._rest_seconds = settings, Broker(settings), rest_seconds
        self._tails: Tails[Overview, Event] | None = None

    async def __aenter__(self) -> Watching:
        try:
            await self._broker.__aenter__()
            if not self._broker.missing:
                oldest = await self._oldest(await self._broker.lags(), {})
                now = time.time()
                since = min(now - SECONDS, now - oldest.waiting if oldest else now) - CLOCK_SECONDS
                self._tails = Tails(self._settings, _sources(since), Overviews(), rest_seconds=self._rest_seconds)
                await self._tails.start()
        except (KafkaError, OSError, TimeoutError) as error:
            await self.__aexit__()
            raise self._away(error) from None
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._tails is not None:
            await self._tails.stop()
        await self._broker.__aexit__()

    @property
    def known(self) -> Overview:
        """What the topics have told so far."""
        return self._tails.state if self._tails is not None else Overviews.start

    async def report(self, once: bool = False) -> Report:
        """How it is now. `once`: nobody asks a second time, so what may be held is waited for."""
        if self._tails is None:
            return Report(self._settings.broker, self._broker.missing)
        try:
            lags = await self._broker.lags()
            known = await self._tails.caught_up()
            settled = known.audits.settled
            held = await (self._broker.held_now() if once else self._broker.held())
            oldest = await self._oldest(lags, settled)
        except (KafkaError, OSError, TimeoutError) as error:
            raise self._away(error) from None
        still_open = sum(
            lag.lag - settled_between(settled.get(lag.partition, ()), lag.end - lag.lag, lag.end)
            for lag in self._of_verify(lags)
        )
        return report_of(self._settings, known, lags, held, still_open, oldest, time.time())

    def _of_verify(self, lags: Sequence[Lag]) -> list[Lag]:
        """What verify has not settled of `problems`: from the first record that it still needs on."""
        name = topic_name(self._settings, "problems")
        return [lag for lag in lags if lag.stage == "verify" and lag.topic == name]

    async def _oldest(self, lags: Sequence[Lag], settled: Mapping[int, Stretches]) -> Oldest | None:
        found, now = list[Oldest](), time.time()
        for lag in self._of_verify(lags):
            offset = lag.end - lag.lag
            for first, last in settled.get(lag.partition, ()):
                if first <= offset < last:
                    offset = last
            if offset < lag.end:
                found += (
                    [one] if (one := await self._open(TopicPartition(lag.topic, lag.partition), offset, now)) else []
                )
        return max(found, key=lambda one: one.waiting, default=None)

    async def _open(self, place: TopicPartition, offset: int, now: float) -> Oldest | None:
        record = await self._broker.record(place, offset)
        if record is None:
            return None
        at = record.timestamp / 1000
        until = deadline_claimed(wire.envelope(record.value), at, self._settings.limits, self._settings.defaults)
        return Oldest(place.partition, record.offset, max(0.0, now - at), until - now)

    def _away(self, error: BaseException) -> BrokerError:
        return BrokerError(f"the broker stopped answering: {error}", place=self._settings.broker)


def _sources(since: float) -> list[Source[Event]]:
    """What an overview is made of: of what is much, from a time on."""
    ends = [Source[Event](topic, ENDED.decode, MOST_BACK, since) for topic in TERMINAL]
    return [
        *ends,
        Source("audit", TOLD.decode, MOST_BACK, since),
        Source("backends.status", partial(wire.decode, kind=BackendStatus), STATUS_BACK),
        Source("workers.status", partial(wire.decode, kind=WorkersStatus), STATUS_BACK),
        Source("control.state", partial(wire.decode, kind=ControlState)),
        Source("ledger", partial(wire.decode, kind=LedgerEntry)),
    ]
