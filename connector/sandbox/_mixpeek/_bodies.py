"""Request bodies, checked the way FastAPI checks them."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vectorferry.connector.sandbox._http import RefusedError
from vectorferry.connector.sandbox._settings import MixpeekDialect

__all__ = ["AssetList", "Embed", "FeatureList", "MetadataUpdate", "Query", "Search", "TextSearch", "parse_body"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow")


class _InCollections(_Body):
    collections: list[str] | None = None
    collection_ids: list[str] | None = None
    filters: dict[str, Any] | None = None
    sort: dict[str, Any] | None = None
    select: list[Any] | None = None

    def names(self) -> list[str]:
        """The collections asked for, under whichever name."""
        return [*(self.collections or ()), *(self.collection_ids or ())]


class AssetList(_InCollections):
    """``POST /assets``."""

    group_by: dict[str, Any] | None = None
    return_url: bool | None = False


class FeatureList(_InCollections):
    """``POST /features``."""

    return_urls: bool = False


class TextSearch(_InCollections):
    """``POST /features/search/text``, of November 2024."""

    query: str
    model_id: str = "multimodal-v1"
    search_type: Literal["semantic", "fulltext"] = "semantic"
    group_by: dict[str, Any] | None = None


class QuerySettings(_Body):
    """How far one query looks."""

    limit: int | None = 100
    min_score: float | None = None
    modality: str | None = None


class Query(_Body):
    """One of the queries that a search fuses."""

    embedding_model: str
    value: str
    type: Literal["text", "url", "base64"]
    filters: dict[str, Any] | None = None
    settings: QuerySettings | None = None


class Search(_InCollections):
    """``POST /features/search``, from December 2024."""

    queries: list[Query] | None = Field(default_factory=list)
    group_by: dict[str, Any] | None = None
    reranking_options: dict[str, Any] | None = None
    session_id: str | None = None
    return_url: bool | None = False


class Embed(_Body):
    """``POST /features/extractors/embed``."""

    type: Literal["url", "text", "file", "base64"]
    value: str | None = None
    embedding_model: str


class MetadataUpdate(_Body):
    """``PUT`` or ``PATCH`` of an asset or a feature."""

    metadata: dict[str, Any] = Field(default_factory=dict)
    propagate_features: bool | None = False


Body = TypeVar("Body", bound=_Body)


def parse_body(model: type[Body], raw: bytes, dialect: MixpeekDialect) -> Body:
    """The body as `model`; raises a `RefusedError` with status 422 and FastAPI's list of what is wrong."""
    try:
        body = model.model_validate(orjson.loads(raw) if raw else {})
    except orjson.JSONDecodeError as error:
        raise _unprocessable([_problem((error.pos,), "JSON decode error", "json_invalid")]) from None
    except ValidationError as error:
        raise _unprocessable([_problem(one["loc"], one["msg"], one["type"]) for one in error.errors()]) from None
    _check_keys(body, dialect)
    return body


def _check_keys(body: _Body, dialect: MixpeekDialect) -> None:
    unknown = set(body.model_extra or ())
    if isinstance(body, _InCollections) and dialect.body_field != "both":
        other = "collection_ids" if dialect.body_field == "collections" else "collections"
        unknown |= {other} & body.model_fields_set
        setattr(body, other, None)
    if unknown and dialect.refuse_unknown_keys:
        refused = (_problem((key,), "Extra inputs are not permitted", "extra_forbidden") for key in sorted(unknown))
        raise _unprocessable(list(refused))
    if isinstance(body, _InCollections) and body.collections is None and body.collection_ids is None:
        wanted = "collections" if dialect.body_field == "both" else dialect.body_field
        raise _unprocessable([_problem((wanted,), "Field required", "missing")])


def _problem(where: tuple[str | int, ...], message: str, kind: str) -> dict[str, Any]:
    return {"loc": ["body", *where], "msg": message, "type": kind}


def _unprocessable(problems: list[dict[str, Any]]) -> RefusedError:
    return RefusedError(422, problems[0]["msg"], details=problems)
