"""The console script. Nothing heavy is imported before Ctrl-C ends it quietly."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def main() -> None:
    """The command line of `app`, which takes a moment to load."""
    signal.signal(signal.SIGINT, _interrupted)
    try:
        from qmosaic.streams.cli.app import app

        app()
    except KeyboardInterrupt:  # where an event loop has given the signal back to Python
        sys.exit(130)


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    sys.exit(130)


if __name__ == "__main__":
    main()
