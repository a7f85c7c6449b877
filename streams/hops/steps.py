"""What was done for a record, noted while it is done: for traces, of which a hop knows nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from qmosaic.streams.kafka.records import Step

if TYPE_CHECKING:
    from qmosaic.backends.base import Answer
    from qmosaic.backends.clouds.job import Status, Vendor

T = TypeVar("T")
MOST_STEPS = 100
"""Of one record: what goes on for hours must not fill a trace."""
TIMES = "qmosaic.vendor.requests"
"""How many requests a step stands for."""


class Steps:
    """The steps of one record, in the order in which they ended. `clock`: seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._steps = clock, list[Step]()

    @contextmanager
    def noting(self, name: str, attributes: dict[str, Any] | None = None, *, remote: bool = False) -> Iterator[None]:
        """One step, from here to the end of the block; how it failed, if it does."""
        started, said = self._clock(), dict(attributes or {})
        try:
            yield
        except BaseException as error:
            said["error.type"] = type(error).__name__
            if str(error):
                said["qmosaic.failure.message"] = str(error)[:500]
            raise
        finally:
            self._add(Step(name, started, self._clock(), said, remote=remote))

    def taken(self) -> tuple[Step, ...]:
        """What was noted up to now; it begins anew."""
        steps, self._steps = tuple(self._steps), []
        return steps

    def _add(self, step: Step) -> None:
        """Questions that repeat the last one are one step with it."""
        last = self._steps[-1] if self._steps else None
        if last is not None and TIMES in step.attributes and step.name == last.name and _is_fine(last, step):
            times = last.attributes[TIMES] + step.attributes[TIMES]
            self._steps[-1] = replace(last, ended=step.ended, attributes={**step.attributes, TIMES: times})
        elif len(self._steps) < MOST_STEPS:
            self._steps.append(step)


def _is_fine(*steps: Step) -> bool:
    return not any("error.type" in step.attributes for step in steps)


class Noted:
    """A vendor (of clouds) whose requests are noted; in all else it is the vendor itself."""

    def __init__(self, vendor: Vendor, steps: Steps) -> None:
        self._vendor, self._steps = vendor, steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vendor, name)

    async def submit(self, prepared: Any, client_id: str) -> str:
        """As the vendor's."""
        return await self._noted("submit", self._vendor.submit(prepared, client_id))

    async def find(self, client_id: str) -> str | None:
        """As the vendor's."""
        return await self._noted("find", self._vendor.find(client_id), {TIMES: 1})

    async def poll(self, vendor_id: str) -> tuple[Status, str]:
        """As the vendor's."""
        return await self._noted("poll", self._vendor.poll(vendor_id), {TIMES: 1})

    async def fetch(self, vendor_id: str, prepared: Any) -> Answer:
        """As the vendor's."""
        return await self._noted("fetch", self._vendor.fetch(vendor_id, prepared))

    async def cancel(self, vendor_id: str) -> None:
        """As the vendor's."""
        await self._noted("cancel", self._vendor.cancel(vendor_id))

    async def _noted(self, what: str, work: Awaitable[T], attributes: dict[str, Any] | None = None) -> T:
        with self._steps.noting(f"{what} {self._vendor.name}", attributes, remote=True):
            return await work
