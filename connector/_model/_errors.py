"""Every error Vectorferry raises, grouped by what the caller should do next.

::

    VectorferryError
    ├── RetryableError          try the same thing again, later
    ├── QuarantineError         set this one record aside, go on with the rest
    └── StopError               stop the run and tell somebody
        ├── ConfigurationError  the file, a flag or the environment is wrong        (exit 2)
        │   ├── NotSupportedError   … for this source or destination, which cannot do that
        │   └── NoSuchCollectionError … a collection that it names is not there
        ├── CredentialsError    a service refused the key                           (exit 1)
        ├── SourceError         the source cannot be read                           (exit 1)
        │   ├── CollectionError     … in one collection; the service answers, and others may go
        │   └── IncompleteScanError … to its end; nothing is deleted
        ├── DestinationError    the destination cannot be written                   (exit 1)
        │   ├── LockedError     somebody else is writing there, or has locked it
        │   ├── LockLostError   somebody else may be writing there: what kept others out is gone
        │   └── TakenOverError  another worker has taken over what was to be written
        ├── GuardRefusedError   a guard refused; nothing was deleted                (exit 4)
        └── LimitReachedError   the quota of the source is used up for now          (exit 5)

Messages are read at 3 a.m.: one or two lines, what happened first, then what to do. They never hold a key.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar


class VectorferryError(Exception):
    """Base of every error that this project raises on purpose."""

    exit_code: ClassVar[int] = 1


class RetryableError(VectorferryError):
    """The same request may succeed later; `after` is the wait in seconds the other side asked for, if any."""

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class QuarantineError(VectorferryError):
    """One record cannot be loaded; `reason` is a short code, the message the details."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class StopError(VectorferryError):
    """The run cannot go on. What was committed stays; the next run goes on from there."""


class ConfigurationError(StopError):
    """Something the user wrote is wrong: a file, a flag, an environment variable."""

    exit_code = 2


class NotSupportedError(ConfigurationError):
    """A source or a destination was asked for a capability that it does not declare."""


class NoSuchCollectionError(ConfigurationError):
    """A collection that somebody named is not at the source."""


class CredentialsError(StopError):
    """A service refused the credentials."""


class SourceError(StopError):
    """The source cannot be read, after every retry."""


class CollectionError(SourceError):
    """The service answers, and refuses something of one collection: that says nothing of the others."""


class IncompleteScanError(SourceError):
    """A listing ended without a promise that it was complete; nothing may be deleted because of it.

    The message is shown as it is: why the promise is missing, and that nothing is deleted. `unknowable` says that no
    later listing will make the promise either, because the source never says how much there is.
    """

    def __init__(self, message: str, *, unknowable: bool = False) -> None:
        super().__init__(message)
        self.unknowable = unknowable


class DestinationError(StopError):
    """The destination cannot be reached or written."""


class LockedError(DestinationError):
    """Another sync is writing the same collection, or somebody has locked what is to be changed. The message says who;
    it can be tried again later."""


class LockLostError(DestinationError):
    """What kept other syncs out of a collection ended before the sync did. It has written nothing since, and must not
    before it has the lock again and has looked anew at what there is."""


class TakenOverError(DestinationError):
    """A worker was not heard of for longer than its lease: another one has what it was to write. It has written nothing
    since, and must not."""


class GuardRefusedError(StopError):
    """A guard refused to go on; nothing was deleted."""

    exit_code = 4


class LimitReachedError(StopError):
    """The quota of the source is used up for longer than a request may wait; `until` (UTC): when to come back."""

    exit_code = 5

    def __init__(self, message: str, *, until: datetime | None = None) -> None:
        super().__init__(message)
        self.until = until
