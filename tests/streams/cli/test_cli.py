"""The command line as a person or a script uses it: exit codes, what is on which stream, wrong files."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import psutil
import pytest

from qmosaic.streams.client import Client
from tests.servers import RealKafka
from tests.streams.harness import Pipeline, pipeline, settings_for

QMOSAIC = [sys.executable, "-m", "qmosaic.streams.cli.main"]
SQUARE = "4 4\n1 2 1\n2 3 1\n3 4 1\n4 1 1\n"


def run(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*QMOSAIC, *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80", **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_command_has_help_that_fits_80_columns(tmp_path: Path) -> None:
    for command in (
        "",
        "up",
        "worker",
        "topics",
        "submit",
        "outcomes",
        "solve",
        "demo",
        "status",
        "settings",
        "topology",
        "families",
        "backends",
        "backends check",
    ):
        done = run(*command.split(), "--help", cwd=tmp_path)
        assert done.returncode == 0
        assert max(len(line) for line in done.stdout.splitlines()) <= 80


def test_backends_are_listed_shown_and_checked(tmp_path: Path) -> None:
    listed = run("backends", "list", "--json", cwd=tmp_path)
    assert {"exact", "cirq.statevector"} <= {json.loads(line)["name"] for line in listed.stdout.splitlines()}
    shown = run("backends", "show", "exact", "--json", cwd=tmp_path)
    assert json.loads(shown.stdout)["target"] == "classical"
    checked = run("backends", "check", "cirq.statevector", "--json", cwd=tmp_path)
    said = [json.loads(line) for line in checked.stdout.splitlines()]
    assert [one["check"] for one in said] == ["health", "warm-up", "spins", "circuit", "clifford", "variational"]
    assert all(one["ok"] for one in said)
    wrong = run("backends", "check", "fake", cwd=tmp_path)  # its answers are random
    assert wrong.returncode == 1
    assert "wrong" in wrong.stdout
    unknown = run("backends", "check", "nope", cwd=tmp_path)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "Choose one of: annealing" in unknown.stderr


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        (b"\x00\x01\x02", [], "invalid_file"),
        (b"", [], "invalid_file"),
        (b"4 4\n1 2 1\n2 9 1\n3 4 1\n4 1 1\n", ["--format", "rudy"], "x.rud:3"),
        (SQUARE.encode(), ["--family", "qubo"], "holds a maxcut problem, not qubo"),
        (SQUARE.encode(), ["--format", "fax"], "fax"),
    ],
)
def test_a_wrong_file_is_a_usage_error_that_says_where(
    content: bytes, arguments: list[str], words: str, tmp_path: Path
) -> None:
    (tmp_path / "x.rud").write_bytes(content)
    done = run("solve", "x.rud", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_other_wrong_usage(tmp_path: Path) -> None:
    assert "cannot read absent" in run("solve", "absent", cwd=tmp_path).stderr
    (tmp_path / "x.rud").write_text(SQUARE)
    (tmp_path / "x.qasm").write_text("OPENQASM 3.0; qubit q; bit c; c = measure q;")
    for arguments, words in (
        (["up", "--stages", "measure"], "no stage is called 'measure'"),
        (["worker", "--stages", "verify"], "a worker needs a broker"),
        (["outcomes", "--since", "soon", "--broker", "127.0.0.1:1"], "--since"),
        (["submit", "x.rud", "--format", "rudy"], "no pipeline runs in .qmosaic"),
        (["solve", "x.rud", "--rounds", "0"], "Invalid value for --rounds: '0' is neither"),
        (
            ["submit", "x.qasm", "--rounds", "2"],
            "an answer to a circuit is not improved by another one ($.rounds). Leave rounds out.",
        ),
    ):
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode in (1, 2, 3)
        assert words in done.stderr
    done = run("submit", "x.rud", "--broker", "127.0.0.1:1", cwd=tmp_path)
    assert done.returncode == 1
    assert "no broker answers at 127.0.0.1:1" in done.stderr


def test_settings_are_printed_with_secrets_masked(tmp_path: Path) -> None:
    done = run("settings", "--json", cwd=tmp_path, QMOSAIC_SECURITY__SASL_PASSWORD="hush")
    assert json.loads(done.stdout)["security"]["sasl_password"] == "***"
    assert "hush" not in run("settings", cwd=tmp_path, QMOSAIC_SECURITY__SASL_PASSWORD="hush").stdout


@pytest.fixture(scope="module")
def running(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    from qmosaic.streams.topology import STAGES

    with pipeline(settings_for(broker, tmp_path_factory.mktemp("cli")), list(STAGES)) as up:
        yield up


def environment(up: Pipeline) -> dict[str, str]:
    return {
        "QMOSAIC_BROKER": up.settings.broker,
        "QMOSAIC_NAMESPACE": up.settings.namespace,
        "QMOSAIC_TOPICS__PARTITIONS": str(up.settings.topics.partitions),
    }


@pytest.mark.broker
def test_submit_wait_and_outcomes(running: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "square.rud").write_text(SQUARE)
    (tmp_path / "two.json").write_text(
        '[{"family":"qubo","problem":{"terms":[[0,0,-1],[0,1,3]]},"sense":"min"},'
        '{"family":"maxcut","problem":{"edges":[[0,0]]}}]'
    )
    env = environment(running)
    done = run("submit", "square.rud", "--wait", "--json", "--deadline", "20", cwd=tmp_path, **env)
    assert done.returncode == 0, done.stderr
    (outcome,) = (json.loads(line) for line in done.stdout.splitlines())
    assert (outcome["objective"], outcome["labels"]["file"], outcome["labels"]["index"]) == (4, "square.rud", 0)
    done = run("submit", "two.json", "--wait", "--json", "--deadline", "20", cwd=tmp_path, **env)
    assert done.returncode == 3  # one of the two was rejected
    assert sorted(json.loads(line)["status"] for line in done.stdout.splitlines()) == ["accepted", "rejected"]
    done = run("submit", "square.rud", "--wait", "--sense", "min", "--deadline", "20", cwd=tmp_path, **env)
    assert done.returncode == 0
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    lines = [json.loads(line) for line in run("outcomes", "--json", cwd=tmp_path, **env).stdout.splitlines()]
    assert len(lines) == 4
    assert run("outcomes", "--json", "--since", "2999-01-01T00:00:00Z", cwd=tmp_path, **env).stdout == ""
    none = run("outcomes", "--since", "2999-01-01T00:00:00Z", cwd=tmp_path, **env)
    assert (none.stdout, none.stderr.splitlines()[-1]) == (
        "",
        "nothing has ended since then: --since looks further back",
    )
    table = run("outcomes", cwd=tmp_path, **env).stdout
    ids = [line.split()[0] for line in table.partition("\nids\n")[2].partition("\n\n")[0].splitlines()]
    assert sorted(ids) == sorted(line["problem_id"] for line in lines)
    assert ids[0] == outcome["problem_id"]  # as they ended


SQUARE_TOUR = """NAME : square
TYPE : TSP
DIMENSION : 4
EDGE_WEIGHT_TYPE : EUC_2D
NODE_COORD_SECTION
1 0 0
2 10 10
3 0 10
4 10 0
EOF
"""


@pytest.mark.broker
def test_a_problem_without_a_file_and_a_solution_in_one(running: Pipeline, tmp_path: Path) -> None:
    env = environment(running)
    done = run("submit", "--family", "labs", "--set", "n=7", "--wait", "--json", cwd=tmp_path, **env)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["family"], outcome["objective"], outcome["labels"]["name"]) == ("labs", 3, "labs n=7")
    (tmp_path / "square.tsp").write_text(SQUARE_TOUR)
    given = ("--rounds", "2", "--write", "found")
    done = run("submit", "square.tsp", "--wait", "--json", *given, cwd=tmp_path, **env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["objective"] == 40
    assert [one["number"] for one in json.loads(done.stdout)["rounds"]] == [1, 2]
    written = (tmp_path / "found" / "square.tour").read_text()
    assert "DIMENSION : 4" in written
    for wrong in (["--family", "labs", "--set", "m=7"], ["--set", "n=7"], ["square.tsp", "--set", "n"]):
        done = run("submit", *wrong, cwd=tmp_path, **env)
        assert done.returncode == 2
        assert done.stderr.startswith("error: invalid_settings")


@pytest.mark.broker
def test_ctrl_c_ends_the_waiting_and_says_what_goes_on(running: Pipeline, tmp_path: Path) -> None:
    env = {**os.environ, **environment(running)}
    command = [*QMOSAIC, "submit", "--family", "labs", "--set", "n=120", "--deadline", "30", "--wait"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=env, text=True, cwd=tmp_path) as waiting:
        assert waiting.stderr is not None
        while not (line := waiting.stderr.readline()).startswith("  sent  "):
            assert line
        waiting.send_signal(signal.SIGINT)
        _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 130
    assert said == f"not waited for any longer, `qmosaic problem ID` says how it is: {line.split()[1]}\n"


@pytest.mark.broker
def test_topics_are_shown_and_created_once(running: Pipeline, tmp_path: Path) -> None:
    env = environment(running)
    rows = [json.loads(line) for line in run("topics", "show", "--json", cwd=tmp_path, **env).stdout.splitlines()]
    assert {row["partitions"] for row in rows if row["joined"]} == {2}
    done = run("topics", "create", cwd=tmp_path, **env)
    assert (done.returncode, done.stdout.strip()) == (0, "all topics are there")
    done = run("topics", "create", cwd=tmp_path, **{**env, "QMOSAIC_TOPICS__PARTITIONS": "3"})
    assert done.returncode == 1
    assert "2 partitions" in done.stderr


async def sent(broker: str) -> None:
    """Two problems that nobody reduces."""
    async with Client(broker) as client:
        for seed in range(2):
            await client.submit({"family": "labs", "problem": {"n": 9}, "seed": seed, "deadline": 600})


INTERRUPTED_AT = """
import os, signal, sys
class Loading:
    def find_spec(self, name, path=None, target=None):
        if name == "qmosaic.streams.cli.app":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Loading())
from qmosaic.streams.cli.main import main
main()
"""


def test_ctrl_c_while_the_command_is_loaded_ends_it_quietly(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_AT], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.broker
def test_a_broker_in_use_by_others_is_untouched_by_ctrl_c(tmp_path: Path) -> None:
    """`up` on Ctrl-C: drained, stopped, exit code 130 as of every command, nothing left running."""
    command = [*QMOSAIC, "up", "--stages", "encode,verify", "--json"]
    env = {**os.environ, "QMOSAIC_DATA_DIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, text=True) as up:
        assert up.stdout is not None
        while "broker" not in (ready := json.loads(up.stdout.readline())):
            pass
        asyncio.run(sent(ready["broker"]))
        children = [process.pid for process in psutil.Process(up.pid).children(recursive=True)]
        assert len(children) == 4  # the broker, the zygote and two workers
        up.send_signal(signal.SIGINT)
        _, said = up.communicate(timeout=60)
    assert up.returncode == 130
    assert "Traceback" not in said
    assert "stopped: 2 problems are still open, and will go on at the next `qmosaic up`" in said
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


@pytest.mark.kafka
def test_a_second_up_with_the_same_names_on_a_kafka_is_refused(kafka: RealKafka, tmp_path: Path) -> None:
    """They would fence each other for ever. Those of one that was killed are waited for."""

    def up(folder: str) -> subprocess.Popen[str]:
        command = [*QMOSAIC, "up", "--stages", "encode,verify", "--broker", kafka.address, "--json"]
        env = {**os.environ, "QMOSAIC_DATA_DIR": str(tmp_path / folder)}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, text=True)

    def ready(process: subprocess.Popen[str]) -> bool:
        assert process.stdout is not None
        return any("stages" in line for line in process.stdout)

    with up("one") as first:
        try:
            assert ready(first)
            with up("two") as second:
                _, said = second.communicate(timeout=90)
            assert second.returncode == 1
            assert "a pipeline runs there already" in said
            assert "Traceback" not in said
        finally:
            first.kill()
    with up("three") as third:
        try:
            assert ready(third)
        finally:
            third.send_signal(signal.SIGINT)
            third.communicate(timeout=60)
    assert third.returncode == 130


@pytest.mark.broker
def test_kcat_sends_a_bare_line_and_reads_the_outcome(running: Pipeline) -> None:
    kcat = which("kcat")
    if kcat is None:
        pytest.skip("kcat is not installed")
    base, ns = [kcat, "-b", running.settings.broker, "-q"], running.settings.namespace
    line = '{"id":"from-kcat","family":"maxcut","problem":{"edges":[[0,1],[1,2],[2,0]]},"deadline":20}\n'
    subprocess.run([*base, "-P", "-t", f"{ns}.problems"], input=line, text=True, check=True, timeout=30)
    read = [*base, "-C", "-t", f"{ns}.outcomes.accepted", "-o", "beginning", "-u"]
    with subprocess.Popen(read, stdout=subprocess.PIPE, text=True) as consumer:
        assert consumer.stdout is not None
        for found in consumer.stdout:
            outcome = json.loads(found)
            if outcome["problem_id"] == "from-kcat":
                break
        consumer.kill()
    assert outcome["objective"] == 2
