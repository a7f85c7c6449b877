"""`ionq/simulator`, `ionq/qpu.<name>` (extra `ionq`): IonQ's cloud, API v0.4, in cirq-ionq's serialisation.

Its client is not used: it sends a POST again after any 5xx or broken connection, for an hour, and so may start a job
twice. Our id is the job's `name`, which a job keeps and the list of jobs shows. The key: QMOSAIC_IONQ_API_KEY or
QMOSAIC_IONQ_API_KEY_FILE; the address: QMOSAIC_IONQ_URL; prices: QMOSAIC_IONQ_PRICE (see `remote.Price`), where the
vendor tells none for the job.

Several circuits are one job of the type `ionq.multi-circuit.v1`: they share one number of shots, and each becomes a
child of the job, under the name that it was given.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

import cirq_ionq
import numpy as np

from qmosaic.backends.base import Answer, Capabilities, Health, Job, Usage, check
from qmosaic.backends.circuits import sampled
from qmosaic.backends.circuits.sampled import Compiled
from qmosaic.backends.clouds.http import Http, Secret, secret
from qmosaic.backends.clouds.job import NotAccepted, Status, Unclear
from qmosaic.backends.clouds.listing import Listing
from qmosaic.backends.clouds.price import price
from qmosaic.backends.clouds.remote import RemoteBackend
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.arrays import bits_of_states

URL = "https://api.ionq.co"
QUBITS = {"simulator": 29, "qpu.aria": 25, "qpu.forte": 36}
"""By the beginning of the name; others may have as many as the largest."""
STATUSES: Mapping[str, Status] = {
    "ready": "queued",
    "submitted": "queued",
    "started": "running",
    "running": "running",
    "completed": "completed",
    "failed": "failed",
    "canceled": "cancelled",
}
READY, RETUNING = frozenset({"available", "running"}), frozenset({"calibrating", "reserved"})
"""Of a target. IonQ takes jobs at any time: in the second, they are run when that is over."""
PAGES = 20
"""Pages of the list of jobs, newest first, that are read to find one."""


class Ionq(RemoteBackend):
    """One of IonQ's targets. The simulator tells exact probabilities, from which the shots are drawn here, by seed."""

    price_variable = "QMOSAIC_IONQ_PRICE"

    def __init__(self, target: str = "") -> None:
        if not re.fullmatch(r"simulator|qpu\.[a-z0-9.-]+", target):
            raise BackendError(
                f"no target of IonQ is called {target!r}" if target else "which of IonQ's targets?",
                place="ionq",
                remedy="Name one: ionq/simulator, ionq/qpu.forte-1.",
            )
        self.name, self._target = f"ionq/{target}", target
        most = next((n for start, n in QUBITS.items() if target.startswith(start)), max(QUBITS.values()))
        self.capabilities = Capabilities(
            target="quantum",
            max_qubits=most,
            batch=16,
            uses_angles=True,
            max_circuit_qubits=most,
            paid=True,
            gates=("h", "x", "y", "z", "rx", "ry", "rz", "cx", "swap", "rxx", "ryy", "rzz"),
            noise="" if target == "simulator" else "the device's own",
        )
        gateset = cirq_ionq.IonQTargetGateset()
        self._compiled = sampled.remembering(lambda n, parts, on: sampled.in_gates(n, parts, self.name, gateset))
        self.price, self._listing = price(self.price_variable), Listing(self._pages)

    def _http(self) -> Http:
        key = secret("QMOSAIC_IONQ_API_KEY")
        url = os.environ.get("QMOSAIC_IONQ_URL", URL).rstrip("/")
        return Http(
            self.name, f"{url}/v0.4", {"Authorization": Secret(f"apiKey {key.reveal()}")}, self.limits.request_seconds
        )

    def prepare(self, job: Job) -> Compiled:
        """Compiled to IonQ's gates. Raises BackendError."""
        check(job, self.name, self.capabilities)
        return sampled.compiled(job, self._compiled, same_shots=True)

    async def submit(self, prepared: Compiled, client_id: str) -> str:
        """POST /jobs."""
        serializer, several = cirq_ionq.Serializer(), len(prepared.circuits) > 1
        circuits = [
            {
                "name": _child(client_id, k),
                "circuit": serializer.serialize_single_circuit(each.circuit).input["circuit"],
            }
            for k, each in enumerate(prepared.circuits)
        ]
        body = {
            "type": "ionq.multi-circuit.v1" if several else "ionq.circuit.v1",
            "backend": self._target,
            "name": client_id,
            "shots": prepared.circuits[0].shots,
            "metadata": {"qmosaic": client_id},
            "input": {
                "gateset": "qis",
                "qubits": prepared.figures.qubits,  # those that no gate acts on are sampled too
                **({"circuits": circuits} if several else {"circuit": circuits[0]["circuit"]}),
            },
        }
        return _text(await self._http().ask("POST", "/jobs", body), "id")

    async def find(self, client_id: str) -> str | None:
        """Look for the name in the list of jobs."""
        found = await self._listing.find(client_id)
        if found == "":  # it is there, and must not be sent again
            raise Unclear("an answer without id")
        return found

    async def _pages(self) -> AsyncIterator[list[tuple[str, str]]]:
        """The names and ids (empty where there is none) of the last jobs, newest first. Raises Unclear where there are
        more."""
        http, after = self._http(), ""
        for _ in range(PAGES):
            page = await http.ask("GET", f"/jobs?limit=100{after and f'&next={quote(after)}'}")
            jobs = page.get("jobs") if isinstance(page, dict) else None
            if not isinstance(jobs, list):
                raise Unclear("no list of jobs")
            yield [(str(job.get("name")), str(job.get("id") or "")) for job in jobs if isinstance(job, dict)]
            after = str(page.get("next") or "")
            if not after:
                return
        raise Unclear(f"not among the last {PAGES * 100} jobs")

    async def poll(self, vendor_id: str) -> tuple[Status, str]:
        """GET /jobs/<id>."""
        job = await self._http().ask("GET", _path(vendor_id))
        said = _text(job, "status")
        failure = job.get("failure") or {}
        return STATUSES.get(said, "unknown"), str(failure.get("error", "")) if isinstance(failure, dict) else said

    async def fetch(self, vendor_id: str, prepared: Compiled) -> Answer:
        """The job's seconds, the probabilities of its circuits, and its cost."""
        http, path = self._http(), _path(vendor_id)
        job = await http.ask("GET", path)
        if len(prepared.circuits) == 1:
            shares = [await http.ask("GET", f"{path}/results/probabilities")]
        else:
            shares = await self._of_children(http, job, len(prepared.circuits))
        generator = np.random.default_rng(prepared.job.seed)
        found = [
            self._counts(each, made.shots, prepared.figures.qubits, generator)
            for each, made in zip(shares, prepared.circuits, strict=True)
        ]
        usage = Usage(
            queue_seconds=_between(job.get("submitted_at"), job.get("started_at")),
            device_seconds=_number(job.get("execution_duration_ms")) / 1000,
            cost=await self._cost(http, path, prepared),
            job_id=vendor_id,
        )
        return sampled.answer_of(prepared, found, usage)

    async def _of_children(self, http: Http, job: Any, count: int) -> list[Any]:
        """Probabilities of a job's circuits in their order; the children may come in any."""
        children, path = job.get("child_job_ids") or [], _path(_text(job, "id"))
        told = await asyncio.gather(*(http.ask("GET", _path(str(child))) for child in children))
        ids = {_text(child, "name"): _text(child, "id") for child in told}
        shares = await http.ask("GET", f"{path}/results/probabilities/aggregated")
        try:
            return [shares[ids[_child(_text(job, "name"), k)]] for k in range(count)]
        except (KeyError, TypeError):
            raise Unclear(f"no probabilities of some of {count} circuits, of children {', '.join(ids)}") from None

    def _counts(self, shares: Any, shots: int, qubits: int, generator: np.random.Generator) -> sampled.Counts:
        if not isinstance(shares, dict) or not shares:
            raise Unclear("no probabilities")
        try:
            states = sorted(shares, key=int)  # bit i of a state's number is qubit i
        except ValueError:
            raise Unclear("probabilities of what are no states") from None
        probabilities = np.array([shares[state] for state in states], dtype=np.float64)
        if self._target == "simulator":
            counts = generator.multinomial(shots, probabilities / probabilities.sum())
        else:
            counts = np.rint(probabilities * shots)
        seen = counts > 0
        rows = bits_of_states(np.array([int(state) for state in states], np.int64), qubits)[:, ::-1]
        return rows[seen], counts[seen].astype(np.int64)

    async def _cost(self, http: Http, path: str, prepared: Compiled) -> float:
        """As the vendor tells it in dollars, else by our price; nobody waits longer for an answer because of it."""
        if self._target == "simulator":
            return 0.0
        try:
            told = await _told_cost(http, path)
        except (NotAccepted, Unclear, BackendError):
            told = None
        return self.price.of(prepared) if told is None else told

    async def bill(self, vendor_id: str) -> float | None:
        """GET /jobs/<id>/cost; nothing for what the simulator ran."""
        return 0.0 if self._target == "simulator" else await _told_cost(self._http(), _path(vendor_id))

    async def cancel(self, vendor_id: str) -> None:
        """PUT /jobs/<id>/status/cancel."""
        await self._http().ask("PUT", f"{_path(vendor_id)}/status/cancel")

    async def status(self) -> Health:
        """GET /backends/<target>."""
        told = await self._http().ask("GET", f"/backends/{self._target}")
        status = _text(told, "status")
        seconds = _number(told.get("average_queue_time")) / 1000
        return Health(status in READY, f"{self.name} is {status}", seconds, retuning=status in RETUNING)


async def _told_cost(http: Http, path: str) -> float | None:
    told = (await http.ask("GET", f"{path}/cost", missing=True) or {}).get("cost")
    if isinstance(told, dict) and str(told.get("unit", "")).lower() == "usd":
        return _number(told.get("value"))
    return None


def _child(name: str, place: int) -> str:
    """The name of a circuit of the job of a name."""
    return f"{name}.{place}"


def _path(vendor_id: str) -> str:
    return f"/jobs/{quote(vendor_id, safe='')}"


def _text(found: Any, field: str) -> str:
    value = found.get(field) if isinstance(found, dict) else None
    if not isinstance(value, str) or not value:
        raise Unclear(f"an answer without {field}")
    return value


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _between(start: Any, end: Any) -> float:
    """Seconds between two RFC 3339 times, 0 where one is missing."""
    try:
        return max(0.0, (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())
    except (TypeError, ValueError):
        return 0.0
