"""What one run is asked to do, as one value: the command line, Dagster and Python say it alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from vectorferry.connector._engine.sync._diff import NEVER, Reread
from vectorferry.connector._model._records import ALL_MODALITIES, Modality

LOCK_WAIT: Final = 60.0
"""Seconds that a run waits for others by default."""

LEASE: Final = 30.0
"""Long enough for a machine that is overloaded; what is taken over too early is only read twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncOptions:
    """What one run is to do, beyond what the settings of its sync say. All of it is optional, and given by name.

    Attributes:
        collections: ids of the collections to sync; None: all that the source has.
        gone: ids of collections that a list of the source's did not have, to be settled as in a run of all collections.
        modalities: only features of these are written, and only theirs are removed.
        full: list everything, even where the source could list just the changes.
        reread: assets that are read whatever their fingerprints say. How often assets are read again without being
            asked for is the source's setting.
        only: ids of assets; only these are read and written, nothing is deleted, and what the last run left to follow
            changes with stays. None: all that are listed.
        related: whether to read the tables of metadata beside the assets; None: in a run of all collections.
        wait_visible: seconds to wait at most for queries to see what was written, where that takes a while.
        lock_wait: seconds to wait at most where another sync is writing a collection.
        run_id: what the run is called in logs, summary and books; None: a new UUID.
        workers: how many processes share what is to be read of a large collection, this one included; others may join.
            None: this one reads it alone. It starts no process by itself: `run_sync` is given what does.
        lease: seconds after which others take over what a worker has that was not heard of; each is, every second.
        closes: ids of runs that have cut collections into shards for this one to close (`list_shards`): what workers
            have done of them is counted here.
        started_by: who runs it, for the books: ``cli``, ``dagster``, ``python``; None: what is known of that.
    """

    collections: Sequence[str] | None = None
    gone: Sequence[str] = ()
    modalities: frozenset[Modality] = ALL_MODALITIES
    full: bool = False
    reread: Reread = NEVER
    only: frozenset[str] | None = None
    related: bool | None = None
    wait_visible: float = 0
    lock_wait: float = LOCK_WAIT
    run_id: str | None = None
    workers: int | None = None
    lease: float = LEASE
    closes: Sequence[str] = ()
    started_by: str | None = None

    @property
    def lists_everything(self) -> bool:
        """Whether every scan of the run is a full one: what is to be read again may not have changed."""
        return self.full or self.reread.now

    def with_turns_of(self, days: float | None) -> SyncOptions:
        """These options, with assets read again as often as a source's settings say; None: never."""
        return replace(self, reread=replace(self.reread, days=days))


DEFAULTS: Final = SyncOptions()
