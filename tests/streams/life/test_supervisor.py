"""The supervisor with real processes: what they get and leave, how long it waits, that nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil
import pytest

from qmosaic.codecs.errors import BrokerError, SettingsError
from qmosaic.streams.hops.processes import cpu_seconds
from qmosaic.streams.life import children, forks
from qmosaic.streams.life import supervisor as module
from qmosaic.streams.life.folders import scratch
from qmosaic.streams.life.supervisor import Supervisor
from qmosaic.streams.settings import ExecuteSettings, Topics
from qmosaic.streams.watch.logs import last_lines
from tests.streams.harness import Pipeline, pipeline, settings_for

STAGES = ["encode", "execute.quantum", "verify"]
CHEAP = {"execute": ExecuteSettings({"quantum": ("fake",)}), "topics": Topics(partitions=2)}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


# What they get and leave


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Three workers on a broker of their own, from a careless shell: umask 0, keys in the environment."""
    data = tmp_path_factory.mktemp("up") / "data"
    data.mkdir()
    data.chmod(0o755)
    settings = settings_for("embedded", data, spans_dir=str(data / "spans"), **CHEAP)
    keys = {"QMOSAIC_IONQ_API_KEY": "hush", "AWS_SECRET_ACCESS_KEY": "hush", "OTEL_QMOSAIC_TEST": "all get this"}
    before = os.umask(0)
    os.environ.update(keys)
    try:
        with pipeline(settings, STAGES) as running:
            yield running
    finally:
        os.umask(before)
        for key in keys:
            del os.environ[key]


def test_no_process_has_the_keys(up: Pipeline) -> None:
    processes = psutil.Process().children(recursive=True)
    assert {up.child(f"{stage}-0").process.pid for stage in STAGES} <= {process.pid for process in processes}  # type: ignore[union-attr]
    ours = [process for process in processes if "OTEL_QMOSAIC_TEST" in process.environ()]
    assert len(ours) >= 2 + 3 + 1  # the broker, the zygote, the workers, a process of execute.quantum
    for process in ours:
        assert [key for key, value in process.environ().items() if value == "hush"] == []
        assert [key for key in process.environ() if key.startswith("QMOSAIC_")] in ([], ["QMOSAIC_BELL"])


def test_nobody_else_reads_the_data(up: Pipeline) -> None:
    data = Path(up.settings.data_dir)
    paths = [data, *data.rglob("*")]
    assert {"broker", "logs", "faust", "spans"} <= {path.name for path in paths}
    assert [path for path in paths if path.lstat().st_mode & 0o077] == []


def test_another_users_data_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    (tmp_path / "mine").mkdir()
    os.chown(tmp_path / "mine", 12_345, -1)
    with pytest.raises(SettingsError, match="belongs to another user"):
        asyncio.run(Supervisor(settings_for("embedded", tmp_path / "mine"), STAGES).start())


class Draining:
    """A process that ends when all of them were told to."""

    pid = 0

    def __init__(self, told: set[str], of: int, name: str) -> None:
        self.returncode: int | None = None
        self._told, self._of, self._name = told, of, name

    def terminate(self) -> None:
        self._told.add(self._name)

    def kill(self) -> None:
        raise AssertionError(f"{self._name} had to be killed")

    async def wait(self) -> int:
        while len(self._told) < self._of:
            await asyncio.sleep(0.01)
        self.returncode = 0
        return 0


async def test_workers_stop_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAIN_SECONDS", 60.0)
    said, told = list[str](), set[str]()
    up = Supervisor(settings_for("127.0.0.1:9", tmp_path / "data"), STAGES, tell=said.append, create=False)
    for child in up.children:
        child.process = Draining(told, len(up.children), child.instance)
    await asyncio.wait_for(up.stop(), 30)
    assert told == {child.instance for child in up.children}
    assert said == []


# What goes wrong at a start


def instead_of_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """The supervisor starts this program of Python's where it would start a worker."""
    script = tmp_path / "worker"
    script.write_text(f"#!{sys.executable}\nimport os, signal, socket, sys, time\n{textwrap.dedent(program)}")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(module, "SUPPORTED", False)
    monkeypatch.setattr(forks, "SUPPORTED", False)


def alone(tmp_path: Path, said: list[str], **more: object) -> Supervisor:
    """A supervisor of one worker that needs no broker."""
    settings = settings_for("127.0.0.1:9", tmp_path / "data", **more)
    return Supervisor(settings, ["encode"], logs=tmp_path / "data" / "logs", tell=said.append, create=False)


NATIVE = """
os.write(2, b"x" * 3_000_000)
os.write(2, b"\\nlast words \\x1b[31m")
os.kill(os.getpid(), signal.SIGSEGV)
"""


SLOW = """
print("first words", flush=True)
time.sleep(0.3)
sys.exit("no key")
"""


@pytest.mark.parametrize(("program", "words"), [(NATIVE, "last words \\x1b[31m"), (SLOW, "no key")])
async def test_a_crash_loop_ends_with_its_last_words_and_bounded_logs(
    program: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instead_of_a_worker(tmp_path, monkeypatch, program)
    with pytest.raises(BrokerError, match="encode-0 cannot start") as caught:
        async with alone(tmp_path, [], log_bytes=100_000):
            pass
    assert caught.value.place == words
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "data" / "logs").iterdir()}
    assert sizes.keys() <= {"encode-0.log", "encode-0.log.1"}
    assert max(sizes.values()) <= 100_000


WAITING = """
line = socket.socket(fileno=int(sys.argv[-1]))
time.sleep({seconds})
line.send(b"ready\\n")
time.sleep(600)
"""


async def test_a_start_waits_as_long_as_there_is_progress_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instead_of_a_worker(tmp_path, monkeypatch, WAITING.format(seconds=3))
    monkeypatch.setattr(module, "READY_SECONDS", 0.5)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(module, "SAY_SECONDS", 0.2)
    looks = 0

    def taken(pids: Iterable[int]) -> dict[int, float]:
        nonlocal looks
        looks += 1
        return dict.fromkeys(pids, looks * children.PROGRESS_SECONDS)

    monkeypatch.setattr(children, "cpu_seconds", taken)
    said: list[str] = []
    async with alone(tmp_path, said):
        assert looks > 5
    waiting = [text for text in said if text.startswith("0 of 1 ready, ")]
    assert len(waiting) > 1
    assert waiting[0].endswith("s: encode-0 starting")


@pytest.mark.parametrize("growth", [0.0, 0.01])
async def test_a_start_without_progress_is_given_up(
    growth: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instead_of_a_worker(tmp_path, monkeypatch, WAITING.format(seconds=600))
    monkeypatch.setattr(module, "READY_SECONDS", 0.5)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.1)
    looks = 0

    def taken(pids: Iterable[int]) -> dict[int, float]:
        nonlocal looks
        looks += 1
        return dict.fromkeys(pids, looks * growth)

    monkeypatch.setattr(children, "cpu_seconds", taken)
    with pytest.raises(BrokerError, match="encode-0 not ready: no progress for"):
        async with alone(tmp_path, []):
            pass
    assert looks


STARTING = """
import asyncio
from qmosaic.streams.life.lifeline import Lifeline

async def start():
    line = Lifeline(int(sys.argv[-1]))
    line.settings()
    line.listen()
    os.write(2, b"listening")
    await asyncio.Event().wait()

asyncio.run(start())
"""


async def test_what_cannot_be_spawned_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError):
        async with alone(tmp_path, []):
            pass


def test_processor_time_is_counted_with_what_is_below() -> None:
    burn = "import time\nwhile time.process_time() < 1.5: pass\n"  # /proc counts in ticks: some are lost
    nested = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])\nsys.stdin.read()"
    sleeper = "import sys; sys.stdin.read()"
    both = [subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) for code in (nested, sleeper)]
    try:
        give_up = time.monotonic() + 60
        while (taken := cpu_seconds([process.pid for process in both]))[both[0].pid] < 1:
            assert time.monotonic() < give_up
            time.sleep(0.05)
        assert taken[both[1].pid] < 1
        assert cpu_seconds([2**22 + 1]) == {2**22 + 1: 0.0}
    finally:
        for process in both:
            process.communicate()


async def test_a_stop_in_the_middle_of_a_start_is_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instead_of_a_worker(tmp_path, monkeypatch, STARTING)
    said: list[str] = []
    up = alone(tmp_path, said)
    starting = asyncio.create_task(up.start())
    while not (tmp_path / "data" / "logs" / "encode-0.log").exists() or not last_lines(
        tmp_path / "data" / "logs" / "encode-0.log"
    ):
        await asyncio.sleep(0.05)
    starting.cancel()
    await up.stop()
    assert said == []  # nor had to be killed
    assert up.children[0].process is not None
    assert up.children[0].process.returncode == 0


async def test_a_zygote_that_dies_takes_nobody_along(tmp_path: Path) -> None:
    settings, said = settings_for("embedded", tmp_path / "data", **CHEAP), list[str]()
    async with Supervisor(settings, STAGES, logs=tmp_path / "data" / "logs", tell=said.append) as up:
        await up.workers_ready()
        zygote, workers = up._forks._process, [child.process for child in up.children]
        assert zygote is not None
        zygote.kill()
        await zygote.wait()
        assert [worker.returncode for worker in workers if worker is not None] == [None] * len(STAGES)
        victim = up.children[0]
        assert victim.process is not None
        victim.process.kill()
        while victim.starts < 2 or victim.process is None or victim.process.returncode is not None:
            await asyncio.sleep(0.02)
        assert said[-1] == "encode-0 ended with -256, starting again"  # nobody heard how
        another = up._forks._process
        assert another is not None
        assert another is not zygote
        assert psutil.Process(victim.process.pid).ppid() == another.pid


# That nothing stays behind

BUSY = """
import asyncio, sys, time
from qmosaic.streams.life import lifeline

async def start():
    line.listen()
    print("up", flush=True)
    await asyncio.Event().wait()

async def drain():
    line.listen()
    line.ready()
    print("up", flush=True)
    await line.wait()
    await asyncio.Event().wait()  # what never comes

lifeline.DRAIN_SECONDS = 1
line = lifeline.Lifeline(int(sys.argv[1]))
{work}
"""


@pytest.mark.parametrize(
    ("work", "status"),
    [
        ("print('up', flush=True)\nwhile True: pass", -signal.SIGALRM),
        ("print('up', flush=True)\ntime.sleep(600)", -signal.SIGALRM),
        ("asyncio.run(drain())", -signal.SIGALRM),
        ("asyncio.run(start())", 0),
    ],
)
def test_a_worker_that_is_busy_ends_with_its_supervisor_too(work: str, status: int) -> None:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", BUSY.format(work=work), str(theirs.fileno())]
    with ours, subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        ours.close()
        assert process.wait(30) == status


OURS = {"qmosaic.streams.life.zygote", "qmosaic.streams.life.child", "qmosaic.streams.hops.helpers"}
"""What is run as a module; a fork has the command of its zygote."""
MAIN = """
import asyncio, signal, sys
from pathlib import Path
import msgspec
from qmosaic.streams.settings import Settings
from qmosaic.streams.life.supervisor import Supervisor

async def main():
    settings = msgspec.json.decode(sys.argv[1], type=Settings)
    async with Supervisor(settings, sys.argv[2].split(","), logs=Path(settings.data_dir) / "logs"):
        print("ready", flush=True)
        await asyncio.Event().wait()

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
asyncio.run(main())
"""


def marked(marker: str) -> dict[psutil.Process, list[str]]:
    """The processes whose environment has the marker, but for dead ones that nobody has asked for; their commands."""
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("OTEL_QMOSAIC_TEST") == marker and process.status() != psutil.STATUS_ZOMBIE:
                found[process] = process.cmdline()
    return found


def unowned_semaphores() -> set[str]:
    """Those of multiprocessing that no process has open, whoever's."""
    names = {path.name for path in Path("/dev/shm").glob("sem.mp-*")}  # noqa: S108
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            text = maps.read_text()
            names = {name for name in names if name not in text}
    return names


@pytest.mark.parametrize("at_the_end", [signal.SIGKILL, signal.SIGINT])
def test_after_any_crash_nothing_is_left_but_the_data(
    at_the_end: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers and their processes are killed at random moments, in start-up and later, at the end the supervisor."""
    marker, temporary, rng = os.urandom(8).hex(), tmp_path / "tmp", random.Random(7)
    temporary.mkdir()
    before = unowned_semaphores()
    settings = msgspec.json.encode(settings_for("embedded", tmp_path / "data", **CHEAP)).decode()
    environment = {**os.environ, "OTEL_QMOSAIC_TEST": marker, "TMPDIR": str(temporary)}
    command = [sys.executable, "-c", MAIN, settings, ",".join(STAGES)]
    seen: set[psutil.Process] = set()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for _ in range(12):
            time.sleep(rng.uniform(0, 2))
            found = marked(marker)
            seen |= found.keys()
            victims = [
                one
                for one, line in found.items()
                if {"qmosaic.streams.life.zygote", "qmosaic.streams.life.child", "qmosaic.streams.hops.helpers"}
                & {*line}
            ]
            with suppress(psutil.NoSuchProcess):
                rng.choice(victims).kill()
        process.send_signal(at_the_end)
        try:
            process.wait(60)
        finally:
            process.kill()
    assert len(seen) > 15
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up and (marked(marker) or unowned_semaphores() - before):
        time.sleep(0.2)
    assert list(marked(marker).values()) == []
    assert unowned_semaphores() - before == set()
    if at_the_end == signal.SIGKILL:
        assert len(list(temporary.iterdir())) == 1
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        with scratch():  # as at the next start
            pass
    assert list(temporary.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"data", "tmp"}
    assert "leaked" not in "".join(path.read_text() for path in (tmp_path / "data" / "logs").iterdir())
