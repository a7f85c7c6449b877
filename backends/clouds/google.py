"""`google/<processor>` (extra `google`): Google's Quantum Engine over gRPC, with cirq-google's messages and serialiser.

A job's name is ours to choose there, so sending one again cannot start it twice: the second is told that it is there
already. cirq-google's `Engine` is not used: its client repeats requests for an hour, and prints to stderr.

QMOSAIC_GOOGLE_PROJECT names the cloud project. The key: an access token, QMOSAIC_GOOGLE_TOKEN or
QMOSAIC_GOOGLE_TOKEN_FILE, else Google's application default credentials. QMOSAIC_GOOGLE_URL: another address, without
TLS for `http://`. Prices: QMOSAIC_GOOGLE_PRICE (see `remote.Price`), since the vendor tells none.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import cirq
import cirq_google
import google.auth
import google.auth.transport.requests
import grpc
import networkx as nx
import numpy as np
from cirq_google.api import v2
from cirq_google.cloud import quantum
from cirq_google.cloud.quantum_v1alpha1.services.quantum_engine_service.transports import (
    QuantumEngineServiceGrpcAsyncIOTransport,
)
from cirq_google.engine import util
from cirq_google.engine.virtual_engine_factory import create_device_from_processor_id
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError

from qmosaic.backends.base import Answer, Capabilities, Health, Job, Placed, Usage, check
from qmosaic.backends.circuits import sampled
from qmosaic.backends.circuits.layout import Parts, Router, on_device
from qmosaic.backends.circuits.sampled import Compiled
from qmosaic.backends.clouds.http import secret
from qmosaic.backends.clouds.job import NotAccepted, Status, Unclear
from qmosaic.backends.clouds.price import price
from qmosaic.backends.clouds.remote import RemoteBackend
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.kernel import size_of

URL = "https://quantum.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
State = quantum.ExecutionStatus.State
STATUSES: Mapping[Any, Status] = {
    State.READY: "queued",
    State.RUNNING: "running",
    State.CANCELLING: "running",
    State.CANCELLED: "cancelled",
    State.SUCCESS: "completed",
    State.FAILURE: "failed",
}
FINAL = (
    exceptions.Unauthenticated,
    exceptions.PermissionDenied,
    exceptions.InvalidArgument,
    exceptions.FailedPrecondition,
    exceptions.NotFound,
    exceptions.OutOfRange,
    exceptions.MethodNotImplemented,
)
"""What will not be otherwise the next time."""
UNSENT, BROKEN_OFF = r"failed to connect|DNS resolution|handshak", r"connection reset|socket closed|broken pipe|recvmsg"
"""What gRPC says, as `UNAVAILABLE` like a server that is down, where the network has no way there, or no longer."""


class Google(RemoteBackend):
    """One processor, compiled to its gates and routed onto its grid as cirq-google publishes it."""

    price_variable = "QMOSAIC_GOOGLE_PRICE"

    def __init__(self, processor: str = "") -> None:
        try:
            if not re.fullmatch(r"[a-z0-9_-]+", processor):
                raise ValueError(processor)
            self._device: Any = create_device_from_processor_id(processor)
        except ValueError:
            raise BackendError(
                f"no processor of Google is called {processor!r}",
                place="google",
                remedy="Name one: google/willow_pink.",
            ) from None
        metadata = self._device.metadata
        self.name, self._processor = f"google/{processor}", processor
        graph: nx.Graph[cirq.Qid] = nx.Graph()
        for pair in metadata.qubit_pairs:
            graph.add_edge(*pair, error=1.0)  # today's errors are not known here
        self._router = Router(graph, dict.fromkeys(graph, 1.0))
        order = {qubit: k for k, qubit in enumerate(self._router.nodes)}
        self.capabilities = Capabilities(
            target="quantum",
            max_qubits=len(order),
            batch=16,
            uses_angles=True,
            max_circuit_qubits=len(order),
            paid=True,
            gates=("phased_xz", "cz"),
            connectivity=tuple(sorted((min(order[a], order[b]), max(order[a], order[b])) for a, b in graph.edges)),
            noise="the device's own",
        )
        self._compiled = sampled.remembering(self._compile)
        self.price = price(self.price_variable)

    def prepare(self, job: Job) -> Compiled:
        """Compiled and routed. Raises BackendError."""
        check(job, self.name, self.capabilities)
        return sampled.compiled(job, self._compiled)

    def placed(self, job: Job) -> Placed:
        """By structure alone, the same for all bases of observables. Raises BackendError."""
        check(job, self.name, self.capabilities)
        route = self._router.routed(size_of(job.kernel), sampled.circuits_of(job)[0], job.on)
        return self._router.placed(route)

    def _compile(self, n: int, parts: Parts, on: tuple[int, ...]) -> cirq.FrozenCircuit:
        self._router.check(self.name, n, on)
        route = self._router.routed(n, parts, on)
        gateset = self._device.metadata.compilation_target_gatesets[0]
        circuit = sampled.measuring(route.end, on_device(route, parts), self.name, gateset)
        self._device.validate_circuit(circuit)
        return circuit

    @property
    def _parent(self) -> str:
        project = os.environ.get("QMOSAIC_GOOGLE_PROJECT", "")
        if not project:
            raise BackendError("no project is set", place="QMOSAIC_GOOGLE_PROJECT", remedy="Set it.")
        return f"projects/{project}"

    async def submit(self, prepared: Compiled, client_id: str) -> str:
        """CreateQuantumProgram, CreateQuantumJob: under our names, either of which may be there already."""
        program, parent = f"{self._parent}/programs/{client_id}", self._parent
        name = f"{program}/jobs/{client_id}"
        serializer, circuits = cirq_google.CIRCUIT_SERIALIZER, [each.circuit for each in prepared.circuits]
        one = len(circuits) == 1
        code = util.pack_any(serializer.serialize(circuits[0]) if one else serializer.serialize_multi_program(circuits))
        context = util.pack_any(v2.run_context_to_proto(None, [each.shots for each in prepared.circuits]))
        selector = quantum.SchedulingConfig.ProcessorSelector(processor=f"{parent}/processors/{self._processor}")
        job = quantum.QuantumJob(
            name=name, run_context=context, scheduling_config=quantum.SchedulingConfig(processor_selector=selector)
        )
        made = quantum.QuantumProgram(name=program, code=code)
        await self._ask(
            "create_quantum_program",
            quantum.CreateQuantumProgramRequest(parent=parent, quantum_program=made),
            exceptions.AlreadyExists,
        )
        await self._ask(
            "create_quantum_job",
            quantum.CreateQuantumJobRequest(parent=program, quantum_job=job),
            exceptions.AlreadyExists,
        )
        return name

    async def find(self, client_id: str) -> str | None:
        """GetQuantumJob, by the name that we gave."""
        name = f"{self._parent}/programs/{client_id}/jobs/{client_id}"
        found = await self._ask("get_quantum_job", quantum.GetQuantumJobRequest(name=name), exceptions.NotFound)
        return None if found is None else name

    async def poll(self, vendor_id: str) -> tuple[Status, str]:
        """GetQuantumJob."""
        status = (await self._ask("get_quantum_job", quantum.GetQuantumJobRequest(name=vendor_id))).execution_status
        return STATUSES.get(status.state, "unknown"), str(status.failure.error_message)

    async def fetch(self, vendor_id: str, prepared: Compiled) -> Answer:
        """GetQuantumResult, and the job's times."""
        status = (await self._ask("get_quantum_job", quantum.GetQuantumJobRequest(name=vendor_id))).execution_status
        told = await self._ask("get_quantum_result", quantum.GetQuantumResultRequest(parent=vendor_id))
        sweeps = v2.results_from_proto(v2.result_pb2.Result.FromString(told.result.value))
        found = [
            (rows, np.ones(len(rows), np.int64))
            for sweep in sweeps
            for rows in (each.measurements[sampled.KEY].astype(np.uint8) for each in sweep)
        ]
        shapes = [(each.shots, prepared.figures.qubits) for each in prepared.circuits]
        if [rows.shape for rows, _ in found] != shapes:
            raise Unclear(f"expected results of {shapes}, got {[rows.shape for rows, _ in found]}")
        timing = status.timing
        seconds = (timing.completed_time - timing.started_time).total_seconds() if timing.completed_time else 0.0
        usage = Usage(device_seconds=max(0.0, seconds), cost=self.price.of(prepared), job_id=vendor_id)
        return sampled.answer_of(prepared, found, usage)

    async def cancel(self, vendor_id: str) -> None:
        """CancelQuantumJob."""
        await self._ask("cancel_quantum_job", quantum.CancelQuantumJobRequest(name=vendor_id))

    async def status(self) -> Health:
        """GetQuantumProcessor."""
        name = f"{self._parent}/processors/{self._processor}"
        told = await self._ask("get_quantum_processor", quantum.GetQuantumProcessorRequest(name=name))
        ok = told.health == quantum.QuantumProcessor.Health.OK
        return Health(ok, "" if ok else f"{self.name} is {told.health.name}")

    async def _ask(self, method: str, request: Any, expected: type[exceptions.GoogleAPICallError] | None = None) -> Any:
        """One request, sent once; None for the error that is `expected`."""
        token = await _token()
        try:
            async with _client() as client:
                return await getattr(client, method)(
                    request,
                    retry=None,
                    timeout=self.limits.request_seconds,
                    metadata=(("authorization", f"Bearer {token}"),),
                )
        except exceptions.GoogleAPICallError as error:
            if expected is not None and isinstance(error, expected):
                return None
            said = f"{method}: {error.code} {str(error.message).replace(token, '***')[:200]}"
            if isinstance(error, exceptions.ResourceExhausted | exceptions.TooManyRequests):
                raise NotAccepted(said, _retry_after(error)) from None
            if isinstance(error, FINAL):
                raise BackendError(said, place=self.name) from None
            if isinstance(error, exceptions.ServiceUnavailable):  # of the server, or of the channel: its words tell
                if re.search(UNSENT, said, re.IGNORECASE):
                    raise NotAccepted(said, network=True) from None
                raise Unclear(said, network=re.search(BROKEN_OFF, said, re.IGNORECASE) is not None) from None
            raise Unclear(said) from None


@asynccontextmanager
async def _client() -> AsyncIterator[Any]:
    url = os.environ.get("QMOSAIC_GOOGLE_URL", URL)
    scheme, _, host = url.rpartition("://")
    options = (("grpc.enable_retries", 0),)
    if scheme == "http":
        channel = grpc.aio.insecure_channel(host, options=options)
    else:
        channel = grpc.aio.secure_channel(host, grpc.ssl_channel_credentials(), options=options)
    async with channel:
        transport = QuantumEngineServiceGrpcAsyncIOTransport(channel=channel)
        yield quantum.QuantumEngineServiceAsyncClient(transport=transport)


async def _token() -> str:
    """The access token that is set, or one by Google's application default credentials. Raises BackendError."""
    if os.environ.get("QMOSAIC_GOOGLE_TOKEN") or os.environ.get("QMOSAIC_GOOGLE_TOKEN_FILE"):
        return secret("QMOSAIC_GOOGLE_TOKEN").reveal()
    try:
        return await asyncio.to_thread(_default_token)
    except GoogleAuthError as error:
        raise BackendError(
            f"no credentials: {type(error).__name__}",
            place="QMOSAIC_GOOGLE_TOKEN",
            remedy="Set it, or log in with gcloud auth application-default login.",
        ) from None


def _default_token() -> str:
    credentials: Any = google.auth.default(scopes=[SCOPE])[0]
    credentials.refresh(google.auth.transport.requests.Request())
    return str(credentials.token)


def _retry_after(error: exceptions.GoogleAPICallError) -> float | None:
    """Seconds of a RetryInfo among the error's details."""
    for detail in error.details:
        delay: Any = getattr(detail, "retry_delay", None)
        if delay is not None:
            return float(delay.seconds + delay.nanos / 1e9)
    return None
