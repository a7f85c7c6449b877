"""Where the public benchmark files lie that some tests read; these are skipped where there are none."""

from __future__ import annotations

import os
from pathlib import Path

INSTANCES = Path(os.environ.get("QMOSAIC_INSTANCES") or Path(__file__).parents[2] / "shared" / "instances")
