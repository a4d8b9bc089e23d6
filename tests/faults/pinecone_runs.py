"""One source, one Pinecone and one manifest: synced, edited, and compared with others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from vectorferry import Summary, parse_settings, run_sync
from vectorferry.connector.sandbox import Sandbox

from ..tables import differences

__all__ = ["WRITES", "World", "unlike"]

WRITES: Final = ("pinecone.upsert", "pinecone.update", "pinecone.delete")

Connection = psycopg.Connection[Any]

_OF_THE_SERVER: Final = ("host", "lsn", "visible", "parts")
"""The ports of an index and of the source that was read, and how often an index was written: not what is in it."""


@dataclass(frozen=True)
class World:
    """A sandbox, and the schema with the manifest of what is in its Pinecone."""

    sandbox: Sandbox
    database: str
    schema: str

    @property
    def settings(self) -> dict[str, Any]:
        """A sync of many small batches in small requests."""
        pinecone = {
            "type": "pinecone",
            "vectors": "all",
            "api_key": self.sandbox.api_key,
            "host": self.sandbox.url,
            "manifest": {"url": self.database, "schema": self.schema},
        }
        source = {"type": "mixpeek", "base_url": self.sandbox.url, "api_key": self.sandbox.api_key, "concurrency": 16}
        return {
            "name": "media",
            "source": source,
            "destinations": [pinecone],
            "batch": {"rows": 10},
            "deletes": {"max_share": 1.0},
        }

    def sync(self) -> Summary:
        """To its end, in this process."""
        summary = run_sync(parse_settings(self.settings, "test"))
        assert summary.exit_code == 0, summary.to_dict()
        return summary

    def stored(self) -> Mapping[str, Mapping[str, tuple[int, str]]]:
        """By index and namespace: how many records, and a digest of all that is in them."""
        told = self.sandbox.pinecone
        return {
            index: {name: (count, told.digest(index, name)) for name, count in told.namespaces(index).items() if count}
            for index in sorted(told.indexes())
        }

    def writes(self) -> int:
        """Requests so far that would have changed something in Pinecone."""
        counts = self.sandbox.requests.counts()
        return sum(counts.get(route, 0) for route in WRITES)

    def unconfirmed(self, connection: Connection) -> int:
        """Records in the journal."""
        found = connection.execute(f"SELECT count(*) FROM {self.schema}._sync_pinecone_unconfirmed").fetchone()
        return int(found[0]) if found else 0


def unlike(connection: Connection, one: World, other: World) -> list[str]:
    """What two worlds do not have in common, in the store or in the manifest."""
    found = differences(connection, one.schema, other.schema, _OF_THE_SERVER)
    if one.stored() != other.stored():
        found.append(f"stored: {one.stored()} against {other.stored()}")
    return found
