"""What a request can come to, beyond the tree that everything shares."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from vectorferry.connector._errors import CollectionError, LimitReachedError, SourceError

__all__ = [
    "ForbiddenError",
    "NotFoundError",
    "RefusedError",
    "UnreadableError",
    "UnsendableError",
    "UnsureError",
    "limit_reached",
]


class ForbiddenError(CollectionError):
    """403: the key is known, and may not do this. `code` is the service's word for why, if it has one."""

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class NotFoundError(CollectionError):
    """404 or 410: the service has nothing under this path."""


class UnsendableError(CollectionError):
    """A request that cannot be put into bytes: it holds what is no text (half of a surrogate pair), or is too long."""


class RefusedError(CollectionError):
    """The service does not accept the request itself (400, 405, 422, …); sending it again would not help.

    `code` is the service's word for why, if it has one.
    """

    def __init__(self, message: str, *, status: int, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class UnreadableError(SourceError):
    """No usable answer within the attempts and the time allowed, or one that is larger than allowed."""


class UnsureError(UnreadableError):
    """What was asked for may have been done or not: it went out, no usable answer came, and it is not sent twice."""


def limit_reached(host: str, said: str, wait: float) -> LimitReachedError:
    """The error for a quota that is used up for so many seconds from now."""
    until = (datetime.now(UTC) + timedelta(seconds=wait, microseconds=999_999)).replace(microsecond=0)
    told = f"{host} takes no more requests until {until:%Y-%m-%d %H:%M:%S} UTC ({said}).\nRun again after that."
    return LimitReachedError(told, until=until)
