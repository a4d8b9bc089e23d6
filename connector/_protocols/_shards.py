"""Where a destination keeps the shards of a run that several workers share, and who has which."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from vectorferry.connector._model._batch import Fence
from vectorferry.connector._model._records import Listing

ShardState: TypeAlias = Literal["open", "claimed", "done", "counted"]
"""Nobody's; some worker's; written; and its result is in the run's summary."""


@dataclass(frozen=True, slots=True)
class SharedRun:
    """A run of one collection that others may help with. `owner` is the process that lists and deletes.

    `terms` are JSON values: what each worker has to agree to. A worker has a shard for `lease` seconds, and for as many
    again whenever it is heard of. `listed` says that no further shard will come.
    """

    collection: str
    run_id: str
    owner: str
    terms: Mapping[str, Any]
    lease: float
    listed: bool = False
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Shard:
    """Assets of one collection that one worker reads and writes. `previous` is the worker that it was taken from,
    because its lease had run out."""

    collection: str
    fence: Fence
    listings: Sequence[Listing]
    previous: str | None = None


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What became of a shard, as its worker says."""

    owner: str
    result: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """One shard as somebody sees it who looks on. `assets` are those that were listed in it; `remaining` is how many
    of these were not asked for when its owner was last heard of. Seconds are the server's: since it was claimed
    (until it was done), and until its lease runs out."""

    collection: str
    run_id: str
    number: int
    state: ShardState
    owner: str
    token: int
    assets: int
    remaining: int
    seconds: float | None = None
    lease_seconds: float | None = None
    ended_seconds_ago: float | None = None


@dataclass(frozen=True, slots=True)
class RunOutlook:
    """What of a run is not done yet: how many of its shards nobody has, and how many somebody has. `alive` says that
    whoever lists was heard of within its lease, which ends at `until` by the server's clock (Unix time); `listed` that
    no further shard will come."""

    open: int
    claimed: int
    listed: bool
    alive: bool
    until: float = 0.0


class ShardBook(ABC):
    """The shards of one destination. One of a run's destinations has the shards themselves; in each of the others the
    run is entered as well, and the tokens, so that every write finds its fence beside what it writes.

    Times are the server's alone. Every method may raise `DestinationError` and `RetryableError`.
    """

    @abstractmethod
    def begin(self, run: SharedRun, seconds: float) -> None:
        """Enter a run, which is alive for so many seconds. It takes the place of any other of its collection, whose
        workers can write nothing any more."""

    @abstractmethod
    def end(self, collection: str, run_id: str) -> None:
        """Remove a run with its shards: none of its workers can write anything any more."""

    @abstractmethod
    def runs(self) -> Sequence[SharedRun]:
        """Those that are going on here."""

    @abstractmethod
    def add(self, collection: str, run_id: str, listings: Sequence[Listing]) -> bool:
        """Enter a shard that nobody has, under the next number; False where the run has been removed."""

    @abstractmethod
    def renew_run(self, collection: str, run_id: str, seconds: float, *, listed: bool) -> bool:
        """Whoever lists is there, and will be heard of within so many seconds; False when the run has been removed."""

    @abstractmethod
    def outlook(self, collection: str, run_id: str) -> RunOutlook:
        """How far it is."""

    @abstractmethod
    def claim(self, collection: str, run_id: str, owner: str) -> Shard | None:
        """A shard that nobody has, or whose lease has run out, under a token of its own. None where there is none, or
        whoever lists is not there any more.

        Whatever the worker that it is taken from was writing in this database is ended, and rolled back."""

    @abstractmethod
    def register(self, collection: str, fence: Fence, previous: str | None) -> bool:
        """Let this token be the highest of its shard here too; False where it is not, or the run is not here. Ends what
        the `previous` worker was writing here."""

    @abstractmethod
    def renew(self, collection: str, run_id: str, owner: str, remaining: Mapping[int, int]) -> Sequence[int]:
        """Renew the lease on a worker's shards; `remaining` says by number of shard how many assets it has not asked
        for. The numbers of those of which another worker asks for some."""

    @abstractmethod
    def ask_for_share(self, collection: str, run_id: str) -> bool:
        """Ask the worker that has most left to give some of it away; whether there is one."""

    @abstractmethod
    def split(self, collection: str, fence: Fence, own: Sequence[Listing], others: Sequence[Listing]) -> bool:
        """Make a shard of its own of the `others`, which are given away. False where the shard is not this worker's any
        more."""

    @abstractmethod
    def finish(self, collection: str, fence: Fence, result: Mapping[str, Any]) -> bool:
        """Enter what became of a shard. False where it is not this worker's any more."""

    @abstractmethod
    def release(self, collection: str, run_id: str, owner: str) -> None:
        """Give back every shard that this worker has not finished."""

    @abstractmethod
    def results(self, collection: str, run_id: str) -> Sequence[ShardResult]:
        """Those that have come to an end since this was last asked."""

    @abstractmethod
    def shards(self) -> Sequence[ShardStatus]:
        """Every shard of every run that is entered here, by collection and number."""

    @abstractmethod
    def close(self) -> None:
        """Release the connection. Safe to call twice."""
