"""A page that is served by its real process, of topics that were written to; and a real browser to look at it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, sync_playwright

from qmosaic.streams.settings import Settings
from tests.streams.harness import settings_for
from tests.streams.page.feeding import feed_all, in_a_loop

CHROMIUM = shutil.which("chromium")


class Served(NamedTuple):
    """A page: its address with the slash, its token, and its process."""

    address: str
    token: str
    process: subprocess.Popen[str]
    settings: Settings


def environment(settings: Settings) -> dict[str, str]:
    """For a command of that pipeline."""
    return {
        **os.environ,
        "QMOSAIC_BROKER": settings.broker,
        "QMOSAIC_NAMESPACE": settings.namespace,
        "QMOSAIC_TOPICS__PARTITIONS": str(settings.topics.partitions),
        "QMOSAIC_PAGE__TRACES": "http://127.0.0.1:16686/",
    }


@pytest.fixture(scope="session")
def served(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One page for all tests, with the form."""
    folder = tmp_path_factory.mktemp("page")
    settings = settings_for(broker, folder)
    in_a_loop(feed_all(settings))
    yield from serving(settings, folder, "--allow-control")


def serving(settings: Settings, folder: Path, *options: str) -> Iterator[Served]:
    """`qmosaic page --json`, until it is told to end; then it ends well, and leaves nothing behind."""
    command = [sys.executable, "-m", "qmosaic.streams.cli.main", "page", "--json", *options]
    with (folder / "page.log").open("w") as words:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(settings), stdout=subprocess.PIPE, stderr=words, text=True
        )
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    yield Served(said["page"], said.get("token", ""), process, settings)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    process.stdout.close()
    assert not (folder / ".nicegui").exists()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    if CHROMIUM is None:
        pytest.skip("no chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
