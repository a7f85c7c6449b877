"""The first column of a CSV of prices: which line is the oldest, told by dates in whatever spelling, or by a number.

A spelling has one or more readings (3/4/2024 is in March or in April). Every reading that makes dates of all cells
counts; where these disagree on the order, the order is not known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Literal

from qmosaic.codecs.formats.base import WHOLE

Order = Literal["rising", "falling", "neither", "unknown"]
Reading = Callable[[str], float | None]  # seconds of a time scale, None where a cell is no date by this reading

MOST_IN_A_CELL = 60
"""Characters of a date at most."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = r"(?P<name>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"  # noqa: E501
_WEEKDAY = re.compile(r"(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?\.?,?\s+")
_TIME = re.compile(
    r"(?:[t\s]\s*|^)(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}(?:[.,]\d{1,9})?))?\s*(?P<half>[ap]m)?"
    r"\s*(?:z|utc|gmt|(?P<sign>[+-])(?P<zone>\d{2}):?(?P<part>\d{2}))?$"
)
_SEPARATOR = r"(?P<mark>[-/. ])"
_THREE = re.compile(rf"(?P<a>\d{{1,4}}){_SEPARATOR}(?P<b>\d{{1,2}})(?P=mark)(?P<c>\d{{1,4}})")
_COMPACT = re.compile(r"\d{5,8}")
_NAMED = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?P<day>\d{{1,2}})(?:st|nd|rd|th)?[-/., ]*{_MONTH}[-/., ]*(?P<year>\d{{4}}|\d{{2}})",
        rf"{_MONTH}[-/. ]*(?P<day>\d{{1,2}})(?:st|nd|rd|th)?[-/., ]+(?P<year>\d{{4}})",
        rf"(?P<year>\d{{4}})[-/., ]*{_MONTH}[-/., ]*(?P<day>\d{{1,2}})",
        rf"{_MONTH}[-/.,' ]*(?P<year>\d{{4}}|\d{{2}})",
        rf"(?P<year>\d{{4}})[-/., ]*{_MONTH}",
    )
)
_PARTS = (
    (re.compile(r"(?P<year>\d{4})[-/. ]*q(?P<part>[1-4])"), 92),
    (re.compile(r"q(?P<part>[1-4])[-/. ]*(?P<year>\d{4})"), 92),
    (re.compile(r"(?P<year>\d{4})-?w(?P<part>\d{1,2})(?:-?(?P<day>[1-7]))?"), 7),
)
_MONTHLY = re.compile(r"(?:(?P<year>\d{4})[-/. ](?P<month>\d{1,2})|(?P<month2>\d{1,2})[-/. ](?P<year2>\d{4}))")
_COUNTED = re.compile(r"(?:[a-z]{1,12}[-_ .]?)(?P<number>\d{1,9})")  # t1, day 2, week-3
_NUMBER = re.compile(r"[+-]?(\d{1,20}\.?\d{0,20}|\.\d{1,20})(e[+-]?\d{1,2})?")


def order_of(cells: Sequence[str]) -> tuple[Order, int]:
    """How time runs down a column of dates, and the first cell that breaks the order of the first two, if one does.

    `unknown` where the spelling leaves the order open, or is not known.
    """
    found = _readings(cells)
    orders = {_direction(times) for times in found}
    if len(orders) != 1:
        return "unknown", 0
    times = found[0]
    breaks = (k for k, (a, b) in enumerate(pairwise(times), 1) if a == b or (a < b) != (times[0] < times[1]))
    return orders.pop(), next(breaks, 0)


def are_dates(cells: Sequence[str]) -> bool:
    """Whether the cells are dates for certain: not numbers, but for those of a day (20240131) in order of time."""
    if all(_NUMBER.fullmatch(cell.lower()) for cell in cells):
        return are_days(cells)
    return bool(_readings(cells))


def are_days(cells: Sequence[str]) -> bool:
    """Whether the cells are all days written as 20240131, none before the one above it, or none after it."""
    if not all(len(cell) == 8 and cell.isascii() and cell.isdigit() for cell in cells):
        return False
    days = [_compact("ymd", cell) for cell in cells]
    known = [day for day in days if day is not None]
    return len(known) == len(days) and _direction(known) in ("rising", "falling")


def direction_of(cells: Sequence[str]) -> Order | None:
    """How a column of whole numbers runs; None where it is not one."""
    if not all(_NUMBER.fullmatch(cell.lower()) for cell in cells):
        return None
    values = [float(cell) for cell in cells]
    if not all(value.is_integer() and abs(value) <= WHOLE for value in values):
        return None
    return _direction(values)


def _direction(times: Sequence[float]) -> Order:
    if all(a < b for a, b in pairwise(times)):
        return "rising"
    return "falling" if all(a > b for a, b in pairwise(times)) else "neither"


def _readings(cells: Sequence[str]) -> list[list[float]]:
    """The times of the cells by every reading that makes dates of all of them; numbers are only numbers else."""
    texts = [" ".join(_WEEKDAY.sub("", cell[: MOST_IN_A_CELL + 1].lower()).split()) for cell in cells]
    if any(len(text) > MOST_IN_A_CELL for text in texts):
        return []
    found = [times for reading in _DATES if (times := _all(reading, texts))]
    return found or [times for reading in _OTHERS if (times := _all(reading, texts))][:1]


def _all(reading: Reading, texts: Sequence[str]) -> list[float] | None:
    times = []
    for text in texts:
        time = reading(text)
        if time is None:
            return None
        times.append(time)
    return times


def _dated(read: Callable[[str], date | None], text: str) -> float | None:
    """Seconds of a date, and of the time of day behind it."""
    clock = _TIME.search(text)
    seconds = _days(read(text[: clock.start()] if clock else text))
    within = _clock(clock) if clock else 0.0
    return None if seconds is None or within is None else seconds + within


def _clock(clock: re.Match[str]) -> float | None:
    hour, minute, second = int(clock["hour"]), int(clock["minute"]), float((clock["second"] or "0").replace(",", "."))
    if clock["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if clock["half"] == "pm" else 0)
    if hour > 24 or minute > 59 or second >= 61:
        return None
    shift = int(clock["sign"] + "1") * (int(clock["zone"]) * 60 + int(clock["part"])) if clock["sign"] else 0
    return (hour * 60 + minute - shift) * 60.0 + second


def _day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _year(text: str) -> int | None:
    """The year of four digits, or of two, which are in the hundred years up to 2068, as in POSIX."""
    if len(text) == 4:
        return int(text) if int(text) >= 1000 else None
    return int(text) + (1900 if int(text) >= 69 else 2000) if len(text) == 2 else None


def _three(order: str, text: str) -> date | None:
    """`order` says which of three numbers is year, month and day."""
    match = _THREE.fullmatch(text)
    if not match:
        return None
    parts = dict(zip(order, (match["a"], match["b"], match["c"]), strict=True))
    year = _year(parts["y"])
    if year is None or len(parts["m"]) > 2 or len(parts["d"]) > 2:
        return None
    return _day(year, int(parts["m"]), int(parts["d"]))


def _compact(order: str, text: str) -> float | None:
    """Year, month and day without anything between them; a spreadsheet may have dropped the first zero."""
    if not _COMPACT.fullmatch(text):
        return None
    text = text.zfill(len(text) + len(text) % 2)
    parts = {"d": "1"}
    at = 0
    for part in order:
        width = len(text) - 4 if part == "y" and len(order) == 3 else 4 if part == "y" else 2
        parts[part] = text[at : at + width]
        at += width
    year = _year(parts["y"])
    if at != len(text) or year is None or not 1800 <= year <= 2200:
        return None
    return _days(_day(year, int(parts["m"]), int(parts["d"])))


def _days(day: date | None) -> float | None:
    """A date in seconds."""
    return None if day is None else (day - date(1970, 1, 1)).days * 86_400.0


def _iso(text: str) -> float | None:
    """What Python calls ISO 8601, unless it is only digits."""
    if text.isdigit():
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)


def _named(pattern: re.Pattern[str], text: str) -> date | None:
    match = pattern.fullmatch(text)
    if not match:
        return None
    year = _year(match["year"])
    day = int(match["day"]) if "day" in pattern.groupindex else 1
    return None if year is None else _day(year, 1 + _MONTHS.index(match["name"][:3]), day)


def _monthly(text: str) -> float | None:
    match = _MONTHLY.fullmatch(text)
    if not match:
        return None
    return _days(_day(int(match["year"] or match["year2"]), int(match["month"] or match["month2"]), 1))


def _part(pattern: re.Pattern[str], days: int, text: str) -> float | None:
    """A quarter or a week of a year."""
    match = pattern.fullmatch(text)
    if not match or int(match["part"]) > 53:
        return None
    within = int(match["day"] or 1) if "day" in pattern.groupindex else 1
    return (int(match["year"]) * 400 + int(match["part"]) * days + within) * 86_400.0


def _time_of_day(text: str) -> float | None:
    clock = _TIME.fullmatch(text)
    return None if clock is None else _clock(clock)


def _counted(text: str) -> float | None:
    match = _COUNTED.fullmatch(text)
    return float(match["number"]) if match else None


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


_DATES: tuple[Reading, ...] = (
    *(partial(_dated, partial(_three, order)) for order in ("ymd", "dmy", "mdy")),
    *(partial(_compact, order) for order in ("ymd", "dmy", "mdy", "ym")),
    *(partial(_dated, partial(_named, pattern)) for pattern in _NAMED),
)
_OTHERS: tuple[Reading, ...] = (
    _iso,
    *(partial(_part, pattern, days) for pattern, days in _PARTS),
    _monthly,
    _time_of_day,
    _number,
    _counted,
)
