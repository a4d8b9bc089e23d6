"""Request bodies of the data plane but that of an upsert, which has too many values for a model."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from vectorferry.connector.sandbox._http import RefusedError

__all__ = [
    "Delete",
    "FetchByMetadata",
    "NewNamespace",
    "Query",
    "Update",
    "first_problem",
    "parse_body",
    "parse_object",
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class Query(_Body):
    """``POST /query``."""

    top_k: int = Field(ge=1, le=10_000)
    namespace: str | None = None
    vector: list[Any] | None = None
    sparse_vector: dict[str, Any] | None = None
    id: str | None = None
    filter: dict[str, Any] | None = None
    include_values: bool = False
    include_metadata: bool = False


class Update(_Body):
    """``POST /vectors/update``, by id or by filter."""

    namespace: str | None = None
    id: str | None = None
    values: list[Any] | None = None
    sparse_values: dict[str, Any] | None = None
    set_metadata: dict[str, Any] | None = None
    filter: dict[str, Any] | None = None
    dry_run: bool = False


class Delete(_Body):
    """``POST /vectors/delete``: ids, everything, or what a filter finds."""

    namespace: str | None = None
    ids: list[str] | None = None
    delete_all: bool = False
    filter: dict[str, Any] | None = None


class FetchByMetadata(_Body):
    """``POST /vectors/fetch_by_metadata``."""

    filter: dict[str, Any] | None = None
    namespace: str | None = None
    limit: int = Field(default=100, ge=1, le=10_000)
    pagination_token: str | None = None


class NewNamespace(_Body):
    """``POST /namespaces``. The schema is kept, and nothing else is done with it."""

    name: str
    metadata_schema: dict[str, Any] | None = Field(default=None, alias="schema")


Body = TypeVar("Body", bound=_Body)


def parse_body(model: type[Body], raw: bytes) -> Body:
    """The body as `model`; raises a `RefusedError` that names the first thing that is wrong with it."""
    try:
        return model.model_validate(parse_object(raw))
    except ValidationError as error:
        raise RefusedError(400, f"Invalid value for {first_problem(error)}") from None


def first_problem(error: ValidationError) -> str:
    """The first field that is wrong, and what is wrong with it."""
    problem = error.errors()[0]
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"


def parse_object(raw: bytes) -> dict[str, Any]:
    """A body that is a JSON object."""
    try:
        body = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError as error:
        raise RefusedError(400, f"The body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise RefusedError(400, "The body must be a JSON object")
    return body
