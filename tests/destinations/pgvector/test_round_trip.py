"""What goes in comes out, bit by bit and type by type."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg
from pgvector.psycopg import register_vector

from vectorferry.connector.plugin import Modality, SchemaMapping
from vectorferry.destinations import PgvectorDestination

from ...builders import asset, batch, feature, sparse

Sql = psycopg.Connection[Any]


def stored(sql: Sql, view: str) -> Any:
    register_vector(sql)
    row = sql.execute(f"SELECT embedding FROM {view}", binary=True).fetchone()
    assert row is not None
    return row[0]


def test_dense_vectors_keep_every_bit(destination: PgvectorDestination, sql: Sql) -> None:
    vector = np.random.default_rng(7).standard_normal(1_408).astype(np.float32)
    vector[:4] = np.array([1e-45, -0.0, np.finfo(np.float32).max, 0.1], dtype=np.float32)
    destination.apply(batch(asset("a", feature("f", {"multimodal-v1": vector}))))
    assert stored(sql, "video_multimodal_v1").to_numpy().tobytes() == vector.tobytes()


def test_over_2000_dimensions_half_precision_is_kept(destination: PgvectorDestination, sql: Sql) -> None:
    vector = np.random.default_rng(7).standard_normal(3_072).astype(np.float32)
    destination.apply(batch(asset("a", feature("f", {"large": vector}))))
    assert (stored(sql, "video_large").to_numpy() == vector.astype(np.float16)).all()


def test_sparse_vectors_keep_indices_and_values(destination: PgvectorDestination, sql: Sql) -> None:
    vector = sparse({0: 0.25, 7: 0.0, 30_521: 1.5})
    destination.apply(batch(asset("a", feature("f", {"splade-v3": vector}))))
    held = stored(sql, "video_splade_v3")
    assert (held.indices(), held.values()) == ([0, 30_521], [0.25, 1.5])


def test_each_of_many_vectors_arrives_in_its_own_row(destination: PgvectorDestination, sql: Sql) -> None:
    names = [f"segment {n}" + "é" * (n % 3) for n in range(260)]  # more than are encoded or updated at once
    register_vector(sql)
    for turn in (1, 2):  # inserted, then updated
        random = np.random.default_rng(turn)
        dense = random.standard_normal((len(names), 500), dtype=np.float32)
        half = random.standard_normal((len(names), 2_100), dtype=np.float32)
        words = [sparse({n: turn / 2, n + 1: 0.0, 40_000 + n: -1.5}) for n in range(len(names))]
        features = [
            feature(name, {"model": dense[n], "large": half[n], "splade-v3": words[n]}) for n, name in enumerate(names)
        ]
        applied = destination.apply(batch(*(asset(f"asset {n}", *features[n::7]) for n in range(7))))
        counts = applied.vectors[Modality.VIDEO, "model"]
        assert (counts.inserted, counts.updated) == ((260, 0) if turn == 1 else (0, 260))
        as_float, as_half, as_sparse = (
            dict(sql.execute(f"SELECT (asset_id, feature_id)::text, embedding FROM video_{view}", binary=True))
            for view in ("model", "large", "splade_v3")
        )
        for n, name in enumerate(names):
            key = f'("asset {n % 7}","{name}")'
            assert as_float[key].to_numpy().tobytes() == dense[n].tobytes()
            assert (as_half[key].to_numpy() == half[n].astype(np.float16)).all()
            assert (as_sparse[key].indices(), as_sparse[key].values()) == ([n, 40_000 + n], [turn / 2, -1.5])


def test_every_column_type_arrives_as_itself(postgres_url: str, schema: str, sql: Sql) -> None:
    values: dict[str, tuple[str, Any]] = {
        "a_text": ("text", "NUL-free, but “quoted” \\ 'text' with\nlines and 日本語"),
        "an_integer": ("integer", -(2**31)),
        "a_bigint": ("bigint", 2**63 - 1),
        "a_double": ("double precision", 0.1),
        "a_boolean": ("boolean", True),
        "a_time": ("timestamptz", datetime(2024, 11, 7, 14, 31, 56, 428_000, tzinfo=UTC)),
        "a_json": ("jsonb", {"emotions": ["joy"], "depth": {"n": [1, None, 2.5]}}),
        "nothing": ("text", None),
    }
    columns = {name: {"path": name, "type": kind} for name, (kind, _) in values.items()}
    mapping = SchemaMapping.model_validate({"image": {"columns": columns}})
    destination = PgvectorDestination(schema, postgres_url)
    destination.prepare(mapping)
    row = {name: value for name, (_, value) in values.items()}
    destination.apply(batch(asset("a", feature("f", modality=Modality.IMAGE, mapping=mapping, **row))))
    names = ", ".join(values)
    found = sql.execute(f"SELECT {names} FROM image").fetchone()
    destination.close()
    assert found == tuple(row.values())
