"""`qmosaic dead-letters` and `qmosaic problem`, where a reduce worker has narrower limits than the others."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import networkx as nx
import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from typer.testing import CliRunner, Result

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import DeadLetter
from qmosaic.processors.families.base import Limits
from qmosaic.streams.cli.app import app
from qmosaic.streams.cli.letters import Letter, read_letters
from qmosaic.streams.client import Client, read_outcomes
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.tail import reader, to_end
from qmosaic.streams.observe.asking import Broker
from qmosaic.streams.settings import ExecuteSettings, Settings
from tests.streams.harness import pipeline, settings_for

pytestmark = [pytest.mark.broker, pytest.mark.embedded]

HOSTILE = "\x1b[31mred[/]"
PATIENCE = 120.0


@pytest.fixture(scope="module")
def settings(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    backends: dict[str, tuple[str, ...]] = {"classical": ("exact",), "gpu": (), "quantum": ()}
    return settings_for(broker, tmp_path_factory.mktemp("letters"), execute=ExecuteSettings(backends=backends))


@pytest.fixture
def at_home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The commands find the pipeline, in a terminal of 80 columns."""
    monkeypatch.setenv("QMOSAIC_BROKER", settings.broker)
    monkeypatch.setenv("QMOSAIC_NAMESPACE", settings.namespace)
    monkeypatch.setenv("QMOSAIC_TOPICS__PARTITIONS", "2")
    monkeypatch.setenv("COLUMNS", "80")
    return settings


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def problem(name: str, target: str) -> dict[str, Any]:
    graph: Any = nx.random_regular_graph(3, 14, seed=5)
    edges = [list(edge) for edge in graph.edges]
    return {"id": name, "family": "maxcut", "target": target, "deadline": 300, "problem": {"edges": edges}}


async def submitted(settings: Settings, *problems: dict[str, Any]) -> None:
    async with Client(settings=settings) as client:
        for one in problems:
            await client.submit(one)


def letters(settings: Settings, count: int) -> list[Letter]:
    """So many, as soon as they are there."""
    give_up = time.monotonic() + PATIENCE
    found: list[Letter] = []
    while len(found) < count and time.monotonic() < give_up:
        found = asyncio.run(read_letters(settings, 0.0))
    return found


async def ends(settings: Settings) -> list[tuple[str, str, str]]:
    """Every terminal event."""
    found = [event async for event in read_outcomes(settings, since=None, follow=False)]
    return sorted((one.problem_id, one.status, getattr(one, "reason", "")) for one in found)


async def all_done(settings: Settings) -> None:
    """Until no stage has anything left to do."""
    give_up = time.monotonic() + PATIENCE
    async with Broker(settings) as broker:
        while any(one.lag for one in await broker.lags()):
            assert time.monotonic() < give_up


async def records(settings: Settings, topic: str) -> list[ConsumerRecord]:
    places = [TopicPartition(topic_name(settings, topic), number) for number in range(2)]
    async with reader(settings, places) as consumer:
        stop = await consumer.end_offsets(places)
        await consumer.seek_to_beginning(*places)
        return [record async for record in to_end(consumer, stop)]


@contextmanager
def reducing(settings: Settings, folder: Path, shots: int) -> Iterator[None]:
    """A reduce worker that takes so many shots."""
    limits = Limits(shots=shots)
    with pipeline(msgspec.structs.replace(settings, limits=limits, data_dir=str(folder)), ["reduce"]):
        yield


def test_what_was_put_aside_is_listed_shown_and_put_back_and_ends_once(
    at_home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = at_home
    with pipeline(settings, ["encode", "route", "control", "execute.classical", "verify"]):
        assert "nothing was put aside" in call("dead-letters", "list").stdout
        with reducing(settings, tmp_path / "narrow", 10):
            work = submitted(settings, problem("good", "classical"), problem(HOSTILE, "quantum"))
            asyncio.run(work)
            there = {one.ref.problem_id: one.name for one in letters(settings, 2) if one.ref is not None}
        assert there.keys() == {"good", HOSTILE}
        told = [json.loads(line) for line in call("dead-letters", "list", "--json").stdout.splitlines()]
        assert {(one["id"], one["problem"], one["stage"]) for one in told} == {
            (name, of, "reduce") for of, name in there.items()
        }
        shown = call("dead-letters", "list", "--stage", "reduce")
        assert shown.stdout.count("shots or seed are") == 2
        assert max(map(len, shown.stdout.splitlines())) <= 80
        one = call("dead-letters", "show", there[HOSTILE]).stdout
        assert r"\x1b[31mred[/]" in one
        assert "\x1b" not in one
        assert "traceparent: 00-" in one
        give_up = time.monotonic() + 30
        while "is under way" not in (waits := call("problem", "good")).stdout and time.monotonic() < give_up:
            time.sleep(0.2)  # until encode has said how far it is, a problem seems to wait for it
        assert waits.exit_code == 0
        assert "is under way" in waits.stdout
        assert f"qmosaic dead-letters show {there['good']}" in waits.stdout
        assert "qmosaic trace " not in waits.stdout  # no spans are kept anywhere
        monkeypatch.setenv("QMOSAIC_OTLP_ENDPOINT", "http://127.0.0.1:4318")
        assert "qmosaic trace " in call("problem", "good").stdout
        assert "qmosaic trace " in call("explain", "good").stdout
        monkeypatch.delenv("QMOSAIC_OTLP_ENDPOINT")
        wrong = call("explain", "goof")
        assert wrong.exit_code == 1
        assert "nothing is known of goof" in wrong.output
        assert call("dead-letters", "resend", "--all-of", "reduce", "--why", "mended").exit_code == 2  # nobody to ask
        back = call("dead-letters", "resend", "--all-of", "reduce", "--why", "mended", "--yes")
        assert back.exit_code == 0, back.output
        assert back.stdout.count("is back on problems.encoded/") == 2
        with reducing(settings, tmp_path / "wide", 1_000_000):
            give_up = time.monotonic() + PATIENCE
            while len(asyncio.run(ends(settings))) < 2:
                assert time.monotonic() < give_up
            ended = [(HOSTILE, "fallback", "no_backend"), ("good", "accepted", "equal")]
            assert asyncio.run(ends(settings)) == ended
            again = call("dead-letters", "resend", there[HOSTILE], "--why", "once more", "--yes")
            assert again.exit_code == 2
            assert "its problem has ended (fallback): nothing would come of it" in again.output
            assert "Did you mean good?" in call("explain", "goof").output
            none = call("dead-letters", "resend", "--all-of", "reduce", "--why", "all", "--yes")
            assert none.exit_code == 0
            assert none.output.count("passed over") == 2
            for name in there.values():
                forced = call("dead-letters", "resend", name, "--why", "to see", "--yes", "--force")
                assert forced.exit_code == 0, forced.output
            asyncio.run(all_done(settings))
            assert asyncio.run(ends(settings)) == ended  # verify drops what comes of what has ended
        of_good = [one for one in asyncio.run(records(settings, "problems.encoded")) if one.key == b"good"]
        assert len(of_good) == 3
        first, *others = [(one.value, one.partition, dict(one.headers)) for one in of_good]
        for value, partition, headers in others:
            assert (value, partition) == first[:2]
            assert headers == {**first[2], "ce_resent": there["good"].encode()}
        told = [json.loads(line) for line in call("dead-letters", "list", "--json").stdout.splitlines()]
        assert [[each["why"] for each in one["resent"]] for one in told] == [["mended", "to see"]] * 2
        assert call("dead-letters", "list").stdout.count("  resent ") == 2
        story(there["good"])


def story(letter: str) -> None:
    """What is told of the problem that was solved."""
    shown = call("problem", "good", "--jaeger", "http://127.0.0.1:16686/")
    assert shown.exit_code == 0, shown.output
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "accepted: equal" in shown.stdout
    assert "one side" in shown.stdout
    assert "attempt 1: exact answered" in shown.stdout
    assert "taken: it gets the kernel" in shown.stdout
    said = json.loads(call("problem", "good", "--json", "--jaeger", "http://127.0.0.1:16686/").stdout)
    assert (said["state"], said["status"], said["outcome"]["family"]) == ("ended", "accepted", "maxcut")
    assert [one["event"] for one in said["audit"]].count("command") == 2
    assert said["link"] == f"http://127.0.0.1:16686/trace/{said['trace_id']}"
    assert [one["id"] for one in said["letters"]] == [letter]
    hostile = call("problem", HOSTILE)
    assert hostile.exit_code == 0
    assert "\x1b" not in hostile.stdout
    assert r"\x1b[31mred[/]" in hostile.stdout
    near = call("problem", "goud")
    assert near.exit_code == 1
    assert "nothing is known of goud. Did you mean good?" in near.output
    assert json.loads(call("problem", "goo", "--json").stdout)["near"] == ["good"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["show", "9-9"], "there is no dead letter 9-9"),
        (["list", "--since", "soon"], "Write 15m, 2h or 7d."),
        (["list", "--stage", "reduse"], "Did you mean reduce?"),
        (["resend", "--why", "w"], "name one letter"),
        (["resend", "0-0", "--all-of", "reduce", "--why", "w"], "name one letter"),
    ],
)
def test_what_is_wrong_is_said(at_home: Settings, given: list[str], words: str) -> None:
    found = call("dead-letters", *given)
    assert found.exit_code == 2
    assert words in " ".join(found.output.split())


def test_letters_of_strangers_are_text_and_are_not_put_back(at_home: Settings) -> None:
    strange = DeadLetter(
        stage="\x1b]0;x\x07",
        topic=topic_name(at_home, "problems"),
        partition=7,
        offset=-1,
        error="[bold]\u202e" + "e" * 900,
        original="nonsense",
        at=time.time(),
        headers=[("\x1b[2J", "nonsense")],
    )

    async def sent() -> int:
        async with AIOKafkaProducer(bootstrap_servers=at_home.broker) as producer:
            for value in (b"{", b"[" * 9999, wire.encode(strange)):
                last = await producer.send_and_wait(topic_name(at_home, "dead-letters"), value, partition=0)
        return int(last.offset)

    name = f"0-{asyncio.run(sent())}"
    for arguments in (["list"], ["show", name]):
        found = call("dead-letters", *arguments)
        assert found.exit_code == 0, found.output
        assert not {"\x1b", "\x07", "\u202e"} & set(found.stdout)
        assert max(map(len, found.stdout.splitlines())) <= 80
    refused = call("dead-letters", "resend", name, "--why", "w", "--yes", "--force")
    assert refused.exit_code == 2
    assert "nobody takes one twice under its id" in " ".join(refused.output.split())
