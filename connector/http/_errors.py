"""What a request can come to, beyond the tree that everything shares."""

from __future__ import annotations

from connector._errors import SourceError

__all__ = ["NotFoundError", "RefusedError", "UnreadableError"]


class NotFoundError(SourceError):
    """404 or 410: the service has nothing under this path."""


class RefusedError(SourceError):
    """The service does not accept the request itself (400, 405, 422, …); sending it again would not help."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class UnreadableError(SourceError):
    """No usable answer within the attempts and the time allowed, or one that is larger than allowed."""
