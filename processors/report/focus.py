"""Charges for the finance team: FOCUS 1.2, the FinOps Open Cost and Usage Specification, as CSV, a row a charge.

https://focus.finops.org/focus-specification/v1-2/ has the columns. The vendor is the provider, publisher and issuer of
the invoice; the billing account is the first part of the tenant's path, the sub account all of it; the resource is the
backend. What the vendors' prices are made of is not known, so that nothing is said of unit prices and discounts: all
four costs are what was booked.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from qmosaic.backends.registry import innermost
from qmosaic.codecs.events.ledger import MICROS
from qmosaic.processors.control.books import LAST_MOMENT, window_of
from qmosaic.processors.report.period import cut
from qmosaic.processors.report.spending import Charge

VERSION: Final = "1.2"
COLUMNS: Final = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SubAccountId",
    "SubAccountName",
    "Tags",
)
VENDORS = {"aqt": "AQT", "google": "Google", "ionq": "IonQ"}
"""How those write themselves whose backends come along; of others the name of the backend's package says it."""
LATEST = LAST_MOMENT - 32 * 86_400
"""Seconds since the epoch: the next month is still in the calendar."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would compute."""


def focus_csv(charges: Iterable[Charge]) -> str:
    """All of it, with the names of the columns in the first line (RFC 4180)."""
    file = io.StringIO(newline="")
    rows = csv.DictWriter(file, COLUMNS, lineterminator="\r\n")
    rows.writeheader()
    rows.writerows(focus_row(charge) for charge in charges)
    return file.getvalue()


def focus_row(charge: Charge) -> dict[str, str]:
    """One charge by the names of the columns; what is null is empty."""
    charge = charge._replace(at=min(charge.at, LATEST))
    month, cost, vendor = window_of("month", charge.at), amount(charge.micros), vendor_of(charge.backend)
    tenant, account = text(charge.tenant), text(charge.tenant.partition("/")[0])
    corrects = charge.revises is not None
    is_of_earlier = charge.revises is not None and window_of("month", charge.revises) != month
    consumed, unit = _consumed(charge)
    tags = {"qmosaic/problem": cut(charge.problem_id), "qmosaic/reservation": charge.reservation}
    return {
        "BilledCost": cost,
        "BillingAccountId": account,
        "BillingAccountName": account,
        "BillingCurrency": "USD",
        "BillingPeriodEnd": _next_month(month),
        "BillingPeriodStart": f"{month}-01T00:00:00Z",
        # a correction within its month is no usage: nothing was consumed, and its class is to be null
        "ChargeCategory": "Adjustment" if corrects and not is_of_earlier else "Usage",
        "ChargeClass": "Correction" if is_of_earlier else "",
        "ChargeDescription": text(f"{'Revision of a' if corrects else 'A'} job on {charge.backend}"),
        "ChargeFrequency": "One-Time" if corrects and not is_of_earlier else "Usage-Based",
        "ChargePeriodEnd": moment(charge.at if charge.revises is None else charge.revises, up=True),
        "ChargePeriodStart": moment(charge.since),
        "ConsumedQuantity": "" if corrects else consumed,
        "ConsumedUnit": "" if corrects else unit,
        "ContractedCost": cost,
        "EffectiveCost": cost,
        "InvoiceIssuerName": vendor,
        "ListCost": cost,
        "PricingQuantity": "" if corrects else "1",
        "PricingUnit": "" if corrects else "Jobs",
        "ProviderName": vendor,
        "PublisherName": vendor,
        "ResourceId": text(charge.backend),
        "ResourceName": text(charge.backend),
        "ResourceType": "Backend",
        "ServiceCategory": "Compute",
        "ServiceName": text(f"{vendor} Quantum"),
        "ServiceSubcategory": "Quantum Compute",
        "SubAccountId": tenant,
        "SubAccountName": tenant,
        "Tags": json.dumps(tags, sort_keys=True),
    }


def amount(micros: int) -> str:
    """Micro-dollars as dollars, exactly: `0.3`, `-12.000001`."""
    sign, micros = ("-" if micros < 0 else ""), abs(micros)
    whole, part = divmod(micros, MICROS)
    digits = f"{part:06d}".rstrip("0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def moment(at: float, *, up: bool = False) -> str:
    """Seconds since the epoch as ISO 8601 in UTC, in whole seconds: `up`, the end of the second that it is in, since an
    end is not in its period."""
    whole = int(min(max(at, 0.0), LATEST)) + up
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def vendor_of(backend: str) -> str:
    """Whose device it is."""
    name = innermost(cut(backend)).partition("/")[0]
    return VENDORS.get(name) or text(name)


def text(said: str) -> str:
    """What others wrote, on one line, as a spreadsheet shows it and computes nothing; never nothing, which is null."""
    said = "".join(c if c.isprintable() else " " for c in cut(said)).strip() or "unknown"
    return f"'{said}" if said.startswith(FORMULA) else said


def _consumed(charge: Charge) -> tuple[str, str]:
    """The quantity that is known, and its unit: shots, seconds of the device, else the job itself."""
    if charge.amounts.shots:
        return str(charge.amounts.shots), "Shots"
    if charge.amounts.device_ms:
        return amount(1000 * charge.amounts.device_ms), "Seconds"
    return "1", "Jobs"


def _next_month(month: str) -> str:
    year, number = int(month[:4]), int(month[5:])
    year, number = (year + 1, 1) if number == 12 else (year, number + 1)
    return f"{year:04d}-{number:02d}-01T00:00:00Z"
