"""Values that wait: the first ones in memory, the others in a file, each for as long as it is referred to."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from qmosaic.streams.kafka.records import Received, whole
from qmosaic.streams.kafka.store import Kept, Store


def test_memory_is_bounded_and_the_file_has_no_name(tmp_path: Path) -> None:
    store = Store(10, tmp_path)
    kept = [store.put(bytes([k]) * 4) for k in range(5)]
    assert store.in_memory == 8
    assert [one.value() for one in kept] == [bytes([k]) * 4 for k in range(5)]
    assert list(tmp_path.iterdir()) == []
    del kept[0]
    assert store.in_memory == 4
    kept.clear()
    assert store.in_memory == 0


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=30), st.booleans()), max_size=30))
def test_values_come_back_as_they_were(values: list[tuple[bytes, bool]]) -> None:
    store = Store(50, Path("/tmp"))  # noqa: S108 - without a name
    kept: dict[int, tuple[Kept, bytes]] = {}
    for k, (value, drops) in enumerate(values):
        kept[k] = store.put(value), value
        if drops:
            del kept[min(kept)]
        assert all(one.value() == said for one, said in kept.values())
    kept.clear()
    assert store.in_memory == 0


def test_a_record_is_whole_again_from_memory_and_from_the_file(tmp_path: Path) -> None:
    store = Store(4, tmp_path)
    for value in (b"here", b"in the file"):
        kept = store.put(value)
        record = whole(Received("problems", 0, 0, 0.0, None, {}, kept=kept))
        assert (record.value, record.kept) == (value, None)
    untouched = Received("problems", 0, 0, 0.0, b"never kept", {})
    assert whole(untouched) is untouched
