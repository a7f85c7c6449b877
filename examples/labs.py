"""A sequence of 20 signs that looks as little as possible like shifted copies of itself, as radars want them.

qmosaic up                      # in another terminal
python examples/labs.py    # finds it; or give it the address of a broker
"""

from __future__ import annotations

import sys

import qmosaic


def problem() -> qmosaic.Labs:
    """The energy, the sum of the squared autocorrelations, is 26 at best; a random sequence has 190."""
    return qmosaic.Labs(n=20)


def report(outcome: qmosaic.Outcome) -> str:
    """What came out, beside the classical baseline."""
    sequence = outcome.solution["sequence"]
    correlations = [sum(a * b for a, b in zip(sequence, sequence[k:], strict=False)) for k in range(1, len(sequence))]
    lines = [
        f"{outcome.status} ({outcome.reason}), run on {outcome.target}: {outcome.backend}",
        f"  {''.join('+' if s > 0 else '-' for s in sequence)}   runs of {outcome.solution['run_lengths']}",
        f"  autocorrelations {correlations}",
        f"  energy {outcome.objective:g}, merit factor {outcome.details['merit_factor']:.2f}",
    ]
    if outcome.baseline and outcome.baseline.objective is not None:
        merit = outcome.baseline.details["merit_factor"]
        lines.append(f"  baseline {outcome.baseline.objective:g}, merit factor {merit:.2f}")
    return "\n".join(lines)


def main(broker: str | None = None) -> None:
    with qmosaic.SyncClient(broker) as client:
        outcome = client.solve(problem(), deadline=20, target="quantum")
    print(report(outcome))


if __name__ == "__main__":
    main(*sys.argv[1:2])
