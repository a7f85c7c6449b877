"""`qmosaic page`, and the page that `up` serves: started when somebody comes, gone with whoever started it."""

from __future__ import annotations

import asyncio
import http.client
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import typer
from msgspec.structs import replace

from qmosaic.streams.cli import page
from qmosaic.streams.life.place import held, running
from qmosaic.streams.life.topics import create_topics
from qmosaic.streams.settings import PageSettings
from tests.streams.cli.test_cli import run
from tests.streams.harness import settings_for

HEAVY = ("jax", "cirq", "pyscf", "matplotlib", "faust", "pyvrp")


def test_the_process_of_the_page_is_lean() -> None:
    code = "import sys, qmosaic.streams.page.child; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "nicegui" in loaded
    assert [name for name in HEAVY if f"'{name}'" in loaded] == []


def test_without_the_extra_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(page, "find_spec", lambda _: None)
    with pytest.raises(typer.Exit) as ended:
        page.page()
    assert ended.value.exit_code == 2
    assert "pip install 'qmosaic[page]'" in capsys.readouterr().err


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    taken = page.listening("127.0.0.1", 0)
    with taken:
        done = run("page", "--broker", "127.0.0.1:1", "--port", str(taken.getsockname()[1]), cwd=tmp_path)
    assert (done.returncode, "cannot listen" in done.stderr, "--port 0" in done.stderr) == (2, True, True)


def fetched(address: str) -> str:
    connection = http.client.HTTPConnection(address.removeprefix("http://").rstrip("/"), timeout=60)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


@pytest.mark.broker
async def test_the_page_of_up_starts_when_somebody_comes(broker: str, tmp_path: Path) -> None:
    settings = settings_for(broker, tmp_path)
    await create_topics(settings)
    said: list[str] = []
    me = psutil.Process()
    before = set(me.children())
    async with page.beside(settings, tmp_path, said.append) as address:
        assert set(me.children()) == before
        assert "<title>qmosaic</title>" in await asyncio.to_thread(fetched, address)
        (child,) = set(me.children()) - before
        child.kill()
        assert "<title>qmosaic</title>" in await asyncio.to_thread(fetched, address)
        (again,) = set(me.children()) - before
        assert again.pid != child.pid
    assert not again.is_running() or again.status() == psutil.STATUS_ZOMBIE
    assert said == [f"the page ended with -9: see {tmp_path / 'page.log'}"]


async def test_where_its_port_is_taken_the_pipeline_runs_without(tmp_path: Path) -> None:
    said: list[str] = []
    with page.listening("127.0.0.1", 0) as taken:
        settings = replace(settings_for("b:1", tmp_path), page=PageSettings(port=taken.getsockname()[1]))
        async with page.beside(settings, tmp_path, said.append) as address:
            assert address == ""
    assert said[0].startswith("no page: cannot listen")
    async with page.beside(replace(settings, page=PageSettings(enabled=False)), tmp_path, said.append) as address:
        assert (address, len(said)) == ("", 1)


def test_the_address_stands_in_the_data_folder(tmp_path: Path) -> None:
    with held(tmp_path, "") as place:
        place.announce("b:1", "http://127.0.0.1:9/")
        found = running(tmp_path)
    assert found is not None
    assert (found.page, found.pid) == ("http://127.0.0.1:9/", os.getpid())


@pytest.mark.broker
@pytest.mark.parametrize("installed", [True, False])
def test_the_demo_shows_its_page(tmp_path: Path, installed: bool) -> None:
    """On a terminal it stays, and is the page of the demo's pipeline; without the extra a line says so."""
    hide = "import sys; sys.modules['nicegui'] = None; import importlib.util as u; find = u.find_spec; "
    hide += "u.find_spec = lambda name, *more: None if name == 'nicegui' else find(name, *more); "
    code = f"{'' if installed else hide}from qmosaic.streams.cli.app import app; app(['demo'])"
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    with suppress(OSError):  # EIO: it has ended
        while b"Ctrl-C ends it" not in said and (more := os.read(ours, 65536)):
            said += more
    text = said.decode()
    if installed:
        address = re.search(r"page    (http://127\.0\.0\.1:\d+/)", text)
        assert address is not None
        assert "<title>qmosaic</title>" in fetched(address[1])
        assert "Petersen graph" in text
        process.send_signal(signal.SIGINT)
    else:
        assert text.count("no page: pip install 'qmosaic[page]' brings it") == 1
    assert process.wait(120) == (130 if installed else 0)
    os.close(ours)
