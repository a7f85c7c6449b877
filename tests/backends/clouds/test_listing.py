"""One reading of a vendor's list answers all that look for a job in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from qmosaic.backends.clouds.listing import Listing


class Vendor:
    """A list of pages, each told when `told` is set; `readings` began."""

    def __init__(self, *pages: list[tuple[str, str]]) -> None:
        self.pages, self.readings, self.told = pages, 0, asyncio.Event()

    async def read(self) -> AsyncIterator[list[tuple[str, str]]]:
        self.readings += 1
        for page in self.pages:
            await self.told.wait()
            yield page


async def test_all_that_ask_at_once_share_a_reading() -> None:
    vendor = Vendor([("a", "1"), ("b", "2")], [("c", "3")])
    listing = Listing(vendor.read)
    vendor.told.set()
    assert await asyncio.gather(*map(listing.find, "cabcx")) == ["3", "1", "2", "3", None]
    assert vendor.readings == 1
    assert await listing.find("a") == "1"
    assert vendor.readings == 2


async def test_who_asks_in_the_middle_of_a_reading_waits_for_the_next() -> None:
    """What was sent before the question may be on a page that was read before."""
    vendor = Vendor([], [])
    listing = Listing(vendor.read)
    first = asyncio.create_task(listing.find("a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert vendor.readings == 1
    second = asyncio.create_task(listing.find("a"))
    await asyncio.sleep(0)
    vendor.pages = ([("a", "1")],)
    vendor.told.set()
    assert (await first, await second) == (None, "1")
    assert vendor.readings == 2


async def test_who_gives_up_leaves_the_reading_to_the_others() -> None:
    vendor = Vendor([("a", "1"), ("b", "2")])
    listing = Listing(vendor.read)
    gone, left = asyncio.create_task(listing.find("a")), asyncio.create_task(listing.find("b"))
    await asyncio.sleep(0)
    gone.cancel()
    vendor.told.set()
    assert await left == "2"
    assert vendor.readings == 1
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_what_the_reading_raises_each_is_told() -> None:
    async def pages() -> AsyncIterator[list[tuple[str, str]]]:
        yield [("a", "1")]
        raise ValueError("no list")

    listing = Listing(pages)
    found = await asyncio.gather(*map(listing.find, "abc"), return_exceptions=True)
    assert found[0] == "1"
    assert [str(error) for error in found[1:]] == ["no list"] * 2


def test_one_loop_after_another() -> None:
    vendor_pages = [("a", "1")]

    async def pages() -> AsyncIterator[list[tuple[str, str]]]:
        yield vendor_pages

    listing = Listing(pages)
    assert [asyncio.run(listing.find("a")) for _ in range(2)] == ["1", "1"]
