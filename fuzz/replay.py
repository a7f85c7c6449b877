"""One input through one target, as it is: `python -m fuzz.replay TARGET FILE`. Exit code 1 where it is a finding."""

from __future__ import annotations

import sys
import time
import traceback
from pathlib import Path

from fuzz import limits
from fuzz.targets import TARGETS


def main() -> int:
    """By the arguments."""
    target, data = TARGETS[sys.argv[1]], Path(sys.argv[2]).read_bytes()
    limits.confine_memory()
    try:
        for seed in target.seeds()[:1]:  # imports and caches are not the input's
            target.run(seed)
        started = time.process_time()
        limits.within(target.seconds(data), target.run, data)
    except limits.TooLong:
        frames = traceback.extract_tb(sys.exc_info()[2])
        ours = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames if "/qmosaic/" in frame.filename]
        print(f"over {time.process_time() - started:.2f} s at {' > '.join(ours[-4:])}")
        return 1
    except Exception as error:  # noqa: BLE001 - the finding
        traceback.print_exc()
        print(f"{type(error).__name__}: {error}"[:200])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
