"""Vectors in pgvector's binary wire format, made while they are being sent.

Encoding here, and not in pgvector's own adapters, turns each array into bytes once, with numpy. The layouts are
those of pgvector's ``*_recv`` functions: dense ``int16 dimension, int16 unused, elements``; sparse ``int32
dimension, int32 count, int32 unused, int32 indices, float4 values``; all big-endian.
"""

from __future__ import annotations

import struct
from typing import Final

from psycopg.adapt import Dumper
from psycopg.pq import Format

from vectorferry.connector import DenseVector, SparseVector

from .._postgres import Dumpers
from ._storage import SPARSE_DIMENSION

__all__ = ["VECTOR_DUMPERS"]


class _VectorDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: DenseVector) -> bytes:
        return struct.pack(">HH", len(obj), 0) + obj.astype(">f4").tobytes()


class _HalfvecDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: DenseVector) -> bytes:
        return struct.pack(">HH", len(obj), 0) + obj.astype(">f2").tobytes()


class _SparsevecDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: SparseVector) -> bytes:
        kept = obj.values != 0  # sparsevec_recv refuses stored zeros
        indices, values = obj.indices[kept], obj.values[kept]
        header = struct.pack(">iii", SPARSE_DIMENSION, len(indices), 0)
        return b"".join((header, indices.astype(">i4").tobytes(), values.astype(">f4").tobytes()))


VECTOR_DUMPERS: Final[Dumpers] = {
    "vector": _VectorDumper,
    "halfvec": _HalfvecDumper,
    "sparsevec": _SparsevecDumper,
}
