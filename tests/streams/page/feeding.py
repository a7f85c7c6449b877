"""Topics with something on them, as a pipeline would have written it: for the page to show."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
from aiokafka import AIOKafkaProducer

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import AuditEntry, BackendStatus, ControlState, PolicySet, Tally
from qmosaic.codecs.events.evidence import Cell, Learned, Sums
from qmosaic.codecs.events.ledger import Amounts, Budget, LedgerEntry
from qmosaic.codecs.events.public import Attempt, Baseline, CircuitInfo, Outcome, Problem, Rejection, Timing, Timings
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.life.topics import create_topics
from qmosaic.streams.settings import Settings

T = TypeVar("T")
HOSTILE = '<img src=x onerror="document.title=1">\u202e‮' + "<b>{{ 7*7 }}</b>" + "A" * 10_000
TRACE = "a72df990edb21e7c0d0931ddfec0c5b6"
SQUARE = {"edges": [[0, 1], [1, 2], [2, 3], [3, 0]]}


def outcome_of(problem_id: str, **more: Any) -> Outcome:
    """An accepted max-cut of a square, or what `more` makes of it."""
    hops = {
        "encode": Timing(0.009, 0.011),
        "reduce": Timing(0.03, 0.0785),
        "route": Timing(0.014, 0.0001),
        "execute": Timing(0.036, 0.1738),
        "verify": Timing(0.0187, 0.0004),
    }
    found = Outcome(
        problem_id=problem_id,
        family="maxcut",
        status="accepted",
        reason="improved",
        sense="max",
        objective=4,
        solution=[0, 1, 0, 1],
        feasible=True,
        baseline=Baseline(3, "tabu", 0.0162),
        improvement=1,
        target="quantum",
        backend="cirq.statevector",
        route_reason="rule",
        circuit=CircuitInfo(4, 11, 8, 1024),
        confidence=0.48,
        timings=Timings(hops, 0.378),
        attempts=1,
        tried=[Attempt(target="quantum", backend="cirq.statevector", ended="answered", seconds=0.17, cost_usd=0.25)],
        policy="3",
        seed=7,
        digest="d" * 32,
        versions={"qmosaic": "0.1.0"},
        trace_id=TRACE,
        tenant="acme",
        labels={"name": problem_id},
        notes=[],
    )
    return msgspec.structs.replace(found, **more)


def rejection_of(problem_id: str, **more: Any) -> Rejection:
    """A rejection of the same."""
    found = Rejection(
        problem_id=problem_id,
        code="invalid_problem",
        message="a self-loop can never be cut: [0, 0]",
        place="$.problem.edges[0]",
        remedy="Leave it out.",
        source={"topic": "problems", "partition": 0, "offset": 1},
        original=None,
        truncated=False,
        trace_id=TRACE,
        labels={},
    )
    return msgspec.structs.replace(found, **more)


def entry_of(problem_id: str, offset: int, **more: Any) -> AuditEntry:
    """What audit says of the end of a problem, or of something else."""
    considered = {"cirq.statevector": "taken", "exact": "behind"}
    found = AuditEntry(
        event="settled",
        problem_id=problem_id,
        tenant="acme",
        partition=0,
        offset=offset,
        at=time.time(),
        status="accepted",
        reason="improved",
        detail={"rule": "small", "considered": considered},
        slack=4.5,
    )
    return msgspec.structs.replace(found, **more)


def in_a_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run to its end, in a thread: Playwright has a loop of its own in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


class Feed:
    """Writes to the topics of a pipeline that does not run."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer) -> None:
        self._settings, self._producer = settings, producer

    async def put(self, topic: str, event: Any, key: str = "", headers: list[tuple[str, bytes]] | None = None) -> int:
        """One record in partition 0; its offset."""
        sent = await self._producer.send_and_wait(
            topic_name(self._settings, topic), wire.encode(event), key=key.encode(), partition=0, headers=headers or []
        )
        return int(sent.offset)

    async def ended(self, problem_id: str, **more: Any) -> int:
        """A problem, its outcome and what audit says of it; the problem's offset."""
        problem = Problem(family="maxcut", problem=SQUARE, id=problem_id, labels={"name": problem_id})
        offset = await self.put("problems", problem, problem_id)
        one = outcome_of(problem_id, **more)
        topic = f"outcomes.{'accepted' if one.status == 'accepted' else 'fallback'}"
        await self.put(topic, one, problem_id, [("ce_sourceoffset", str(offset).encode())])
        await self.put("audit", entry_of(problem_id, offset), problem_id)
        return offset


async def feed_all(settings: Settings) -> None:
    """The topics, and one of everything that the page shows."""
    await create_topics(settings)
    async with AIOKafkaProducer(bootstrap_servers=settings.broker, max_request_size=2**23) as producer:
        feed = Feed(settings, producer)
        await feed.ended("petersen")
        await feed.ended("waits/for?it", status="fallback", reason="deadline", improvement=None, backend="exact")
        await feed.ended(
            "hostile", labels={"name": HOSTILE}, family=HOSTILE[:200], backend=HOSTILE[:200], tenant=HOSTILE[:120]
        )
        await feed.put("problems.rejected", rejection_of("loop", message=HOSTILE), "loop")
        await feed.put(
            "audit", entry_of("", 0, event="breaker", status=HOSTILE[:200], reason="opened", detail={"said": HOSTILE})
        )
        await feed.put("problems", Problem(family="maxcut", problem=SQUARE, id="open", deadline=3600.0), "open")
        await still_alive(feed)
        policy = PolicySet(number=3, version="b9ac96714ac5", text="", who="w", why="y", at=time.time())
        await feed.put("control.state", ControlState(policy=policy), "policy")
        now = time.time()
        gains = {"maxcut\nspins\n5\ncirq.statevector": 0.03, f"{HOSTILE[:60]}\nspins\n3\n{HOSTILE[:60]}": -0.05}
        cells = {key: Cell(now, Sums(40, 40 * gain, 40 * gain * gain)) for key, gain in gains.items()}
        await feed.put("control.state", ControlState(learned=Learned(cells=cells)), "learned")
        budget = Budget(scope="tenant:acme", window="total", micros=10_000_000)
        await feed.put("ledger", LedgerEntry(event="budget", at=time.time(), budget=budget))
        spent = Amounts(micros=2_500_000)
        kept: dict[str, Any] = {"reservation": "r", "amounts": spent, "tenant": "acme", "backend": "ionq/sim"}
        accounts = [("tenant:acme total", "", "micros")]
        for event in ("reserved", "settled"):
            entry = LedgerEntry(event=event, at=time.time(), accounts=accounts, **kept)  # type: ignore[arg-type]
            await feed.put("ledger", entry)


async def still_alive(feed: Feed) -> None:
    """Signs of life of two workers, one of which has a backend that fails."""
    for failed in (0, 6):
        tallies = {"qsim": Tally(0, failed, failed)}
        backends: Any = {"qsim": {"spins": 20}, "cirq.statevector": {"spins": 20}}
        await feed.put(
            "backends.status",
            BackendStatus(worker="execute.quantum-0", target="quantum", backends=backends, at=0, tallies=tallies),
        )
    gpu: Any = {"jax.statevector": {"spins": 24}}
    await feed.put("backends.status", BackendStatus(worker="execute.gpu-0", target="gpu", backends=gpu, at=0))
