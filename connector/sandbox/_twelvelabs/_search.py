"""``/search``: the nearest segments of an index; ``/entity-collections``: who and what is searched for by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import groupby
from typing import Any, Final

import numpy as np

from vectorferry.connector.sandbox._http import Handlers, RefusedError, Reply, Request, json_reply
from vectorferry.connector.sandbox._twelvelabs._account import (
    Entity,
    EntityCollection,
    Index,
    IndexedAsset,
    now,
    object_id,
)
from vectorferry.connector.sandbox._twelvelabs._requests import (
    LARGEST_PAGE,
    Context,
    Form,
    flag,
    invalid,
    json_field,
    listed,
    read_form,
    required,
    sorted_by_time,
)
from vectorferry.connector.sandbox._vectors import embed_in

entities: Handlers[Context] = Handlers()
search: Handlers[Context] = Handlers()

_NEAR: Final = 0.15
"""What is further away than this is not found."""
_TOKENS: Final = 1_000
_OPTIONS: Final = {"visual", "audio", "transcription"}


@entities("twelvelabs.entity_collections.list", "GET", "/entity-collections")
def _collections(context: Context, request: Request) -> Reply:
    rows = sorted_by_time(request, context.account.entity_collections.values())
    return listed(context, request, rows, _show_collection)


@entities("twelvelabs.entities.list", "GET", "/entity-collections/{collection_id}/entities")
def _entities(context: Context, request: Request) -> Reply:
    collection_id = request.params[0]
    collection = context.account.entity_collections.get(collection_id)
    rows = context.require(collection, "entity-collections", collection_id).entities.values()
    return listed(context, request, sorted_by_time(request, rows), _show_entity)


def _show_collection(context: Context, collection: EntityCollection) -> dict[str, Any]:
    return {
        "_id": collection.collection_id,
        "name": collection.name,
        "description": collection.description,
        "created_at": context.time(collection.created_at),
        "updated_at": context.time(collection.updated_at),
    }


def _show_entity(context: Context, entity: Entity) -> dict[str, Any]:
    return {
        "_id": entity.entity_id,
        "entity_collection_id": entity.collection_id,
        "name": entity.name,
        "description": entity.description,
        "metadata": entity.metadata,
        "asset_ids": list(entity.asset_ids),
        "status": entity.status,
        "created_at": context.time(entity.created_at),
        "updated_at": context.time(entity.updated_at),
    }


# Search, page by page behind tokens.


@dataclass(frozen=True, slots=True)
class Hit:
    """A segment that is near; the nearest has rank 1."""

    asset: IndexedAsset
    start: float
    end: float
    rank: int


@dataclass(frozen=True, slots=True)
class _Results:
    index: Index
    rows: Sequence[dict[str, Any]]
    total: int
    metadata: dict[str, dict[str, Any]]
    limit: int
    start: int = 0


@search("twelvelabs.search.create", "POST", "/search")
def _create(context: Context, request: Request) -> Reply:
    # The first page of a search.
    form = read_form(request)
    options = form.get("search_options", [])
    if not options or not set(options) <= _OPTIONS:
        raise invalid("search_options", f"It must be one or more of {', '.join(sorted(_OPTIONS))}.")
    index = context.index(required(form, "index_id"))
    hits = _hits(index, _words(context, form), options, json_field(form, "filter"))
    results = _Results(
        index,
        _grouped(context, hits) if form.get("group_by") == ["video"] else [_show(context, hit) for hit in hits],
        len(hits),
        {hit.asset.indexed_asset_id: hit.asset.user_metadata for hit in hits},
        _limit(form),
    )
    return _page(context, results, with_metadata=form.get("include_user_metadata") == ["true"])


@search("twelvelabs.search.get", "GET", "/search/{page_token}")
def _get(context: Context, request: Request) -> Reply:
    # The page that a token stands for.
    results = context.searches.get(request.params[0])
    if results is None:
        raise RefusedError(400, "The page token has expired.", kind="search_page_token_expired")
    return _page(context, results, with_metadata=flag(request, "include_user_metadata"))


def _words(context: Context, form: Form) -> str:
    # A picture is searched for by the words of its address.
    words = form["query_text"][0] if "query_text" in form else required(form, "query_media_url")
    for collection in context.account.entity_collections.values():
        for entity in collection.entities.values():
            words = words.replace(f"<@{entity.entity_id}>", entity.name)
    return words


def _limit(form: Form) -> int:
    text = form.get("page_limit", ["10"])[0]
    if not text.isdecimal() or not 0 < int(text) <= LARGEST_PAGE:
        raise invalid("page_limit", f"It must be from 1 to {LARGEST_PAGE}.")
    return int(text)


def _page(context: Context, results: _Results, *, with_metadata: bool) -> Reply:
    rows = results.rows[results.start : results.start + results.limit]
    if with_metadata:
        rows = [{**row, "user_metadata": results.metadata[row.get("video_id") or row["id"]]} for row in rows]
    index = results.index
    seconds = sum(one.system_metadata.get("duration") or 0 for one in index.assets.values())
    pool = {"total_count": len(index.assets), "total_duration": seconds, "index_id": index.index_id}
    info = {"limit_per_page": results.limit, "total_results": results.total, **_next(context, results)}
    return json_reply({"search_pool": pool, "data": rows, "page_info": info})


def _next(context: Context, results: _Results) -> dict[str, str]:
    following = replace(results, start=results.start + results.limit)
    if following.start >= len(results.rows):
        return {}
    token = object_id("page", len(context.searches), now(), following.start)
    context.searches[token] = following
    if len(context.searches) > _TOKENS:
        context.searches.popitem(last=False)
    return {"next_page_token": token, "page_expires_at": context.time(now() + timedelta(minutes=10))}


def _grouped(context: Context, hits: Sequence[Hit]) -> list[dict[str, Any]]:
    order = {hit.asset.indexed_asset_id: hit.rank for hit in reversed(hits)}
    together = sorted(hits, key=lambda hit: (order[hit.asset.indexed_asset_id], hit.rank))
    groups = groupby(together, key=lambda hit: hit.asset.indexed_asset_id)
    return [{"id": video_id, "clips": [_show(context, hit) for hit in clips]} for video_id, clips in groups]


def _show(context: Context, hit: Hit) -> dict[str, Any]:
    utterances = " ".join(one.value for one in hit.asset.utterances if one.start < hit.end and one.end > hit.start)
    shown = {
        "start": hit.start,
        "end": hit.end,
        "video_id": hit.asset.indexed_asset_id,
        "rank": hit.rank,
        "thumbnail_url": context.signed(f"https://media.example.com/{hit.asset.indexed_asset_id}.jpg"),
    }
    return {**shown, "transcription": utterances} if utterances else shown


def _hits(index: Index, text: str, options: Sequence[str], conditions: Mapping[str, Any]) -> list[Hit]:
    """The segments that are near, the nearest first, each stretch of time once."""
    best: dict[tuple[str, float, float], tuple[float, IndexedAsset]] = {}
    for score, asset, span in _scored(index, text, options, conditions):
        key = (asset.indexed_asset_id, *span)
        if score > _NEAR and score > best.get(key, (0.0, asset))[0]:
            best[key] = score, asset
    ordered = sorted(best.items(), key=lambda one: (-one[1][0], one[0]))
    return [Hit(asset, key[1], key[2], rank) for rank, (key, (_, asset)) in enumerate(ordered, 1)]


def _scored(
    index: Index, text: str, options: Sequence[str], conditions: Mapping[str, Any]
) -> Iterator[tuple[float, IndexedAsset, tuple[float, float]]]:
    query = embed_in(text, index.model_name, index.dimension)
    for asset in index.assets.values():
        if asset.status != "ready" or not _fits(asset, conditions):
            continue
        for segment in asset.segments:
            vector = segment.vector.dense() if segment.option in options else None
            if vector is not None and vector.shape == query.shape:
                yield float(np.dot(vector, query)), asset, (segment.start, segment.end)


def _fits(asset: IndexedAsset, conditions: Mapping[str, Any]) -> bool:
    fields = {**asset.user_metadata, **asset.system_metadata, "id": asset.indexed_asset_id}
    return all(_holds(fields.get(name), condition) for name, condition in conditions.items())


def _holds(value: Any, condition: Any) -> bool:
    if isinstance(condition, dict):
        least, most = condition.get("gte", -np.inf), condition.get("lte", np.inf)
        if not isinstance(least, int | float) or not isinstance(most, int | float):
            raise invalid("filter", "gte and lte must be numbers.")
        return isinstance(value, int | float) and least <= value <= most
    return value in condition if isinstance(condition, list) else bool(value == condition)
