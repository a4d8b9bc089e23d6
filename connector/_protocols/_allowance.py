"""What a service lets an account ask, kept where all processes that share a store can borrow from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    """Whose requests a service counts together: its address, and a digest of the key, never the key."""

    service: str
    key: str


@dataclass(frozen=True, slots=True)
class Hold:
    """No request of a kind may go for so many seconds from now, which is `until` by the lender's clock (Unix time).

    With a `reason`, the service's own words, the quota is used up: waiting is of no use, and runs end.
    """

    seconds: float
    until: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Loan:
    """The first of the borrowed requests may go after so many seconds, the others one interval after another.

    `holds` are those of all kinds of requests of the account that hold now.
    """

    wait: float
    holds: Mapping[str, Hold]


class Allowance(ABC):
    """One allowance for every process that asks a service with the same key. Used from any event loop.

    Times are those of one clock, the lender's: what comes back is seconds from now. A kind is one of requests that have
    a limit of their own; of the empty one, which is for requests of no kind, all of them together are borrowed. Every
    method raises `VectorferryError` where the lender cannot be asked: then each process keeps to the limits by itself.
    """

    @abstractmethod
    async def borrow(self, account: Account, kind: str, requests: int, interval: float) -> Loan:
        """So many requests of a kind, behind all that others have borrowed, one in `interval` seconds.

        What is not sent by then lapses. Nothing is given back.
        """

    @abstractmethod
    async def holds(self, account: Account) -> Mapping[str, Hold]:
        """Those that hold now, by kind. Writes nothing."""

    @abstractmethod
    async def hold(self, account: Account, kind: str, seconds: float, reason: str = "") -> None:
        """Have everybody's requests of a kind wait so long, or, with a `reason`, everybody's run end."""
