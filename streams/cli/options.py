"""The options of the commands that send problems."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from qmosaic.codecs.events.reasons import MOST_ROUNDS
from qmosaic.codecs.formats.registry import FORMATS
from qmosaic.codecs.text import quoted

Target = Literal["auto", "classical", "gpu", "quantum"]
FilesArgument = Annotated[
    list[Path] | None,
    typer.Argument(help="Problem files; `-` reads standard input. None: --family and --set say it all."),
]
WriteOption = Annotated[
    Path | None,
    typer.Option(
        "--write", help="Write solutions into this folder, where their format has files of them (.tour, .sol)."
    ),
]
PlotOption = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Draw what comes of it: .svg, .png, or .html with the answer. Of several problems FILE-1, FILE-2, …",
        show_default=False,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the family, e.g. `cardinality=5`; repeatable."),
]
FamilyOption = Annotated[str | None, typer.Option("--family", help="Expect this family; another is an error.")]
FormatOption = Annotated[str | None, typer.Option("--format", help=f"One of: {', '.join(FORMATS)}. Default: detected.")]
DeadlineOption = Annotated[
    float | None, typer.Option("--deadline", help="Seconds until the outcome must be there.", min=0)
]
TargetOption = Annotated[Target, typer.Option("--target", help="Where the kernel runs.")]
ShotsOption = Annotated[int | None, typer.Option("--shots", help="Samples of a circuit.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")]
CostOption = Annotated[
    float | None, typer.Option("--max-cost", help="US dollars that one problem may cost, all attempts together.", min=0)
]
CacheOption = Annotated[
    Literal["replay", "fresh", "only"],
    typer.Option("--cache", help="Whether a result that was had before will do: if there is one, never, nothing else."),
]


def rounds_of(text: str) -> int | str:
    """A number of rounds, or until when there are some."""
    if text in ("deadline", "converged"):
        return text
    if text.isdecimal() and 1 <= int(text) <= MOST_ROUNDS:
        return int(text)
    wrong = f"{quoted(text, 40)} is neither a number from 1 to {MOST_ROUNDS}, deadline nor converged"
    raise typer.BadParameter(wrong, param_hint="--rounds")


RoundsOption = Annotated[
    str | None,
    typer.Option(
        "--rounds",
        metavar="N|deadline|converged",
        help="How often the answer is improved, kernel after kernel.",
    ),
]
TenantOption = Annotated[str | None, typer.Option("--tenant", help="Who asks.")]
PriorityOption = Annotated[Literal["high", "normal", "low"], typer.Option("--priority", help="Within a hop.")]
SenseOption = Annotated[
    Literal["min", "max"] | None, typer.Option("--sense", help="How the file's values are meant, if the other way.")
]


def options_of(
    deadline: float | None,
    target: str,
    shots: int | None,
    seed: int | None,
    tenant: str | None,
    priority: str,
    max_cost: float | None,
    cache: str = "fresh",
    rounds: str | None = None,
) -> dict[str, Any]:
    """What they say, as fields of an event; None: nothing."""
    return {
        "deadline": deadline,
        "target": None if target == "auto" else target,
        "shots": shots,
        "seed": seed,
        "tenant": tenant,
        "priority": None if priority == "normal" else priority,
        "max_cost_usd": max_cost,
        "cache": None if cache == "fresh" else cache,
        "rounds": None if rounds is None else rounds_of(rounds),
    }
