"""One trace in the terminal: from files, by the id of a trace or a problem, and from Jaeger's API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qmosaic.streams.cli.app import app

TRACE, OTHER = f"{7:032x}", f"{8:032x}"


def span(trace: str, number: int, parent: int | None, name: str, **attributes: str) -> dict[str, object]:
    return {
        "name": name,
        "context": {"trace_id": f"0x{trace}", "span_id": f"0x{number:016x}"},
        "parent_id": None if parent is None else f"0x{parent:016x}",
        "start_time": 1_000_000_000 + number * 1_000_000,
        "end_time": 1_000_000_000 + number * 3_000_000,
        "attributes": attributes,
        "links": [],
        "status": "UNSET",
        "service": "qmosaic-encode",
    }


SPANS = [
    span(TRACE, 1, None, "receive problems", **{"qmosaic.problem.id": "petersen"}),
    span(TRACE, 2, 1, "process problems.encoded"),
    span(OTHER, 3, None, "receive problems"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "encode-0.jsonl").write_text("".join(json.dumps(one) + "\n" for one in SPANS) + "half a li")
    monkeypatch.setenv("QMOSAIC_SPANS_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", [TRACE, "petersen"])
def test_a_trace_is_found_by_its_id_and_by_its_problem(name: str) -> None:
    found = CliRunner().invoke(app, ["trace", name])
    assert found.exit_code == 0, found.output
    assert [line.strip("└─ ").split("  ")[0] for line in found.output.splitlines()[1:]] == [
        "receive problems",
        "process problems.encoded",
    ]
    lines = CliRunner().invoke(app, ["trace", name, "--json"]).stdout.splitlines()
    assert [json.loads(line) for line in lines] == SPANS[:2]


@pytest.mark.usefixtures("folder")
def test_what_is_not_there_is_said() -> None:
    found = CliRunner().invoke(app, ["trace", "\x1b[31mnobody"])
    assert found.exit_code == 1
    assert "no trace of \\x1b[31mnobody is there" in found.output


def test_without_spans_it_says_how_to_have_some() -> None:
    found = CliRunner().invoke(app, ["trace", TRACE])
    assert found.exit_code == 2
    assert "QMOSAIC_SPANS_DIR" in found.output


class Jaeger(BaseHTTPRequestHandler):
    """Its API, for one trace."""

    def do_GET(self) -> None:
        there = self.path == f"/api/traces/{TRACE}"
        told: object = {
            "data": [
                {
                    "traceID": TRACE,
                    "spans": [
                        {
                            "traceID": TRACE,
                            "spanID": "1",
                            "operationName": "send problems",
                            "references": [],
                            "startTime": 1000,
                            "duration": 5000,
                            "tags": [{"key": "qmosaic.route.reason", "value": "rule"}],
                            "processID": "p1",
                        },
                        {
                            "traceID": TRACE,
                            "spanID": "2",
                            "operationName": "process problems",
                            "references": [{"refType": "CHILD_OF", "traceID": TRACE, "spanID": "1"}],
                            "startTime": 2000,
                            "duration": 1000,
                            "tags": [],
                            "processID": "p1",
                        },
                    ],
                    "processes": {"p1": {"serviceName": "qmosaic-route"}},
                }
            ]
        }
        data = json.dumps(told if there else {"errors": [{"code": 404}]}).encode()
        self.send_response(200 if there else 404)
        self.end_headers()
        self.wfile.write(data if self.path != f"/api/traces/{OTHER}" else b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Jaeger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_jaeger_is_asked(url: str) -> None:
    found = CliRunner().invoke(app, ["trace", TRACE, "--jaeger", url])
    assert found.exit_code == 0, found.output
    assert "send problems  route  @0.0 +5.0  rule" in found.output
    assert "process problems  route  @1.0 +1.0" in found.output
    assert CliRunner().invoke(app, ["trace", OTHER, "--jaeger", url]).exit_code == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["a" * 40, "--jaeger", "http://127.0.0.1:1"], "by their ids alone"),
        ([TRACE, "--jaeger", "file:///etc/passwd"], "expected an http address"),
        ([TRACE, "--jaeger", "http://127.0.0.1:1"], "Jaeger does not answer"),
    ],
)
def test_other_addresses_and_ids_are_refused(given: list[str], words: str) -> None:
    found = CliRunner().invoke(app, ["trace", *given])
    assert found.exit_code in (1, 2)
    assert words in found.output
