"""Charges by the rules of FOCUS 1.2, as far as a file tells: columns, nulls, types, formats, allowed values, sums.

The rules are those of https://focus.finops.org/focus-specification/v1-2/.
"""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.codecs.events.ledger import Amounts
from qmosaic.processors.report.focus import COLUMNS, FORMULA, amount, focus_csv, vendor_of
from qmosaic.processors.report.spending import Charge, spending
from tests.processors.report.fixtures import DAY, IONQ, NOON, ledger

MANDATORY = {
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd"),
    *("ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity"),
    *("PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName"),
}
NULLABLE = {"ChargeClass", "PricingQuantity", "PricingUnit", "ConsumedQuantity", "ConsumedUnit"}
COSTS = ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")
TIMES = ("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd")
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")  # NumericFormat: no thousands, no plus sign
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")  # DateTimeFormat: ISO 8601, UTC
ALLOWED = {
    "BillingCurrency": {"USD"},
    "ChargeCategory": {"Usage", "Purchase", "Tax", "Credit", "Adjustment"},
    "ChargeClass": {"", "Correction"},
    "ChargeFrequency": {"One-Time", "Recurring", "Usage-Based"},
    "ServiceCategory": {"Compute"},
    "ServiceSubcategory": {
        *("Containers", "End User Computing", "Quantum Compute", "Serverless Compute", "Virtual Machines"),
        "Other (Compute)",
    },
}


def rows(charges: tuple[Charge, ...]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(focus_csv(charges), newline=""), strict=True))


def check(row: dict[str, str]) -> None:
    """Every rule that one row can break."""
    assert row.keys() == set(COLUMNS) >= MANDATORY
    assert all(row[name] for name in COLUMNS if name not in NULLABLE), row
    for name in (*COSTS, "PricingQuantity", "ConsumedQuantity"):
        assert not row[name] or NUMBER.fullmatch(row[name]), (name, row[name])
    for name in TIMES:
        assert TIME.fullmatch(row[name]), (name, row[name])
        datetime.fromisoformat(row[name])
    for name, allowed in ALLOWED.items():
        assert row[name] in allowed, (name, row[name])
    assert row["BillingPeriodStart"] < row["BillingPeriodEnd"]
    assert row["BillingPeriodStart"][8:] == row["BillingPeriodEnd"][8:] == "01T00:00:00Z"
    assert row["ChargePeriodStart"] < row["ChargePeriodEnd"]  # the end is not in it
    # a quantity and its unit are both there or both null
    assert bool(row["PricingQuantity"]) == bool(row["PricingUnit"])
    assert bool(row["ConsumedQuantity"]) == bool(row["ConsumedUnit"])
    is_usage, corrects = row["ChargeCategory"] == "Usage", row["ChargeClass"] == "Correction"
    if is_usage and not corrects:
        assert Decimal(row["PricingQuantity"]) > 0
        assert Decimal(row["ConsumedQuantity"]) > 0
    if not is_usage:
        assert row["ConsumedQuantity"] == ""
    if corrects:
        assert row["ChargePeriodStart"] < row["BillingPeriodStart"]  # of an earlier period
    tags = json.loads(row["Tags"])
    assert all(key.startswith("qmosaic/") and isinstance(value, str) for key, value in tags.items())


def test_the_rules_hold_for_every_row_of_a_ledger() -> None:
    for row in rows(spending(ledger()).charges):
        check(row)


def test_costs_come_to_what_was_spent_to_the_micro_dollar() -> None:
    for name in COSTS:
        total = sum(Decimal(row[name]) for row in rows(spending(ledger()).charges))
        assert total * 1_000_000 == spending(ledger()).spent


def test_a_correction_of_an_earlier_month_is_one_and_one_within_its_month_is_an_adjustment() -> None:
    (later,) = [row for row in rows(spending(ledger()).charges) if row["ChargeClass"]]
    assert (later["BilledCost"], later["BillingPeriodStart"]) == ("-0.05", "2027-02-01T00:00:00Z")
    (within,) = rows(spending(ledger(), since=NOON + 8.5, until=NOON + DAY).charges)
    assert (within["ChargeCategory"], within["ChargeClass"], within["BilledCost"]) == ("Adjustment", "", "0.000012")
    check(within)


texts = st.text(max_size=300) | st.sampled_from(["", "a/b", "=1+1", "+x", "@SUM(A1)", "-2", 'a"b\r\nc', "zne(" * 200])


@given(texts, texts, st.floats(0, 3e11), st.floats(0, 1e6), st.integers(-(2**53), 2**53), st.integers(0, 2**53))
def test_the_rules_hold_whoever_wrote_the_ledger(
    tenant: str, backend: str, since: float, seconds: float, micros: int, shots: int
) -> None:
    charge = Charge("r", tenant, tenant, backend, since, since + seconds, micros, Amounts(shots=shots))
    (row,) = rows((charge,))
    check(row)
    assert not any(row[name].startswith(FORMULA) for name in COLUMNS if name not in COSTS)


@pytest.mark.parametrize(("micros", "said"), [(0, "0"), (300_000, "0.3"), (-12_000_001, "-12.000001"), (5, "0.000005")])
def test_amounts_are_exact(micros: int, said: str) -> None:
    assert amount(micros) == said


def test_vendors_have_their_names() -> None:
    assert [vendor_of(name) for name in (IONQ, "zne(aqt/default/ibex)", "their.device/x", "")] == [
        *("IonQ", "AQT", "their.device", "unknown")
    ]
