"""(q) Did it pay: what is learned of a device, what it costs to find out, and how soon it shows that it pays no more.

A stream of 2,000 problems of two families, mixed; a device that truly improves one of them by 3 % and harms the other
by 1 %, with noise of 2 %, for $0.30 a job; after 1,000 problems its gain is gone. Decisions, books and evidence are the
pipeline's own, in this process; evidence comes some problems late, as it does there. The same stream for others: who
tosses a coin, who takes what is best by its mean (greedy), who takes what may be best (UCB); regret is what an oracle
would have gained more, in dollars.

    python -m benchmarks.evidence [--quick]
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import NormalDist
from typing import Any

import numpy as np
from msgspec.structs import replace

from benchmarks.common import Figure, parser, print_figures
from qmosaic.codecs.events.control import Evidence, Run
from qmosaic.codecs.events.evidence import Learned
from qmosaic.codecs.events.hops import JobEvent, Reduced, Ref
from qmosaic.codecs.events.ledger import MICROS, Amounts, Budget, JobEnded, LedgerEntry
from qmosaic.codecs.models.kernel import pack_kernel
from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.control.books import EXPLORING, Books, Ledger, unbalanced
from qmosaic.processors.control.evidence import Evidences, Seen, Z
from qmosaic.processors.control.facts import Facts
from qmosaic.processors.control.grants import asked, ended
from qmosaic.processors.control.policy import Policy, Rule
from qmosaic.processors.control.worth import Known, Worth, chance, weigh
from qmosaic.processors.route import route

PROBLEMS, LEARNED, GONE, NOTICED = 2000, 500, 1000, 300
SECONDS_BETWEEN, LATE = 30.0, 5
DEVICE, SOLVER = "device", "solver"
FAMILIES = ("improved", "harmed")
TRUE, NOISE = {"improved": 0.03, "harmed": -0.01}, 0.02
COST, DEVICE_SECONDS, SOLVER_SECONDS = 300_000, 2.0, 0.1
CAP = 400 * MICROS
START = 1_800_000_000.0
SIZES: Any = {"spins": 20}
ALIVE: Any = {"classical": {SOLVER: SIZES}, "quantum": {DEVICE: SIZES}}
POLICY = Policy((Rule("what pays", "auto", then=(DEVICE,)),), {}, (DEVICE,), attempts=2)
WORTH = Worth()
Chooser = Callable[[Mapping[str, Known], str], str]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    given = parser("evidence: does it pay").parse_args(arguments)
    seeds = range(3 if given.quick else 25)
    ours = [Stream(seed).run() for seed in seeds]
    first, second = FAMILIES
    rows = [
        *_worst("improved family on the device, 501 to 1,000", [one.share(first, LEARNED, GONE) for one in ours], 90.0),
        *_worst("harmed family there, 501 to 2,000", [one.share(second, LEARNED, PROBLEMS) for one in ours], -10.0),
        *_worst(
            "improved family, gain gone, 1,301 on", [one.share(first, GONE + NOTICED, PROBLEMS) for one in ours], -20.0
        ),
    ]
    spent = max(one.explored for one in ours)
    allowed = ours[0].allowed
    rows += [
        Figure("spent to find out, worst seed", spent / MICROS, "$", f"<= {allowed / MICROS:.2f}", spent <= allowed),
        Figure(
            "accounts that do not balance, or are below 0",
            sum(one.wrong for one in ours),
            "",
            "0",
            not any(one.wrong for one in ours),
        ),
    ]
    regrets = {"ours": [one.regret for one in ours]}
    regrets |= {name: [Stream(seed, chooser).run().regret for seed in seeds] for name, chooser in OTHERS.items()}
    for name, found in regrets.items():
        rows.append(Figure(f"regret: {name}", float(np.mean(found)), "$"))
        rows.append(Figure("  worst seed", max(found), "$"))
    print_figures(f"(q) does it pay: {PROBLEMS:,} problems, {len(seeds)} seeds", rows)


def _worst(what: str, figures: Sequence[float], goal: float) -> list[Figure]:
    """The mean and the worst; `goal`: at least so much, or where it is below 0, less."""
    if goal > 0:
        return [
            Figure(what, float(np.mean(figures)), "%"),
            Figure("  worst seed", min(figures), "%", f">= {goal:g}", min(figures) >= goal),
        ]
    return [
        Figure(what, float(np.mean(figures)), "%"),
        Figure("  worst seed", max(figures), "%", f"< {-goal:g}", max(figures) < -goal),
    ]


def kernel() -> Reduced:
    """What all problems look like to route."""
    polynomial = SpinPolynomial.of(12, rows=range(11), cols=range(1, 12), J=[1.0] * 11)
    ref = Ref(
        problem_id="p",
        partition=0,
        offset=0,
        family="",
        digest="",
        tenant="acme",
        priority="normal",
        target="auto",
        shots=1000,
        seed=1,
        received_at=START,
        deadline_at=START,
    )
    return Reduced(
        ref=ref,
        kernel=pack_kernel(polynomial),
        kernel_digest="",
        kind="spins",
        variables=12,
        couplings=11,
        work_seconds=0.1,
        gammas=[],
        betas=[],
    )


KERNEL = kernel()


@dataclass(eq=False)
class Stream:
    """One stream of problems. `chooser`: who decides instead of the policy."""

    seed: int
    chooser: Chooser | None = None
    learned: Learned = field(default_factory=Learned)
    ledger: Ledger = field(default_factory=Ledger)
    regret: float = 0.0
    went: list[tuple[str, bool]] = field(default_factory=list)
    wrong: int = 0

    def run(self) -> Stream:
        """All problems."""
        chance_of, coming = Random(self.seed), deque[Evidence]()
        budget = Budget(scope="tenant:acme", window="total", micros=CAP)
        self.ledger = Books().step(self.ledger, LedgerEntry(event="budget", at=START, budget=budget))
        for number in range(PROBLEMS):
            at = START + number * SECONDS_BETWEEN
            family = chance_of.choice(FAMILIES)
            ref = replace(
                KERNEL.ref,
                problem_id=str(number),
                offset=number,
                family=family,
                digest=f"{self.seed}/{number}",
                received_at=at,
                deadline_at=at + 60,
            )
            event = replace(KERNEL, ref=ref, kernel_digest=ref.digest)
            name = self._decided(event, at) if self.chooser is None else self._chosen(event, at)
            true = TRUE[family] if number < GONE or family == "harmed" else 0.0
            worths = {
                DEVICE: WORTH.of(true, DEVICE_SECONDS, COST / MICROS),
                SOLVER: WORTH.of(0.0, SOLVER_SECONDS, 0.0),
            }
            self.regret += max(worths.values()) - worths[name]
            self.went.append((family, name == DEVICE))
            gain = chance_of.gauss(true, NOISE)
            run = Run(
                target="quantum" if name == DEVICE else "classical",
                backend=name,
                answered=True,
                seconds=DEVICE_SECONDS if name == DEVICE else SOLVER_SECONDS,
                cost_usd=COST / MICROS if name == DEVICE else None,
                gain=gain if name == DEVICE else 0.0,
            )
            coming.append(Evidence(family=family, kind="spins", variables=12, job=ref.digest, runs=[run]))
            if len(coming) > LATE:
                self.learned = Evidences().step(self.learned, Seen(0, number, coming.popleft()), at)
        return self

    def share(self, family: str, first: int, last: int) -> float:
        """Percent of a family's problems that the device had."""
        went = [device for one, device in self.went[first:last] if one == family]
        return 100 * sum(went) / len(went)

    @property
    def explored(self) -> int:
        """Micro-dollars that were spent to find out."""
        return sum(one.spent for which, one in self.ledger.accounts.items() if which.budget.startswith(EXPLORING))

    @property
    def allowed(self) -> int:
        """Micro-dollars that may be."""
        return int(CAP * POLICY.explore)

    def _decided(self, event: Reduced, at: float) -> str:
        """By the policy, and control."""
        (job,) = route([event], Facts(at, ALIVE, learned=self.learned), POLICY)
        assert isinstance(job, JobEvent)
        while job.route.backend == DEVICE:
            booked = asked(self.ledger, replace(job, quote=Amounts(COST, None, None)), "", at, 0.0)
            self.ledger, goes_on = booked.ledger, booked.goes_on
            assert isinstance(goes_on, JobEvent)
            if not goes_on.reservation:
                job = goes_on
                continue
            end = JobEnded(
                reservation=goes_on.reservation,
                problem_id=event.ref.problem_id,
                ended="settled",
                amounts=Amounts(COST, None, None),
                at=at,
            )
            self.ledger = ended(self.ledger, end, at).ledger
            self.wrong += len(unbalanced(self.ledger)) + any(one.free < 0 for one in self.ledger.accounts.values())
            break
        return job.route.backend

    def _chosen(self, event: Reduced, at: float) -> str:
        assert self.chooser is not None
        known = {
            DEVICE: weigh(event, "quantum", DEVICE, self.learned, WORTH, at),
            SOLVER: weigh(event, "classical", SOLVER, self.learned, WORTH, at),
        }
        return self.chooser(known, event.ref.digest)


OTHERS: dict[str, Chooser] = {
    "uniform": lambda known, digest: DEVICE if chance("coin", digest) < 0.5 else SOLVER,
    "greedy": lambda known, digest: max(known, key=lambda name: known[name].mean),
    "UCB": lambda known, digest: max(known, key=lambda name: known[name].mean + Z * known[name].error),
    "Thompson": lambda known, digest: max(known, key=lambda name: _drawn(known[name], name, digest)),
}


def _drawn(one: Known, name: str, digest: str) -> float:
    return one.mean + one.error * NormalDist().inv_cdf(chance(name, digest))


if __name__ == "__main__":
    main()
