"""What of aiokafka, Faust and mode is replaced or reached into here, as it was when that was written.

A new version may rename it, or do something else around it, without a word. Red here means: read what changed against
`streams/kafka/pacing.py`, `streams/kafka/transport.py` and `streams/kafka/reading.py`, then write down the new digest.
"""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

import mode
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import fetcher
from aiokafka.consumer.subscription_state import Assignment, TopicPartitionState
from aiokafka.record import control_record, default_records, memory_records, util
from faust.streams import Stream
from faust.tables.manager import TableManager
from faust.transport import consumer as faust_consumer
from faust.transport.drivers import aiokafka as faust_aiokafka

from qmosaic.streams.kafka import reading
from qmosaic.streams.kafka.pacing import _original

REPLACED: dict[str, tuple[Any, str]] = {
    # pacing: around it; `_fetch_max_wait_ms` and `request.topics` are read, `_fetcher_timeout` is set
    "Fetcher._proc_fetch_request": (_original, "59bf948fff47eed5"),
    "Fetcher._fetch_requests_routine": (fetcher.Fetcher._fetch_requests_routine, "2a8ec5932644c9b0"),
    "Fetcher.__init__": (fetcher.Fetcher.__init__, "bf21ecb7e0f210b7"),
    # reading: in place of them, by their names in the module
    "MemoryRecords": (memory_records._MemoryRecordsPy, "795a0314fbca30af"),
    "PartitionRecords": (reading.PartitionRecords.__base__, "94aa0da0dbec8d1b"),
    "FetchResult": (reading.FetchResult.__base__, "d7db13f06de8248c"),
    "Fetcher.fetched_records": (fetcher.Fetcher.fetched_records, "be4348896b9b66af"),
    "Fetcher.next_record": (fetcher.Fetcher.next_record, "b86d8af8abb5e3f9"),
    "DefaultRecordBatch": (default_records._DefaultRecordBatchPy, "f63fbb5a8a247d54"),
    "decode_varint_py": (util.decode_varint_py, "ce0ddca2bf4a9aa5"),
    "ControlRecord": (control_record.ControlRecord, "29dd9949b9466a40"),
    # held.places
    "AIOKafkaConsumer.highwater": (AIOKafkaConsumer.highwater, "044275efc968e286"),
    "Assignment": (Assignment, "ce6859542c70a3d4"),
    "TopicPartitionState": (TopicPartitionState, "2b83334afadf6d98"),
    # transport, and worker._agent, which takes what waits in the stream's queue
    "Service.wait_first": (mode.Service.wait_first, "feade6a31f8a6789"),
    "Consumer._wait_next_records": (faust_consumer.Consumer._wait_next_records, "6218e1969a636b3f"),
    "Consumer.getmany": (faust_consumer.Consumer.getmany, "4b168d84882a70d6"),
    "Consumer._add_gap": (faust_consumer.Consumer._add_gap, "4df2573ded7c1c2c"),
    "Consumer._new_offset": (faust_consumer.Consumer._new_offset, "1d2c7ea89a7ad4f1"),
    "ConsumerThread._create_worker_consumer": (
        faust_aiokafka.AIOKafkaConsumerThread._create_worker_consumer,
        "c2701bfc3e6f6cad",
    ),
    "Consumer._new_consumer_thread": (faust_aiokafka.Consumer._new_consumer_thread, "0870ec53dea75083"),
    "AIOKafkaConsumer.start": (AIOKafkaConsumer.start, "2f1ba70443327538"),
    "TableManager.on_start": (TableManager.on_start, "365dd25fbc0e0684"),
    "Stream.events": (Stream.events, "c62f4dd3a73fe7aa"),
    "Consumer._to_message": (faust_aiokafka.Consumer._to_message, "7c24f6511b2fcef7"),
    "ThreadedConsumer._fetch_records": (faust_aiokafka.AIOKafkaConsumerThread._fetch_records, "39a2c6c79fc1455a"),
}


@pytest.mark.parametrize("name", REPLACED)
def test_it_is_as_it_was(name: str) -> None:
    code, digest = REPLACED[name]
    assert hashlib.sha256(inspect.getsource(code).encode()).hexdigest()[:16] == digest
