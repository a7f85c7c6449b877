"""The page's process as `qmosaic up` starts it: `python -m qmosaic.streams.page.child LISTENER LINE` (descriptors)."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys

from qmosaic.streams.life.lifeline import Lifeline
from qmosaic.streams.page.server import serve

NICE = 10
"""Whoever solves problems goes first."""
IDLE_SECONDS = 600.0
"""Without a browser it ends; the next one that comes has a new one."""


def main() -> None:
    """Serve until nobody looks, or whoever started it is gone. Nobody may submit anything here."""
    os.nice(NICE)
    lifeline = Lifeline(int(sys.argv[2]))
    lifeline.ends_at_once()
    settings = lifeline.settings()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s page %(name)s: %(message)s")
    logging.getLogger("nicegui").setLevel(logging.ERROR)  # it tells every address that it does not know
    asyncio.run(serve(settings, socket.socket(fileno=int(sys.argv[1])), "127.0.0.1", None, IDLE_SECONDS))


if __name__ == "__main__":
    main()
