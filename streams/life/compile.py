"""The process that compiles what is not compiled yet, behind: `python -m qmosaic.streams.life.compile FD`."""

from __future__ import annotations

import os
import sys

from qmosaic.streams.hops.jobs import compile_all
from qmosaic.streams.hops.processes import stay_in_background
from qmosaic.streams.life.lifeline import Lifeline


def main() -> None:
    """Exit code 0: all is there. It ends with its supervisor; what was compiled stays."""
    lifeline = Lifeline(int(sys.argv[1]))
    settings = lifeline.settings()
    stay_in_background(least=True)
    lifeline.ends_at_once()
    compile_all(settings)
    os._exit(0)


if __name__ == "__main__":
    main()
