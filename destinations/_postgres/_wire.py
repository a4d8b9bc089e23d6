"""Values as Postgres' binary wire format, made while they are being sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from psycopg.adapt import Dumper
from psycopg.pq import Format

from vectorferry.connector import canonical_json

__all__ = ["NO_DUMPERS", "Dumpers", "JsonbDumper", "bound"]

Dumpers: TypeAlias = Mapping[str, type[Dumper]]
"""By name of a column type: what writes its values, where psycopg does not by itself."""

NO_DUMPERS: Final[Dumpers] = {}


class JsonbDumper(Dumper):
    """Any JSON value, in its canonical form."""

    format = Format.BINARY

    def dump(self, obj: Any) -> bytes:
        """The bytes of a jsonb."""
        return b"\x01" + canonical_json(obj)


def bound(dumper: type[Dumper], oid: int) -> type[Dumper]:
    """A dumper for a type that has this number on the server."""
    return type(dumper.__name__, (dumper,), {"oid": oid})
