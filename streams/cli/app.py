"""The command line. Exit codes: 0 done; 1 an error of ours or of the environment; 2 wrong usage or input;
3 a problem was rejected; 4 no outcome in time; 130 ended by Ctrl-C, whatever it was doing.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from qmosaic.streams.cli.backends import backends_app
from qmosaic.streams.cli.budget import budget_app, ledger
from qmosaic.streams.cli.explain import explain
from qmosaic.streams.cli.families import families_app
from qmosaic.streams.cli.letters import letters_app
from qmosaic.streams.cli.page import page
from qmosaic.streams.cli.pipeline import (
    compile_programs,
    settings_command,
    status,
    topics_create,
    topics_show,
    topology,
    up,
    worker,
)
from qmosaic.streams.cli.plan import plan
from qmosaic.streams.cli.policy import policy_app
from qmosaic.streams.cli.problem import problem
from qmosaic.streams.cli.report import report
from qmosaic.streams.cli.submit import demo, outcomes, solve, submit
from qmosaic.streams.cli.trace import trace

app = typer.Typer(
    help="A streaming control plane for hybrid quantum-classical computing on Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
topics_app = typer.Typer(help="Kafka topics.", no_args_is_help=True)
app.add_typer(topics_app, name="topics")
app.add_typer(families_app, name="families")
app.add_typer(backends_app, name="backends")
app.add_typer(policy_app, name="policy")
app.add_typer(budget_app, name="budget")
app.add_typer(letters_app, name="dead-letters")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"qmosaic {version('qmosaic')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    pass


EXAMPLES = {
    up: "qmosaic up --scale verify=2",
    worker: "qmosaic worker --stages execute --broker kafka-1:9092",
    submit: "qmosaic submit examples/data/karate.rud --deadline 5 --wait",
    outcomes: "qmosaic outcomes --since 15m",
    solve: "qmosaic solve examples/data/karate.rud",
    demo: "qmosaic demo",
    status: "qmosaic status --watch",
    page: "qmosaic page --broker kafka-1:9092 --port 8080",
    plan: "qmosaic plan examples/data/karate.rud --deadline 5",
    explain: "qmosaic explain 9d2c6a",
    problem: "qmosaic problem 9d2c6a --jaeger http://127.0.0.1:16686",
    ledger: "qmosaic ledger --tenant acme --json",
    report: "qmosaic report --since 7d --by family,backend",
    trace: "qmosaic trace 3eec1cd2512c3580b251e74bcf3b0b08",
}

for command in (up, worker, submit, outcomes, solve, demo, status, page, plan, explain, problem, report, ledger, trace):
    app.command(epilog=f"Example: {EXAMPLES[command]}")(command)
app.command("settings")(settings_command)
app.command("compile")(compile_programs)
app.command()(topology)
topics_app.command("create")(topics_create)
topics_app.command("show")(topics_show)
