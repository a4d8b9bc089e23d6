"""Values from Postgres' binary wire format, the reverse of `_wire`, made while they are being fetched."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from psycopg import pq
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from sqlalchemy import Connection, text

from vectorferry.connector import DenseVector, SparseVector, parse_json

__all__ = ["Loaders", "stored_loaders"]

Loaders: TypeAlias = Mapping[str | int, type[Loader]]
"""By a type's name or number."""

_TYPES: Final = text(
    "SELECT t.typname, t.oid::bigint FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace "
    "WHERE n.nspname = :schema AND t.typname = ANY(:names)"
)
_HEADER: Final = struct.Struct(">iii")


class _JsonbLoader(Loader):
    format = pq.Format.BINARY

    def load(self, data: Buffer) -> Any:
        return parse_json(bytes(data)[1:])  # the first byte is the format's version


class _VectorLoader(Loader):
    format = pq.Format.BINARY

    def load(self, data: Buffer) -> DenseVector:
        return np.frombuffer(data, ">f4", offset=4).astype(np.float32)


class _HalfvecLoader(Loader):
    format = pq.Format.BINARY

    def load(self, data: Buffer) -> DenseVector:
        return np.frombuffer(data, ">f2", offset=4).astype(np.float32)


class _SparsevecLoader(Loader):
    format = pq.Format.BINARY

    def load(self, data: Buffer) -> SparseVector:
        _, count, _ = _HEADER.unpack_from(data)
        indices = np.frombuffer(data, ">i4", count=count, offset=_HEADER.size)
        values = np.frombuffer(data, ">f4", count=count, offset=_HEADER.size + indices.nbytes)
        return SparseVector(indices.astype(np.int32), values.astype(np.float32))


_VECTOR_LOADERS: Final[Mapping[str, type[Loader]]] = {
    "vector": _VectorLoader,
    "halfvec": _HalfvecLoader,
    "sparsevec": _SparsevecLoader,
}


def stored_loaders(connection: Connection, extension_schema: str) -> Loaders:
    """How to read each type that psycopg does not read as we do; an extension's have other numbers in each database."""
    found = connection.execute(_TYPES, {"names": list(_VECTOR_LOADERS), "schema": extension_schema})
    return {"jsonb": _JsonbLoader, **{oid: _VECTOR_LOADERS[name] for name, oid in found}}
