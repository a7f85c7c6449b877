"""IonQ's API v0.4: jobs, probabilities, cost, backends. Circuits are simulated by Cirq."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import cirq
import numpy as np
from aiohttp import web

from tests.vendors.server import KEY, Posted, VendorServer

FIXED: dict[str, cirq.Gate] = {
    "h": cirq.H,
    "x": cirq.X,
    "y": cirq.Y,
    "z": cirq.Z,
    "s": cirq.S,
    "si": cirq.S**-1,
    "t": cirq.T,
    "ti": cirq.T**-1,
    "v": cirq.X**0.5,
    "vi": cirq.X**-0.5,
    "swap": cirq.SWAP,
}
ROTATIONS: dict[str, Any] = {
    "rx": cirq.XPowGate,
    "ry": cirq.YPowGate,
    "rz": cirq.ZPowGate,
    "xx": cirq.XXPowGate,
    "yy": cirq.YYPowGate,
    "zz": cirq.ZZPowGate,
}
STATES = {"queued": "submitted", "cancelled": "canceled"}


class IonqServer(VendorServer):
    """The service."""

    backend = "ionq/simulator"
    condition = "available"
    """What it says of its targets."""
    most_a_page = 2

    def environment(self) -> dict[str, str]:
        return {"QMOSAIC_IONQ_URL": self.url, "QMOSAIC_IONQ_API_KEY": KEY}

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v0.4/jobs", self._create),
            web.get("/v0.4/jobs", self._list),
            web.get("/v0.4/jobs/{id}", self._get),
            web.get("/v0.4/jobs/{id}/results/probabilities", self._probabilities),
            web.get("/v0.4/jobs/{id}/results/probabilities/aggregated", self._aggregated),
            web.get("/v0.4/jobs/{id}/cost", self._cost),
            web.put("/v0.4/jobs/{id}/status/cancel", self._cancel),
            web.get("/v0.4/backends/{name}", self._backend),
        ]

    def authorized(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == f"apiKey {self.key}"

    def is_poll(self, request: web.Request) -> bool:
        return request.method == "GET" and request.path.startswith("/v0.4/jobs/") and request.path.count("/") == 3

    def qubits(self, job: Posted) -> int:
        return int(job.body["input"]["qubits"])

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        job = self.post(body["name"], body)
        return web.json_response({"id": job.id, "status": "ready"})

    async def _list(self, request: web.Request) -> web.Response:
        # newest first
        most = min(int(request.query["limit"]), self.most_a_page)
        start, told = int(request.query.get("next", "0")), [each for job in self.jobs[::-1] for each in self._told(job)]
        page: dict[str, Any] = {"jobs": told[start : start + most]}
        if start + most < len(told):
            page["next"] = str(start + most)
        return web.json_response(page)

    def _told(self, job: Posted) -> list[dict[str, str]]:
        """A job as it is listed, after its children: in no order."""
        children = [
            {"id": f"{job.id}-child-{k}", "name": each["name"], "parent_job_id": job.id}
            for k, each in enumerate(job.body["input"].get("circuits", ()))
        ]
        return [*children[: self.circuits][::-1], {"id": job.id, "name": job.name}]

    async def _get(self, request: web.Request) -> web.Response:
        of, _, _ = request.match_info["id"].partition("-child-")
        job = self.job(of)
        *children, _ = self._told(job)
        for child in children:
            if child["id"] == request.match_info["id"]:
                return web.json_response({**child, "status": "completed"})
        state = self.advance(job)
        at = datetime.fromtimestamp(job.posted_at, UTC)
        told = {
            "id": job.id,
            "name": job.name,
            "status": "entangling" if self.odd else STATES.get(state, state),
            "submitted_at": at.isoformat(),
            "started_at": at.replace(year=at.year + 1).isoformat(),
            "execution_duration_ms": 1500,
            "child_job_ids": [child["id"] for child in children] or None,
        }
        if state == "failed":
            told["failure"] = {"error": "the ions have left", "code": "internal_error"}
        return web.json_response(told)

    async def _probabilities(self, request: web.Request) -> web.Response:
        job = self.job(request.match_info["id"])
        if job.state != "completed":
            raise web.HTTPNotFound
        return web.json_response(self._shares(job, job.body["input"]["circuit"]))

    async def _aggregated(self, request: web.Request) -> web.Response:
        job = self.job(request.match_info["id"])
        if job.state != "completed":
            raise web.HTTPNotFound
        circuits = {each["name"]: each["circuit"] for each in job.body["input"]["circuits"]}
        *children, _ = self._told(job)
        return web.json_response({each["id"]: self._shares(job, circuits[each["name"]]) for each in children})

    def _shares(self, job: Posted, steps: Any) -> dict[str, float]:
        state = _simulated(steps, self.qubits(job))
        shots = int(job.body["shots"])
        if job.body["backend"] == "simulator":
            shares = state
        else:
            shares = np.random.default_rng(1).multinomial(shots, state / state.sum()) / shots
        # in no order, as JSON objects are
        there = np.random.default_rng(2).permutation(np.flatnonzero(shares > 1e-12))
        return {str(k): float(shares[k]) for k in there}

    async def _cost(self, request: web.Request) -> web.Response:
        self.job(request.match_info["id"])
        return web.json_response({"cost": {"unit": "usd", "value": 12.5}})

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self.job(request.match_info["id"])
        job.state = "cancelled"
        return web.json_response({"id": job.id, "status": "canceled"})

    async def _backend(self, request: web.Request) -> web.Response:
        return web.json_response({"backend": request.match_info["name"], "status": self.condition})


def _simulated(steps: list[dict[str, Any]], n: int) -> np.ndarray:
    """Probabilities of states, qubit 0 the least significant bit."""
    circuit = cirq.Circuit()
    for step in steps:
        on = [cirq.LineQubit(q) for q in step.get("targets", [step.get("target")])]
        if step["gate"] == "cnot":
            circuit.append(cirq.CNOT(cirq.LineQubit(step["control"]), on[0]))
        elif step["gate"] in FIXED:
            circuit.append(FIXED[step["gate"]](*on))
        else:
            circuit.append(ROTATIONS[step["gate"]](exponent=step["rotation"] / np.pi)(*on))
    order = cirq.LineQubit.range(n)[::-1]
    state = cirq.Simulator(dtype=np.complex128).simulate(circuit, qubit_order=order).final_state_vector
    return np.asarray(np.abs(state) ** 2)
