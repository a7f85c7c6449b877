"""Make trace.svg anew: one problem through a pipeline of its own, its spans as `qmosaic demo` prints them.

.venv/bin/python docs/images/make_trace.py
"""

from __future__ import annotations

import asyncio
import io
import re
import tempfile
from pathlib import Path

import msgspec
import networkx as nx
from rich.console import Console

from qmosaic.codecs.problems import MaxCut
from qmosaic.streams.cli.render import read_spans, trace_tree
from qmosaic.streams.client import Client
from qmosaic.streams.life.supervisor import Supervisor
from qmosaic.streams.settings import Settings
from qmosaic.streams.topology import STAGES

PICTURE = Path(__file__).with_name("trace.svg")
TRIES = 100
PROBLEM = MaxCut(edges=list(nx.petersen_graph().edges))


async def traced(folder: Path) -> str:
    """Solve the problem on the quantum target; its trace id. The spans are in `folder` afterwards."""
    settings = msgspec.structs.replace(Settings(), data_dir=str(folder / "data"), spans_dir=str(folder / "spans"))
    async with (
        Supervisor(settings, list(STAGES), logs=folder / "logs") as supervisor,
        Client(settings=supervisor.settings) as client,
    ):
        for _ in range(TRIES):  # Cirq is loaded behind, and a first problem finds everything cold
            if (await client.solve(PROBLEM, target="quantum", deadline=20)).backend is not None:
                break
        return (await client.solve(PROBLEM, target="quantum", deadline=20)).trace_id


def main() -> None:
    """Draw it."""
    with tempfile.TemporaryDirectory() as folder:
        trace_id = asyncio.run(traced(Path(folder)))
        tree = trace_tree(read_spans(Path(folder) / "spans"), trace_id)
    console = Console(record=True, highlight=False, width=108, file=io.StringIO())
    console.print(tree)
    svg = console.export_svg(title="max-cut of the Petersen graph, --target quantum")
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL))  # no fonts from elsewhere


if __name__ == "__main__":
    main()
