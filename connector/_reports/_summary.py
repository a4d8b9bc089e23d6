"""What a run reports at its end: exact counts, or nothing at all where a number is not known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from datetime import datetime
from typing import Any, Literal, TypeAlias

from vectorferry.connector._model._batch import Applied, Counts
from vectorferry.connector._model._errors import LimitReachedError, VectorferryError
from vectorferry.connector._model._storable import safe_id
from vectorferry.connector._protocols._destination import Delivery, IndexBuild
from vectorferry.connector._protocols._source import Usage
from vectorferry.connector._reports._display import Displayed, DisplayedTable, count_rows
from vectorferry.connector._reports._progress import Progress

CollectionCallback: TypeAlias = Callable[[str, "Summary"], None]
"""Called after each collection, be it synced or failed, with its id and what the run has to say so far."""


def ignore_collection(collection: str, summary: Summary) -> None:
    """The callback of a run that nobody follows."""


@dataclass(slots=True)
class CollectionSummary:
    """What a scan of one collection saw. `pending`, `failed` and `unread` hold asset ids (the first 20 of each).

    `unchanged` assets were up to date in every destination; `pulled` counts answers, bad records among them. `unread`
    assets stay as they are stored, for no usable answer came; `why_unread` is what came for the first. `reread` assets
    seemed unchanged, and were asked for all the same: by the user, or because their turn had come. `complete` says that
    the last scan ended as it should; `refused` that the delete guard stopped deletes. `error` is set when the
    collection could not be read, or not listed completely, while the run went on. An `incremental` scan lists only what
    has changed, and finds no deletes; `why_full` says why it was not one. `kept` counts per destination the assets that
    the last scan did not list and that stay, because deletes are kept. A collection that is `gone` is one that the
    source no longer has; it counts as listed, with no asset in it. `second_looks` counts the assets that were read a
    second time, because they came with less than was stored of them; `held_back` per destination those that were not
    written all the same. `origin_changes` tell per destination what is different about who reads the source
    (``namespace: default -> staging``) since it was last complete there. `usage` and `seconds` are what this collection
    alone took, from `started_at` to `ended_at` (UTC); `cause` is the error that ended it, where one did. `workers` are
    those that have read some of it beside the process that listed it, and `usage_of_workers` what that took.
    """

    listed: int = 0
    unchanged: int = 0
    pulled: int = 0
    pending: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    pending_count: int = 0
    failed_count: int = 0
    complete: bool = False
    refused: bool = False
    scan: Literal["full", "incremental"] = "full"
    why_full: str | None = None
    kept: dict[str, int] = field(default_factory=dict)
    gone: bool = False
    note: str | None = None
    error: str | None = None
    reread: int = 0
    second_looks: int = 0
    held_back: dict[str, int] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    unread_count: int = 0
    why_unread: str | None = None
    origin_changes: dict[str, Sequence[str]] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    cause: VectorferryError | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    workers: set[str] = field(default_factory=set)
    usage_of_workers: Usage = field(default_factory=Usage)

    def fail(self, error: str) -> None:
        """Add an error to what is told already."""
        self.error = "; ".join(filter(None, (self.error, error)))

    def keep(self, assets: Mapping[str, int], lister: str = "the source") -> None:
        """Take in, and tell, how many assets that are not listed stay in each destination."""
        self.kept.update(assets)
        for name, count in assets.items():
            self.add_note(kept_note(name, count, lister))

    def add_note(self, text: str) -> None:
        """Add to what is told already."""
        self.note = "; ".join(filter(None, (self.note, text)))

    def progress(self, collection: str, to_pull: int, written: int) -> Progress:
        """How far it is: `to_pull` assets were asked for so far, and so many features are `written`."""
        total = self.listed if self.complete else None
        return Progress(collection, self.listed, total, to_pull, self.pulled, written)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "listed": self.listed,
            "unchanged": self.unchanged,
            "pulled": self.pulled,
            "reread": self.reread,
            "second_looks": self.second_looks,
            "held_back": dict(self.held_back),
            "pending": {"count": self.pending_count, "first": list(self.pending)},
            "failed": {"count": self.failed_count, "first": list(self.failed)},
            "unread": {"count": self.unread_count, "first": list(self.unread), "why": self.why_unread},
            "complete": self.complete,
            "refused": self.refused,
            "scan": self.scan,
            "why_full": self.why_full,
            "kept": dict(self.kept),
            "gone": self.gone,
            "origin_changes": {name: list(changes) for name, changes in self.origin_changes.items()},
            **asdict(self.usage),
            "seconds": round(self.seconds, 3),
            "workers": sorted(self.workers),
            "note": self.note,
            "error": self.error,
        }


@dataclass(slots=True)
class DestinationSummary:
    """What one destination was given; `error` is set when it gave up while others went on.

    `replaced_nul` counts characters that no store can hold, and that were replaced by U+FFFD. `applied.rejected`
    holds the first 100 only. `delivery` is what the destination said at the end of the run, `notes` what somebody
    should look at.
    """

    applied: Applied = field(default_factory=Applied)
    by_collection: dict[str, Applied] = field(default_factory=dict)
    indexes: list[IndexBuild] = field(default_factory=list)
    quarantined: int = 0
    replaced_nul: int = 0
    error: str | None = None
    delivery: Delivery = field(default_factory=Delivery)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **_applied(self.applied),
            "collections": {name: _applied(applied) for name, applied in self.by_collection.items()},
            "indexes": [asdict(index) for index in self.indexes],
            "quarantined": self.quarantined,
            "rejected": [asdict(record) for record in self.applied.rejected],
            "replaced_nul": self.replaced_nul,
            "delivery": asdict(self.delivery),
            "notes": list(self.notes),
            "error": self.error,
        }


@dataclass(slots=True)
class RelatedSummary:
    """One table of metadata beside the assets: how many rows the source `listed`, and what changed per destination.

    `complete` says that the list ended as it should and every row could be used: only then are rows deleted. `refused`
    and `note` tell that it was empty, or read as somebody else (`origin_changes`), and therefore not believed. With an
    `error`, rows may be as they were before.
    """

    listed: int = 0
    complete: bool = False
    refused: bool = False
    note: str | None = None
    error: str | None = None
    destinations: dict[str, Counts] = field(default_factory=dict)
    origin_changes: dict[str, Sequence[str]] = field(default_factory=dict)

    def refuse(self, why: str) -> None:
        """Say that the guard kept the rows."""
        self.refused, self.note = True, why

    def tell_incomplete(self, why: str, *, unknowable: bool) -> None:
        """Say that no row was deleted; where no list will ever be known to be complete, that is no error."""
        if unknowable:
            self.note = why
        else:
            self.fail(why)

    def fail(self, error: str) -> None:
        """Add an error to what is told already."""
        self.error = "; ".join(filter(None, (self.error, error)))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "destinations": {name: asdict(each) for name, each in self.destinations.items()}}


@dataclass(slots=True, repr=False)
class Summary(Displayed):
    """One run, whole. `exit_code` is 0 done, 1 failed, 3 records in quarantine, 4 a guard refused, 5 a limit reached.

    `limit` is what stopped the run when the source's quota was used up: nothing more of the source was tried. `advice`
    names what of the configuration has met nothing, where everything was read.
    """

    sync: str
    collections: dict[str, CollectionSummary] = field(default_factory=dict)
    destinations: dict[str, DestinationSummary] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    exit_code: int = 0
    limit: LimitReachedError | None = None
    advice: list[str] = field(default_factory=list)
    related: dict[str, RelatedSummary] = field(default_factory=dict)
    run_id: str = ""

    def of(self, collection: str) -> CollectionSummary:
        """The part of the collection with this id; an empty one where the run did not get to it."""
        return self.collections.get(safe_id(collection)) or CollectionSummary()

    def to_dict(self) -> Mapping[str, Any]:
        """Plain JSON values, for ``--json`` and for Dagster metadata. Keys are only ever added.

        ::

            sync, run_id, exit_code, seconds
            source        requests, retries, bytes, limited (a text, or null), limited_until (UTC, or null)
            collections   per id: listed, unchanged, pulled, reread, second_looks, held_back {destination: assets},
                          pending {count, first}, failed {count, first}, unread {count, first, why}, complete, refused,
                          scan, why_full, kept {destination: assets}, gone, origin_changes {destination: [texts]},
                          requests, retries, bytes, seconds, note, error
            destinations  per name: assets <counts>, features {modality: <counts>},
                          vectors {modality: {vector name: <counts>}}, collections {id: the same three},
                          indexes [{table, index, method, rows, seconds}], quarantined,
                          rejected [{asset_id, feature_id, modality, reason, detail}] (this run's first 100),
                          replaced_nul, notes, error,
                          delivery {requests, retries, bytes, write_units, places [{place, written, visible}]}
            related       per table of metadata: listed, complete, refused, note, error, destinations {name: <counts>},
                          origin_changes {destination: [texts]}
            notes         every advice, note and error, one text each

        ``<counts>`` is ``{inserted, updated, unchanged, deleted, quarantined}``. Vectors of assets that were not read
        again are not counted: ledgers know features only.
        """
        return {
            "sync": self.sync,
            "run_id": self.run_id,
            "exit_code": self.exit_code,
            "seconds": round(self.seconds, 3),
            "source": {**asdict(self.usage), **_limit(self.limit)},
            "collections": {name: collection.to_dict() for name, collection in self.collections.items()},
            "destinations": {name: destination.to_dict() for name, destination in self.destinations.items()},
            "related": {name: table.to_dict() for name, table in self.related.items()},
            "notes": [*self._notes()],
        }

    def _headline(self) -> str:
        return f"Sync {self.sync}: exit code {self.exit_code} after {self.seconds:.1f} s"

    def _tables(self) -> Iterator[DisplayedTable]:
        columns = [each.name for each in fields(Counts)]
        for name, destination in self.destinations.items():
            rows = [(label, *astuple(counts)) for label, counts in count_rows(destination.applied)]
            yield DisplayedTable(name, columns, [row for row in rows if any(row[1:])])
        if self.collections:
            read = [(name, each.listed, each.unchanged, each.pulled) for name, each in self.collections.items()]
            yield DisplayedTable("collection", ("listed", "unchanged", "read"), read)
        if notes := list(self._notes()):
            yield DisplayedTable("notes", (), [(note,) for note in notes])

    def _notes(self) -> Iterator[str]:
        yield from self.advice
        read: dict[str, CollectionSummary | RelatedSummary] = {**self.collections, **self.related}
        for name, summary in read.items():
            yield from (f"{name}: {text}" for text in (summary.note, summary.error) if text)
        for name, destination in self.destinations.items():
            yield from (f"{name}: {text}" for text in destination.notes)
            if destination.error:
                yield f"{name}: {destination.error}"
        if self.limit:
            yield str(self.limit)


def _limit(limit: LimitReachedError | None) -> dict[str, str | None]:
    until = limit.until if limit else None
    return {"limited": str(limit) if limit else None, "limited_until": until.isoformat() if until else None}


def first_of(names: Sequence[str], shown: int, total: int | None = None) -> str:
    """So many of these names, and how many there are beyond them: ``a, b and 7 more``. `total`: of how many they are
    the first, where that is not all."""
    more = (len(names) if total is None else total) - shown
    return ", ".join(names[:shown]) + (f" and {more:,} more" if more > 0 else "")


def kept_note(name: str, count: int, lister: str = "the source") -> str:
    """How many assets stay in a destination although they are not listed."""
    assets = "1 asset" if count == 1 else f"{count:,} assets"
    return f"{name}: {assets} that {lister} does not list stayed (deletes.mode: keep)"


def _applied(applied: Applied) -> dict[str, Any]:
    vectors: dict[str, dict[str, Any]] = {}
    for (modality, name), counts in sorted(applied.vectors.items()):
        vectors.setdefault(modality.value, {})[name] = asdict(counts)
    return {
        "assets": asdict(applied.assets),
        "features": {modality.value: asdict(counts) for modality, counts in sorted(applied.features.items())},
        "vectors": vectors,
    }
