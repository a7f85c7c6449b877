"""Zachary's karate club: how to split it so that most friendships are cut, as a max-cut, a QUBO and an Ising model.

qmosaic up                      # in another terminal
python examples/maxcut.py    # finds it; or give it the address of a broker
"""

from __future__ import annotations

import sys
from typing import Any

import networkx

import qmosaic

FRIENDS: Any = [list(edge) for edge in networkx.karate_club_graph().edges]


def problems() -> list[qmosaic.MaxCut | qmosaic.Qubo | qmosaic.Ising]:
    """The same question three times: 61 of 78 friendships can be cut, no more."""
    # [x_u != x_v] = x_u + x_v - 2 x_u x_v
    terms = [term for u, v in FRIENDS for term in ([u, u, 1], [v, v, 1], [u, v, -2])]
    # [s_u != s_v] = (1 - s_u s_v) / 2
    return [
        qmosaic.MaxCut(edges=FRIENDS),
        qmosaic.Qubo(terms=terms, sense="max"),
        qmosaic.Ising(J=[[u, v, -0.5] for u, v in FRIENDS], offset=len(FRIENDS) / 2, sense="max"),
    ]


def report(outcome: qmosaic.Outcome) -> str:
    """What came out, against the classical baseline."""
    baseline = outcome.baseline.objective if outcome.baseline else None
    return (
        f"{outcome.family:7} {outcome.objective} cut (baseline {baseline}), {outcome.status}: {outcome.reason}, "
        f"on {outcome.backend}; one side: {[k for k, side in enumerate(outcome.solution) if side == 1]}"
    )


def main(broker: str | None = None) -> None:
    with qmosaic.SyncClient(broker) as client:
        for problem in problems():
            print(report(client.solve(problem, deadline=20)))


if __name__ == "__main__":
    main(*sys.argv[1:2])
