"""Asset checks: whether everything is there, proven, and as good as it was.

Dagster reads the annotations of steps as they stand, so this file does not postpone their evaluation.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import islice
from os import environ
from typing import Any, Final, Literal, TypeAlias

import dagster as dg
import numpy as np
from pydantic import Field

from vectorferry import SyncSettings, Verification, compare, verify
from vectorferry.connector._engine import Comparison, prepare_untouched
from vectorferry.connector.plugin import (
    Capability,
    Destination,
    Finding,
    Rejected,
    Settings,
    Status,
    VectorferryError,
    first_of,
    parse_part,
    resolve_part,
)
from vectorferry.dagster._assets import VectorferryTranslator
from vectorferry.dagster._partitions import CollectionPartitions
from vectorferry.dagster._targets import ModalityTable, Target, VectorIndex, destination_name, targets_of
from vectorferry.destinations import PgvectorDestination

NIGHTLY: Final = "0 4 * * *"
SHOWN: Final = 20
NAMED: Final = 3
LATEST: Final = 1_000


class CheckSettings(Settings):
    """What can be said of every check."""

    blocking: bool = Field(default=False, description="runs with each sync, and keeps downstream assets back")
    severity: Literal["error", "warn"] = Field(default="error", description="what a failure counts as")


class UnfinishedSettings(CheckSettings):
    """Settings of the check `unfinished`."""

    hours: float = Field(default=24, gt=0, description="how long an asset may be failed or pending at the source")


class LedgerSettings(CheckSettings):
    """Settings of the check `ledger`."""

    sample: int | None = Field(default=1_000, ge=0, description="assets per collection whose contents are compared")


class SourceSettings(CheckSettings):
    """Settings of the check `source`."""

    sample: int = Field(default=20, ge=0, description="assets per collection that are read again and compared")


class VectorSettings(CheckSettings):
    """Settings of the check `vectors`."""

    names: tuple[str, ...] = Field(default=(), description="which every row must have; none: all that its table has")


class RecallSettings(CheckSettings):
    """Settings of the check `recall`."""

    at_least: float = Field(default=0.95, ge=0, le=1, description="share of the ten true neighbours that is found")
    queries: int = Field(default=20, ge=1, le=1_000, description="searches for each named vector")


class OverlapSettings(CheckSettings):
    """Settings of the check `overlap`."""

    at_least: float = Field(default=0.8, ge=0, le=1, description="share of the neighbours that both find")
    queries: int = Field(default=20, ge=1, le=1_000, description="searches for each named vector, per collection")
    neighbours: int = Field(default=10, ge=1, le=100, description="how many of each search are compared")


class ShapeSettings(CheckSettings):
    """Settings of the check `shape`."""

    zero_share: float = Field(default=0, ge=0, le=1, description="most of the vectors that may be zero")
    repeated_share: float = Field(default=0.05, ge=0, le=1, description="most that may be equal to another one")
    shift: float = Field(default=0.05, ge=0, le=2, description="cosine distance of the mean from last time's, at most")
    sample: int = Field(default=10_000, ge=1, description="vectors looked at, of each name")


class FreshSettings(CheckSettings):
    """Settings of the check `fresh`."""

    hours: float = Field(default=24, gt=0, description="how long ago a collection may have been synced")


class Checks(Settings):
    """Which checks there are, each with its settings."""

    quarantine: CheckSettings | None = Field(default=None, description="no record is in quarantine")
    unfinished: UnfinishedSettings | None = Field(
        default=None, description="no asset has been failed or pending at the source for long"
    )
    vectors: VectorSettings | None = Field(default=None, description="every row has its vectors")
    ledger: LedgerSettings | None = Field(default=None, description="what is stored is what the books say")
    source: SourceSettings | None = Field(default=None, description="what is stored is what the source has")
    destinations: CheckSettings | None = Field(default=None, description="every destination holds the same")
    recall: RecallSettings | None = Field(default=None, description="the index finds the true neighbours")
    overlap: OverlapSettings | None = Field(
        default=None, description="the source's own search and the destination find the same neighbours"
    )
    shape: ShapeSettings | None = Field(
        default=None, description="few vectors are zero or repeated, and their mean stays where it was"
    )
    fresh: FreshSettings | None = Field(default=None, description="every collection was synced not long ago")

    @property
    def by_name(self) -> dict[str, CheckSettings]:
        """Those that there are, by name."""
        settings = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: each for name, each in settings.items() if each is not None}


def parse_checks(tree: Mapping[str, Any], where: str) -> Checks:
    """Checks from plain values: ``{ledger: {sample: 100}, quarantine: true}``. Raises `ConfigurationError`."""
    named = {name: {} if each is True or each is None else each for name, each in tree.items() if each is not False}
    return parse_part(named, Checks, where, ("checks",))


def build_vectorferry_checks(
    settings: SyncSettings,
    checks: Checks,
    *,
    translator: VectorferryTranslator | None = None,
    resource_key: str = "vectorferry",
) -> list[dg.AssetChecksDefinition]:
    """The checks of a sync's tables and indexes: two steps, one for those that block and one for the others."""
    translator = translator or VectorferryTranslator()
    targets = {translator.get_asset_spec(target).key: target for target in targets_of(settings)}
    source = translator.get_source_spec(settings).key
    by_name = checks.by_name
    groups = [("checks", False), ("blocking_checks", True)]
    return [
        _step(settings, f"{settings.name}_{name}", targets, source, group, resource_key)
        for name, blocking in groups
        if (group := {check: each for check, each in by_name.items() if each.blocking is blocking})
    ]


def checks_job(settings: SyncSettings, checks: Sequence[dg.AssetChecksDefinition]) -> Any:
    """The job ``{sync}_check``: all of its checks."""
    return dg.define_asset_job(
        f"{settings.name}_check",
        selection=dg.AssetSelection.checks(*checks),
        executor_def=dg.in_process_executor,
        description="Makes all checks of the sync's tables and indexes.",
    )


def checks_schedule(settings: SyncSettings, job: Any) -> dg.ScheduleDefinition:
    """All checks, every night; whoever wants them more often schedules the job."""
    return dg.ScheduleDefinition(
        name=f"{settings.name}_check_schedule",
        job=job,
        cron_schedule=NIGHTLY,
        execution_timezone=settings.schedule.timezone if settings.schedule else None,
        default_status=dg.DefaultScheduleStatus.RUNNING if settings.schedule else dg.DefaultScheduleStatus.STOPPED,
        description="Makes all checks every night.",
    )


def _step(
    settings: SyncSettings,
    name: str,
    targets: Mapping[dg.AssetKey, Target],
    source: dg.AssetKey,
    checks: Mapping[str, CheckSettings],
    resource_key: str,
) -> dg.AssetChecksDefinition:
    specs = [
        dg.AssetCheckSpec(
            name=check,
            asset=key,
            blocking=each.blocking,
            description=Checks.model_fields[check].description,
        )
        for key, target in targets.items()
        for check, each in checks.items()
        if isinstance(target, ModalityTable) or check not in OF_TABLES
    ]

    @dg.multi_asset_check(
        name=name,
        specs=specs,
        can_subset=True,
        pool=settings.source.type,
        required_resource_keys={resource_key},
    )
    def check_step(context: dg.AssetCheckExecutionContext) -> Iterable[dg.AssetCheckResult]:
        selected = context.selected_asset_check_keys
        looked_at = {each.name for each in selected}
        chosen = {name: each for name, each in checks.items() if name in looked_at}
        try:
            current = getattr(context.resources, resource_key).settings(settings)
            look = _Look(context.instance, current, source, chosen)
            for key in sorted(selected):
                outcome = CHECKS[key.name](look, key.asset_key, targets[key.asset_key], checks[key.name])
                yield _result(key, outcome, checks[key.name])
        except VectorferryError as error:
            raise dg.Failure(str(error), allow_retries=False) from None

    return check_step


@dataclass(frozen=True)
class Outcome:
    """What a check found: every problem in a line, and what is drawn. `table` has the first of many by name."""

    problems: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    table: Sequence[Mapping[str, str]] = ()


def _result(key: dg.AssetCheckKey, outcome: Outcome, settings: CheckSettings) -> dg.AssetCheckResult:
    records = [dg.TableRecord({name: str(value) for name, value in row.items()}) for row in outcome.table[:SHOWN]]
    return dg.AssetCheckResult(
        passed=not outcome.problems,
        asset_key=key.asset_key,
        check_name=key.name,
        severity=dg.AssetCheckSeverity[settings.severity.upper()],
        description="\n".join(outcome.problems) or None,
        metadata={**outcome.metadata, **({"first": dg.MetadataValue.table(records)} if records else {})},
    )


class _Look:
    """What several checks of one step look at; each thing is looked at once, by the first who asks."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        settings: SyncSettings,
        source: dg.AssetKey,
        checks: Mapping[str, CheckSettings],
    ) -> None:
        self.instance = instance
        self.settings = settings
        self.source = source
        self._checks = checks
        self._comparisons: dict[tuple[int, str], Comparison] = {}

    @cached_property
    def verification(self) -> Verification:
        """What `verify` finds, as deep as the checks of this step want it."""
        ledger, source = self._checks.get("ledger"), self._checks.get("source")
        return verify(
            self.settings,
            sample=ledger.sample if isinstance(ledger, LedgerSettings) else 0,
            source_sample=source.sample if isinstance(source, SourceSettings) else 0,
        )

    @cached_property
    def statuses(self) -> Mapping[int, Status]:
        """What each destination holds, by its place in the file."""
        return {place: self.at(place, lambda opened: opened.status()) for place in self._places}

    @cached_property
    def rejected(self) -> Mapping[int, list[tuple[str, Rejected]]]:
        """The records in each quarantine, with their collections."""

        def read(opened: Destination) -> list[tuple[str, Rejected]]:
            able = Capability.QUARANTINE in opened.capabilities
            return [(collection, record) for collection, record, _ in opened.rejected()] if able else []

        return {place: self.at(place, read) for place in self._places}

    def comparison(self, place: int, collection: str, settings: OverlapSettings) -> Comparison:
        """What `compare` finds in a collection of the destination at this place in the file."""
        key = (place, collection)
        if key not in self._comparisons:
            self._comparisons[key] = compare(
                self.settings,
                collection=collection,
                sample=settings.queries,
                k=settings.neighbours,
                destination_name=destination_name(self.settings.destinations[place]),
            )
        return self._comparisons[key]

    @cached_property
    def partitions(self) -> list[str]:
        """The keys of the collections that are synced."""
        return CollectionPartitions.of(self.settings).current(self.instance)

    def at(self, place: int, work: Callable[[Destination], Any]) -> Any:
        """What `work` makes of the destination at this place in the file."""
        settings = self.settings
        resolved = resolve_part(settings.destinations[place], environ, settings.where, ("destinations", place))
        with closing(resolved.open(settings.name)) as opened:
            prepare_untouched(opened, settings.modalities)
            return work(opened)

    def observations(self, partition: str, before: datetime | None = None) -> Iterator[Mapping[str, Any]]:
        """What syncs saw of a collection at the source, newest first."""
        records = self.instance.fetch_observations(
            dg.AssetRecordsFilter(
                self.source, asset_partitions=[partition], before_timestamp=before.timestamp() if before else None
            ),
            limit=1,
        ).records
        for record in records:
            if record.asset_observation:
                yield record.asset_observation.metadata

    @property
    def _places(self) -> range:
        return range(len(self.settings.destinations))


def _quarantine(look: _Look, _key: dg.AssetKey, target: Target, _settings: CheckSettings) -> Outcome:
    rejected = [
        (look.statuses[place].destination, collection, record)
        for place in sorted(target.places)
        for collection, record in look.rejected[place]
        if _is_of(target, record.modality, record.vector_name)
    ]
    reasons = Counter(f"{name}: {collection}: {record.reason}" for name, collection, record in rejected)
    return Outcome(
        [f"{reason}: {count} records are in quarantine" for reason, count in sorted(reasons.items())],
        {"quarantined": len(rejected)},
        [
            {"collection": collection, "asset": record.asset_id, "reason": record.reason, "detail": record.detail}
            for _, collection, record in rejected
        ],
    )


def _unfinished(look: _Look, _key: dg.AssetKey, _target: Target, settings: CheckSettings) -> Outcome:
    """Assets that both the newest and the newest old enough observation of a collection name: in between they were too,
    or were for a while, and are again."""
    assert isinstance(settings, UnfinishedSettings)
    before = datetime.now(UTC) - timedelta(hours=settings.hours)
    rows = [
        {"collection": partition, "asset": asset_id, "state": state}
        for partition in look.partitions
        for now in look.observations(partition)
        for then in look.observations(partition, before)
        for state in ("failed", "pending")
        for asset_id in sorted(_ids(now, state) & (_ids(then, "failed") | _ids(then, "pending")))
    ]
    by_collection = Counter(f"{row['collection']}: {row['state']}" for row in rows)
    lines = [
        f"{what} for more than {settings.hours:g} h: {count} assets" for what, count in sorted(by_collection.items())
    ]
    return Outcome(lines, {"unfinished": len(rows)}, rows)


def _ids(metadata: Mapping[str, Any], state: str) -> set[str]:
    value = metadata.get(f"assets_{state}_ids")
    return (
        set(map(str, value.data)) if isinstance(value, dg.JsonMetadataValue) and isinstance(value.data, list) else set()
    )


def _vectors(look: _Look, _key: dg.AssetKey, target: Target, settings: CheckSettings) -> Outcome:
    assert isinstance(settings, VectorSettings)
    assert isinstance(target, ModalityTable)
    rows: list[dict[str, str]] = []
    for place in sorted(target.places):
        tables = [table for table in look.statuses[place].tables if table.modality == target.modality]
        features = next((table for table in tables if table.vector_name is None), None)
        names = sorted({table.vector_name for table in tables if table.vector_name}.union(settings.names))
        for name in names if features else ():
            if settings.names and name not in settings.names:
                continue
            parts = [each for each in tables if each.vector_name == name and each.details.get("state") != "retired"]
            for collection, count in features.collections.items() if features else ():
                vectors = sum(part.collections.get(collection, 0) for part in parts)
                if vectors != count:
                    row = {"collection": collection, "vector": name, "rows": str(count), "vectors": str(vectors)}
                    rows.append({"destination": look.statuses[place].destination, **row})
    lines = ["{destination}: {collection}: {rows} rows and {vectors} vectors of {vector}".format(**row) for row in rows]
    return Outcome(lines, {"collections_that_differ": len({row["collection"] for row in rows})}, rows)


def _compared(look: _Look, target: Target, against: Callable[[Finding], bool], errors: bool = False) -> Outcome:
    names = {look.statuses[place].destination for place in target.places}
    lines, rows = [], []
    for collection, report in look.verification.collections.items():
        if errors and report.error:
            lines.append(f"{collection}: {report.error}")
        found = [
            each
            for each in report.findings
            if (each.where in names or each.against in names)
            and against(each)
            and _is_of(target, each.record.modality, each.record.vector_name)
        ]
        kinds = Counter(f"{each.where}: {each.record.kind} against {each.against}" for each in found)
        lines += [f"{collection}: {kind}: {count} records" for kind, count in sorted(kinds.items())]
        rows += [
            {"collection": collection, "asset": each.record.asset_id, "feature": each.record.feature_id}
            | {"kind": str(each.record.kind), "where": each.where, "against": each.against}
            for each in found
        ]
    reports = look.verification.collections
    assets = sum(report.assets for report in reports.values())
    notes = [f"{collection}: {note}" for collection, report in reports.items() for note in report.notes]
    told = {"notes": "\n".join(notes[:SHOWN])} if notes else {}
    return Outcome(lines, {"differences": len(rows), "assets": assets, **told}, rows)


def _ledger(look: _Look, _key: dg.AssetKey, target: Target, _settings: CheckSettings) -> Outcome:
    return _compared(look, target, lambda finding: finding.against == "ledger")


def _source(look: _Look, _key: dg.AssetKey, target: Target, _settings: CheckSettings) -> Outcome:
    return _compared(look, target, lambda finding: finding.against == "source", errors=True)


def _destinations(look: _Look, _key: dg.AssetKey, target: Target, _settings: CheckSettings) -> Outcome:
    return _compared(look, target, lambda finding: finding.against not in ("ledger", "source"))


def _recall(look: _Look, _key: dg.AssetKey, target: Target, settings: CheckSettings) -> Outcome:
    assert isinstance(settings, RecallSettings)
    measured = _measured(look, target, queries=settings.queries)
    recalls = {name: each.recall for name, each in measured.items() if each.recall is not None}
    low = {name: recall for name, recall in recalls.items() if recall < settings.at_least}
    lines = [
        f"{name}: the index finds {recall:.1%} of the ten true neighbours, less than {settings.at_least:.1%}; see the "
        "index's `m` and `ef_construction`, and hnsw.ef_search of the role that searches"
        for name, recall in low.items()
    ]
    return Outcome(lines, {f"recall/{name}": recall for name, recall in recalls.items()})


def _overlap(look: _Look, _key: dg.AssetKey, target: Target, settings: CheckSettings) -> Outcome:
    assert isinstance(settings, OverlapSettings)
    lines: list[str] = []
    rows: list[dict[str, str]] = []
    overlaps: list[float] = []
    for place in sorted(target.places):
        status = look.statuses[place]
        tables = [table for table in status.tables if _is_of(target, table.modality, table.vector_name)]
        for collection in sorted({each for table in tables for each, count in table.collections.items() if count}):
            for each in look.comparison(place, collection, settings).vectors:
                if not _is_of(target, each.modality, each.vector_name):
                    continue
                where = f"{status.destination}: {collection}: {each.vector_name}"
                if each.error:
                    lines.append(f"{where}: {each.error}")
                if each.overlap is None:
                    continue
                overlaps.append(each.overlap)
                if each.overlap < settings.at_least:
                    lines.append(
                        f"{where}: {each.overlap:.1%} of the neighbours are those that the source's own search finds, "
                        f"less than {settings.at_least:.1%}"
                    )
                rows += [
                    {"collection": collection, "vector": each.vector_name, "feature": difference.feature_id}
                    | {"overlap": f"{difference.overlap:.2f}", "only_source": first_of(difference.only_source, NAMED)}
                    | {"only_stored": first_of(difference.only_stored, NAMED)}
                    for difference in each.differences
                ]
    least = {"least_overlap": min(overlaps)} if overlaps else {}
    return Outcome(lines, {**least, "compared": len(overlaps)}, rows)


def _shape(look: _Look, key: dg.AssetKey, target: Target, settings: CheckSettings) -> Outcome:
    assert isinstance(settings, ShapeSettings)
    lines: list[str] = []
    metadata: dict[str, Any] = {}
    last = _last_metadata(look.instance, dg.AssetCheckKey(key, "shape"))
    for name, each in _measured(look, target, sample=settings.sample).items():
        zero, repeated = each.zero / each.rows, each.repeated / each.rows
        if zero > settings.zero_share:
            lines.append(f"{name}: {each.zero} of {each.rows} vectors are zero")
        if repeated > settings.repeated_share:
            lines.append(f"{name}: {each.repeated} of {each.rows} vectors are equal to another one")
        metadata |= {
            f"zero_share/{name}": zero,
            f"repeated_share/{name}": repeated,
            f"least_norm/{name}": each.least_norm,
            f"greatest_norm/{name}": each.greatest_norm,
            f"centroid/{name}": dg.MetadataValue.json(list(each.centroid)),
        }
        before = last.get(f"centroid/{name}")
        if isinstance(before, dg.JsonMetadataValue) and isinstance(before.data, list):
            shift = _cosine_distance(before.data, each.centroid)
            metadata[f"shift/{name}"] = shift
            if shift > settings.shift:
                lines.append(f"{name}: the mean vector has moved by {shift:.3f} since the last check")
    return Outcome(lines, metadata)


def _last_metadata(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> Mapping[str, Any]:
    for record in instance.event_log_storage.get_asset_check_execution_history(key, limit=SHOWN):
        if record.event and (event := record.event.dagster_event) and event.event_specific_data:
            metadata: Mapping[str, Any] = getattr(event.event_specific_data, "metadata", {})
            if metadata:
                return metadata
    return {}


def _cosine_distance(before: Sequence[Any], now: Sequence[float]) -> float:
    """2, as far apart as can be, where the dimension is another one now."""
    if len(before) != len(now):
        return 2.0
    one, other = np.asarray(before, dtype=float), np.asarray(now, dtype=float)
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return 1 - float(one @ other) / norms if norms else 0.0


def _fresh(look: _Look, key: dg.AssetKey, _target: Target, settings: CheckSettings) -> Outcome:
    assert isinstance(settings, FreshSettings)
    after = datetime.now(UTC) - timedelta(hours=settings.hours)
    synced: set[str | None] = set()
    cursor: str | None = None
    while True:
        wanted = dg.AssetRecordsFilter(key, after_timestamp=after.timestamp())
        page = look.instance.fetch_materializations(wanted, limit=LATEST, cursor=cursor)
        synced |= {record.partition_key for record in page.records}
        if not page.has_more:
            break
        cursor = page.cursor
    stale = [partition for partition in look.partitions if partition not in synced]
    names = first_of(stale, SHOWN)
    lines = [f"not synced for more than {settings.hours:g} h: {names}"] if stale else []
    return Outcome(lines, {"stale_collections": len(stale)}, [{"collection": each} for each in islice(stale, SHOWN)])


def _measured(look: _Look, target: Target, sample: int = 1, queries: int = 0) -> dict[str, Any]:
    """By named vector, with its destination's name in front where several can be measured."""
    assert isinstance(target, ModalityTable)
    modality = target.modality

    def work(opened: Destination) -> Any:
        if not isinstance(opened, PgvectorDestination):
            return None
        return opened.name, opened.measures(modality, sample=sample, queries=queries)

    measured = [found for place in sorted(target.places) if (found := look.at(place, work))]
    alone = len(measured) == 1
    return {
        each.vector_name if alone else f"{name}/{each.vector_name}": each for name, found in measured for each in found
    }


def _is_of(target: Target, modality: str | None, vector_name: str | None) -> bool:
    """Whether a record is of a table or index; a whole asset is of all of them."""
    if isinstance(target, VectorIndex):
        return not vector_name or vector_name == target.vector_name
    return not modality or modality == target.modality


Evaluate: TypeAlias = Callable[[_Look, dg.AssetKey, Target, CheckSettings], Outcome]
CHECKS: Final[Mapping[str, Evaluate]] = {
    "quarantine": _quarantine,
    "unfinished": _unfinished,
    "vectors": _vectors,
    "ledger": _ledger,
    "source": _source,
    "destinations": _destinations,
    "recall": _recall,
    "overlap": _overlap,
    "shape": _shape,
    "fresh": _fresh,
}
OF_TABLES: Final = frozenset({"vectors", "recall", "shape"})
"""Checks of what only a table has."""
