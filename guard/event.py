"""What happened: one finished request as it was told, and what makes it unusable.

A `Request` comes out of a decoder unchecked, with a default for every field, so that
decoding fails on rubbish only. Words are checked once for every combination that
occurs (`kind_of`), numbers for a whole batch at once (`check`). NaN and infinity stop
here.
"""

import enum
import math
from datetime import datetime
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

OLDEST_SECONDS = 1e9  # 2001: an event time before it is in the wrong unit
NEWEST_SECONDS = 4e9  # 2096: one after it too
OLDEST_AGE_SECONDS = 86_400.0  # an event may be older than its record by so much
LARGEST_COUNT = 1_000_000
LONGEST_WORD = 249  # characters of a service, version, cohort or instance
LARGEST_VALUE = 1 << 20  # bytes of a record's value that holds many events


class Rejection(enum.IntEnum):
    """Why an event is not counted; a closed set, it labels a metric."""

    NONE = 0
    NOT_JSON = 1
    WRONG_TYPE = 2
    MISSING_FIELD = 3
    NO_COHORT = 4
    BAD_STATUS = 5
    BAD_LATENCY = 6
    BAD_COUNT = 7
    TOO_OLD = 8
    FUTURE = 9
    TOO_LARGE = 10
    UNKNOWN_TYPE = 11

    @property
    def word(self) -> str:
        """As it stands in metrics and on `guard.rejected`."""
        return self.name.lower()


class Request(msgspec.Struct, gc=False):
    """One finished request, or `count` equal ones, as a decoder read it.

    `ts` is in seconds since the epoch or an instant with its time zone, `latency_ms`
    in milliseconds, `status` an HTTP status or the name of a gRPC code. The defaults
    of the two numbers are what JSON cannot say, so that they mean "missing".
    """

    service: str = ""
    ts: float | Annotated[datetime, msgspec.Meta(tz=True)] = -math.inf
    latency_ms: float = -math.inf
    status: int | str | None = None
    cohort: str | None = None
    version: str | None = None
    critical: bool = False
    error: bool | None = None
    instance: str = ""
    count: int = 1
    type: str = "request"


class Kind(NamedTuple):
    """What the words of a request come to."""

    rejection: Rejection
    is_error: bool
    status_class: int  # 0 where there is no status, else its first digit


class Numbers(NamedTuple):
    """The numbers of a batch of events, one entry an event."""

    times: npt.NDArray[np.float64]  # seconds since the epoch
    latencies: npt.NDArray[np.float64]  # milliseconds
    counts: npt.NDArray[np.int64]
    stamps: npt.NDArray[np.float64]  # Kafka time of the record, seconds

    def at(self, places: npt.NDArray[np.int64]) -> "Numbers":
        """Return the numbers of the events at these places."""
        times, latencies, counts, stamps = self
        return Numbers(times[places], latencies[places], counts[places], stamps[places])


# As OpenTelemetry's semantic conventions count them for servers.
_GRPC_CLIENT_FAULTS = (
    "CANCELLED", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
    "OUT_OF_RANGE", "UNAUTHENTICATED",
)  # fmt: skip
_GRPC_SERVER_FAULTS = (
    "UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
    "DATA_LOSS",
)  # fmt: skip
_GRPC = (
    {"OK": 200}
    | dict.fromkeys(_GRPC_CLIENT_FAULTS, 400)
    | dict.fromkeys(_GRPC_SERVER_FAULTS, 500)
)


def status_of(status: int | str | None, error: bool | None) -> tuple[bool, int] | None:  # noqa: FBT001
    """Whether it is an error, and the status class; None for what is no status.

    >>> status_of("503", None), status_of("NOT_FOUND", None), status_of(99, None)
    ((True, 5), (False, 4), None)
    """
    if status is None:
        return None if error is None else (error, 0)
    if isinstance(status, str):
        is_number = status.isascii() and status.isdigit() and len(status) == 3
        code = int(status) if is_number else _GRPC.get(status, 0)
    else:
        code = status
    if not 100 <= code <= 599:
        return None
    return bool(error) or code >= 500, code // 100


def kind_of(
    service: str,
    version: str | None,
    cohort: str | None,
    status: int | str | None,
    *,
    error: bool | None,
    type_: str,
) -> Kind:
    """Judge the words of a request."""
    known = status_of(status, error)
    names = service, version or "", cohort or ""
    if type_ != "request":
        rejection = Rejection.UNKNOWN_TYPE
    elif not service or (status is None and error is None):
        rejection = Rejection.MISSING_FIELD
    elif not (version or cohort):
        rejection = Rejection.NO_COHORT
    elif max(map(len, names)) > LONGEST_WORD:
        rejection = Rejection.TOO_LARGE
    elif not all(map(_is_text, names)):
        rejection = Rejection.WRONG_TYPE
    elif known is None:
        rejection = Rejection.BAD_STATUS
    else:
        return Kind(Rejection.NONE, *known)
    return Kind(rejection, is_error=False, status_class=0)


def _is_text(word: str) -> bool:
    """Whether it can be written as UTF-8; half of a surrogate pair cannot."""
    return word.isascii() or not any("\ud800" <= char <= "\udfff" for char in word)


def check(
    numbers: Numbers, rejections: npt.NDArray[np.int64], future_seconds: float
) -> npt.NDArray[np.int64]:
    """Why each event is rejected, 0 where it is not; faults of its words come first.

    An event may be `future_seconds` ahead of the time that Kafka gave its record, and
    `OLDEST_AGE_SECONDS` behind.
    """
    times, latencies, counts, stamps = numbers
    with np.errstate(invalid="ignore"):
        faults = (
            (Rejection.MISSING_FIELD, np.isneginf(times) | np.isneginf(latencies)),
            (Rejection.BAD_LATENCY, ~((latencies >= 0) & (latencies < np.inf))),
            (Rejection.BAD_COUNT, ~((counts > 0) & (counts <= LARGEST_COUNT))),
            (
                Rejection.TOO_OLD,
                ~(times >= OLDEST_SECONDS) | (times < stamps - OLDEST_AGE_SECONDS),
            ),
            (
                Rejection.FUTURE,
                ~(times <= NEWEST_SECONDS) | (times > stamps + future_seconds),
            ),
        )
    for rejection, is_faulty in faults:
        rejections = np.where((rejections == 0) & is_faulty, rejection, rejections)
    return rejections
