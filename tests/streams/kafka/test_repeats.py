"""A problem that was sent before is answered with its first outcome; what stands beside it stops nobody."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer

from qmosaic.codecs.errors import BrokerError, ProblemError
from qmosaic.streams.client import Client, read_outcomes
from qmosaic.streams.kafka.names import topic_name
from tests.streams.cli.test_cli import environment, run
from tests.streams.harness import Pipeline, pipeline, settings_for

EDGES = {"edges": [[0, 1], [1, 2], [2, 0]]}


@pytest.fixture(scope="module")
def running(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with pipeline(settings_for(broker, tmp_path_factory.mktemp("repeats")), ["verify"]) as up:
        yield up


def event(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "family": "maxcut", "problem": EDGES, "deadline": 1, **more}


async def put(running: Pipeline, topic: str, value: bytes, **more: Any) -> None:
    async with AIOKafkaProducer(bootstrap_servers=running.settings.broker) as producer:
        await producer.send_and_wait(topic_name(running.settings, topic), value, **more)


@pytest.mark.broker
async def test_a_client_gets_the_first_outcome(running: Pipeline) -> None:
    name = uuid4().hex
    async with Client(settings=running.settings) as client:
        first = await client.solve(event(name), id=name)
        for _ in range(2):  # by the same client, and by another
            assert await asyncio.wait_for(client.solve(event(name), id=name), 20) == first
    async with Client(settings=running.settings) as client:
        both = await asyncio.gather(
            client.solve(event(name), id=name), client.solve(event(f"{name}-new"), id=f"{name}-new")
        )
        assert both[0] == first
        assert both[1].problem_id == f"{name}-new"
        with pytest.raises(ProblemError) as caught:  # other content: not the first outcome
            await client.solve(event(name, deadline=2, problem={"edges": [[0, 1]]}), id=name)
        assert caught.value.code == "id_conflict"


@pytest.mark.broker
async def test_a_repeat_of_what_is_open_gets_its_outcome(running: Pipeline) -> None:
    name = uuid4().hex
    async with Client(settings=running.settings) as one, Client(settings=running.settings) as two:
        first, second = await asyncio.gather(
            one.solve(event(name, deadline=4), id=name), two.solve(event(name, deadline=4), id=name)
        )
    assert first == second


@pytest.mark.broker
async def test_a_rejection_is_repeated_too(running: Pipeline) -> None:
    name = uuid4().hex
    for _ in range(2):
        async with Client(settings=running.settings) as client:
            with pytest.raises(ProblemError, match="invalid_problem"):
                await asyncio.wait_for(client.solve(event(name, problem={"edges": [[0, 0]]}), id=name), 20)


@pytest.mark.broker
def test_submit_wait_says_it(running: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(event(uuid4().hex)))
    said = [run("submit", "x.json", "--wait", "--json", cwd=tmp_path, **environment(running)) for _ in range(2)]
    assert [one.returncode for one in said] == [0, 0], said[1].stderr
    assert said[0].stdout == said[1].stdout != ""


@pytest.mark.broker
async def test_a_record_that_is_none_of_ours_hides_nothing(running: Pipeline, caplog: Any) -> None:
    name = uuid4().hex
    wrong = [
        b"",
        b"{",
        b"[" * 5000,
        b'{"problem_id": 1}',
        b"\xff",
        b'{"problem_id": "\x1b[31m"}',
        b"[" * 900 + b"]" * 900,
    ]
    async with Client(settings=running.settings) as client:
        for value in wrong:
            for topic in ("outcomes.accepted", "problems.rejected"):
                await put(
                    running, topic, value, partition=0, headers=[("ce_sourceoffset", b"\xff"), ("ce_subject", b"x")]
                )
        await put(running, "audit", b'{"event": "duplicate"}', partition=0)
        await put(running, "audit", b'"duplicate" \xff', partition=1)
        with caplog.at_level(logging.WARNING, logger="qmosaic.client"):
            assert (await client.solve(event(name), id=name)).problem_id == name
            assert (await asyncio.wait_for(client.solve(event(name), id=name), 20)).problem_id == name
    assert "\x1b" not in caplog.text
    found = [one async for one in read_outcomes(running.settings, since=None, follow=False)]
    assert name in {one.problem_id for one in found}


@pytest.mark.broker
def test_outcomes_shows_what_is_good_beside_what_is_not(running: Pipeline, tmp_path: Path) -> None:
    for name, label in (("m1", "a [/x] b"), ("m2\x1b]52;c;aGk=\x07\u202e", "[bold"), ("m3", "fine")):
        (tmp_path / "x.json").write_text(json.dumps(event(f"{name}{uuid4().hex}", labels={"name": label})))
        done = run("submit", "x.json", "--wait", cwd=tmp_path, **environment(running))
        assert done.returncode == 0, done.stderr
        assert not any(c in done.stdout + done.stderr for c in "\x1b\x07\u202e")
    asyncio.run(put(running, "outcomes.fallback", b"nonsense", partition=0))
    done = run("outcomes", cwd=tmp_path, **environment(running))
    assert done.returncode == 0, done.stderr
    assert not any(c in done.stdout + done.stderr for c in "\x1b\x07\u202e")
    done = run("outcomes", "--json", cwd=tmp_path, **environment(running))
    assert not any(c in done.stdout for c in "\x1b\x07\u202e")
    assert sum("\\u202e" in json.dumps(json.loads(line)["problem_id"]) for line in done.stdout.splitlines()) == 1


@pytest.mark.broker
async def test_nobody_waits_for_a_reader_that_has_failed(running: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Client(settings=running.settings) as client:
        waiting = client.expect("never")
        monkeypatch.setattr(client, "_take", None)
        await put(running, "outcomes.accepted", b"{}", partition=0)
        with pytest.raises(BrokerError, match="reading outcomes failed"):
            await asyncio.wait_for(waiting, 20)
