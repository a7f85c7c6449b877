"""The process of one worker, as the supervisor starts it: a fork of its zygote, or by
`python -m qmosaic.streams.life.child STAGE INSTANCE FD`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qmosaic.streams.kafka import pacing, reading
from qmosaic.streams.kafka.bounded import bounded
from qmosaic.streams.kafka.connect import record_bytes
from qmosaic.streams.kafka.names import group_id
from qmosaic.streams.life.lifeline import Lifeline
from qmosaic.streams.life.observed import observe_control, observe_vendors, observe_verifier
from qmosaic.streams.life.seen import Seen
from qmosaic.streams.settings import Settings
from qmosaic.streams.topology import STAGES, Stage
from qmosaic.streams.watch.chatter import Chatter, expected
from qmosaic.streams.watch.logs import formatter
from qmosaic.streams.watch.sensor import Sensor, Several
from qmosaic.streams.watch.spans import Telemetry
from qmosaic.streams.watch.tracing import Tracing

if TYPE_CHECKING:
    from qmosaic.streams.exactly_once.service import ExactlyOnce


def main() -> None:
    """A process of its own making."""
    run(sys.argv[1], sys.argv[2], int(sys.argv[3]))


def run(names: str, instance: str, fd: int) -> None:
    """Run until told to stop. Exit codes: 0 stopped, 1 ended by an error (start me again).

    `names`: a stage, and with a plus sign another that shares its process.
    """
    # Several processes share one GPU: each takes what it needs, and not three quarters at its start.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    pacing.install()
    lifeline = Lifeline(fd)
    settings = lifeline.settings()
    reading.install(record_bytes(settings))
    handler, chatter = logging.StreamHandler(sys.stderr), Chatter()
    handler.setFormatter(formatter(settings.log_format, instance))
    handler.addFilter(chatter)
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    seen = Seen(chatter.is_away)
    asyncio.run(_until_end(settings, [STAGES[name] for name in names.split("+")], instance, lifeline, seen))


async def _until_end(
    settings: Settings, stages: Sequence[Stage], instance: str, lifeline: Lifeline, seen: Seen
) -> None:
    code = 1
    try:
        lifeline.troubles = lambda: tuple(seen.troubles())
        lifeline.listen()
        await seen.serve(instance, len(stages))
        rest, lines = instance.removeprefix(stages[0].name), lifeline.shared_by(len(stages))
        each = zip(stages, lines, strict=True)
        await asyncio.gather(*(_run(settings, stage, f"{stage.name}{rest}", line, seen) for stage, line in each))
        code = 0
    except BaseException as error:  # SystemExit and cancellation, too: Python would wait for threads that never end
        # Crash-only: said, ended, and started anew by the supervisor.
        log, words = logging.getLogger("qmosaic"), expected(error.__cause__ or error)
        if words is None or log.isEnabledFor(logging.INFO):
            log.exception("%s ends", instance)
        else:
            log.warning("%s: %s", instance, words)
    finally:
        sys.stderr.flush()
        os._exit(code)  # what a library still waits for (asyncio.run would wait too), the next process does not need


async def _run(settings: Settings, stage: Stage, instance: str, lifeline: Lifeline, seen: Seen) -> None:
    telemetry = Telemetry(settings, stage.name, instance)
    sensor: Sensor = Tracing(telemetry, group_id(settings, stage.name))
    if seen.is_asked or settings.otlp_endpoint:
        from qmosaic.streams.watch.metrics import Measuring, Metrics

        metrics = Metrics(settings, telemetry.resource)
        sensor = Several(sensor, Measuring(metrics, settings, stage.name))
    else:
        metrics = None
    if stage.handler is not None:
        from qmosaic.streams.hops.paid import ExecutePaid
        from qmosaic.streams.life.worker import Worker

        os.nice(stage.nice)
        worker = Worker(settings, stage, instance, sensor)
        seen.add(stage.name, instance, worker, telemetry, metrics)
        if metrics is not None and isinstance(worker.handler, ExecutePaid):
            observe_vendors(metrics, worker.handler)
        await worker.run(lifeline)
    elif stage.name == "control":
        from qmosaic.backends import registry
        from qmosaic.codecs.events.control import BackendStatus
        from qmosaic.processors.control.breakers import Breakers
        from qmosaic.streams.hops.control import Control
        from qmosaic.streams.hops.route import LOOK_BACK
        from qmosaic.streams.kafka.tail import Tail

        told = Tail(settings, "backends.status", BackendStatus, Breakers(), back=LOOK_BACK)
        control = Control(
            settings,
            instance,
            sensor,
            lifeline.ready,
            is_known=registry.is_known,
            names=registry.names(),
            told=told,
        )
        seen.add(stage.name, instance, control, telemetry, metrics)
        if metrics is not None:
            observe_control(metrics, control, told)
        await _serve(control, lifeline)
    else:
        from qmosaic.streams.hops.verify import Verifier

        verifier = Verifier(settings, instance, sensor, lifeline.ready)
        seen.add(stage.name, instance, verifier, telemetry, metrics)
        if metrics is not None:
            observe_verifier(metrics, verifier)
        try:
            await _serve(verifier, lifeline)
        finally:
            verifier.crashes.close()
    last = [asyncio.to_thread(telemetry.close)]
    if metrics is not None:
        last.append(asyncio.to_thread(metrics.close, telemetry.closing_seconds))
    await asyncio.gather(*last)


async def _serve(service: ExactlyOnce[Any], lifeline: Lifeline) -> None:
    await service.maybe_start()
    lifeline.started()
    stopping = asyncio.create_task(lifeline.wait())
    ended = asyncio.create_task(service.wait_until_stopped())
    done, _ = await asyncio.wait({stopping, ended}, return_when=asyncio.FIRST_COMPLETED)
    if ended in done:
        raise RuntimeError(f"{service.stage} ended by itself") from service.crash_reason
    await bounded(service.stop(), 20, "stopping")


if __name__ == "__main__":
    main()
