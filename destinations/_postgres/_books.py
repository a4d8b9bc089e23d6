"""The books of a destination: ledger, quarantine, cursors and who read, in one transaction with the data; and runs."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, fields, replace
from datetime import datetime
from typing import Any, Final

from psycopg import sql
from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    CompoundSelect,
    Connection,
    DateTime,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Select,
    Table,
    Text,
    Update,
    and_,
    cast,
    collate,
    delete,
    func,
    inspect,
    or_,
    select,
    tuple_,
    union,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, Insert, insert

from vectorferry.connector.plugin import (
    MODALITIES,
    Batch,
    Cursor,
    Known,
    Modality,
    Origin,
    Reason,
    RecordedRun,
    Rejected,
    canonical_json,
    parse_json,
)
from vectorferry.destinations._postgres._database import Question, plain_answers
from vectorferry.destinations._postgres._ddl import place_of
from vectorferry.destinations._postgres._writing import ID, DesiredRows, FeatureKey, of_assets

# The records that were set aside.


_NAMES: Final = ("collection", "asset_id", "feature_id", "vector_name", "column_name", "modality", "reason", "detail")
_COLUMNS: Final = (*_NAMES, "kept")
ROWS_AT_ONCE: Final = 1_000
_IDS_AT_ONCE: Final = 10_000

_MAX_LENGTH: Final = 1_000
"""Ids and details are kept to recognise a record by, and may be anything: a bad id is one of the reasons."""


def quarantine_table(name: str, metadata: MetaData) -> Table:
    """The records that were set aside: assets, features, or of a feature one vector or the value of one column."""
    return Table(
        name,
        metadata,
        Column("collection", ID, nullable=False),
        Column("asset_id", ID, nullable=False),
        Column("feature_id", Text, nullable=False),
        Column("modality", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Column("detail", Text, nullable=False),
        Column("vector_name", Text, nullable=False),  # only this vector was set aside
        Column("column_name", Text, nullable=False),  # only this column's value was
        Column("kept", Boolean, nullable=False),  # an earlier version is still stored
        Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Index(f"{name}_asset", "collection", "asset_id"),
    )


def replace_rejected(connection: Connection, quarantine: Table, batch: Batch, rejected: Sequence[Rejected]) -> None:
    """What is known to be wrong with a batch's assets now takes the place of what was known before.

    Records of modalities that the batch was not about stay. Nothing is written when nothing is different.
    """
    of_batch = _of_batch(quarantine, batch)
    desired = [_row(batch.collection, each) for each in rejected]
    recorded = connection.execute(select(*(quarantine.c[name] for name in _COLUMNS)).where(of_batch)).mappings()
    if _sorted(map(dict, recorded)) == _sorted(desired):
        return
    connection.execute(delete(quarantine).where(of_batch))
    if desired:
        connection.execute(insert(quarantine), desired)


def count_rejected(connection: Connection, quarantine: Table, collection: str | None = None) -> int:
    """Records in quarantine, of one collection or of all."""
    statement = select(func.count()).select_from(quarantine)
    if collection is not None:
        statement = statement.where(quarantine.c.collection == collection)
    return connection.execute(statement).scalar_one()


def read_rejected(
    connection: Connection, quarantine: Table, collection: str | None = None
) -> Iterator[tuple[str, Rejected, datetime]]:
    """Records of one collection or of all, each with its collection and when it was written, from a server-side
    cursor; sorted by collection, asset, feature, vector and column, byte by byte."""
    columns = [quarantine.c[name] for name in (*_COLUMNS, "seen_at")]
    statement = select(*columns).order_by(*(collate(quarantine.c[name], "C") for name in _NAMES))
    if collection is not None:
        statement = statement.where(quarantine.c.collection == collection)
    for row in connection.execution_options(yield_per=ROWS_AT_ONCE).execute(statement):
        yield row.collection, _record(row), row.seen_at


def delete_rejected(
    connection: Connection, quarantine: Table, collection: str, asset_ids: Sequence[str], reason: Reason | None
) -> int:
    """Delete the records of some assets, all or those of one reason; how many there were."""
    statement = delete(quarantine).where(of_assets(quarantine, collection, asset_ids))
    if reason is not None:
        statement = statement.where(quarantine.c.reason == reason.value)
    return connection.execute(statement).rowcount


def mark_kept(batch: Batch, stored: Container[str]) -> Batch:
    """The batch, with its rejected assets marked of which an earlier version is stored."""
    if not batch.rejected:
        return batch
    unread = {*unread_assets(batch)}
    rejected = (replace(one, kept=one.asset_id in unread and one.asset_id in stored) for one in batch.rejected)
    return replace(batch, rejected=tuple(rejected))


def unread_assets(batch: Batch) -> list[str]:
    """The assets that a batch only rejects, but for ids that no table can hold."""
    unread = {each.asset_id for each in batch.rejected} - {asset.asset_id for asset in batch.assets}
    return sorted(filter(is_storable, unread))


def is_storable(value: str) -> bool:
    """Whether Postgres takes this text as it is, and the quarantine all of it."""
    return _storable(value) == value


def _of_batch(quarantine: Table, batch: Batch) -> ColumnElement[bool]:
    asset_ids = [asset.asset_id for asset in batch.assets] + [_storable(each.asset_id) for each in batch.rejected]
    others = [modality.value for modality in MODALITIES if modality not in batch.modalities]
    return and_(
        of_assets(quarantine, batch.collection, asset_ids),
        or_(quarantine.c.modality.not_in(others), quarantine.c.feature_id == ""),
    )


def _sorted(rows: Iterable[dict[str, Any]]) -> list[list[Any]]:
    return sorted([row[name] for name in _COLUMNS] for row in rows)


def _record(row: Any) -> Rejected:
    return Rejected(
        asset_id=row.asset_id,
        reason=Reason(row.reason) if row.reason in _REASONS else Reason.MALFORMED,
        detail=row.detail,
        feature_id=row.feature_id,
        modality=row.modality,
        vector_name=row.vector_name,
        column=row.column_name,
        kept=row.kept,
    )


_REASONS: Final = frozenset(reason.value for reason in Reason)
"""Those that this version knows: a later one may have others."""


def _row(collection: str, rejected: Rejected) -> dict[str, Any]:
    return {
        "collection": collection,
        "asset_id": _storable(rejected.asset_id),
        "feature_id": _storable(rejected.feature_id),
        "vector_name": _storable(rejected.vector_name),
        "column_name": _storable(rejected.column),
        "modality": _storable(rejected.modality),
        "reason": rejected.reason.value,
        "detail": _storable(rejected.detail),
        "kept": rejected.kept,
    }


def _storable(value: str) -> str:
    """Text that Postgres takes, whatever it was."""
    clean = value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    return clean[:_MAX_LENGTH]


# The ledger: what has been synced, written in the same transaction as the data it speaks of.


def ledger_table(name: str, metadata: MetaData, *more: Column[Any]) -> Table:
    """What has been synced, one row per asset, and `more` columns for what only one destination records."""
    return Table(
        name,
        metadata,
        Column("collection", ID, nullable=False),
        Column("asset_id", ID, nullable=False),
        Column("fingerprint", Text, nullable=False),
        Column("features", JSONB, nullable=False, comment="features per synced modality; none is 0"),
        *more,
        Column("synced_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        PrimaryKeyConstraint("collection", "asset_id"),
    )


def known_assets(
    connection: Connection, ledger: Table, collection: str, asset_ids: Sequence[str], *only: ColumnElement[bool]
) -> Mapping[str, Known]:
    """The ledger's entries for those of these assets that it has, `only` under these conditions."""
    columns = (ledger.c.asset_id, ledger.c.fingerprint, cast(ledger.c.features, Text))
    return known_in(connection.execute(select(*columns).where(of_assets(ledger, collection, asset_ids), *only)).all())


def known_in(rows: Sequence[Any]) -> dict[str, Known]:
    """The entries that consist of an asset, its fingerprint, and its features as text."""
    # Most assets have as many features as another one: what that says is read once.
    counts = {features: _features_in(features) for features in {features for _, _, features in rows}}
    modalities = {features: frozenset(each) for features, each in counts.items()}
    return {
        asset_id: Known(fingerprint or "", modalities[features], counts[features])
        for asset_id, fingerprint, features in rows
    }


def recorded_asset_ids(
    begin: Callable[[], AbstractContextManager[Connection]], tables: Sequence[Table], collection: str
) -> Iterator[str]:
    """Every asset of a collection that one of these tables names, in the order of the ids, page by page: each in a
    transaction of its own that `begin` begins, so that none lasts while somebody works on what was read."""
    after: str | None = None  # the quarantine may name an asset whose id is empty
    is_more = True
    while is_more:
        named = (select(table.c.asset_id).where(table.c.collection == collection) for table in tables)
        some = (each.where(each.selected_columns.asset_id > after) if after is not None else each for each in named)
        every = union(*(each.order_by(each.selected_columns.asset_id).limit(_IDS_AT_ONCE) for each in some)).subquery()
        with begin() as connection:
            page = select(every.c.asset_id).order_by(every.c.asset_id).limit(_IDS_AT_ONCE)
            ids = list(connection.execute(page).scalars())
        yield from ids
        is_more = len(ids) == _IDS_AT_ONCE
        after = ids[-1] if ids else None


def recorded_collections(connection: Connection, tables: Sequence[Table]) -> list[str]:
    """The collections that these tables name, sorted."""
    return sorted(connection.execute(collections_of(tables)).scalars())


def collections_of(tables: Sequence[Table]) -> CompoundSelect[Any]:
    """Asks which collections these tables name. Each is looked up in an index that begins with it, so that a large
    table costs no more than a small one."""
    return union(*map(_names, tables))


def _names(table: Table) -> Select[Any]:
    """PostgreSQL has no other way to skip from one value of an index to the next:
    https://wiki.postgresql.org/wiki/Loose_indexscan."""
    first = select(func.min(table.c.collection).label("collection")).cte(recursive=True)
    after = select(func.min(table.c.collection)).where(table.c.collection > first.c.collection).scalar_subquery()
    walked = first.union_all(select(after).where(first.c.collection.is_not(None)))
    return select(walked.c.collection).where(walked.c.collection.is_not(None))


def ledger_rows(batch: Batch, recorded: Mapping[str, Known], per_asset: Mapping[str, Mapping[str, int]]) -> DesiredRows:
    """What the ledger should hold for a batch's assets."""
    rows: DesiredRows = {}
    for asset in batch.assets:
        features = recorded_features(asset.fingerprint, per_asset[asset.asset_id], recorded.get(asset.asset_id))
        row = (batch.collection, asset.asset_id, asset.fingerprint, features)
        rows[asset.asset_id, ""] = (_comparable(asset.fingerprint, features), row)
    return rows


def recorded_features(fingerprint: str, now: Mapping[str, int], before: Known | None) -> dict[str, int]:
    """Features per modality of one asset. Under an unchanged fingerprint, modalities that were synced earlier stay."""
    earlier = _counts(before) if before is not None and before.fingerprint == fingerprint else {}
    return {**earlier, **now}


def ledger_hashes(recorded: Mapping[str, Known]) -> dict[FeatureKey, bytes]:
    """The value that `ledger_rows` compares, for what the ledger holds."""
    return {(asset_id, ""): _comparable(known.fingerprint, _counts(known)) for asset_id, known in recorded.items()}


def forget_fingerprints(connection: Connection, ledger: Table, collection: str, asset_ids: Sequence[str]) -> int:
    """Let these assets look changed, whatever the source says of them; how many of them the ledger has."""
    conditions = (of_assets(ledger, collection, asset_ids), ledger.c.fingerprint != "")
    return connection.execute(update(ledger).where(*conditions).values(fingerprint="")).rowcount


def forget_unread(connection: Connection, ledger: Table, batch: Batch) -> None:
    """Let assets that a batch only rejects look changed: what is in quarantine of them must not outlive a change at the
    source that is taken back."""
    if asset_ids := unread_assets(batch):
        forget_fingerprints(connection, ledger, batch.collection, asset_ids)


def _comparable(fingerprint: str, features: Mapping[str, int]) -> bytes:
    return canonical_json([fingerprint, features])


def _counts(known: Known) -> dict[str, int]:
    return {modality.value: count for modality, count in known.features.items()}


def _features_in(text: str | None) -> dict[Modality, int]:
    """Nothing where somebody has written something else: then the asset is read again."""
    counts = parse_json(text.encode()) if text else None
    if not isinstance(counts, dict) or not all(isinstance(count, int) for count in counts.values()):
        return {}
    return {} if counts.keys() - _MODALITIES else {Modality(modality): count for modality, count in counts.items()}


_MODALITIES: Final = frozenset(modality.value for modality in MODALITIES)


# How far the changes of each collection have been followed.


_VOID: Final = "void"
"""The layout of a cursor that does not count. No version has features in such a layout, so that none follows it."""


def cursor_table(name: str, metadata: MetaData) -> Table:
    """One row per collection that a source lists the changes of."""
    return Table(
        name,
        metadata,
        Column("collection", ID, primary_key=True),
        Column("since", Text, nullable=False, comment="the source's own mark"),
        Column("mapping", Text, nullable=False),
        Column("layout", Text, nullable=False, comment="how features became records, where that can change"),
        Column("modalities", ARRAY(Text), nullable=False),
        Column("incremental_scans", Integer, nullable=False, comment="since the last full one"),
        Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


def read_cursor(connection: Connection, table: Table, collection: str, layout: str = "") -> Cursor | None:
    """What was recorded under this layout."""
    return cursor_in(connection.execute(cursor_of(table, collection, layout)).all())


def cursor_of(table: Table, collection: str, layout: str = "") -> Select[Any]:
    """Asks for it, for `cursor_in`."""
    columns = (table.c.since, table.c.mapping, table.c.modalities, table.c.incremental_scans)
    return select(*columns).where(table.c.collection == collection, table.c.layout == layout)


def cursor_in(rows: Sequence[Any]) -> Cursor | None:
    """The cursor that was recorded."""
    for row in rows:
        return Cursor(row.since, row.mapping, frozenset(map(Modality, row.modalities)), row.incremental_scans)
    return None


def write_cursor(
    connection: Connection,
    table: Table,
    collection: str,
    cursor: Cursor,
    layout: str = "",
    before: Cursor | None = None,
) -> None:
    """Record it under this layout, with one `before` only where that is still there. The same again writes nothing."""
    row = _cursor_row(cursor, layout)
    if before is None:
        new = insert(table).values(collection=collection, **row)
        differs = or_(*(table.c[name].is_distinct_from(new.excluded[name]) for name in row))
        recorded: Insert | Update = new.on_conflict_do_update(
            index_elements=[table.c.collection], set_={**row, "recorded_at": func.now()}, where=differs
        )
    else:
        same = (table.c[name] == value for name, value in _cursor_row(before, layout).items() if name != "layout")
        is_ours = (table.c.collection == collection, table.c.layout.in_([layout, _VOID]), *same)
        # An update, which inserts nothing: what another transaction deletes meanwhile stays deleted.
        recorded = update(table).where(*is_ours).values(**row, recorded_at=func.now())
    connection.execute(recorded)


def _cursor_row(cursor: Cursor, layout: str) -> dict[str, Any]:
    return {
        "since": cursor.since,
        "mapping": cursor.mapping,
        "layout": _VOID if cursor.is_void else layout,
        "modalities": sorted(modality.value for modality in cursor.modalities),
        "incremental_scans": cursor.incremental_scans,
    }


def void_cursor(connection: Connection, table: Table, collection: str) -> None:
    """Let it count no more, and leave it to the run that is under way to replace it."""
    plain_answers(connection, [void_statement(table, collection)])


def void_statement(table: Table, collection: str) -> Question:
    """The statement that does so, to be sent with others."""
    return _VOIDING.format(place_of(table)), (_VOID, collection, _VOID)


_VOIDING: Final = sql.SQL("UPDATE {} SET layout = %s WHERE collection = %s AND layout <> %s")


def forget_cursors(connection: Connection, table: Table, collection: str | None = None) -> None:
    """Forget that of one collection, or of all (None), so that no run that is under way records one either."""
    forgotten = delete(table)
    connection.execute(forgotten if collection is None else forgotten.where(table.c.collection == collection))


# Who each collection was read as when it was last complete.


def origin_table(name: str, metadata: MetaData) -> Table:
    """One row per collection; the empty one stands for the tables of metadata."""
    return Table(
        name,
        metadata,
        Column("collection", ID, primary_key=True),
        Column("parts", JSONB, nullable=False, comment="service, account and namespace; a hash of the key"),
        Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


def read_origin(connection: Connection, table: Table, collection: str) -> Origin | None:
    """What was recorded."""
    return origin_in(connection.execute(origin_of(table, collection)).all())


def origin_of(table: Table, collection: str) -> Select[Any]:
    """Asks for it, for `origin_in`."""
    return select(table.c.parts).where(table.c.collection == collection)


def origin_in(rows: Sequence[Any]) -> Origin | None:
    """The origin that was recorded."""
    for (parts,) in rows:
        return {str(name): str(value) for name, value in parts.items()} if isinstance(parts, dict) else None
    return None


def write_origin(connection: Connection, table: Table, collection: str, origin: Origin | None) -> None:
    """Record it; None: forget what is recorded. The same again writes nothing."""
    if origin is None:
        connection.execute(delete(table).where(table.c.collection == collection))
        return
    new = insert(table).values(collection=collection, parts=dict(origin))
    connection.execute(
        new.on_conflict_do_update(
            index_elements=[table.c.collection],
            set_={"parts": new.excluded.parts, "recorded_at": func.now()},
            where=table.c.parts.is_distinct_from(new.excluded.parts),
        )
    )


# What became of each collection in the last runs.

_RUNS_KEPT: Final = 100
"""Of each collection: a day of one that is synced every quarter of an hour."""


def run_table(name: str, metadata: MetaData) -> Table:
    """One row per run and collection."""
    return Table(
        name,
        metadata,
        Column("collection", ID, nullable=False),
        Column("run_id", ID, nullable=False),
        Column("started_at", DateTime(timezone=True), nullable=False),
        Column("ended_at", DateTime(timezone=True), nullable=False),
        Column("state", Text, nullable=False, comment="done, failed, refused or limited"),
        Column("counts", JSONB, nullable=False),
        Column("started_by", Text, nullable=False, comment="cli, dagster or python"),
        Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        PrimaryKeyConstraint("collection", "run_id"),
    )


def write_runs(connection: Connection, table: Table, runs: Sequence[RecordedRun]) -> None:
    """Enter what became of the collections of a run, and let go of what is older than the newest hundred of each."""
    storable = [run for run in runs if is_storable(run.collection)]
    for start in range(0, len(storable), ROWS_AT_ONCE):
        connection.execute(_entry_of_runs(table, storable[start : start + ROWS_AT_ONCE]))


def _entry_of_runs(table: Table, runs: Sequence[RecordedRun]) -> Insert:
    rows = [{**asdict(run), "counts": dict(run.counts)} for run in runs]
    for row in rows:
        del row["recorded_at"]
    run_id = runs[0].run_id
    newer = table.alias()
    of_these = func.unnest(_collections([row["collection"] for row in rows])).column_valued("collection")
    oldest = (
        select(newer.c.recorded_at)
        .where(newer.c.collection == of_these, newer.c.run_id != run_id)
        .order_by(newer.c.recorded_at.desc())
        .offset(_RUNS_KEPT - 1)  # and the one that is being entered
        .limit(1)
        .scalar_subquery()
    )
    limits = select(of_these.label("collection"), oldest.label("until")).subquery()
    # What another run is deleting at this moment is left to it: both might wait for each other.
    outdated = (
        select(table.c.collection, table.c.run_id)
        .join(limits, table.c.collection == limits.c.collection)
        .where(table.c.recorded_at <= limits.c.until, table.c.run_id != run_id)
        .with_for_update(of=table, skip_locked=True)
    )
    forgotten = delete(table).where(tuple_(table.c.collection, table.c.run_id).in_(outdated)).cte()
    new = insert(table).values(rows)
    again = {name: new.excluded[name] for name in rows[0] if name not in ("collection", "run_id")}
    recorded = new.on_conflict_do_update(
        index_elements=["collection", "run_id"], set_={**again, "recorded_at": func.now()}
    )
    return recorded.add_cte(forgotten)


def read_runs(
    connection: Connection, table: Table, since: datetime | None, limit: int, collection: str | None = None
) -> list[RecordedRun]:
    """Of a collection, or of all: the newest first; `since` a time the oldest first. Nothing without a table."""
    if not inspect(connection).has_table(table.name, schema=table.schema):
        return []
    order = (table.c.recorded_at, table.c.run_id, table.c.collection)
    if since is None:
        chosen = select(table).order_by(*(column.desc() for column in order))
    else:
        chosen = select(table).where(table.c.recorded_at >= since).order_by(*order)
    if collection is not None:
        chosen = chosen.where(table.c.collection == collection)
    names = [each.name for each in fields(RecordedRun)]
    rows = connection.execute(chosen.limit(limit)).mappings()
    return [RecordedRun(**{name: row[name] for name in names}) for row in rows]


def _collections(names: Sequence[str]) -> ColumnElement[Any]:
    return cast(list(names), ARRAY(ID))
