"""How much of the truth each mode finds, and at what cost: by what a filter leaves, how many are asked for, and how the
data lies. Prints the table of docs/sql.md.

pytest -m benchmark tests/benchmarks/test_recall.py -s
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psycopg
import pytest

from vectorferry.connector.plugin import SchemaMapping
from vectorferry.destinations import PgvectorDestination

from ..builders import asset, batch, feature

Sql = psycopg.Connection[Any]

ROWS, DIMENSION, SEGMENTS, QUERIES = 20_000, 256, 20, 60
SHARES: Final = {"100 %": 1.0, "10 %": 0.1, "1 %": 0.01, "0.1 %": 0.001, "0 %": 0.0}
KINDS: Final[dict[str, dict[str, Any]]] = {
    "hnsw": {},
    "hnsw, halfvec": {"quantization": "halfvec"},
    "hnsw, binary": {"quantization": "binary"},
    "ivfflat": {"index": "ivfflat"},
    "ivfflat, lists 140": {"index": "ivfflat", "lists": 140},
    "ivfflat, halfvec": {"index": "ivfflat", "quantization": "halfvec"},
}
MODES: Final = {"auto": "mode => 'auto'", "index": "mode => 'index', effort => 40", "exact": "mode => 'exact'"}


def _clustered(random: np.random.Generator) -> npt.NDArray[np.float32]:
    """As embeddings of scenes lie: in some hundred groups."""
    centres = random.standard_normal((200, DIMENSION))
    vectors = centres[random.integers(0, 200, ROWS)] + 0.35 * random.standard_normal((ROWS, DIMENSION))
    return vectors.astype(np.float32)


def _uniform(random: np.random.Generator) -> npt.NDArray[np.float32]:
    """As nothing real lies: every vector about as far from every other, which no index likes."""
    return random.random((ROWS, DIMENSION), dtype=np.float32)


@pytest.fixture(params=["postgres_url", "other_postgres_url"])
def server(request: pytest.FixtureRequest) -> str:
    """The embedded Postgres, and an older one."""
    return str(request.getfixturevalue(request.param))


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("vectors", [_clustered, _uniform], ids=["clustered", "uniform"])
def test_recall_by_mode_and_filter(server: str, schema: str, vectors: Any) -> None:
    with closing(PgvectorDestination(schema, server)) as destination:
        destination.prepare(SchemaMapping())
        for assets in _assets(vectors(np.random.default_rng(3))):
            destination.apply(batch(*assets, collection="films"))
        destination.build_indexes()
    with psycopg.connect(server, autocommit=True) as sql:
        sql.execute(f"SET search_path = {schema}, public")
        version = sql.execute("SHOW server_version").fetchone()
        print(f"\nPostgres {version and version[0]}, {vectors.__name__.strip('_')}, {ROWS:,} x {DIMENSION}")
        print(
            "| data | filter leaves | k | " + " | ".join(f"{mode}: recall | rows missing | ms" for mode in MODES) + " |"
        )
        wrong = []
        for label, share in SHARES.items():
            for k in (10, 100):
                filters = json.dumps({} if share == 1 else {"start_time": {"lt": share}})
                row = {mode: _evaluated(sql, arguments, k, filters) for mode, arguments in MODES.items()}
                cells = " | ".join(f"{recall:.3f} | {short} | {ms:.1f}" for recall, short, ms in row.values())
                print(f"| {vectors.__name__.strip('_')} | {label} | {k} | {cells} |")
                if row["auto"][0] < 0.95 or row["auto"][1] or row["exact"][:2] != (1, 0):
                    wrong.append((label, k, row))
        sql.execute(f"DROP SCHEMA {schema} CASCADE")
    assert not wrong


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("vectors", [_clustered, _uniform], ids=["clustered", "uniform"])
def test_recall_by_kind_of_index(postgres_url: str, schema: str, vectors: Any) -> None:
    data, wrong = vectors(np.random.default_rng(3)), []
    print("\n| data | index | size | k | auto: recall | ms | index, effort 40: recall | ms | exact: ms |")
    for kind, mapping in KINDS.items():
        with closing(PgvectorDestination(schema, postgres_url)) as destination:
            destination.prepare(SchemaMapping.model_validate({"video": {"vectors": {"model-v1": mapping}}}))
            for assets in _assets(data):
                destination.apply(batch(*assets, collection="films"))
            destination.build_indexes()
        with psycopg.connect(postgres_url, autocommit=True) as sql:
            sql.execute(f"SET search_path = {schema}, public")
            size = sql.execute(
                "SELECT pg_relation_size(indexrelid) FROM pg_index JOIN pg_class c ON c.oid = indexrelid "
                "JOIN pg_am m ON m.oid = c.relam WHERE amname IN ('hnsw', 'ivfflat') "
                "AND relnamespace = %s::regnamespace",
                [schema],
            ).fetchone()
            for k in (10, 100):
                row = {mode: _evaluated(sql, arguments, k, "{}") for mode, arguments in MODES.items()}
                cells = " | ".join(f"{row[mode][0]:.3f} | {row[mode][2]:.0f} ms" for mode in ("auto", "index"))
                label = f"{vectors.__name__.strip('_')} | {kind} | {size[0] / 1e6 if size else 0:.0f} MB"
                print(f"| {label} | {k} | {cells} | {row['exact'][2]:.0f} ms |")
                if row["auto"][0] < 0.95 or row["auto"][1]:
                    wrong.append((kind, k, row))
    assert not wrong


def _assets(vectors: npt.NDArray[np.float32]) -> Iterator[list[Any]]:
    chances = np.random.default_rng(9).random(ROWS)
    for start in range(0, ROWS, 5_000):
        yield [
            asset(
                f"video {first}",
                *(
                    feature(f"s{n - first}", {"model-v1": vectors[n]}, start_time=float(chances[n]), text=f"number {n}")
                    for n in range(first, first + SEGMENTS)
                ),
            )
            for first in range(start, start + 5_000, SEGMENTS)
        ]


def _evaluated(sql: Sql, arguments: str, k: int, filters: str) -> tuple[float, int, float]:
    asked = (
        f"SELECT recall, missing, milliseconds FROM evaluate_recall('video_model_v1', {QUERIES}, %s, %s, {arguments})"
    )
    recall, missing, milliseconds = sql.execute(asked, [k, filters]).fetchone() or (0, 1, 0)
    return float(recall), int(missing), float(milliseconds)
