"""The answer of an outcome as a person reads it: sides, a tour, weights, counts, an energy; shortened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from qmosaic.codecs.events.public import Outcome
from qmosaic.codecs.text import shown

MOST_ITEMS = 40
"""Of one list; `--json` has all of them."""
MOST_IN_A_NAME = 40
MOST_LINES = 12
MOST_ROUNDS_TOLD = 10


def answer_of(outcome: Outcome) -> list[str]:
    """Lines without control characters; none where there is no solution. Raises nothing, whatever the solution is."""
    if outcome.solution is None:
        return []
    try:
        lines = _FAMILIES.get(outcome.family, _other)(outcome.solution, outcome)
    except (LookupError, TypeError, ValueError, AttributeError):  # whoever wrote it, it is not as the family writes it
        lines = _other(outcome.solution, outcome)
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"… and {len(lines) - MOST_LINES + 1} more"]
    return [shown(line) for line in [*lines, *_rounds(outcome)]]


def _rounds(outcome: Outcome) -> list[str]:
    """What each round came to: `rounds  1 564 (exact, equal), 2 566 (tabu, improved)`."""
    found = {one.number: "nothing" if one.objective is None else f"{one.objective:g}" for one in outcome.rounds or []}
    told = [f"{one.number} {found[one.number]} ({one.backend or 'none'}, {one.reason})" for one in outcome.rounds or []]
    before = "… " if len(told) > MOST_ROUNDS_TOLD else ""
    return [f"rounds {before}{_list(told[-MOST_ROUNDS_TOLD:])}"] if told else []


def _named(solution: Any) -> Iterator[tuple[str, Any]]:
    """Names, or numbers from 0 on, with their values."""
    pairs = solution.items() if isinstance(solution, dict) else enumerate(solution)
    return ((_short(name), value) for name, value in pairs)


def _short(name: object) -> str:
    text = str(name)
    return text if len(text) <= MOST_IN_A_NAME else f"{text[: MOST_IN_A_NAME - 1]}…"


def _list(names: Sequence[str], between: str = ", ") -> str:
    """The first names, and how many more there are."""
    more = len(names) - MOST_ITEMS
    return between.join(names[:MOST_ITEMS]) + (f"{between}… and {more} more" if more > 0 else "") or "none"


def _side(solution: Any, value: int) -> list[str]:
    return [name for name, each in _named(solution) if each == value]


def _maxcut(solution: Any, _: Outcome) -> list[str]:
    first, second = sorted((_side(solution, 0), _side(solution, 1)), key=len, reverse=True)
    return [f"one side    {len(first)}: {_list(first)}", f"other side  {len(second)}: {_list(second)}"]


def _qubo(solution: Any, _: Outcome) -> list[str]:
    ones = _side(solution, 1)
    return [f"1  {len(ones)} of {len(solution)}: {_list(ones)}", "0  all others"]


def _ising(solution: Any, _: Outcome) -> list[str]:
    up, down = _side(solution, 1), _side(solution, -1)
    return [f"up    {len(up)}: {_list(up)}", f"down  {len(down)}: {_list(down)}"]


def _labs(solution: Any, outcome: Outcome) -> list[str]:
    sequence = solution["sequence"]
    line = "".join("+" if each > 0 else "-" for each in sequence)
    lines = [line if len(line) <= 200 else f"{line[:199]}…"]
    energy = outcome.objective
    if energy:
        lines.append(f"energy {energy:g}, merit factor {len(sequence) ** 2 / (2 * energy):.4g}")
    return lines


def _portfolio(solution: Any, _: Outcome) -> list[str]:
    pairs = sorted(zip(solution["assets"], solution["weights"], strict=True), key=lambda pair: -pair[1])
    return [f"{100 * weight:6.2f} %  {_short(name)}" for name, weight in pairs]


def _route(solution: Any, _: Outcome) -> list[str]:
    if "tour" in solution:
        tour = [_short(node) for node in solution["tour"]]
        return [f"tour of {len(tour)}: {_list(tour, ' → ')}" + (" → back" if len(tour) <= MOST_ITEMS else "")]
    routes = [[_short(node) for node in route] for route in solution["routes"]]
    return [f"route {k}  {len(route)}: {_list(route, ' → ')}" for k, route in enumerate(routes, 1)]


def _molecule(solution: Any, _: Outcome) -> list[str]:
    error = solution["standard_error"]
    return [
        f"energy         {solution['energy']:.8f} hartree" + (f" ± {error:.2g}" if error else ""),
        f"Hartree-Fock   {solution['hartree_fock']:.8f} hartree, correlation {solution['correlation']:.3g}",
        f"state          {len(solution['rotations'])} rotations on {solution['qubits']} qubits",
    ]


def _circuit(solution: Any, _: Outcome) -> list[str]:
    if "expectations" in solution:
        return [
            f"{_short(one['name'])} = {one['value']:.8g}" + (f" ± {one['error']:.2g}" if one["error"] else "")
            for one in solution["expectations"]
        ]
    counts = list(solution["counts"].items())
    total = sum(count for _, count in counts)
    return [f"{_short(bits)}  {count:>7}  {100 * count / total:5.1f} %" for bits, count in counts]


def _other(solution: Any, _: Outcome) -> list[str]:
    text = str(solution)
    return [text if len(text) <= 500 else f"{text[:499]}…"]


_FAMILIES: dict[str, Callable[[Any, Outcome], list[str]]] = {
    "maxcut": _maxcut,
    "qubo": _qubo,
    "ising": _ising,
    "labs": _labs,
    "portfolio": _portfolio,
    "route": _route,
    "molecule": _molecule,
    "circuit": _circuit,
}
