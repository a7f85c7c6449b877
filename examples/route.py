"""Vans from Erfurt to the capitals of all German states: distances in, verified routes out.

qmosaic up                      # in another terminal
python examples/route.py    # finds it; or give it the address of a broker
"""

from __future__ import annotations

import sys

import qmosaic

# Where they are (degrees.minutes north and east), and how many pallets they want.
CAPITALS = {
    "Erfurt": (50.59, 11.02, 0), "Berlin": (52.31, 13.24, 9), "Potsdam": (52.24, 13.04, 2),
    "Hamburg": (53.33, 10.00, 7), "Bremen": (53.05, 8.48, 4), "Hannover": (52.22, 9.44, 4),
    "Schwerin": (53.38, 11.25, 1), "Kiel": (54.19, 10.08, 2), "Magdeburg": (52.08, 11.37, 2),
    "Dresden": (51.03, 13.44, 4), "Wiesbaden": (50.05, 8.14, 2), "Mainz": (50.00, 8.16, 2),
    "Saarbrücken": (49.14, 7.00, 1), "Stuttgart": (48.47, 9.11, 4), "München": (48.08, 11.34, 8),
    "Düsseldorf": (51.14, 6.47, 4),
}  # fmt: skip


def problem() -> qmosaic.Route:
    """Three vans with room for twenty pallets each; kilometres as the crow flies, by TSPLIB's rule for the globe."""
    return qmosaic.Route(
        nodes=list(CAPITALS),
        coordinates=[(north, east) for north, east, _ in CAPITALS.values()],
        metric="geo",
        demands=[pallets for *_, pallets in CAPITALS.values()],
        capacity=20,
        vehicles=3,
        depot="Erfurt",
    )


def report(outcome: qmosaic.Outcome) -> str:
    """What came out, beside the classical baseline."""
    lines = [f"{outcome.status} ({outcome.reason}), run on {outcome.target}: {outcome.backend}"]
    for towns, load in zip(outcome.solution["routes"], outcome.details["loads"], strict=True):
        lines.append(f"  {load:4g} pallets: Erfurt – {' – '.join(towns)} – Erfurt")
    if outcome.baseline:
        lines.append(f"{outcome.objective} km; {outcome.baseline.solver} alone: {outcome.baseline.objective} km")
    return "\n".join(lines)


def main(broker: str | None = None) -> None:
    with qmosaic.SyncClient(broker) as client:
        outcome = client.solve(problem(), deadline=20, target="quantum")
    print(report(outcome))


if __name__ == "__main__":
    main(*sys.argv[1:2])
