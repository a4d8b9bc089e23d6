"""The shards of a run that several workers share, in two tables beside what they write.

A worker's right to write is a token: whoever claims a shard, or takes it over, gets a higher one. Each transaction that
writes looks at its end whether its tokens still stand, and keeps their rows as they are until it has committed. So a
worker that was stopped for longer than its lease, and goes on, writes nothing. What it had begun to write when it was
stopped still has rows locked: whoever takes over ends that transaction first, which it finds by the name that the
transaction has given itself.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

from psycopg import sql
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Double,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    ScalarSelect,
    Select,
    Table,
    Text,
    and_,
    case,
    delete,
    exists,
    false,
    func,
    inspect,
    literal,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from vectorferry.connector.plugin import (
    Batch,
    Fence,
    Listing,
    RunOutlook,
    Shard,
    ShardBook,
    ShardResult,
    ShardStatus,
    SharedRun,
    TakenOverError,
    pause,
)
from vectorferry.destinations._postgres._connection import together
from vectorferry.destinations._postgres._database import Database, driver_of
from vectorferry.destinations._postgres._locks import CollectionLock, locked_transaction
from vectorferry.destinations._postgres._server import PostgresServer
from vectorferry.destinations._postgres._writing import ID

_LONGEST_IDLE: Final = "2min"
"""In a transaction of a worker that is stopped while nobody is there to take over: what it has locked is free then."""

_PAUSE: Final = 0.05
_SECONDS_TO_END: Final = 10.0
"""For a server to end a transaction that it was told to."""

_NAMED: Final = text("""
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = ANY(:names)
AND pg_has_role(usesysid, 'USAGE')
""")
_END: Final = text("SELECT pg_terminate_backend(:pid)")

_Lease: TypeAlias = tuple[str, int, datetime]
"""The run, the number of a shard, and until when somebody has it."""

_Begin: TypeAlias = Callable[[], AbstractContextManager[Connection]]


class ShardTables:
    """Of one destination: the runs that are shared, one of each collection at most, and their shards."""

    def __init__(self, prefix: str, metadata: MetaData) -> None:
        self.runs = Table(
            f"{prefix}_shared",
            metadata,
            Column("collection", ID, primary_key=True),
            Column("run_id", ID, nullable=False),
            Column("owner", Text, nullable=False, comment="who lists and deletes"),
            Column("terms", Text, nullable=False, comment="JSON: what each worker has to agree to"),
            Column("lease", Double, nullable=False, comment="seconds"),
            Column("listed", Boolean, nullable=False, comment="no further shard will come"),
            Column("lease_until", DateTime(timezone=True), nullable=False),
            Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        )
        self.shards = Table(
            f"{prefix}_shards",
            metadata,
            Column("collection", ID, nullable=False),
            Column("run_id", ID, nullable=False),
            Column("number", Integer, nullable=False),
            Column("state", Text, nullable=False, comment="open, claimed, done or counted"),
            Column("owner", Text, nullable=False),
            Column("token", BigInteger, nullable=False, comment="only the newest may write"),
            Column("lease_until", DateTime(timezone=True)),
            Column("listings", Text, nullable=False, comment="JSON"),
            Column("assets", Integer, nullable=False),
            Column("unread", Integer, nullable=False, comment="of these, not asked for yet"),
            Column("asked", Boolean, nullable=False, comment="another worker asks for some of it"),
            Column("result", Text, nullable=False, comment="JSON"),
            Column("claimed_at", DateTime(timezone=True)),
            Column("ended_at", DateTime(timezone=True)),
            PrimaryKeyConstraint("collection", "run_id", "number"),
        )

    def of_run(self, collection: str, run_id: str) -> ColumnElement[bool]:
        """The shards of one run."""
        return and_(self.shards.c.collection == collection, self.shards.c.run_id == run_id)

    def is_shared(self, collection: str) -> Select[Any]:
        """Asks whether there is a run of this collection that is shared, or that nobody has cleared away."""
        return select(exists().where(self.runs.c.collection == collection))

    def fenced_by(self, collection: str, fence: Fence) -> ColumnElement[bool]:
        """A shard, as long as this worker has it."""
        shards = self.shards
        return and_(
            self.of_run(collection, fence.run_id), shards.c.number == fence.number, shards.c.token == fence.token
        )


@contextmanager
def fenced(begin: _Begin, tables: ShardTables, batch: Batch) -> Iterator[Connection]:
    """A transaction for what belongs to a batch, which is rolled back at its end unless all of the batch's fences stand
    then. Raises `TakenOverError` where one does not, also at the beginning."""
    with begin() as connection:
        if batch.fences:
            name_worker(connection, batch.fences)
        check_fences(connection, tables, batch.collection, batch.fences)
        yield connection
        check_fences(connection, tables, batch.collection, batch.fences, until_commit=True)


def name_worker(connection: Connection, fences: Sequence[Fence]) -> None:
    """Say in public whose transaction this is, so that whoever takes over can end it."""
    name = sql.Literal(_name(fences[0].run_id, fences[0].owner))
    driver = driver_of(connection)
    with together(driver):
        driver.execute(sql.SQL("SET LOCAL application_name = {}").format(name))
        driver.execute(sql.SQL("SET LOCAL idle_in_transaction_session_timeout = {}").format(sql.Literal(_LONGEST_IDLE)))


def check_fences(
    connection: Connection, tables: ShardTables, collection: str, fences: Sequence[Fence], *, until_commit: bool = False
) -> None:
    """Raise `TakenOverError` unless all of them stand; with `until_commit`, they do until the transaction ends."""
    if not fences:
        return
    shards = tables.shards
    tokens = tuple_(shards.c.run_id, shards.c.number, shards.c.token)
    standing = (
        select(shards.c.number)
        .where(shards.c.collection == collection, tokens.in_([(f.run_id, f.number, f.token) for f in fences]))
        .order_by(shards.c.number)
    )
    if until_commit:
        standing = standing.with_for_update(read=True)
    numbers = set(connection.execute(standing).scalars())
    if lost := sorted({fence.number for fence in fences} - numbers):
        raise TakenOverError(
            f"{collection}: shard {lost[0]} was taken over, for this worker was not heard of for longer than its "
            "lease, or its run has ended; nothing of this batch is written"
        )


def end_shared_runs(begin: _Begin, tables: ShardTables, collection: str) -> None:
    """Of a collection that nobody else syncs: let no worker of an earlier run write anything any more."""
    runs, shards = tables.runs, tables.shards
    with begin() as connection:
        if not connection.execute(tables.is_shared(collection)).scalar():
            return
        owners = select(shards.c.run_id, shards.c.owner).where(shards.c.collection == collection).distinct()
        names = [_name(run_id, owner) for run_id, owner in connection.execute(owners)]
    _end_transactions(begin, names)
    with begin() as connection:
        connection.execute(delete(runs).where(runs.c.collection == collection))
        connection.execute(delete(shards).where(shards.c.collection == collection))


def _name(run_id: str, owner: str) -> str:
    """What the transactions of a worker are called. Others may call theirs so, which would only end their own."""
    digest = hashlib.blake2b(json.dumps([run_id, owner]).encode(), digest_size=12).hexdigest()
    return f"vectorferry worker {digest}"


def _end_transactions(begin: _Begin, names: Sequence[str]) -> None:
    """End the transactions that are called so, and wait until they have ended."""
    waited = 0.0
    while names and waited < _SECONDS_TO_END:
        with begin() as connection:
            pids = list(connection.execute(_NAMED, {"names": list(names)}).scalars())
            for pid in pids:
                connection.execute(_END, {"pid": pid})
        if not pids:
            return
        pause(_PAUSE)
        waited += _PAUSE


class PostgresShardBook(ShardBook):
    """The shards in one schema, by a connection of its own."""

    def __init__(self, server: PostgresServer[Any], tables: ShardTables, locks: Mapping[str, CollectionLock]) -> None:
        self._server = server
        self._tables = tables
        self._locks = locks
        """Those that the process has, by collection, at any time."""
        with server.translated():
            self._database = Database(server.database.address, server.location)
        self._seen_ahead: dict[_Lease, float] = {}
        """Since when, by the clock of this machine, leases have stood that are further ahead than any can be."""

    def begin(self, run: SharedRun, seconds: float) -> None:
        """In a row of its own."""
        runs, shards = self._tables.runs, self._tables.shards
        row = {
            "collection": run.collection,
            "run_id": run.run_id,
            "owner": run.owner,
            "terms": json.dumps(run.terms),
            "lease": run.lease,
            "listed": run.listed,
            "lease_until": _from_now(literal(seconds)),
        }
        with self._transaction(run.collection) as connection:
            connection.execute(delete(runs).where(runs.c.collection == run.collection))
            connection.execute(delete(shards).where(shards.c.collection == run.collection))
            connection.execute(insert(runs).values(row))

    def end(self, collection: str, run_id: str) -> None:
        """Together with its row."""
        runs, shards = self._tables.runs, self._tables.shards
        with self._transaction() as connection:
            connection.execute(delete(runs).where(runs.c.collection == collection, runs.c.run_id == run_id))
            connection.execute(delete(shards).where(self._tables.of_run(collection, run_id)))

    def runs(self) -> Sequence[SharedRun]:
        """Whose lease has not run out."""
        runs = self._tables.runs
        with self._transaction() as connection:
            if not inspect(connection).has_table(runs.name, schema=runs.schema):
                return []
            rows = connection.execute(select(runs).where(_alive(runs)).order_by(runs.c.started_at, runs.c.collection))
            return [
                SharedRun(
                    row.collection, row.run_id, row.owner, json.loads(row.terms), row.lease, row.listed, row.started_at
                )
                for row in rows
            ]

    def add(self, collection: str, run_id: str, listings: Sequence[Listing]) -> bool:
        """As JSON."""
        with self._transaction() as connection:
            return self._add(connection, collection, run_id, listings)

    def renew_run(self, collection: str, run_id: str, seconds: float, *, listed: bool) -> bool:
        """From now on."""
        runs = self._tables.runs
        renewed = update(runs).where(runs.c.collection == collection, runs.c.run_id == run_id)
        with self._transaction() as connection:
            values = {"lease_until": _from_now(literal(seconds)), "listed": listed}
            return bool(connection.execute(renewed.values(values)).rowcount)

    def outlook(self, collection: str, run_id: str) -> RunOutlook:
        """Counted."""
        runs, shards = self._tables.runs, self._tables.shards
        of_run = (runs.c.collection == collection, runs.c.run_id == run_id)
        counts = select(
            func.count().filter(shards.c.state == "open"), func.count().filter(shards.c.state == "claimed")
        ).where(self._tables.of_run(collection, run_id))
        with self._transaction() as connection:
            asked = select(runs.c.listed, _alive(runs), func.extract("epoch", runs.c.lease_until).cast(Double))
            row = connection.execute(asked.where(*of_run)).one_or_none()
            unclaimed, claimed = connection.execute(counts).one()
        listed, alive, until = row or (False, False, 0.0)
        return RunOutlook(unclaimed, claimed, listed, alive, until)

    def claim(self, collection: str, run_id: str, owner: str) -> Shard | None:
        """What was left behind comes first; last comes what a clock that was set back has left behind."""
        runs, shards = self._tables.runs, self._tables.shards
        lease = select(runs.c.lease).where(runs.c.collection == collection).scalar_subquery()
        of_run = self._tables.of_run(collection, run_id)
        alive = exists().where(runs.c.collection == collection, runs.c.run_id == run_id, _alive(runs))
        with self._transaction() as connection:
            is_stale = self._is_stale(connection, collection, run_id, lease)
            lapsed = and_(shards.c.state == "claimed", or_(shards.c.lease_until < func.clock_timestamp(), is_stale))
            owners = list(connection.execute(select(shards.c.owner).where(of_run, lapsed).distinct()).scalars())
        _end_transactions(self._transaction, [_name(run_id, each) for each in owners])
        chosen = (
            select(shards.c.number, shards.c.owner)
            .where(of_run, alive, or_(shards.c.state == "open", lapsed))
            .order_by(case((shards.c.state == "open", 1), (is_stale, 2), else_=0), shards.c.number)
            .limit(1)
            .with_for_update(skip_locked=True)
            .cte()
        )
        claimed = (
            update(shards)
            .where(of_run, shards.c.number == chosen.c.number)
            .values(
                state="claimed",
                owner=owner,
                token=shards.c.token + 1,
                lease_until=_from_now(lease),
                claimed_at=func.clock_timestamp(),
                unread=shards.c.assets,
                asked=False,
            )
            .returning(shards.c.number, shards.c.token, shards.c.listings, chosen.c.owner.label("previous"))
        )
        with self._transaction() as connection:
            row = connection.execute(claimed).one_or_none()
        if row is None:
            return None
        if row.previous and row.previous not in owners:  # its lease has run out between the two
            _end_transactions(self._transaction, [_name(run_id, row.previous)])
        return Shard(
            collection, Fence(run_id, row.number, row.token, owner), _listings(row.listings), row.previous or None
        )

    def register(self, collection: str, fence: Fence, previous: str | None) -> bool:
        """In a row of the shard's number, without its listings."""
        runs, shards = self._tables.runs, self._tables.shards
        if previous:
            _end_transactions(self._transaction, [_name(fence.run_id, previous)])
        row = _row(collection, fence.run_id, fence.number, "[]", 0)
        new = insert(shards).values({**row, "state": "claimed", "owner": fence.owner, "token": fence.token})
        highest = new.on_conflict_do_update(
            index_elements=["collection", "run_id", "number"],
            set_={"token": new.excluded.token, "owner": new.excluded.owner},
            where=shards.c.token < new.excluded.token,
        ).returning(shards.c.token)
        is_there = select(runs.c.run_id).where(runs.c.collection == collection, runs.c.run_id == fence.run_id)
        with self._transaction() as connection:
            if connection.execute(is_there.with_for_update(read=True)).one_or_none() is None:
                return False
            return connection.execute(highest).one_or_none() is not None

    def renew(self, collection: str, run_id: str, owner: str, remaining: Mapping[int, int]) -> Sequence[int]:
        """All of them in one statement."""
        runs, shards = self._tables.runs, self._tables.shards
        mine = (self._tables.of_run(collection, run_id), shards.c.owner == owner, shards.c.state == "claimed")
        locked = select(shards.c.number).where(*mine).order_by(shards.c.number).with_for_update().cte()
        lease = select(runs.c.lease).where(runs.c.collection == collection).scalar_subquery()
        renewed = (
            update(shards)
            .where(self._tables.of_run(collection, run_id), shards.c.number == locked.c.number)
            .values(lease_until=_from_now(lease), unread=_by_number(shards, remaining))
            .returning(shards.c.number, shards.c.asked)
        )
        with self._transaction() as connection:
            return [number for number, asked in connection.execute(renewed) if asked]

    def ask_for_share(self, collection: str, run_id: str) -> bool:
        """Of the shard with most left."""
        shards = self._tables.shards
        most = (
            select(shards.c.number)
            .where(self._tables.of_run(collection, run_id), shards.c.state == "claimed", shards.c.unread > 1)
            .order_by(shards.c.asked, shards.c.unread.desc(), shards.c.number)
            .limit(1)
            .with_for_update(skip_locked=True)
            .cte()
        )
        asked = update(shards).where(self._tables.of_run(collection, run_id), shards.c.number == most.c.number)
        with self._transaction() as connection:
            return bool(connection.execute(asked.values(asked=True)).rowcount)

    def split(self, collection: str, fence: Fence, own: Sequence[Listing], others: Sequence[Listing]) -> bool:
        """Under the next number."""
        shards = self._tables.shards
        narrowed = update(shards).where(self._tables.fenced_by(collection, fence), shards.c.state == "claimed")
        values = {"listings": _json(own), "assets": len(own), "unread": 0, "asked": False}
        with self._transaction() as connection:
            is_mine = bool(connection.execute(narrowed.values(values)).rowcount)
            return is_mine and self._add(connection, collection, fence.run_id, others)

    def finish(self, collection: str, fence: Fence, result: Mapping[str, Any]) -> bool:
        """Its listings go: nobody needs them any more."""
        shards = self._tables.shards
        ended = update(shards).where(self._tables.fenced_by(collection, fence), shards.c.state == "claimed")
        values = {"state": "done", "result": json.dumps(result), "listings": "[]", "unread": 0}
        with self._transaction() as connection:
            return bool(connection.execute(ended.values(**values, ended_at=func.clock_timestamp())).rowcount)

    def release(self, collection: str, run_id: str, owner: str) -> None:
        """Under their tokens, so that whoever claims one next has a higher one."""
        shards = self._tables.shards
        mine = (self._tables.of_run(collection, run_id), shards.c.owner == owner, shards.c.state == "claimed")
        with self._transaction() as connection:
            connection.execute(update(shards).where(*mine).values(state="open", owner="", lease_until=None))

    def results(self, collection: str, run_id: str) -> Sequence[ShardResult]:
        """Marked as counted in the same statement."""
        shards = self._tables.shards
        ended = (
            update(shards)
            .where(self._tables.of_run(collection, run_id), shards.c.state == "done")
            .values(state="counted")
            .returning(shards.c.owner, shards.c.result)
        )
        with self._transaction() as connection:
            return [ShardResult(owner, json.loads(result)) for owner, result in connection.execute(ended)]

    def shards(self) -> Sequence[ShardStatus]:
        """Of runs that are going on, or that nobody has cleared away."""
        shards, now = self._tables.shards, func.clock_timestamp()
        taken = _seconds(func.coalesce(shards.c.ended_at, now) - shards.c.claimed_at)
        left, ago = _seconds(shards.c.lease_until - now), _seconds(now - shards.c.ended_at)
        names = ("collection", "run_id", "number", "state", "owner", "token", "assets", "unread")
        chosen = select(*(shards.c[name] for name in names), taken, left, ago)
        with self._transaction() as connection:
            if not inspect(connection).has_table(shards.name, schema=shards.schema):
                return []
            rows = connection.execute(chosen.order_by(shards.c.collection, shards.c.number))
            return [ShardStatus(*row) for row in rows]

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def _is_stale(
        self, connection: Connection, collection: str, run_id: str, lease: ScalarSelect[Any]
    ) -> ColumnElement[bool]:
        """Of a lease that would run out later than any that was renewed, for the clock has been set back since: that
        nobody has renewed it for as long as it lasts."""
        shards = self._tables.shards
        ahead = (shards.c.state == "claimed", shards.c.lease_until > _from_now(2 * lease))
        leases = select(shards.c.number, shards.c.lease_until, lease)
        rows = connection.execute(leases.where(self._tables.of_run(collection, run_id), *ahead)).all()
        now, seen, stale = time.monotonic(), self._seen_ahead, []
        self._seen_ahead = {}
        for number, until, seconds in rows:
            since = self._seen_ahead[run_id, number, until] = seen.get((run_id, number, until), now)
            if now - since > seconds:
                stale.append((number, until))
        return tuple_(shards.c.number, shards.c.lease_until).in_(stale) if stale else false()

    def _add(self, connection: Connection, collection: str, run_id: str, listings: Sequence[Listing]) -> bool:
        runs, shards = self._tables.runs, self._tables.shards
        of_run = (runs.c.collection == collection, runs.c.run_id == run_id)
        # Of two that add, the second one waits here, and sees the number of the first.
        if connection.execute(select(runs.c.run_id).where(*of_run).with_for_update()).one_or_none() is None:
            return False
        highest = select(func.coalesce(func.max(shards.c.number), 0)).where(self._tables.of_run(collection, run_id))
        number = connection.execute(highest).scalar_one() + 1
        connection.execute(insert(shards).values(_row(collection, run_id, number, _json(listings), len(listings))))
        return True

    @contextmanager
    def _transaction(self, collection: str = "") -> Iterator[Connection]:
        """One that writes, as long as the collection is locked that it begins."""
        held, location = self._locks.get(collection), self._server.location
        begun = locked_transaction(self._database.plain_transaction, held, location)
        with self._server.translated(), begun as connection:
            yield connection


def _row(collection: str, run_id: str, number: int, listings: str, assets: int) -> dict[str, Any]:
    return {
        "collection": collection,
        "run_id": run_id,
        "number": number,
        "state": "open",
        "owner": "",
        "token": 0,
        "listings": listings,
        "assets": assets,
        "unread": assets,
        "asked": False,
        "result": "{}",
    }


def _json(listings: Sequence[Listing]) -> str:
    """Only letters that every database can hold, whatever the source has in its fingerprints."""
    return json.dumps([[each.asset_id, each.fingerprint, each.turn] for each in listings])


def _listings(written: str) -> list[Listing]:
    return [Listing(asset_id, fingerprint, turn=turn) for asset_id, fingerprint, turn in json.loads(written)]


def _from_now(seconds: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.clock_timestamp() + seconds * literal(timedelta(seconds=1))


def _alive(runs: Table) -> ColumnElement[bool]:
    return runs.c.lease_until >= func.clock_timestamp()


def _by_number(shards: Table, remaining: Mapping[int, int]) -> ColumnElement[Any]:
    return case(remaining, value=shards.c.number, else_=shards.c.unread) if remaining else shards.c.unread


def _seconds(interval: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.extract("epoch", interval).cast(Double)
