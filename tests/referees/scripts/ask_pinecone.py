"""Writes to a sandbox's Pinecone and reads it with whatever release of the SDK is installed, from 7 on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from asking import print_answers, refused  # type: ignore[import-not-found]
from pinecone import Pinecone, ServerlessSpec
from pinecone import __version__ as pinecone_version

PLACE = ServerlessSpec(cloud="aws", region="us-east-1")
QUERY = [1.0, 0.0, 0.0, 0.0]

url, key, _ = sys.argv[1:]
pinecone: Any = Pinecone(api_key=key, host=url)
stranger: Any = Pinecone(api_key="wrong", host=url)


def made(**settings: Any) -> dict[str, Any]:
    """An index as the SDK describes it once it is made."""
    pinecone.create_index(spec=PLACE, **settings)
    return described(settings["name"])


def described(name: str) -> dict[str, Any]:
    """What the SDK says of an index; up to release 8, tags are a model that wraps its values."""
    model = pinecone.describe_index(name)
    plain = {field: getattr(model, field) for field in ("name", "metric", "vector_type", "deletion_protection")}
    tags = dict(getattr(model.tags, "_data_store", model.tags) or {})
    return {**plain, "tags": tags, "status": [model.status["ready"], model.status["state"]]}


def opened(name: str) -> Any:
    """A client of the index."""
    return pinecone.Index(host=pinecone.describe_index(name).host)


def row(number: int) -> dict[str, Any]:
    """One record; the first is nearest to the query."""
    values = [1.0, number / 10, 0.1, 0.2]
    return {"id": f"a#{number}", "values": values, "metadata": {"n": number, "tags": ["x"], "even": number % 2 == 0}}


def ids(**asked: Any) -> list[str]:
    """Every id that is listed, whatever a page looks like in this release."""
    pages = index.list(namespace="t", **asked)
    return [one if isinstance(one, str) else one.id for page in pages for one in page]


def found(**asked: Any) -> list[str]:
    """The ids of the matches."""
    return [one.id for one in index.query(namespace="t", top_k=3, **asked).matches]


def shown(record: Any) -> list[Any]:
    """What the SDK knows of a record."""
    sparse = record.sparse_values
    pairs = None if sparse is None else [list(sparse.indices), list(sparse.values)]
    return [list(record.values), pairs, record.metadata]


def done(call: Callable[[], Any]) -> str:
    """The word `done`, after a call that has no answer to speak of."""
    call()
    return "done"


def namespaces() -> list[list[Any]]:
    """Their names and sizes; what is listed is a namespace, or a page of them."""
    return [
        [one.name, int(one.record_count)]
        for page in index.list_namespaces()
        for one in getattr(page, "namespaces", None) or [page]
    ]


def stats() -> list[Any]:
    """Counts, dimension and metric."""
    answer = index.describe_index_stats()
    counts = {name: one.vector_count for name, one in answer.namespaces.items()}
    return [counts, answer.total_vector_count, answer.dimension, answer.metric]


def sparse_matches() -> list[Any]:
    """A sparse index of its own, written and asked."""
    words = opened("words")
    words.upsert(vectors=[{"id": "w", "sparse_values": {"indices": [3, 9], "values": [0.5, 1.0]}}])
    matches = words.query(top_k=1, sparse_vector={"indices": [9], "values": [2.0]}).matches
    return [[one.id, one.score] for one in matches]


def lsns() -> list[int]:
    """What a write committed, and what a query after it has seen."""
    written = index.upsert(vectors=[row(1)], namespace="t")
    seen = index.query(vector=QUERY, top_k=1, namespace="t")
    infos = [getattr(one, "response_info", None) or one._response_info for one in (written, seen)]
    headers = [getattr(one, "raw_headers", None) or one["raw_headers"] for one in infos]
    return [int(headers[0]["x-pinecone-request-lsn"]), int(headers[1]["x-pinecone-max-indexed-lsn"])]


def changed_by_filter() -> list[int]:
    """How many records an update by filter found, and what it left behind."""
    index.update(namespace="t", filter={"even": {"$eq": True}}, set_metadata={"seen": 1})
    found = index.fetch_by_metadata(namespace="t", filter={"seen": 1}).vectors
    return sorted(int(one.metadata["n"]) for one in found.values())


def batched() -> int:
    """Records of one upsert that the SDK cuts into batches."""
    rows = [row(number) for number in range(250)]
    return int(index.upsert(vectors=rows, namespace="t", batch_size=100, show_progress=False).upserted_count)


missing = pinecone.has_index("clips")
first = made(name="clips", dimension=4, metric="dotproduct", tags={"team": "media"})
index = opened("clips")
filters = {} if pinecone_version.startswith("7.") else {"lsns": lsns, "by_filter": changed_by_filter}

print_answers(
    {
        "missing": lambda: missing,
        "made": lambda: first,
        "made_sparse": lambda: made(
            name="words", vector_type="sparse", metric="dotproduct", deletion_protection="enabled"
        ),
        "listed": lambda: sorted(one.name for one in pinecone.list_indexes()),
        "taken": lambda: refused(lambda: pinecone.create_index(name="clips", dimension=4, spec=PLACE)),
        "configured": lambda: done(lambda: pinecone.configure_index("clips", tags={"team": "", "env": "test"})),
        "tags": lambda: described("clips")["tags"],
        "upserted": batched,
        "hybrid": lambda: done(
            lambda: index.upsert(
                vectors=[{**row(1), "sparse_values": {"indices": [5], "values": [0.25]}}], namespace="t"
            )
        ),
        "fetched": lambda: shown(index.fetch(ids=["a#1", "nothing"], namespace="t").vectors["a#1"]),
        "ids": lambda: len(ids()),
        "prefixed": lambda: ids(prefix="a#24"),
        "nearest": lambda: found(vector=QUERY, filter={"n": {"$lt": 2}}),
        "like": lambda: found(id="a#249")[:1],
        "mixed": lambda: found(vector=QUERY, sparse_vector={"indices": [5], "values": [9.0]})[:1],
        "updated": lambda: done(lambda: index.update(id="a#2", set_metadata={"new": "y"}, namespace="t")),
        "merged": lambda: index.fetch(ids=["a#2"], namespace="t").vectors["a#2"].metadata,
        "sparse": sparse_matches,
        "stats": stats,
        "namespaces": namespaces,
        "deleted": lambda: done(lambda: index.delete(ids=[f"a#{n}" for n in range(10, 250)], namespace="t")),
        "rest": ids,
        **filters,
        "filtered": lambda: done(lambda: index.delete(filter={"n": {"$gte": 1}}, namespace="t")),
        "last": ids,
        "no_namespace": lambda: refused(lambda: index.delete(ids=["a"], namespace="nothing")),
        "bad_dimension": lambda: refused(lambda: index.upsert(vectors=[("a", [1.0])])),
        "too_large": lambda: refused(lambda: index.upsert(vectors=[("a", QUERY, {"text": "x" * 41_000})])),
        "wrong_key": lambda: refused(stranger.list_indexes),
        "protected": lambda: refused(lambda: pinecone.delete_index("words")),
        "gone": lambda: [done(lambda: pinecone.delete_index("clips")), pinecone.has_index("clips")],
        "no_index": lambda: refused(lambda: pinecone.describe_index("clips")),
    }
)
