"""Make solution-*.svg anew: the bundled problems through a real pipeline, one of each family, drawn.

.venv/bin/python docs/images/make_pictures.py
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import msgspec

from qmosaic.codecs.events.public import Outcome, Problem
from qmosaic.streams.cli.demo import demo_problems
from qmosaic.streams.client import Client
from qmosaic.streams.life.supervisor import Supervisor
from qmosaic.streams.pictures.draw import draw
from qmosaic.streams.settings import Settings
from qmosaic.streams.topology import STAGES

HERE = Path(__file__).parent
DARK = {"ising"}


async def solved(folder: Path) -> dict[str, tuple[Problem, Outcome]]:
    """The first problem of each family, and what came of it."""
    settings = msgspec.structs.replace(Settings(), data_dir=str(folder / "data"))
    found: dict[str, tuple[Problem, Outcome]] = {}
    async with (
        Supervisor(settings, list(STAGES), logs=folder / "logs") as supervisor,
        Client(settings=supervisor.settings) as client,
    ):
        for event in demo_problems():
            problem = msgspec.convert(event, Problem)
            if problem.family not in found:
                found[problem.family] = problem, await client.solve(problem, deadline=60)
    return found


def main() -> None:
    """Draw them."""
    with tempfile.TemporaryDirectory() as folder:
        for family, (problem, outcome) in asyncio.run(solved(Path(folder))).items():
            (HERE / f"solution-{family}.svg").write_bytes(draw(problem, outcome, dark=family in DARK) + b"\n")


if __name__ == "__main__":
    main()
