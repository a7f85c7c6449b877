"""A circuit of your own, run and checked: OpenQASM in, counts and their verdict out.

qmosaic up                      # in another terminal
python examples/circuit.py    # finds it; or give it the address of a broker
"""

from __future__ import annotations

import sys

import qmosaic

TELEPORTATION = """\
OPENQASM 3;
include "stdgates.inc";
qubit[3] q;
bit[2] sent;
output bit received;

ry(pi/3) q[0];                        // the state to send: it is 1 in a quarter of all cases
h q[1];
cx q[1], q[2];                        // the pair that both sides share
cx q[0], q[1];
h q[0];
sent = measure q[0:1];
if (sent[1]) { x q[2]; }
if (sent[0]) { z q[2]; }
received = measure q[2];
"""


def problems() -> dict[str, qmosaic.Circuit]:
    """Teleportation, sampled; and the energy of a Bell pair in two observables."""
    bell = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; h q[0]; cx q[0], q[1];'
    terms = {"XX": 1.0, "YY": 1.0, "ZZ": 1.0}
    return {
        "teleportation": qmosaic.Circuit(qasm=TELEPORTATION),
        "bell pair": qmosaic.Circuit(qasm=bell, observables=[{"name": "exchange", "terms": terms}]),
    }


def report(name: str, outcome: qmosaic.Outcome) -> str:
    """What came out, and how it was checked."""
    lines = [f"{name}: {outcome.status} ({outcome.reason}), run on {outcome.backend}"]
    lines.append(f"  checked against: {outcome.details.get('reference')}  {outcome.details}")
    if "counts" in outcome.solution:
        counts = outcome.solution["counts"]
        # classical bit 0, the output, is the rightmost; the others are measurements that no output holds
        ones = sum(count for bits, count in counts.items() if bits.endswith("1"))
        lines.append(f"  received a 1 in {ones / sum(counts.values()):.1%} of the shots, expected 25.0%")
    expectations = outcome.solution.get("expectations", [])
    lines += [f"  {entry['name']} = {entry['value']:.4f} ± {entry['error']:.4f}" for entry in expectations]
    return "\n".join(lines)


def main(broker: str | None = None) -> None:
    with qmosaic.SyncClient(broker) as client:
        for name, problem in problems().items():
            print(report(name, client.solve(problem, shots=4000, deadline=30)))


if __name__ == "__main__":
    main(*sys.argv[1:2])
