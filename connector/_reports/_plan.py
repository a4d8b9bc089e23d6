"""What a sync would do, in numbers: exact ones, and estimates that are None where nothing is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from vectorferry.connector._config._settings import DeleteMode
from vectorferry.connector._protocols._destination import IndexAdvice, PlannedIndex
from vectorferry.connector._reports._display import Displayed, DisplayedTable
from vectorferry.connector._reports._summary import RelatedSummary


@dataclass(frozen=True, slots=True)
class ReadEstimate:
    """What reading takes. `listing` requests were made for this plan and are made again by a sync.

    `reading` requests and `features` are estimates: assets that changed are taken to have as many features as they
    had, new ones as many as others have on average. `seconds` is for listing and reading.
    """

    listing: int
    reading: int | None
    features: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class DeletePlan:
    """Assets that the source does not list: `missing` of the `held` ones, once everything to be written is.

    `mode` is what would happen to them there: a destination that cannot hide assets removes them instead. `refusal`
    says why the guard would stop a sync, and what allows it.
    """

    held: int
    missing: int
    mode: DeleteMode = "prune"
    refusal: str | None = None


@dataclass(slots=True)
class CollectionPlan:
    """One collection. Counts and names mean what they mean in `CollectionSummary`; `to_pull` assets would be read.

    `new` of them are in no destination; the `changed` ones are in at least one, though `reread` of these seem to be as
    they were, and `over_limit` of them have more features than `limits` lets in. `deletes` is per destination; where
    `refused`, a sync would delete nothing anywhere. Nothing is deleted either unless the listing was `complete` and the
    `scan` a full one.
    """

    listed: int = 0
    unchanged: int = 0
    to_pull: int = 0
    new: int = 0
    changed: int = 0
    pending: Sequence[str] = ()
    failed: Sequence[str] = ()
    pending_count: int = 0
    failed_count: int = 0
    complete: bool = False
    deletes: dict[str, DeletePlan] = field(default_factory=dict)
    scan: Literal["full", "incremental"] = "full"
    why_full: str | None = None
    gone: bool = False
    note: str | None = None
    error: str | None = None
    reread: int = 0
    over_limit: int = 0

    @property
    def refused(self) -> bool:
        """Whether the guard would stop the deletes."""
        return any(each.refusal for each in self.deletes.values())


@dataclass(frozen=True, slots=True)
class WriteEstimate:
    """Features, rows (features and vectors, or records) and bytes that would be sent at most; None: not known."""

    features: int | None
    rows: int | None
    bytes: int | None


@dataclass(frozen=True, slots=True)
class DestinationPlan:
    """What one destination would be given and would do. `new` assets it does not have, `changed` ones it would replace.

    The other fields are those of `Planned`; `error` says that it could not be asked.
    """

    new: int
    changed: int
    unchanged: int
    deleted: int
    writes: WriteEstimate
    statements: Sequence[str] = ()
    indexes: Sequence[PlannedIndex] = ()
    notes: Sequence[str] = ()
    error: str | None = None
    refusal: str | None = None
    index_advice: Sequence[IndexAdvice] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Plan(Displayed):
    """What a sync would do; of tables of metadata (`related`), what its summary would say.

    `exit_code` is 0, 1 when something could not be asked or a sync would be refused, 4 when the guard would refuse.
    """

    sync: str
    collections: Mapping[str, CollectionPlan]
    destinations: Mapping[str, DestinationPlan]
    reads: ReadEstimate
    related: Mapping[str, RelatedSummary] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """What the plan amounts to."""
        read: list[CollectionPlan | RelatedSummary] = [*self.collections.values(), *self.related.values()]
        if any(each.error for each in read) or any(each.error or each.refusal for each in self.destinations.values()):
            return 1
        return 4 if any(each.refused for each in read) else 0

    def _headline(self) -> str:
        return f"Plan of {self.sync}: exit code {self.exit_code}; nothing was changed"

    def _tables(self) -> Iterator[DisplayedTable]:
        for name, each in self.destinations.items():
            assets = (name, each.new, each.changed, each.unchanged, each.deleted, len(each.statements))
            columns = ("new", "changed", "unchanged", "deleted", "statements")
            yield DisplayedTable("assets", columns, [assets])
            notes = [each.error, each.refusal, *each.notes]
            if told := [(note,) for note in notes if note]:
                yield DisplayedTable(f"{name}, notes", (), told)
        read = [(name, each.listed, each.unchanged, each.to_pull) for name, each in self.collections.items()]
        yield DisplayedTable("collection", ("listed", "unchanged", "to read"), read)

    def to_dict(self) -> Mapping[str, Any]:
        """Plain JSON values. Keys are only ever added.

        ::

            sync, exit_code
            reads         listing, reading, features, seconds
            collections   per id: listed, unchanged, to_pull, new, changed, reread, over_limit, pending {count, first},
                          failed {count, first}, complete, refused,
                          deletes {destination: {held, missing, mode, refusal}}, scan, why_full, gone,
                          note, error
            related       per table of metadata: what a sync's summary would say of it
            destinations  per name: new, changed, unchanged, deleted, writes {features, rows, bytes}, statements,
                          indexes [{table, index, method, rows, graph_bytes, memory_bytes}], notes, error,
                          refusal, index_advice [{table, vector_name, rows, dimension, index, index_bytes,
                          build_seconds, fine, advice}]
        """
        return {
            "sync": self.sync,
            "exit_code": self.exit_code,
            "reads": asdict(self.reads),
            "collections": {name: _collection(each) for name, each in self.collections.items()},
            "related": {name: table.to_dict() for name, table in self.related.items()},
            "destinations": {name: asdict(each) for name, each in self.destinations.items()},
        }


def _collection(plan: CollectionPlan) -> dict[str, Any]:
    fields = asdict(plan)
    for state in ("pending", "failed"):
        fields[state] = {"count": fields.pop(f"{state}_count"), "first": list(fields[state])}
    return {**fields, "refused": plan.refused}
