"""The topology as data: printed, compared with what was agreed, and consistent in itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmosaic.streams.topology import AGAIN, STAGES, TOPICS, describe, stages

GOLDEN = Path(__file__).parent / "golden" / "topology.txt"


def test_the_graph_is_the_golden_one() -> None:
    assert describe() == GOLDEN.read_text().strip()


def test_every_topic_a_stage_names_exists() -> None:
    names = {topic.name for topic in TOPICS}
    for stage in STAGES.values():
        assert {*stage.reads, *stage.writes} <= names


def test_only_verify_writes_what_is_terminal_and_what_it_joins_has_equal_partitions() -> None:
    joined = {topic.name for topic in TOPICS if topic.joined}
    terminal = {"outcomes.accepted", "outcomes.fallback", "problems.rejected"}
    assert [stage.name for stage in STAGES.values() if terminal & set(stage.writes)] == ["verify"]
    assert {*STAGES["verify"].reads, *STAGES["verify"].writes} - {*AGAIN} <= joined


def test_stages_by_name() -> None:
    assert stages("all") == list(STAGES)
    executing = ["execute.classical", "execute.gpu", "execute.quantum", "execute.paid"]
    assert stages("execute, verify") == [*executing, "verify"]
    assert stages("verify,verify") == ["verify"]
    with pytest.raises(KeyError):
        stages("measure")
