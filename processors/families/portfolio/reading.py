"""A portfolio problem's payload: its market and its rules."""

from __future__ import annotations

from typing import Any

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.problems.portfolio import Portfolio
from qmosaic.processors.families.base import Limits
from qmosaic.processors.families.payload import WrongError, converted
from qmosaic.processors.families.portfolio.market import Market, read_market
from qmosaic.processors.families.portfolio.rules import Rules, read_rules


def read(payload: dict[str, Any], limits: Limits) -> tuple[Market, Rules] | Rejected:
    """The market and the rules of a payload. Everything that can be wrong with it is a `Rejected`."""
    try:
        if "sense" in payload:  # a field of the class, but of the event in an event
            raise WrongError("unknown field 'sense'", ".sense", "A portfolio's objective is minimised.")
        given = converted(payload, Portfolio, "", "`qmosaic families show portfolio` lists the fields.")
        if isinstance(given, Rejected):
            return given
        market, order, notes = read_market(given, limits)
        return market, read_rules(given, market, order, notes)
    except WrongError as error:
        return error.rejected
