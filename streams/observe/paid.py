"""What a period came to, read once from `audit`, `ledger` and `control.state`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from qmosaic.processors.control.orders import policy_of as ordered_policy_of
from qmosaic.processors.report.findings import DEFAULT_BY, By, Findings, findings
from qmosaic.processors.report.period import Entry, Periods
from qmosaic.processors.report.spending import Charge, spending
from qmosaic.streams.hops.in_force import policy_of
from qmosaic.streams.kafka.records import CLOCK_SECONDS
from qmosaic.streams.observe.folded import folded, read_ledger, read_ordered
from qmosaic.streams.settings import Settings

READ_SECONDS = 600.0
"""For the audit, of which there may be much."""
ENTRY = msgspec.json.Decoder(Entry)


class Paid(NamedTuple):
    """What is to be said, and each charge of the period."""

    findings: Findings
    charges: Sequence[Charge]


async def read_period(
    settings: Settings,
    since: float | None = None,
    until: float | None = None,
    tenant: str | None = None,
    by: Sequence[By] = DEFAULT_BY,
) -> Paid:
    """Of what was written from `since` on and before `until` (seconds since the epoch), of a tenant and what lies under
    it; None: of all there is. Raises BrokerError."""
    now = time.time()
    first, last = since if since is not None else -float("inf"), until if until is not None else float("inf")
    ordered, (_, entries) = await read_ordered(settings), await read_ledger(settings)
    text = ordered.policy.text if ordered.policy is not None else None
    policy = policy_of(settings) if text is None else ordered_policy_of(text, settings.paid.backends)
    fold = Periods(policy.worth_of, first, last, tenant)
    begin = None if since is None else since - CLOCK_SECONDS
    period = await folded(settings, "audit", ENTRY.decode, fold.step, fold.start, begin, READ_SECONDS)
    spent = spending(entries, first, last, tenant)
    return Paid(findings(period, spent, now, by, since, until, tenant), spent.charges)
