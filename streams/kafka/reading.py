"""Reading what any producer may have written.

aiokafka raises what it cannot read out of `getmany`, again at every try: one batch with a codec nobody knows, or one
header whose key is no UTF-8, stops its partition for good, and the process with it. Here, for every consumer of this
process (`install`):

- a header whose key is null or no UTF-8 is left out, its record is read;
- what was compressed is unpacked up to a bound, not to what it claims;
- of a batch that cannot be read to its end, the records up to there are read, and one more record stands for the rest.
  Its value is `Unreadable`, its offset the last of the batch: a position in the middle, however it came about, gives it
  again, and one behind it does not. Control batches and aborted transactions are passed over as before.
- `getmany` hands out a bounded number of bytes of a partition at once, however well they were compressed.

What no reader of committed records can get past is a transaction that somebody left open: `Held` notices.

Kafka checks most of this when it takes a batch, the embedded broker little of it; no broker checks what its disk gives.
"""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

from aiokafka import ConsumerRecord, TopicPartition, conn
from aiokafka.consumer import fetcher
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import calc_crc32c, decode_varint_py

from qmosaic.streams.kafka.compression import CorruptError, unpack

log = logging.getLogger("qmosaic.reading")

RAW_BYTES = 1024 * 1024  # of a batch that cannot be read, kept
RECORDS = 100_000  # in one batch; clients send some 10,000 at most
HEADERS = 10_000  # of one record of a large batch; those behind are left out
LARGE = 1024 * 1024  # from here on a batch is parsed here, where its headers are counted before they are made
HANDED_OUT = 4 * 1024 * 1024  # bytes of one partition at once, and the record that goes beyond
READ_AHEAD = 2 * 1024 * 1024  # of a connection: with aiokafka's 64 KiB it waits anew for every 256 KiB
RECORD_OVERHEAD = 256  # bytes of a record besides key and value, as it is in memory


_LENGTH, _LENGTH_END, _MAGIC, _CHECKED, _DELTA = 8, 12, 16, 21, 23
_CODEC, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_INT64 = 2**63

Raw = bytes | memoryview
"""A batch as it was fetched; a large one is a view of what was."""


class Unreadable(bytes):
    """A record's value where a batch could not be read: its first `RAW_BYTES`.

    `first`, `last`: the offsets it stands for; `size`: bytes of the whole batch.
    """

    reason: str
    first: int
    last: int
    size: int


class _Record(NamedTuple):
    """As aiokafka's."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    checksum: None = None


def install(limit: int) -> None:
    """For every consumer of this process. A batch may hold `limit` bytes when it is unpacked. Idempotent."""
    PartitionRecords.limit = limit
    fetcher.MemoryRecords = Batches
    fetcher.PartitionRecords = PartitionRecords
    fetcher.FetchResult = FetchResult
    conn.READER_LIMIT = READ_AHEAD


class Batches:
    """The batches of one fetch, in place of aiokafka's `MemoryRecords`."""

    def __init__(self, data: bytes | None) -> None:
        self._data = data or b""

    def size_in_bytes(self) -> int:
        """The bytes of all batches."""
        return len(self._data)

    def has_next(self) -> bool:
        """Whether there is any."""
        return bool(self._data)

    def __iter__(self) -> Iterator[tuple[Raw, int | None]]:
        """Each batch, and the base offset of the next one where it is there, too.

        A broker cuts the last one off where it will. The first one is whole, or it is none, and comes as it is.
        """
        data, position = self._data, 0
        while len(data) - position > _MAGIC:
            (length,) = struct.unpack_from(">i", data, position + _LENGTH)
            end = position + _LENGTH_END + length
            if end <= position + _MAGIC or end > len(data):
                break
            following = struct.unpack_from(">q", data, end)[0] if len(data) - end >= _LENGTH else None
            large = length > LARGE  # it is copied once, where its records are taken out
            yield memoryview(data)[position:end] if large else data[position:end], following
            position = end
        if position == 0:
            yield data, None


class PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka ships no annotations
    """The records of one fetch; see the head of this file."""

    limit = 32 * 1024 * 1024
    next_fetch_offset: int
    end: int | None = None  # the offset behind the partition's last record, as the broker said with this fetch
    _markers: dict[int, list[tuple[int, bool]]] | None = None  # by producer: where, and whether it says abort

    def _unpack_records(self) -> Iterator[ConsumerRecord]:
        asked = self.next_fetch_offset
        for raw, following in self._records:
            if self._is_open(raw, asked):
                return  # from there on it is fetched again, with what ends the transaction
            yield from self._unpack(raw, following)
        # No broker answers with nothing but what lies before: asked the same again, it would answer the same again.
        self.next_fetch_offset = max(self.next_fetch_offset, asked + 1)

    def _unpack(self, raw: Raw, following: int | None) -> Iterator[ConsumerRecord]:
        count = 0
        try:
            head = _head(raw, self._check_crcs)
            if not self._left_out(raw, head):
                for record in _records(raw, head, self.limit):
                    if record.offset >= self.next_fetch_offset:
                        self.next_fetch_offset = record.offset + 1
                        count += 1
                        yield self._consumer_record(self._tp, record)
            # Behind the batch's last offset, even where compaction took the last record.
            self.next_fetch_offset = max(self.next_fetch_offset, head.base + head.delta + 1)
        except CorruptError as why:
            behind = self._behind(raw, following)
            if not count or behind > self.next_fetch_offset:
                yield self._unreadable(raw, str(why), max(behind, self.next_fetch_offset + 1))

    def _left_out(self, raw: Raw, head: _Head) -> bool:
        """Whether a batch is a transaction's marker, or was aborted."""
        control = bool(head.attributes & _CONTROL)
        if self._isolation_level == fetcher.READ_COMMITTED:
            self._consume_aborted_up_to(head.base)
            if control and _is_abort(raw, head, self.limit):
                self._aborted_producers.discard(head.producer)
            if head.attributes & _TRANSACTIONAL and head.producer in self._aborted_producers:
                # The embedded broker (noida-db 0.2.3) names aborted transactions that ended before what was asked for:
                # taken at its word, all that the same producer wrote since would be left out.
                if control or self._fate(head) is not False:
                    return True
                self._aborted_producers.discard(head.producer)
        return control

    def _fate(self, head: _Head) -> bool | None:
        """Whether the transaction of a batch was aborted; None if its marker is not in this fetch."""
        if self._markers is None:
            self._markers = {}
            for raw, _ in self._records:
                with suppress(CorruptError):
                    marker = _head(raw, check_crc=False)
                    if marker.attributes & _CONTROL:
                        aborts = _is_abort(raw, marker, self.limit)
                        self._markers.setdefault(marker.producer, []).append((marker.base, aborts))
        return next((aborts for at, aborts in self._markers.get(head.producer, ()) if at > head.base), None)

    def _is_open(self, raw: Raw, asked: int) -> bool:
        """Whether nobody can say yet if a batch was aborted, and there is something before it to go on with."""
        if not (self._aborted_transactions or self._aborted_producers) or self.next_fetch_offset == asked:
            return False
        if self._isolation_level != fetcher.READ_COMMITTED or len(raw) < _HEAD.size:
            return False
        head = _Head._make(_HEAD.unpack_from(raw))
        if head.attributes & _CONTROL or not head.attributes & _TRANSACTIONAL:
            return False
        self._consume_aborted_up_to(head.base)
        return head.producer in self._aborted_producers and self._fate(head) is None

    def _behind(self, raw: Raw, following: int | None) -> int:
        """The offset behind a batch that cannot be read: what it claims, if that may be, and else at least a step."""
        position = self.next_fetch_offset
        ahead = [offset for offset in (following, self.end) if offset is not None and offset > position]
        if len(raw) >= _DELTA + 4:
            claimed = struct.unpack_from(">q", raw)[0] + struct.unpack_from(">i", raw, _DELTA)[0] + 1
            if position <= claimed <= min(ahead, default=_INT64):
                return int(claimed)
        return following if following is not None and following in ahead else position

    def _unreadable(self, raw: Raw, reason: str, behind: int) -> ConsumerRecord:
        value, now = Unreadable(raw[:RAW_BYTES]), int(time.time() * 1000)
        position = self.next_fetch_offset
        base, written = -1, -1
        if len(raw) >= _HEAD.size:
            head = _Head._make(_HEAD.unpack_from(raw))
            base, written = head.base, head.last_timestamp
        value.first = base if position <= base < behind else position
        value.reason, value.last, value.size = reason, behind - 1, len(raw)
        self.next_fetch_offset = behind
        tp = self._tp
        log.warning("%s %s:%s-%s cannot be read: %s", tp.topic, tp.partition, value.first, value.last, reason)
        timestamp = written if 0 <= written <= now else now
        return ConsumerRecord(tp.topic, tp.partition, value.last, timestamp, 0, None, value, None, -1, len(value), ())


class FetchResult(fetcher.FetchResult):  # type: ignore[misc]  # aiokafka ships no annotations
    """What was fetched of a partition, handed out in bounded portions."""

    _partition_records: Any

    def __init__(
        self, tp: TopicPartition, *, assignment: Any, partition_records: PartitionRecords, backoff: float
    ) -> None:
        super().__init__(tp, assignment=assignment, partition_records=partition_records, backoff=backoff)
        partition_records.end = assignment.state_value(tp).highwater

    def getall(self, max_records: int | None = None) -> list[ConsumerRecord]:
        """As aiokafka's, and no more than `HANDED_OUT`."""
        if not self.has_more() or not self.check_assignment(self._topic_partition):
            return []
        taken, room = [], HANDED_OUT
        for record in self._partition_records:
            taken.append(record)
            room -= RECORD_OVERHEAD + record.serialized_value_size + record.serialized_key_size
            if room <= 0 or len(taken) == max_records:
                self._update_position()
                return taken
        self._update_position()
        self._partition_records = None
        return taken


# -- open transactions ----------------------------------------------------------------------------------------------


# -- one batch -----------------------------------------------------------------------------------------------------


class _Head(NamedTuple):
    """What stands before the records of a batch, in order."""

    base: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    delta: int  # of the last offset, from the base
    first_timestamp: int
    last_timestamp: int
    producer: int
    producer_epoch: int
    sequence: int
    records: int


_HEAD = struct.Struct(">qiibIhiqqqhii")


def _head(raw: Raw, check_crc: bool) -> _Head:
    """Raises CorruptError where this is no batch, or not the one that was written."""
    if len(raw) < _HEAD.size:
        raise CorruptError(f"{len(raw)} bytes are no batch of records")
    head = _Head._make(_HEAD.unpack_from(raw))
    if head.length != len(raw) - _LENGTH_END:
        raise CorruptError(f"a batch of {head.length} bytes where there are {len(raw) - _LENGTH_END}")
    if head.magic != 2:
        raise CorruptError(f"record format {head.magic}; this reads 2, that of Kafka since 0.11")
    if check_crc and calc_crc32c(memoryview(raw)[_CHECKED:]) != head.crc:
        raise CorruptError("its checksum (CRC) does not fit its bytes")
    return head


def _records(raw: Raw, head: _Head, limit: int) -> Iterator[Any]:
    """The records of a batch, in rising order of offset. Raises CorruptError where they are none, or end."""
    if not 0 <= head.records <= RECORDS:
        raise CorruptError(f"it says that it has {head.records:,} records, {RECORDS:,} are read at most")
    if codec := head.attributes & _CODEC:
        payload = unpack(codec, bytes(raw[_HEAD.size :]), limit)
        raw = b"".join((raw[: _CHECKED + 1], bytes([raw[_CHECKED + 1] & ~_CODEC]), raw[_DELTA : _HEAD.size], payload))
    before, last, done = head.base - 1, head.base + head.delta, 0
    for parse in (DefaultRecordBatch, _parse) if len(raw) < LARGE else (_parse,):
        try:
            for record in islice(parse(raw), done, None):
                if not before < record.offset <= last:
                    raise CorruptError(f"a record of offset {record.offset} where {before + 1} to {last} are left")
                before = record.offset
                done += 1
                yield record
        except CorruptError:
            raise
        except Exception:  # noqa: BLE001, S112  # aiokafka's parser raises a dozen kinds; the other says why it cannot
            continue
        return


def _parse(raw: Raw) -> Iterator[_Record]:
    """The records of a batch that is not compressed, as aiokafka reads them, but for headers. Raises CorruptError."""
    head = _Head._make(_HEAD.unpack_from(raw))
    kind = 1 if head.attributes & _APPEND_TIME else 0
    position = _HEAD.size
    try:
        for _ in range(head.records):
            length, position = decode_varint_py(raw, position)
            end = position + length
            if not position < end <= len(raw):
                raise CorruptError(f"a record of {length} bytes where {len(raw) - position} are left")
            since, position = decode_varint_py(
                raw, position + 1
            )  # behind the record's attributes, of which there are none
            delta, position = decode_varint_py(raw, position)
            key, position = _bytes(raw, position, end)
            value, position = _bytes(raw, position, end)
            headers, position = _headers(raw, position, end)
            if position != end:
                raise CorruptError(f"a record ends {end - position} bytes before its length says")
            timestamp = head.last_timestamp if kind else head.first_timestamp + since
            if not -_INT64 <= timestamp < _INT64:
                raise CorruptError("a timestamp over 64 bits")
            yield _Record(head.base + delta, timestamp, kind, key, value, headers)
    except (IndexError, ValueError):
        raise CorruptError("a record ends in the middle") from None
    if position != len(raw):
        raise CorruptError(f"{len(raw) - position} bytes behind its last record")


def _bytes(raw: Raw, position: int, end: int) -> tuple[bytes | None, int]:
    """What has its length before it (−1: null), and the position behind."""
    length, position = decode_varint_py(raw, position)
    if length < 0:
        return None, position
    if length > end - position:
        raise CorruptError(f"{length} bytes said where {end - position} are left of the record")
    return bytes(raw[position : position + length]), position + length


def _headers(raw: Raw, position: int, end: int) -> tuple[list[tuple[str, bytes | None]], int]:
    """Those that have a name, and the position behind all."""
    count, position = decode_varint_py(raw, position)
    if not 0 <= count <= (end - position) // 2:
        raise CorruptError(f"{count} headers said where {end - position} bytes are left of the record")
    found: list[tuple[str, bytes | None]] = []
    for _ in range(min(count, HEADERS)):
        name, position = _bytes(raw, position, end)
        value, position = _bytes(raw, position, end)
        if name is not None:
            with suppress(UnicodeDecodeError):
                found.append((name.decode(), value))
    return found, position if count <= HEADERS else end


def _is_abort(raw: Raw, head: _Head, limit: int) -> bool:
    """Whether a control batch says that its transaction was aborted."""
    with suppress(CorruptError, struct.error, TypeError):
        return any(ControlRecord.parse(record.key) == ABORT_MARKER for record in islice(_records(raw, head, limit), 1))
    return False


# -- compression ---------------------------------------------------------------------------------------------------
