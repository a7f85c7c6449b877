"""A person at home: `qmosaic up` in a folder, and everything else finds it there; answers that can be read."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import ROOT

pytestmark = [pytest.mark.broker, pytest.mark.embedded]
QMOSAIC = [sys.executable, "-m", "qmosaic.streams.cli.main"]
HEADS = ("qmosaic ", "echo ", "kcat ", "$ kcat ", "$ echo ", "export ", "make ", "python ")


@contextmanager
def up(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """`qmosaic up` in a folder, ready; stopped by Ctrl-C."""
    command, spans = [*QMOSAIC, "up"], {"QMOSAIC_SPANS_DIR": ".qmosaic/spans"}
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, text=True, env={**environment(), **spans}
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready ")
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def environment(columns: int = 80) -> dict[str, str]:
    """Nothing of ours, and a terminal that wide."""
    mine = {key: value for key, value in os.environ.items() if not key.startswith("QMOSAIC_")}
    return {**mine, "COLUMNS": str(columns), "PYTHONPATH": f"{ROOT / 'src'}"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a running pipeline and the examples."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copytree(ROOT / "examples", folder / "examples")
    with up(folder):
        yield folder


def run(folder: Path, *arguments: str, columns: int = 80) -> subprocess.CompletedProcess[str]:
    command = [*QMOSAIC, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(columns), capture_output=True, text=True, timeout=120, check=False
    )


def test_answers_are_printed_in_the_words_of_their_family(home: Path) -> None:
    files = [f"examples/data/{name}" for name in ("karate.rud", "cities.tsp", "ghz.qasm", "cubic60.rud.gz")]
    done = run(home, "submit", *files, "--wait", "--deadline", "30")
    assert done.returncode == 0, done.stderr
    assert re.search(r"karate  61 \(maximum asked for\)\n  one side    \d+: \d+, ", done.stdout)
    assert re.search(r"tour of 12: \d+ → .* → back", done.stdout.replace("\n ", ""))
    assert re.search(r"(0000|1111)  +\d+  +\d\d\.\d %", done.stdout)
    assert "cubic60" in done.stdout
    assert "--json" in done.stdout
    sent = re.findall(r"^  sent  ([0-9a-f]{32})  (\S+)$", done.stderr, re.MULTILINE)
    assert [name for _, name in sent] == ["karate", "cities", "ghz", "cubic60"]
    assert done.stderr.index("sent") < done.stderr.index("1/4")


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_tables_fit_their_terminal(home: Path, columns: int) -> None:
    done = run(home, "submit", "--family", "labs", "--set", "n=9", "--wait", columns=columns)
    assert done.returncode == 0, done.stderr
    table = run(home, "outcomes", columns=columns)
    for text in (done.stdout, table.stdout):
        assert max(map(len, text.splitlines())) <= columns
        assert "merit factor" in text


def test_what_is_refused_says_what_to_do(home: Path) -> None:
    (home / "loop.json").write_text('{"family":"maxcut","problem":{"edges":[[0,0]]}}')
    done = run(home, "submit", "loop.json", "--wait")
    assert done.returncode == 3
    assert "Leave it out." in done.stdout


def test_ctrl_c_while_waiting_loses_no_id(home: Path) -> None:
    command = [*QMOSAIC, "submit", "--family", "labs", "--set", "n=60", "--deadline", "60", "--wait"]
    with subprocess.Popen(command, cwd=home, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert re.fullmatch(r"  sent  [0-9a-f]{32}  labs n=60\n", line)


def test_outcomes_are_followed_a_line_each(home: Path) -> None:
    command = [*QMOSAIC, "outcomes", "--follow"]
    with subprocess.Popen(command, cwd=home, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            give_up = time.monotonic() + 60
            os.set_blocking(process.stdout.fileno(), False)
            lines: list[str] = []
            while len(lines) < 2 and time.monotonic() < give_up:
                run(home, "submit", "--family", "labs", "--set", "n=8", "--wait")
                lines += process.stdout.readlines()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
    assert lines[0].split() == ["time", "problem", "status", "reason", "objective", "on", "seconds"]
    assert re.match(r"\d\d:\d\d:\d\d labs n=8 +accepted +\w+ +\d", lines[1])
    assert max(map(len, lines)) <= 81


def test_a_second_one_in_the_same_folder_is_refused(home: Path) -> None:
    done = run(home, "up")
    assert done.returncode == 1
    assert "a pipeline of .qmosaic runs already: process " in done.stderr


def test_examples_and_clients_find_it(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "examples/maxcut.py"], cwd=home, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("61 cut") == 3


def test_status_finds_it(home: Path) -> None:
    done = run(home, "status", "--json")
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)


def commands(page: Path) -> list[str]:
    """The commands of a page, as they stand in its indented blocks."""
    blocks = re.findall(r"(?:^    .*\n)+", page.read_text(encoding="utf-8"), re.MULTILINE)
    lines = [line[4:].partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith(HEADS)]


PLACES = {
    "HOST:PORT": "{address}",
    "127.0.0.1:9094": "{address}",
    "kafka-1:9092,kafka-2:9092": "{address}",
    " [--json]": " --json",
    "FILE": "examples/data/karate.rud",
    "3eec1cd2512c3580b251e74bcf3b0b08": "{trace}",
    "9d2c6a": "{problem}",
}
"""What stands in the pages for what everybody has another of."""


@pytest.fixture(scope="module")
def script(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """A command line as it stands in a page, to be run in the home."""
    bin_ = tmp_path_factory.mktemp("bin")
    (bin_ / "qmosaic").write_text(f'#!/bin/sh\nexec {sys.executable} -m qmosaic.streams.cli.main "$@"\n')
    (bin_ / "qmosaic").chmod(0o755)
    (home / "policy.toml").write_text(run(home, "policy", "show").stdout)
    done = run(home, "submit", "--family", "labs", "--set", "n=6", "--wait", "--json")
    known = {
        "address": json.loads((home / ".qmosaic" / "pipeline.json").read_text())["broker"],
        "trace": json.loads(done.stdout)["trace_id"],
        "problem": json.loads(done.stdout)["problem_id"],
    }

    def made(line: str) -> list[str]:
        for name, instead in PLACES.items():
            line = line.replace(name, instead.format(**known))
        return ["bash", "-euo", "pipefail", "-c", f"export PATH={bin_}:$PATH QMOSAIC_SPANS_DIR=.qmosaic/spans; {line}"]

    return made


OF_THE_DOCS = [
    (page, line)
    for page in ("families.md", "operations.md", "control.md", "report.md")
    for line in commands(ROOT / "docs" / page)
    if not line.startswith(("export ", "make ", "qmosaic up"))
]


@pytest.mark.parametrize(("page", "line"), OF_THE_DOCS)
def test_every_command_of_the_docs_runs(home: Path, script: Callable[[str], list[str]], page: str, line: str) -> None:
    """Those that go on are stopped once they are ready."""
    if not line.startswith("qmosaic worker"):
        done = subprocess.run(
            script(line), cwd=home, env=environment(), capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, (done.stdout, done.stderr)
        return
    place = json.loads((home / ".qmosaic" / "pipeline.json").read_text())["broker"]
    mine = {**environment(), "QMOSAIC_BROKER": place, "QMOSAIC_NAMESPACE": "docs", "QMOSAIC_DATA_DIR": ".other"}
    command = script(f"exec {line}")
    with subprocess.Popen(command, cwd=home, env=mine, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = [process.stderr.readline()]
        while said[-1] and not said[-1].startswith("ready: "):
            said.append(process.stderr.readline())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert said[-1], said


def test_there_are_commands_in_the_docs() -> None:
    assert len(OF_THE_DOCS) > 8
    assert {page for page, _ in OF_THE_DOCS} == {"families.md", "operations.md", "control.md", "report.md"}


def skipped(command: str) -> bool:
    """What is not run here: what runs already, what is for others to make, and what is not installed."""
    return command.startswith(("make ", "qmosaic up")) or ("kcat" in command and shutil.which("kcat") is None)


def test_every_command_of_the_readme_runs_as_it_stands(home: Path, tmp_path: Path) -> None:
    told = commands(ROOT / "README.md")
    assert len([command for command in told if command.startswith("qmosaic ")]) > 8
    address = json.loads((home / ".qmosaic" / "pipeline.json").read_text())["broker"]
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "qmosaic").write_text(f'#!/bin/sh\nexec {sys.executable} -m qmosaic.streams.cli.main "$@"\n')
    (bin_ / "qmosaic").chmod(0o755)
    script = [line for line in told if not skipped(line)]
    exports = [line for line in script if line.startswith("export ")]
    for line in script:
        if line.startswith("export "):
            continue
        here = "\n".join(re.sub(r"127\.0\.0\.1:\d+", address, each) for each in [*exports, line])
        path = f"{bin_}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", here],
            cwd=home,
            env={**environment(), "PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        assert "fallback" not in done.stdout, (line, done.stdout)


def test_without_a_pipeline_it_says_how_to_have_one(tmp_path: Path) -> None:
    done = run(tmp_path, "outcomes")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no pipeline runs in .qmosaic" in done.stderr
    assert "qmosaic up" in done.stderr
    assert list(tmp_path.iterdir()) == []


def words(text: str) -> Sequence[str]:
    return re.sub(r"[│╭╰─\s]+", " ", text).split()


def test_version_completion_examples_and_names_that_are_nearly_right(tmp_path: Path) -> None:
    assert re.fullmatch(r"qmosaic \d+\.\d+\.\d+\n", run(tmp_path, "--version").stdout)
    assert "--install-completion" in words(run(tmp_path, "--help").stdout)
    assert "Example: qmosaic solve examples/data/karate.rud" in run(tmp_path, "solve", "--help").stdout
    assert "Did you mean maxcut?" in run(tmp_path, "families", "show", "maxcot").stderr
    assert "Did you mean verify?" in run(tmp_path, "up", "--stages", "verfy").stderr
    assert "Did you mean cirq.statevector?" in run(tmp_path, "backends", "show", "cirq.statevektor").stderr
