"""What a worker had in hand when it died: counted, handled alone, and put aside after three times. Real kills."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from qmosaic.streams.hops.crashes import MOST, TOGETHER, Notebook, place_of
from qmosaic.streams.kafka.records import Received


def record(offset: int, partition: int = 0) -> Received:
    return Received("problems", partition, offset, 0.0, b"", {})


DIE = """
import os, sys
from pathlib import Path
from qmosaic.streams.hops.crashes import Notebook
from qmosaic.streams.kafka.records import Received
notebook = Notebook(Path(sys.argv[1]), "encode", sys.argv[2])
record = lambda offset: Received("problems", 0, offset, 0.0, b"", {})
with notebook.holding([record(1)]):
    pass
with notebook.holding([record(2), record(3)]):
    with notebook.holding([record(4)]):
        pass
    os.kill(os.getpid(), 9) if sys.argv[3] == "die" else notebook.close() or os._exit(0)
"""


def ended(folder: Path, instance: str = "encode-0", how: str = "die") -> None:
    subprocess.run([sys.executable, "-c", DIE, str(folder), instance, how], check=False)


def test_what_was_in_hand_is_suspect_and_after_three_deaths_the_culprit(tmp_path: Path) -> None:
    for count in range(1, MOST + 1):
        ended(tmp_path)
        notebook = Notebook(tmp_path, "encode", "encode-0")
        assert [place_of(record(k)) in notebook.deaths for k in range(6)] == [False, False, True, True, False, False]
        assert notebook.is_culprit(record(2)) == (count == MOST)
        assert place_of(record(2, partition=1)) not in notebook.deaths
        # As a process that dies before it has anything in hand: nothing is counted twice.
    notebook.done([place_of(record(2)), place_of(record(3))])
    assert notebook.is_culprit(record(2))


def test_what_is_done_is_no_suspect_any_more_and_what_is_only_survived_is_one(tmp_path: Path) -> None:
    ended(tmp_path)
    notebook = Notebook(tmp_path, "encode", "encode-0")
    with notebook.holding([record(2), record(3)]):
        pass
    notebook.done([place_of(record(2))])
    assert place_of(record(2)) not in notebook.deaths
    assert place_of(record(3)) in notebook.deaths
    notebook.close()
    assert Notebook(tmp_path, "encode", "encode-0").deaths == {("problems", 0, 3): 1}


def test_a_process_that_ends_by_itself_has_nothing_in_hand(tmp_path: Path) -> None:
    ended(tmp_path, how="close")
    assert Notebook(tmp_path, "encode", "encode-0").deaths == {}


def test_a_record_that_moves_to_another_worker_keeps_its_count(tmp_path: Path) -> None:
    ended(tmp_path, "encode-1")
    ended(tmp_path, "encode-1")
    Notebook(tmp_path, "encode", "encode-1").close()
    assert Notebook(tmp_path, "encode", "encode-0").deaths[("problems", 0, 2)] == 2
    assert Notebook(tmp_path, "reduce", "reduce-0").deaths == {}


@pytest.mark.parametrize("content", [b"", b"\xff", b"\xff\xff\xff\xff", b"\x03\x00\x00\x00abc", b"\x00" * 4])
def test_a_broken_file_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "encode@encode-0").write_bytes(content)
    assert Notebook(tmp_path, "encode", "encode-0").deaths == {}


def test_suspects_are_tried_in_small_groups_and_then_alone(tmp_path: Path) -> None:
    notebook = Notebook(tmp_path, "encode", "encode-0")
    many = [record(k) for k in range(200)]

    def sizes() -> list[int]:
        return [len(group) for group in notebook.groups(many, lambda one: one)]

    assert notebook.groups([], lambda one: one) == []
    assert sizes() == [200]
    notebook.deaths = {place_of(record(k)): 1 for k in range(150)}
    assert sizes() == [50, TOGETHER, TOGETHER, 150 - 2 * TOGETHER]
    notebook.deaths |= {place_of(record(k)): 2 for k in range(3)}
    assert sizes() == [50, TOGETHER, TOGETHER, 147 - 2 * TOGETHER, 1, 1, 1]
