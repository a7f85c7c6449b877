"""`qmosaic trace`: one trace as a tree, from the files of `spans_dir` or from Jaeger's API."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.error import URLError
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

import typer

from qmosaic.codecs.errors import SettingsError
from qmosaic.codecs.text import shown
from qmosaic.streams.cli.common import USAGE, JsonOption, emit, fail, load_settings
from qmosaic.streams.cli.render import console, read_spans, trace_tree

MOST_BYTES = 64 * 1024 * 1024
SECONDS = 10.0


def trace(
    id: Annotated[str, typer.Argument(help="A trace id, or the id of a problem.", metavar="ID")],  # noqa: A002
    jaeger: Annotated[
        str | None, typer.Option("--jaeger", metavar="URL", help="Ask Jaeger's API, e.g. http://127.0.0.1:16686.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """One trace as a tree: every hop with its start and duration. Exit code 1: there is none."""
    settings = load_settings()
    if jaeger is not None:
        spans = _from_jaeger(jaeger, id)
    elif settings.spans_dir is not None:
        spans = read_spans(Path(settings.spans_dir))
    else:
        fail(
            SettingsError(
                "no spans are kept here",
                place="spans_dir",
                remedy="Start `qmosaic up` with QMOSAIC_SPANS_DIR=FOLDER, and this too; or name a --jaeger URL.",
            ),
            USAGE,
        )
    trace_id = _trace_of(id, spans)
    if trace_id is None:
        typer.echo(f"error: no trace of {shown(id, 100)} is there", err=True)
        raise typer.Exit(1)
    if as_json:
        for span in spans:
            if span["context"]["trace_id"] == f"0x{trace_id}":
                emit(span)
        return
    console().print(trace_tree(spans, trace_id))


def _trace_of(id_: str, spans: list[dict[str, Any]]) -> str | None:
    """The trace with this id, or of the problem with it."""
    traces = {str(span["context"]["trace_id"]).removeprefix("0x") for span in spans}
    if id_ in traces:
        return id_
    for span in spans:
        if span["attributes"].get("qmosaic.problem.id") == id_:
            return str(span["context"]["trace_id"]).removeprefix("0x")
    return None


def _from_jaeger(url: str, trace_id: str) -> list[dict[str, Any]]:
    """The spans of a trace, as files have them. Fails where nobody answers, or in other words."""
    if urlsplit(url).scheme not in ("http", "https"):
        fail(SettingsError(f"expected an http address, got {url}", place="--jaeger"), USAGE)
    if re.fullmatch(r"[0-9a-f]{1,32}", trace_id) is None:
        fail(
            SettingsError("Jaeger knows traces by their ids alone", place="ID", remedy="Outcomes have a trace_id."),
            USAGE,
        )
    try:
        with urlopen(f"{url.rstrip('/')}/api/traces/{quote(trace_id)}", timeout=SECONDS) as answer:  # noqa: S310
            told = json.loads(answer.read(MOST_BYTES))
        return [_plain(span, found["processes"]) for found in told["data"] for span in found["spans"]]
    except URLError as error:
        if getattr(error, "code", None) == 404:
            return []
        fail(SettingsError(f"Jaeger does not answer: {error.reason}", place=url, remedy="Is it up?"))
    except (OSError, ValueError, LookupError, TypeError) as error:
        fail(SettingsError(f"this is no answer of Jaeger's: {error}", place=url))


def _plain(span: dict[str, Any], processes: dict[str, Any]) -> dict[str, Any]:
    parents = [one["spanID"] for one in span.get("references", []) if one.get("refType") == "CHILD_OF"]
    begin = int(span["startTime"]) * 1000  # from microseconds
    tags = {tag["key"]: tag["value"] for tag in span.get("tags", [])}
    return {
        "name": str(span["operationName"]),
        "context": {"trace_id": f"0x{span['traceID']:0>32}", "span_id": f"0x{span['spanID']:0>16}"},
        "parent_id": f"0x{parents[0]:0>16}" if parents else None,
        "start_time": begin,
        "end_time": begin + int(span["duration"]) * 1000,
        "attributes": tags,
        "status": "ERROR" if tags.get("error") is True else "UNSET",
        "service": processes[span["processID"]]["serviceName"],
    }
