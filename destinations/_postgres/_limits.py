"""The allowance that processes share, in a table: one row for each kind of requests of an account.

A row says when the next request may go that nobody has borrowed yet (GCRA, the generic cell rate algorithm: one time is
all there is to remember). Borrowing moves it on by so many intervals, in one statement and by the server's clock alone.

Each question has a connection of its own, which is open for as long as that takes: a pool in between may have no more
than the sync needs anyway, and what asks here is not the thread that writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql
from sqlalchemy import Column, DateTime, MetaData, PrimaryKeyConstraint, Table, Text, func, text

from vectorferry.connector.plugin import Account, Allowance, Hold, Loan, RetryableError, VectorferryError
from vectorferry.destinations._postgres._connection import connection_options
from vectorferry.destinations._postgres._ddl import statement
from vectorferry.destinations._postgres._server import PostgresServer
from vectorferry.destinations._postgres._session import READ_ONLY, look_statement
from vectorferry.destinations._postgres._url import Address
from vectorferry.destinations._postgres._writing import ID

LIMITS: Final = "_sync_limits"
"""Of a schema, whichever destinations have their books there."""

_SECONDS: Final = 60.0
"""After which a question is given up; whoever waits for it has gone on long before."""

_LONGEST_REASON: Final = 1_000


def limit_table(metadata: MetaData) -> Table:
    """How much of each service's limits is borrowed, and what it has said of them."""
    return Table(
        LIMITS,
        metadata,
        Column("service", ID, nullable=False, comment="its address"),
        Column("account", ID, nullable=False, comment="a digest of the key"),
        Column("kind", ID, nullable=False, comment="of requests that have a limit of their own; empty: all of them"),
        Column("next_at", DateTime(timezone=True), nullable=False, comment="what is before has been borrowed"),
        Column("resume_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("told_at", DateTime(timezone=True), nullable=False, server_default=func.now(), comment="as of when"),
        Column("reason", Text, nullable=False, server_default="", comment="why runs end; empty: they wait"),
        PrimaryKeyConstraint("service", "account", "kind"),
    )


# A row's times are worth nothing where the clock has been set back since they were written down (another server has
# taken over): nobody would get anything until it is there again. How far ahead they are does not tell: where many wait
# for a slow limit, it is hours.
_HOLDS: Final = """
SELECT {wait}, l.kind, extract(epoch FROM l.resume_at - clock_timestamp()), extract(epoch FROM l.resume_at), l.reason
FROM {asked} LEFT JOIN {limits} l ON l.service = {service} AND l.account = {account}
    AND l.resume_at > clock_timestamp() AND l.told_at <= clock_timestamp()
"""

# `clock_timestamp()` and not `excluded`, whose times are of before it was the turn of this statement.
_BORROW: Final = """
WITH loan AS (
    INSERT INTO {limits} AS l (service, account, kind, next_at)
    VALUES ({service}, {account}, {kind}, clock_timestamp() + make_interval(secs => {step}))
    ON CONFLICT (service, account, kind) DO UPDATE
    SET next_at = make_interval(secs => {step})
            + greatest(clock_timestamp(), CASE WHEN l.told_at <= clock_timestamp() THEN l.next_at END),
        resume_at = CASE WHEN l.told_at <= clock_timestamp() THEN l.resume_at ELSE clock_timestamp() END,
        told_at = clock_timestamp()
    RETURNING extract(epoch FROM next_at - clock_timestamp()) - {step} AS wait
)
"""

_HOLD: Final = """
INSERT INTO {limits} AS l (service, account, kind, next_at, resume_at, told_at, reason)
VALUES ({service}, {account}, {kind}, clock_timestamp(), clock_timestamp() + make_interval(secs => {seconds}),
    clock_timestamp(), {reason})
ON CONFLICT (service, account, kind) DO UPDATE
SET next_at = CASE WHEN l.told_at <= clock_timestamp() THEN l.next_at ELSE clock_timestamp() END,
    resume_at = excluded.resume_at, told_at = clock_timestamp(), reason = excluded.reason
WHERE l.resume_at < excluded.resume_at OR l.told_at > clock_timestamp()
"""

_IS_WRITABLE: Final = text("""
SELECT NOT pg_is_in_recovery() AND NOT current_setting('default_transaction_read_only')::boolean
    AND bool_and(coalesce(has_table_privilege(to_regclass(:limits), privilege), false))
FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS privilege
""")


class PostgresAllowance(Allowance):
    """The allowance in one schema of one server. Opens nothing before it is asked, and keeps nothing open."""

    def __init__(self, server: PostgresServer[Any], schema: str) -> None:
        self._server = server
        self._schema = schema
        self._trouble = ""

    def advice(self) -> Sequence[str]:
        """That somebody could not borrow, and why, if that was so."""
        if not self._trouble:
            return ()
        return (
            "this run kept to limits by itself for a while, not together with other processes: "
            f"the table {self._schema}.{LIMITS} could not be used ({self._trouble})",
        )

    def is_writable(self) -> bool:
        """Whether this user may borrow without our overriding that transactions only read by default, as a sync does.
        To be asked from the thread of the destination."""
        limits = {"limits": sql.Identifier(self._schema, LIMITS).as_string()}
        with self._server.translated(), self._server.database.plain_transaction(READ_ONLY, is_whole=True) as connection:
            return bool(connection.execute(_IS_WRITABLE, limits).scalar_one())

    async def borrow(self, account: Account, kind: str, requests: int, interval: float) -> Loan:
        """In one statement, which moves the row on."""
        rows = await self._ask(
            _BORROW + _HOLDS,
            account,
            wait=sql.Identifier("loan", "wait"),
            asked=sql.Identifier("loan"),
            kind=sql.Literal(kind),
            step=sql.Literal(requests * interval),
        )
        return Loan(max(0.0, float(rows[0][0])), _holds(rows))

    async def holds(self, account: Account) -> Mapping[str, Hold]:
        """Looked up."""
        asked = sql.SQL("(VALUES (0)) AS asked (nothing)")
        return _holds(await self._ask(_HOLDS, account, wait=sql.Literal(0), asked=asked))

    async def hold(self, account: Account, kind: str, seconds: float, reason: str = "") -> None:
        """The one that ends last stays."""
        words = reason.replace("\0", "")[:_LONGEST_REASON]
        values = {"kind": sql.Literal(kind), "seconds": sql.Literal(seconds), "reason": sql.Literal(words)}
        await self._ask(_HOLD, account, **values)

    async def _ask(self, template: LiteralString, account: Account, **parts: sql.Composable) -> list[Any]:
        asked = statement(
            template,
            limits=sql.Identifier(self._schema, LIMITS),
            service=sql.Literal(account.service),
            account=sql.Literal(account.key),
            **parts,
        )
        try:
            with self._server.translated():
                async with asyncio.timeout(_SECONDS):
                    return await _answer(self._server.database.address, asked, writes=template is not _HOLDS)
        except (VectorferryError, TimeoutError) as error:
            self._trouble = str(error).partition("\n")[0] or f"no answer within {_SECONDS:.0f} s"
            failure = error
        raise RetryableError(f"nothing can be borrowed of what processes share: {self._trouble}") from failure


async def _answer(address: Address, asked: str, *, writes: bool) -> list[Any]:
    """The rows of a statement, on a connection of its own and in a transaction that is sent at once with it."""
    async with await psycopg.AsyncConnection.connect(address.conninfo, **connection_options(address)) as connection:
        begin = [look_statement(connection.info.server_version), "SET LOCAL statement_timeout = '10s'"]
        if writes:
            # A crash of the server may forget a loan. Waiting for its disk would take longer than what is borrowed.
            begin += ["SET TRANSACTION READ WRITE", "SET LOCAL synchronous_commit = off"]
        cursor = await connection.execute("; ".join([*begin, asked, "COMMIT"]).encode())
        while cursor.description is None and cursor.nextset():
            pass
        return await cursor.fetchall() if cursor.description else []


def _holds(rows: Sequence[Any]) -> dict[str, Hold]:
    return {
        str(kind): Hold(float(seconds), float(until), str(reason))
        for _, kind, seconds, until, reason in rows
        if kind is not None
    }
