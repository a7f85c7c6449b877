"""What a user can get wrong, as values and as exceptions.

`Rejected` is the value: a check returns it and a rejection event carries it. The exceptions are for
callers who hold a file or a Client in their hands:

    QmosaicError
    ├── ProblemError      the problem itself: shape, range, limit   (wraps a Rejected)
    ├── FormatError         a file that cannot be read as the format it claims to be
    ├── SettingsError       a setting or option that is wrong
    ├── BackendError        a backend refused or failed a job
    │   ├── JobTimedOut       a paid job had no answer in time; it no longer runs
    │   ├── JobCancelled      somebody cancelled it at the vendor
    │   ├── Unreachable       no way through the network to the vendor of a paid job; it was not sent
    │   ├── RateLimited       a vendor takes no more jobs before a paid one's deadline; it was not sent
    │   ├── OverBudget        a paid job costs more than may be spent on one, or nobody knows what
    │   └── JobUnknown        nobody can say whether it runs: not sent again, to be looked at
    │       └── JobOutOfReach    because there is no way through the network to its vendor
    ├── RefusedError        control does not carry out an order
    └── BrokerError         no broker, or it does not answer
"""

from __future__ import annotations

from typing import Literal

import msgspec

RejectCode = Literal[
    "empty_value",  # the record has no value at all
    "not_utf8",  # bytes that are not UTF-8
    "not_json",  # text that is not JSON (NaN and Infinity are not JSON either)
    "invalid_event",  # JSON, but not of the shape of a problem event, or an option out of its range
    "unsupported_schema",  # an unknown schema name or major version
    "unknown_family",
    "invalid_problem",  # the family's own fields: index, self-loop, weight, …
    "empty_problem",  # no variable at all
    "too_large",  # over a limit of the settings
    "deadline_past",  # the deadline was over when the event arrived
    "id_conflict",  # the id was used before, with other content
    "unreadable",  # no Kafka client could read the batch of records: checksum, codec, lengths
    "stage_failed",  # reading the problem raised an error that nobody expected
    "worker_crashed",  # a worker died at it three times
]


class Rejected(msgspec.Struct, frozen=True):
    """Why a problem is not one: `place` is a JSON path or file line, `remedy` what to do about it."""

    code: RejectCode
    message: str
    place: str
    remedy: str


class QmosaicError(Exception):
    """Base of every error a user can cause. `code` is stable, `remedy` says what to do."""

    code = "error"

    def __init__(self, message: str, *, place: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.message, self.place, self.remedy = message, place, remedy

    def __str__(self) -> str:
        where = f" ({self.place})" if self.place else ""
        what = f" {self.remedy}" if self.remedy else ""
        return f"{self.code}: {self.message}{where}.{what}"


class ProblemError(QmosaicError):
    """A problem that does not validate; `rejected` is the value a rejection event would carry."""

    def __init__(self, rejected: Rejected) -> None:
        super().__init__(rejected.message, place=rejected.place, remedy=rejected.remedy)
        self.rejected = rejected
        self.code = rejected.code


class FormatError(QmosaicError):
    """A file that cannot be read as the format it claims to be; `place` is `FILE:LINE`."""

    code = "invalid_file"


class SettingsError(QmosaicError):
    """A setting or an option that is wrong."""

    code = "invalid_settings"


class BackendError(QmosaicError):
    """A backend refused or failed a job."""

    code = "backend_failed"


class JobTimedOut(BackendError):  # noqa: N818 - a way for a job to end
    """A paid job had no answer in time; it does not run any more."""

    code = "job_timed_out"


class JobCancelled(BackendError):  # noqa: N818 - a way for a job to end
    """A paid job was cancelled at the vendor, not by us."""

    code = "job_cancelled"


class OverBudget(BackendError):  # noqa: N818 - a decision
    """A paid job costs more than may be spent on one, or nobody knows what it costs. It was not sent."""

    code = "over_budget"


class RateLimited(BackendError):  # noqa: N818 - a state of a vendor
    """The vendor takes no more jobs for now, and says so until a paid job's deadline is over. It was not sent."""

    code = "rate_limited"


class JobUnknown(BackendError):  # noqa: N818 - a state of a job
    """The vendor does not say whether a paid job was taken or has ended. It is not sent again."""

    code = "job_unknown"


class JobOutOfReach(JobUnknown):
    """As JobUnknown, because there is no way through the network to its vendor. That says nothing of the device."""


class Unreachable(BackendError):  # noqa: N818 - a state of the network
    """There is no way through the network to the vendor of a paid job. It was not sent, and it is not the device's."""

    code = "unreachable"


class RefusedError(QmosaicError):
    """An order that control does not carry out; everything is as it was."""

    code = "refused"


class BrokerError(QmosaicError):
    """No broker, or it does not answer in time."""

    code = "broker_unavailable"
