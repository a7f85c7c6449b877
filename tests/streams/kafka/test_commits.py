"""What a worker commits: up to the first record that is in work, whatever is done behind it, and at once.

`FaustsOwn` shows what Faust makes of the same: red here means that it may be taken again.
"""

from __future__ import annotations

from collections import defaultdict, deque
from itertools import pairwise
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from faust.transport import consumer as fausts
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.streams.kafka.transport import Consumer

PLACE = TP("problems.encoded", 0)


class Books(Consumer):
    """A consumer's books alone."""

    def __init__(self, committed: int | None) -> None:
        self._acked: Any = defaultdict(list)
        self._acked_index: Any = defaultdict(set)
        self._gap: Any = defaultdict(vars(fausts)["IntervalTree"])
        self._committed_offset: Any = defaultdict(lambda: None, {PLACE: committed})
        self._taken: Any = defaultdict(deque)

    async def read(self, *offsets: int) -> None:
        """As `getmany` tells of gaps, and the worker of what it takes."""
        for before, offset in pairwise(offsets):
            if offset - before > 1:
                await self._add_gap(PLACE, before + 1, offset)
        for offset in offsets:
            self.taken(Mock(tp=PLACE, offset=offset))

    def done(self, *offsets: int) -> int | None:
        """What is committed then."""
        self._acked[PLACE] += offsets
        self._acked_index[PLACE] |= set(offsets)
        found = self._new_offset(PLACE)
        if found is not None:
            self._committed_offset[PLACE] = found
        return found


class FaustsOwn(Books):
    """The same without what is ours."""

    _new_offset = fausts.Consumer._new_offset
    _add_gap = fausts.Consumer._add_gap


async def test_nothing_is_committed_past_what_is_in_work() -> None:
    for offsets, first in (((10, 11, 12), 10), ((10, 12, 14), 12), ((10, 15, 16), 15)):
        books = Books(10)
        await books.read(*offsets)
        later = [offset for offset in offsets if offset != first]
        books.done(*later)
        assert (books._committed_offset[PLACE] or 0) <= first
        assert books.done() is None
        assert books.done(first) == offsets[-1] + 1


async def test_faust_would_commit_past_it() -> None:
    for offsets, first in (((10, 11), 10), ((10, 12, 14), 12)):
        books = FaustsOwn(10)
        await books.read(*offsets)
        books.done(*[offset for offset in offsets if offset != first])
        books.done()
        assert books._committed_offset[PLACE] > first


@pytest.mark.parametrize("offsets", [(10, 12, 14, 16, 18), (10, 11, 13, 18), (12, 15), (10,)])
@pytest.mark.parametrize("committed", [10, None])
async def test_all_that_is_done_is_committed_at_once(offsets: tuple[int, ...], committed: int | None) -> None:
    books = Books(committed)
    await books.read(*offsets)
    assert books.done(*offsets) == offsets[-1] + 1
    assert not books._acked[PLACE]
    assert not books._taken[PLACE]


@given(st.data())
async def test_in_any_order_it_ends_before_the_first_in_work(data: st.DataObject) -> None:
    offsets = sorted(data.draw(st.sets(st.integers(5, 40), min_size=1)))
    books, open_ = Books(5), list(offsets)
    await books.read(*offsets)
    for part in data.draw(st.lists(st.integers(1, 5), min_size=40, max_size=40)):
        now = [open_.pop(data.draw(st.integers(0, len(open_) - 1))) for _ in range(min(part, len(open_)))]
        books.done(*now)
        expected = max([offset for offset in offsets if not open_ or offset < open_[0]], default=None)
        assert books._committed_offset[PLACE] == (5 if expected is None else expected + 1)
        if not open_:
            break


async def test_what_was_revoked_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    fausts_own = AsyncMock()
    monkeypatch.setattr(fausts.Consumer, "on_partitions_revoked", fausts_own)
    books = Books(10)
    await books.read(10, 11)
    await books.on_partitions_revoked({PLACE})
    fausts_own.assert_awaited_once_with({PLACE})
    await books.read(10, 11)  # as after a restart; what was taken before is nobody's
    assert books._taken[PLACE] == deque([10, 11])
    assert books.done(11) is None
    assert books.done(10) == 12
