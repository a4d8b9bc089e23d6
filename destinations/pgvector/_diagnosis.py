"""What whoever sets a sync up asks of its Postgres: versions, connections, size, and an embedded one's disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, text

from vectorferry.connector.plugin import Diagnosis, Health

_MEGABYTE: Final = 1_000_000
_LITTLE_ROOM: Final = 1_000 * _MEGABYTE
_CONNECTIONS_LEFT: Final = 5
"""A sync takes three at most: for its work, for locks, and for cancelling."""

_FACTS: Final = text("""
SELECT current_setting('server_version') AS server, current_user AS role, current_database() AS database,
    (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS enabled,
    (SELECT default_version FROM pg_available_extensions WHERE name = 'vector') AS available,
    pg_database_size(current_database()) AS size,
    current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer AS most,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections
""")


def server_diagnoses(connection: Connection) -> Iterator[Diagnosis]:
    """Asked as the role that a sync would have."""
    facts = connection.execute(_FACTS).one()
    version = facts.enabled or f"{facts.available or 'missing'}, not enabled yet"
    yield Diagnosis(
        f"Postgres {facts.server.split()[0]} with pgvector {version}; database {facts.database} "
        f"({facts.size / _MEGABYTE:,.0f} MB) as {facts.role}"
    )
    if (left := facts.most - facts.connections) < _CONNECTIONS_LEFT:
        yield Diagnosis(
            f"only {max(left, 0)} of {facts.most} connections are free: end some, or raise max_connections", Health.NOTE
        )


def disk_diagnoses(directory: Path) -> Iterator[Diagnosis]:
    """Of an embedded server; the disk of another one cannot be seen from here."""
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    is_little = free < _LITTLE_ROOM
    yield Diagnosis(
        f"{free / _MEGABYTE:,.0f} MB are free on the disk of {directory}", Health.NOTE if is_little else Health.GOOD
    )
