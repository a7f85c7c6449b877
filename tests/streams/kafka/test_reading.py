"""What comes out of a fetch, whatever a producer wrote into it: records, and one `Unreadable` for what are none."""

from __future__ import annotations

import random
import struct
import tracemalloc
from types import SimpleNamespace
from typing import Any

import cramjam
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.util import decode_varint_py
from hypothesis import given, settings
from hypothesis import strategies as st

from qmosaic.streams.kafka import reading
from qmosaic.streams.kafka.reading import Batches, FetchResult, PartitionRecords, Unreadable
from tests.streams.kafka.raw_produce import GZIP, LZ4, NONE, SNAPPY, ZSTD, batch, compressed, record, records, varint

TP = TopicPartition("problems", 3)
LIMIT = 1024 * 1024
CODECS = (NONE, GZIP, SNAPPY, LZ4, ZSTD)
BIG = b"".join(random.Random(5).randbytes(40) * 5 for _ in range(12_000))  # 2.4 MB, which every codec shortens


@pytest.fixture(params=["aiokafka's parser in C", "its parser in Python"], autouse=True)
def _parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PartitionRecords, "limit", LIMIT)
    if request.param == "its parser in Python":
        monkeypatch.setattr(reading, "DefaultRecordBatch", _DefaultRecordBatchPy)
        # As where nothing was compiled: the compiled one reads wherever a length leads it.
        monkeypatch.setattr(_DefaultRecordBatchPy._read_msg, "__defaults__", (decode_varint_py,))


class Read:
    """What a consumer gets of these bytes, asked for from offset `at` on."""

    def __init__(
        self,
        *batches: bytes,
        at: int = 0,
        end: int | None = None,
        aborted: list[tuple[int, int]] | None = None,
        isolation: int = fetcher.READ_COMMITTED,
    ) -> None:
        parsed = PartitionRecords(TP, Batches(b"".join(batches)), aborted, at, None, None, True, isolation)
        parsed.end = end
        self.positions = []
        self.records = []
        for found in parsed:
            self.records.append(found)
            self.positions.append(parsed.next_fetch_offset)
        self.next = parsed.next_fetch_offset

    @property
    def values(self) -> list[tuple[int, Any]]:
        """(offset, value) of each."""
        return [(found.offset, found.value) for found in self.records]

    @property
    def bad(self) -> list[Unreadable]:
        """Those that stand for what could not be read."""
        return [found.value for found in self.records if isinstance(found.value, Unreadable)]


GOOD = records(b"good")


def between(bad: bytes, **options: Any) -> Read:
    """A batch with a good one at offset 0 before it, and one at 10 behind it."""
    return Read(batch(GOOD), bad, batch(GOOD, base=10), **options)


# What can be read


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_is_read(codec: int) -> None:
    headers = [(b"ce_id", b"1")]
    payload = record(b"one", key=b"k", headers=headers) + record(None, delta=1) + record(b"z" * 5000, delta=2)
    read = Read(batch(compressed(codec, payload), 3, codec=codec, base=7))
    assert read.values == [(7, b"one"), (8, None), (9, b"z" * 5000)]
    assert (read.records[0].key, read.records[0].headers, read.next) == (b"k", (("ce_id", b"1"),), 10)
    assert [len(value or b"") for _, value in read.values] == [3, 0, 5000]


@pytest.mark.parametrize("codec", CODECS)
def test_a_large_record_is_read(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PartitionRecords, "limit", 8 * LIMIT)
    payload = record(BIG, headers=[(b"a", b"b")]) + record(b"small", delta=1)
    read = Read(batch(compressed(codec, payload), 2, codec=codec))
    assert read.values == [(0, BIG), (1, b"small")]
    assert read.records[0].headers == (("a", b"b"),)


def test_snappy_without_javas_frame_and_in_several_frames_of_the_others() -> None:
    payload = records(b"one", b"two" * 100)
    halves = payload[:30], payload[30:]
    for codec, data in (
        (SNAPPY, bytes(cramjam.snappy.compress_raw(payload))),
        (GZIP, b"".join(compressed(GZIP, half) for half in halves)),
        (LZ4, b"".join(compressed(LZ4, half) for half in halves)),
        (ZSTD, b"".join(compressed(ZSTD, half) for half in halves)),
    ):
        assert Read(batch(data, 2, codec=codec)).values == [(0, b"one"), (1, b"two" * 100)]


def test_a_batch_that_compresses_well_is_read_up_to_the_limit() -> None:
    for codec in (GZIP, SNAPPY, LZ4, ZSTD):
        payload = record(b"\0" * (LIMIT - 30))
        assert len(payload) <= LIMIT
        assert len(Read(batch(compressed(codec, payload), codec=codec)).records[0].value) == LIMIT - 30


@pytest.mark.parametrize("name", [b"x-\xff\xfe", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf8", None])
@pytest.mark.parametrize("codec", [NONE, ZSTD])
def test_a_header_whose_key_is_no_text_is_left_out(name: bytes | None, codec: int) -> None:
    headers = [(b"ce_id", b"1"), (name, b"2"), (b"ce_type", None), (b"", b"")]
    payload = record(b"before") + record(b"v", key=b"k", headers=headers, delta=1) + record(b"behind", delta=2)
    read = between(batch(compressed(codec, payload), 3, codec=codec, base=1))
    assert read.values == [(0, b"good"), (1, b"before"), (2, b"v"), (3, b"behind"), (10, b"good")]
    assert read.records[2].headers == (("ce_id", b"1"), ("ce_type", None), ("", b""))
    assert read.records[2].key == b"k"


def test_many_headers_and_the_same_key_twice() -> None:
    headers = [(b"k%d" % (k % 9000), b"%d" % k) for k in range(10_000)]
    (found,) = Read(batch(record(b"v", headers=headers))).records
    assert len(found.headers) == 10_000
    assert dict(found.headers)["k7"] == b"9007"


def test_headers_of_a_large_record_are_counted_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record of two megabytes may name a million headers; each is two bytes there and a hundred here."""
    monkeypatch.setattr(PartitionRecords, "limit", 8 * LIMIT)
    body = (
        b"\0\0\0" + varint(-1) + varint(1) + b"v" + varint(1_000_000) + bytes(2_000_000)
    )  # a header: no key, no value
    raw = batch(compressed(ZSTD, varint(len(body)) + body), codec=ZSTD)
    tracemalloc.start()
    (found,) = Read(raw).records
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.value, len(found.headers)) == (b"v", reading.HEADERS)
    assert peak < 40 * 1024 * 1024


def test_timestamps_are_those_of_the_producer_or_of_the_broker() -> None:
    written = batch(record(b"v", headers=[(b"\xff", b"")]), timestamp=1234)
    appended = batch(record(b"v", headers=[(b"\xff", b"")]), timestamp=1234, attributes=0x08)
    assert [(r.timestamp, r.timestamp_type) for r in Read(written, at=0).records] == [(1234, 0)]
    assert [(r.timestamp, r.timestamp_type) for r in Read(appended, at=0).records] == [(1234, 1)]


def test_a_position_in_the_middle_of_a_batch_gives_its_rest() -> None:
    assert Read(batch(records(b"a", b"b", b"c"), 3), at=1).values == [(1, b"b"), (2, b"c")]
    empty = batch(b"", 0, last=4)  # what compaction leaves
    assert (Read(empty, at=2).values, Read(empty, at=2).next) == ([], 5)


def test_the_last_batch_may_be_cut_off() -> None:
    raw = batch(records(b"a", b"b"), 2) + batch(GOOD, base=2)
    for left in range(len(raw) - 1, 85, -1):
        read = Read(raw[:left])
        assert (read.values, read.next) == ([(0, b"a"), (1, b"b")], 2)


# What cannot be read

TWO = records(b"one", b"two")
BAD = {
    "a checksum that does not fit": batch(TWO, 2, crc=1, base=1),
    "an unknown codec, 5": batch(TWO, 2, codec=5, base=1),
    "an unknown codec, 6": batch(TWO, 2, codec=6, base=1),
    "an unknown codec, 7": batch(TWO, 2, codec=7, base=1),
    "record format 1": batch(TWO, 2, magic=1, base=1),
    "record format 3": batch(TWO, 2, magic=3, base=1),
    "a negative record format": batch(TWO, 2, magic=-1, base=1),
    "a negative count": batch(TWO, -5, last=1, base=1),
    "a count beyond all bounds": batch(TWO, 2**31 - 1, last=1, base=1),
    "no count": batch(TWO, 0, last=1, base=1),
    "bytes that are no records": batch(b"\x80" * 30, 2, base=1),
    "no bytes where records are said": batch(b"", 2, base=1),
    **{f"nothing, by codec {codec}": batch(b"", 2, codec=codec, base=1) for codec in CODECS[1:]},
    **{f"no compressed bytes, codec {codec}": batch(b"abcdefghij", 2, codec=codec, base=1) for codec in CODECS[1:]},
    **{
        f"half of it, codec {codec}": batch(compressed(codec, TWO * 9)[:-9], 2, codec=codec, base=1)
        for codec in CODECS[1:]
    },
    **{
        f"a bomb, codec {codec}": batch(compressed(codec, record(bytes(LIMIT + 1))), 2, codec=codec, base=1)
        for codec in CODECS[1:]
    },
    "snappy blocks that go back": batch(
        b"\x82SNAPPY\0" + bytes(8) + struct.pack(">i", -4) + b"abcd", 2, codec=SNAPPY, base=1
    ),
    "a snappy block of 4 GB": batch(b"\xff\xff\xff\xff\x0f" + b"abcd", 2, codec=SNAPPY, base=1),
    "a record that says it is longer": batch(varint(1000) + b"\0" * 50, 2, base=1),
    "a record of negative length": batch(varint(-3) + b"\0" * 50, 2, base=1),
    "a key that says it is longer": batch(varint(8) + b"\0\0\0" + varint(2**40) + b"\0" * 50, 2, base=1),
    "a value that says it is longer": batch(varint(8) + b"\0\0\0\1" + varint(2**31) + b"\0" * 50, 2, base=1),
    "a negative number of headers": batch(record(b"v", count=-1), 2, base=1),
    "headers that are not there": batch(record(b"v", count=2**31 - 1), 2, base=1),
    "a timestamp over 64 bits": batch(varint(10) + b"\0" + b"\xff" * 9 + b"\x7f" + b"\0" * 9, 2, base=1),
    "offsets before the batch": batch(record(b"v", delta=-3), 2, base=1),
    "offsets behind the batch": batch(record(b"v", delta=2**31 - 1), 2, base=1),
}


@pytest.mark.parametrize("kind", BAD)
def test_one_record_stands_for_a_batch_that_cannot_be_read(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    read = between(BAD[kind], end=11)
    assert [offset for offset, _ in read.values] == [0, 2, 10]
    assert [value for _, value in read.values] == [b"good", read.bad[0], b"good"]
    (bad,) = read.bad
    assert (bad.first, bad.last, bad.size, read.next) == (1, 2, len(BAD[kind]), 11)
    assert bytes(bad) == BAD[kind]
    assert 5 < len(bad.reason) < 200
    assert read.records[1].headers == ()
    assert caplog.messages == [f"problems 3:1-2 cannot be read: {bad.reason}"]


@pytest.mark.parametrize("kind", BAD)
def test_it_comes_again_from_a_position_in_its_middle_and_not_from_behind_it(kind: str) -> None:
    again = Read(BAD[kind], at=2, end=11)
    assert ([value.last for value in again.bad], again.next) == ([2], 3)


def test_the_records_before_the_fault_are_read() -> None:
    spoilt = record(b"a") + record(b"b", delta=1) + b"\x80" * 9
    read = between(batch(spoilt, 4, base=1))
    assert [value for _, value in read.values] == [b"good", b"a", b"b", read.bad[0], b"good"]
    assert (read.bad[0].first, read.bad[0].last, read.records[3].offset) == (3, 4, 4)


def test_an_offset_that_comes_twice_is_told_and_not_swallowed() -> None:
    read = between(batch(record(b"a") + record(b"b"), 2, base=1))
    assert [value for _, value in read.values] == [b"good", b"a", read.bad[0], b"good"]
    assert (read.bad[0].first, read.bad[0].last) == (2, 2)


def test_bytes_behind_the_last_record_lose_nothing() -> None:
    assert between(batch(TWO + b"xyz", 2, base=1)).values == [(0, b"good"), (1, b"one"), (2, b"two"), (10, b"good")]


def test_the_reason_says_what_it_is() -> None:
    def said(kind: str) -> str:
        return between(BAD[kind]).bad[0].reason

    assert said("an unknown codec, 5") == "compressed by codec 5, which is none that Kafka knows"
    assert said("a checksum that does not fit") == "its checksum (CRC) does not fit its bytes"
    for codec, name in enumerate(("gzip", "snappy", "lz4", "zstd"), start=1):
        assert said(f"a bomb, codec {codec}") == f"what {name} compressed unpacks to more than 1,048,576 bytes"
        assert said(f"half of it, codec {codec}").startswith(f"what {name} compressed cannot be unpacked: ")
    assert said("a negative count") == "it says that it has -5 records, 100,000 are read at most"


def test_only_the_beginning_of_a_large_batch_is_kept() -> None:
    (bad,) = Read(batch(BIG, 3, codec=7)).bad
    assert (len(bad), bad.size > len(BIG), bad.first, bad.last) == (reading.RAW_BYTES, True, 0, 2)


@pytest.mark.parametrize("codec", CODECS[1:])
def test_a_bomb_is_not_unpacked(codec: int) -> None:
    raw = batch(compressed(codec, bytes(64 * LIMIT)), 1, codec=codec)
    tracemalloc.start()
    assert "unpacks to more" in Read(raw).bad[0].reason
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * LIMIT + 2 * len(raw)


def test_a_batch_of_too_many_records_is_one() -> None:
    """100 kB may hold ten million of them; each would be an event, and an outcome."""
    payload = b"".join(record(b"", delta=0) for _ in range(1000)) * 101
    (bad,) = Read(batch(compressed(ZSTD, payload), 101_000, codec=ZSTD)).bad
    assert (bad.first, bad.last) == (0, 100_999)


# Offsets that lie


@pytest.mark.parametrize("last", [2**31 - 1, 500, -7, -(2**31)])
def test_a_batch_that_lies_about_its_end_hides_nothing(last: int) -> None:
    for following in (3, 10):
        read = Read(
            batch(GOOD), batch(TWO, 2, codec=7, last=last, base=1), batch(GOOD, base=following), end=following + 1
        )
        assert [found.value for found in read.records if found.value not in read.bad] == [b"good", b"good"]
        assert (read.bad[0].first, read.bad[0].last < following, read.next) == (1, True, following + 1)
    alone = Read(batch(TWO, 2, codec=7, last=last, base=1), at=1, end=11)  # what follows did not fit into the fetch
    assert [(value.first, value.last) for value in alone.bad] == [(1, 1)]
    assert alone.next == 2


@pytest.mark.parametrize("base", [2**63 - 1, 5000, -1, -(2**63)])
def test_a_batch_that_lies_about_its_beginning_hides_nothing(base: int) -> None:
    read = Read(batch(TWO, 2, crc=1, base=base), batch(GOOD, base=7), at=5, end=8)
    assert ([(value.first, value.last) for value in read.bad], read.next) == ([(5, 6)], 8)
    assert read.values[1] == (7, b"good")


@pytest.mark.parametrize("raw", [b"x", b"abc", b"\0" * 12, b"\0" * 60, b"\xff" * 100, batch(GOOD, length=5000)])
def test_what_is_no_batch_at_all_is_one_record_and_a_step(raw: bytes) -> None:
    read = Read(raw, at=5, end=50)
    assert ([(value.first, value.last) for value in read.bad], read.next) == ([(5, 5)], 6)
    assert bytes(read.bad[0]) == raw


def test_a_fetch_with_nothing_new_is_not_asked_for_again() -> None:
    read = Read(batch(TWO, 2), at=5)
    assert (read.values, read.next) == ([], 6)


# Transactions

OPEN, CONTROL = 0x10, 0x30
ABORTED, COMMITTED = b"\0\0\0\0", b"\0\0\0\1"


def marker(base: int, key: bytes, producer: int = 9) -> bytes:
    """What the broker writes at the end of a transaction."""
    return batch(record(b"\0" * 6, key=key), base=base, attributes=CONTROL, producer_id=producer)


def test_aborted_records_and_markers_are_passed_over() -> None:
    log = [
        batch(records(b"a", b"b"), 2, base=0, attributes=OPEN, producer_id=9),
        batch(records(b"plain"), base=2),
        marker(3, ABORTED),
        batch(compressed(LZ4, records(b"c")), codec=LZ4, base=4, attributes=OPEN, producer_id=9),
        marker(5, COMMITTED),
    ]
    read = Read(*log, aborted=[(9, 0)])
    assert (read.values, read.next) == ([(2, b"plain"), (4, b"c")], 6)
    everything = Read(*log, isolation=fetcher.READ_UNCOMMITTED)
    assert [offset for offset, _ in everything.values] == [0, 1, 2, 4]


def test_an_aborted_transaction_that_ended_before_aborts_nothing_that_its_producer_wrote_since() -> None:
    """The embedded broker names them for ever; at its word, a reader that starts behind one would get nothing."""
    since = [
        batch(records(b"c"), base=10, attributes=OPEN, producer_id=9),
        marker(11, COMMITTED),
        batch(records(b"d"), base=12, attributes=OPEN, producer_id=9),
        marker(13, COMMITTED),
    ]
    read = Read(*since, at=10, aborted=[(9, 0)])
    assert (read.values, read.next) == ([(10, b"c"), (12, b"d")], 14)
    aborted = [batch(records(b"e"), base=14, attributes=OPEN, producer_id=9), marker(15, ABORTED)]
    read = Read(*since, *aborted, at=10, aborted=[(9, 0), (9, 14)])
    assert (read.values, read.next) == ([(10, b"c"), (12, b"d")], 16)


def test_what_nobody_can_say_yet_is_fetched_again_with_its_end() -> None:
    data = batch(records(b"c"), base=10, attributes=OPEN, producer_id=9)
    read = Read(batch(GOOD, base=9), data, at=9, aborted=[(9, 0)])
    assert (read.values, read.next) == ([(9, b"good")], 10)
    read = Read(data, at=10, aborted=[(9, 0)])  # alone it is as the broker says
    assert (read.values, read.next) == ([], 11)


def test_what_cannot_be_read_of_an_aborted_transaction_was_never_written() -> None:
    bad = batch(TWO, 2, codec=7, attributes=OPEN, producer_id=9)
    assert Read(bad, marker(2, ABORTED), aborted=[(9, 0)]).values == []
    assert [value.last for value in Read(bad, marker(2, COMMITTED)).bad] == [1]


@pytest.mark.parametrize("payload", [b"", b"\x80" * 9, record(None), record(b"v", key=b"x")])
def test_a_marker_that_is_none_is_passed_over(payload: bytes) -> None:
    forged = batch(payload, attributes=CONTROL, producer_id=9, base=1)
    read = between(forged, aborted=[(9, 0)])
    assert read.values == [(0, b"good"), (10, b"good")]


# In portions


def fetched(*batches: bytes, highwater: int | None = None) -> tuple[FetchResult, Any]:
    """A fetch from offset 0, and the state of its partition."""
    state = SimpleNamespace(paused=False, position=0, highwater=highwater)
    state.consumed_to = lambda position: setattr(state, "position", position)
    assignment = SimpleNamespace(active=True, state_value=lambda tp: state)
    parsed = PartitionRecords(TP, Batches(b"".join(batches)), [], 0, None, None, True, fetcher.READ_COMMITTED)
    return FetchResult(TP, assignment=assignment, partition_records=parsed, backoff=0.1), state


def test_what_compresses_well_comes_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PartitionRecords, "limit", 16 * LIMIT)
    bombs = [batch(compressed(ZSTD, record(bytes(3 * reading.HANDED_OUT // 8))), codec=ZSTD, base=k) for k in range(5)]
    result, state = fetched(*bombs)
    portions = []
    while result.has_more():
        portions.append([found.offset for found in result.getall(2000)])
        assert state.position == portions[-1][-1] + 1
    assert portions == [[0, 1, 2], [3, 4]]


def test_small_records_are_counted_too() -> None:
    batches = [
        batch(compressed(ZSTD, b"".join(record(b"", delta=k) for k in range(1000))), 1000, codec=ZSTD, base=b)
        for b in range(0, 100_000, 1000)
    ]
    result, state = fetched(*batches)
    assert len(result.getall()) == reading.HANDED_OUT // (reading.RECORD_OVERHEAD - 1) + 1
    assert (len(result.getall(7)), state.position) == (7, reading.HANDED_OUT // (reading.RECORD_OVERHEAD - 1) + 8)


def test_one_by_one_it_is_the_same() -> None:
    result, state = fetched(batch(records(b"a", b"b"), 2), batch(TWO, 2, codec=7, base=2), highwater=4)
    found = []
    while (one := result.getone()) is not None:
        found.append((one.offset, state.position))
    assert found == [(0, 1), (1, 2), (3, 4)]
    assert result.getall() == []


def test_the_end_that_the_broker_said_bounds_what_a_batch_claims() -> None:
    result, state = fetched(batch(TWO, 2, codec=7, last=1000), highwater=4)
    assert ([found.value.last for found in result.getall()], state.position) == ([0], 1)


# Whatever it is


@st.composite
def logs(draw: st.DrawFn) -> bytes:
    """Valid batches of every codec in a row, with some bytes changed, cut or put in, checksums mended at times."""
    base, out = 0, []
    for _ in range(draw(st.integers(1, 4))):
        values = draw(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
        names = st.one_of(st.none(), st.binary(max_size=6))
        headers = draw(st.lists(st.tuples(names, st.one_of(st.none(), st.binary(max_size=6))), max_size=3))
        payload = b"".join(record(value, headers=headers, delta=k) for k, value in enumerate(values))
        if draw(st.booleans()):
            payload = mutated(draw, payload)
        codec = draw(st.sampled_from(range(8)))
        data = compressed(codec, payload) if codec < 5 else payload
        if draw(st.booleans()):
            data = mutated(draw, data)
        kinds = st.sampled_from([0, 0x08, OPEN, CONTROL, 0x20])
        last = draw(st.one_of(st.just(len(values) - 1), st.integers(-(2**31), 2**31 - 1)))
        made = batch(data, len(values), codec=codec, base=base, last=last, attributes=draw(kinds), producer_id=9)
        out.append(mutated(draw, made) if draw(st.integers(0, 3)) == 0 else made)
        base += len(values)
    return b"".join(out)


def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """Some bytes of it are others, missing, or too many."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(changed)))
        changed[at : at + draw(st.integers(0, 9))] = draw(st.binary(max_size=9))
    return bytes(changed)


@settings(max_examples=250, deadline=None)
@given(logs(), st.integers(0, 20), st.integers(0, 40), st.booleans())
def test_only_records_come_out_and_offsets_rise(data: bytes, at: int, more: int, aborted: bool) -> None:
    read = Read(data, at=at, end=at + more, aborted=[(9, 0)] if aborted else [])
    offsets = [offset for offset, _ in read.values]
    assert all(a < b for a, b in zip([at - 1, *offsets], offsets, strict=False))
    assert read.positions == [offset + 1 for offset in offsets]
    assert read.next > at
    assert read.next >= (offsets[-1] + 1 if offsets else 0)
    for value in read.bad:
        assert at <= value.first <= value.last
        assert value.reason
    assert all(isinstance(name, str) for found in read.records for name, _ in found.headers)


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=200))
def test_any_bytes(data: bytes) -> None:
    read = Read(data, at=3)
    assert len(read.bad) == len(read.records) == 1
    assert read.next > 3


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 7), st.binary(max_size=300))
def test_any_payload_with_a_good_checksum(codec: int, payload: bytes) -> None:
    read = between(batch(payload, 2, codec=codec, base=1))
    assert [read.values[0], read.values[-1]] == [(0, b"good"), (10, b"good")]
    assert read.next == 11
    assert sum(value.last - value.first + 1 for value in read.bad) + len(read.records) - len(read.bad) - 2 in (0, 1, 2)
