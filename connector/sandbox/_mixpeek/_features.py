"""Features, with their vectors when they are asked for."""

from __future__ import annotations

from itertools import islice

from vectorferry.connector.sandbox._edits import bump
from vectorferry.connector.sandbox._http import Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._library import StoredFeature
from vectorferry.connector.sandbox._mixpeek._bodies import FeatureList, MetadataUpdate, parse_body
from vectorferry.connector.sandbox._mixpeek._context import Context
from vectorferry.connector.sandbox._mixpeek._filters import matches, select, sort_rows
from vectorferry.connector.sandbox._mixpeek._paging import Page, page_url, query_flag

__all__ = ["FeatureHandlers"]


class FeatureHandlers:
    """``/features``, search apart."""

    def __init__(self, context: Context) -> None:
        self._context = context
        both = ("include_vectors", "return_vectors")
        self._flags = both if context.dialect.vector_flag == "both" else (context.dialect.vector_flag,)

    def routes(self) -> list[Route]:
        """Every route under ``/features`` but those of search."""
        return [
            Route("features.list", "POST", "/features", self.page),
            Route("features.get", "GET", "/features/{feature_id}", self.get),
            Route("features.update", "PUT", "/features/{feature_id}", self.update),
            Route("features.delete", "DELETE", "/features/{feature_id}", self.delete),
        ]

    def get(self, request: Request) -> Reply:
        """One feature, with `vectors` when a flag that this dialect honours says so."""
        feature = self._context.feature(request.params[0])
        shown = self._context.show_feature(feature)
        if any(query_flag(request, flag) for flag in self._flags):
            vectors = {name: source.json() for name, source in feature.vectors.items()}
            shown = {**shown, "vectors": vectors}
        return json_reply(shown)

    def page(self, request: Request) -> Reply:
        """Some features from `offset_feature_id` on, never with vectors."""
        body = parse_body(FeatureList, request.body, self._context.dialect)
        asked = Page.asked(request, self._context.dialect.page_size_cap)
        found = self._chosen(body)
        start = self._start(found, request)
        page = Page(start // asked.size + 1, asked.size)
        rows = islice(found, start, start + page.size)
        shown = [select(self._context.show_feature(one, signed=body.return_urls), body.select) for one in rows]
        pagination = page.pagination(len(found), page_url(request, "/features"), number_key="current_page")
        return json_reply({"results": shown, "pagination": pagination})

    def update(self, request: Request) -> Reply:
        """New metadata for a feature."""
        body = parse_body(MetadataUpdate, request.body, self._context.dialect)
        feature = self._context.feature(request.params[0])
        feature.fields["metadata"] = body.metadata
        bump(self._context.library.assets[feature.asset_id])
        return json_reply(self._context.show_feature(feature))

    def delete(self, request: Request) -> Reply:
        """Delete one feature."""
        feature = self._context.feature(request.params[0])
        self._context.library.remove_feature(feature.feature_id)
        bump(self._context.library.assets[feature.asset_id])
        return json_reply(None)

    def _chosen(self, body: FeatureList) -> list[StoredFeature]:
        every = self._context.library.walk(self._context.library.named(body.names()))
        return sort_rows((one for one in every if matches(one.fields, body.filters)), body.sort, _fields)

    def _start(self, features: list[StoredFeature], request: Request) -> int:
        offset = request.query.get("offset_feature_id")
        if offset is None:
            return 0
        position = next((n for n, feature in enumerate(features) if feature.feature_id == offset), len(features))
        return max(0, position + (not self._context.dialect.offset_inclusive) - request.shifted_rows)


def _fields(feature: StoredFeature) -> dict[str, object]:
    return feature.fields
