"""The folder that compiled programs are kept in: one a version of the code, of JAX and of the processor.

Without JAX, so that who only wants to know whether anything is to be compiled need not import it.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

OF_JAX = re.compile(rb"^\s*(?:import jax\b|from jax[. ])", re.MULTILINE)
"""What a module has whose code is compiled, besides those of `on_jax`."""
KEPT_VERSIONS = 4
"""Folders of other versions that stay, the last used; those of a working copy would be many."""


def made(folder: Path) -> Path:
    """The folder of this version, made where it is not there. Raises OSError."""
    own = folder / _version()
    own.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.utime(own)
    with suppress(OSError):
        others = [each for each in folder.iterdir() if each.is_dir() and each != own]
        for old in sorted(others, key=lambda each: each.stat().st_mtime)[:-KEPT_VERSIONS]:
            shutil.rmtree(old, ignore_errors=True)
    return own


def is_complete(folder: Path, usual: str = "") -> bool:
    """Whether all that is usual has been compiled, for this version; `usual`: a word for what that is."""
    return stamp(folder / _version(), usual).exists()


def stamp(own: Path, usual: str) -> Path:
    """The file of a version's folder that says so."""
    return own / f"complete-{sha256(usual.encode()).hexdigest()[:12]}"


@cache
def _version() -> str:
    said = sha256(f"{version('jax')} {version('jaxlib')} {platform.machine()} {_processor()}".encode())
    said.update(os.environ.get("JAX_PLATFORMS", "").encode() + os.environ.get("XLA_FLAGS", "").encode())
    root = Path(__file__).resolve().parents[1]
    for room in ("backends", "processors"):
        for path in sorted((root / room).rglob("*.py")):
            text = path.read_bytes()
            if path.parent.name == "on_jax" or OF_JAX.search(text):
                said.update(text)
    return said.hexdigest()[:16]


def _processor() -> str:
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "".join(dict.fromkeys(line for line in lines if line.startswith(("model name", "flags", "Features"))))
    return platform.processor()
