"""What a sync has written, as Postgres counts it."""

from __future__ import annotations

import psycopg

from ..waiting import wait_until

__all__ = ["rows_written"]

ROWS = (
    "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables "
    "WHERE schemaname = %s AND relname LIKE %s AND relname !~ '(runs|limits)$'"
)
CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vectorferry'"


def rows_written(connection: psycopg.Connection, schema: str, *, tables: str = "%") -> int:
    """Rows written so far to the tables of a schema whose names are like this, but for the record of runs.

    The statistics are complete once the connections that wrote have ended.
    """
    wait_until(lambda: connection.execute(CONNECTED).fetchone() == (0,))
    (rows,) = connection.execute(ROWS, [schema, tables]).fetchone() or (0,)
    return int(rows)
