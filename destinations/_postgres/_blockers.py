"""Who is in the way of what waits for a lock, in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import psycopg.errors
from psycopg import sql
from sqlalchemy import Connection, text

SEE_ANEW: Final = sql.SQL("SELECT pg_stat_clear_snapshot()")
"""Otherwise a transaction goes on seeing the sessions of its first look, and passes over whoever has connected since:
https://www.postgresql.org/docs/current/monitoring-stats.html, "Viewing Statistics"."""

# Which lock was waited for, a server does not tell once the wait is over. Whoever has one on what is ours may have been
# it; autovacuum never is, because it gives way.
_HOLDERS: Final = text("""
SELECT a.pid, pg_get_userbyid(a.usesysid) AS role, a.application_name AS name, a.xact_start AT TIME ZONE 'UTC' AS since
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.usesysid IS NOT NULL AND EXISTS (
    SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE l.pid = a.pid AND l.granted AND l.locktype = 'relation'
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema') AND pg_has_role(c.relowner, 'USAGE')
) ORDER BY a.xact_start NULLS FIRST LIMIT 3
""")


def is_lock_timeout(error: BaseException) -> bool:
    """Whether a statement gave up waiting for a lock."""
    return isinstance(getattr(error, "orig", error), psycopg.errors.LockNotAvailable)


def lock_holders(connection: Connection) -> str:
    """Whose transactions have a lock on something of ours now: the three that began first, in words."""
    connection.exec_driver_sql(SEE_ANEW.as_string())
    return described_all(connection.execute(_HOLDERS))


def described_all(blockers: Iterable[Any]) -> str:
    """Who they are; that there are none is said too."""
    return "; ".join(map(described, blockers)) or "somebody who has just gone"


def described(blocker: Any) -> str:
    """Who it is. Of a process of another user, a server tells role and number only."""
    since = f"{blocker.name or 'unnamed'}, since {blocker.since:%Y-%m-%d %H:%M:%S} UTC, " if blocker.since else ""
    return f"{since}role {blocker.role}, process {blocker.pid} of the server"
