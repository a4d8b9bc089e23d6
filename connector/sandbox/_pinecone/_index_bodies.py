"""Index configuration on the wire: with spec, dimension and metric up to 2026-04, with a schema since 2026-07."""

from __future__ import annotations

import re
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vectorferry.connector.sandbox._http import RefusedError
from vectorferry.connector.sandbox._pinecone._bodies import first_problem, parse_object
from vectorferry.connector.sandbox._pinecone._index import Index, IndexSpec, Metric

__all__ = ["Configure", "check_tags", "index_model", "parse_configure", "parse_spec"]

_SCHEMA_SINCE = "2026-07"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,43}[a-z0-9])?")
_ON_DEMAND = {"mode": "OnDemand", "status": {"state": "Ready"}}
_Protection = Literal["enabled", "disabled"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _DenseField(_Body):
    type: Literal["dense_vector"]
    dimension: int = Field(ge=1, le=20_000)
    metric: Metric


class _SparseField(_Body):
    type: Literal["sparse_vector"]
    metric: Literal["dotproduct"] = "dotproduct"


class _Fields(_Body):
    model_config = ConfigDict(extra="forbid", strict=True)

    dense: _DenseField | None = Field(default=None, alias="_values")
    sparse: _SparseField | None = Field(default=None, alias="_sparse_values")


class _Schema(_Body):
    fields_: _Fields = Field(alias="fields")


class _Deployment(_Body):
    deployment_type: Literal["managed"]
    cloud: str
    region: str


class _Serverless(_Body):
    cloud: str
    region: str


class _Spec(_Body):
    serverless: _Serverless


class Configure(_Body):
    """``PATCH /indexes/{name}``."""

    deletion_protection: _Protection | None = None
    tags: dict[str, str] | None = None


class _Create(_Body):
    name: str
    deletion_protection: _Protection | None = None
    tags: dict[str, str] | None = None


class _CreateBySchema(_Create):
    schema_: _Schema = Field(alias="schema")
    deployment: _Deployment

    def spec(self) -> IndexSpec:
        dense, sparse = self.schema_.fields_.dense, self.schema_.fields_.sparse
        if dense is None and sparse is None:
            raise RefusedError(400, "A schema needs _values, _sparse_values or both")
        if dense is not None and sparse is not None and dense.metric != "dotproduct":
            raise RefusedError(400, "A schema with _values and _sparse_values needs metric dotproduct")
        metric: Metric = "dotproduct" if dense is None else dense.metric
        dimension = None if dense is None else dense.dimension
        return IndexSpec(
            self.name, metric, dimension, sparse is not None, self.deployment.cloud, self.deployment.region
        )


class _CreateBySpec(_Create):
    place: _Spec = Field(alias="spec")
    dimension: int | None = Field(default=None, ge=1, le=20_000)
    metric: Metric | None = None
    vector_type: Literal["dense", "sparse"] = "dense"

    def spec(self) -> IndexSpec:
        sparse = self.vector_type == "sparse"
        if sparse == (self.dimension is not None):
            raise RefusedError(400, "A dense index needs a dimension, a sparse one has none")
        metric = self.metric or ("dotproduct" if sparse else "cosine")
        if sparse and metric != "dotproduct":
            raise RefusedError(400, "A sparse index needs metric dotproduct")
        serverless = self.place.serverless
        return IndexSpec(self.name, metric, self.dimension, sparse, serverless.cloud, serverless.region)


Body = TypeVar("Body", bound=_Body)


def parse_spec(raw: bytes, version: str) -> IndexSpec:
    """What ``POST /indexes`` asks for; raises a `RefusedError` for what cannot be made."""
    by_schema = version >= _SCHEMA_SINCE
    body = _parse(_CreateBySchema, raw) if by_schema else _parse(_CreateBySpec, raw)
    if not _NAME.fullmatch(body.name):
        message = "Name must be 1 to 45 lower case letters, digits and '-', and start and end with a letter or digit."
        raise RefusedError(400, message)
    spec = body.spec()
    spec.protected = body.deletion_protection == "enabled"
    spec.tags = dict(body.tags or {})
    check_tags(spec.tags)
    return spec


def parse_configure(raw: bytes) -> Configure:
    """What ``PATCH /indexes/{name}`` asks for."""
    return _parse(Configure, raw)


def check_tags(tags: dict[str, str]) -> None:
    """At most 20 tags, keys of up to 80 and values of up to 120 characters."""
    if len(tags) > 20 or any(not 1 <= len(key) <= 80 or len(value) > 120 for key, value in tags.items()):
        raise RefusedError(400, "At most 20 tags, with keys of 1 to 80 and values of up to 120 characters")


def index_model(index: Index, host: str, version: str) -> dict[str, Any]:
    """The index as this API version describes it."""
    spec = index.spec
    common = {
        "name": spec.name,
        "host": host,
        "status": {"ready": index.ready, "state": "Ready" if index.ready else "Initializing"},
        "deletion_protection": "enabled" if spec.protected else "disabled",
        "tags": spec.tags or None,
    }
    return {**common, **(_by_schema(spec) if version >= _SCHEMA_SINCE else _by_spec(spec))}


def _by_schema(spec: IndexSpec) -> dict[str, Any]:
    deployment = {"deployment_type": "managed", "cloud": spec.cloud, "region": spec.region}
    return {"schema": {"fields": _fields(spec)}, "deployment": deployment, "read_capacity": _ON_DEMAND}


def _by_spec(spec: IndexSpec) -> dict[str, Any]:
    serverless = {"cloud": spec.cloud, "region": spec.region, "read_capacity": _ON_DEMAND}
    kind = {"metric": spec.metric, "vector_type": spec.vector_type, "spec": {"serverless": serverless}}
    return kind if spec.dimension is None else {**kind, "dimension": spec.dimension}


def _fields(spec: IndexSpec) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if spec.dimension is not None:
        fields["_values"] = {"type": "dense_vector", "dimension": spec.dimension, "metric": spec.metric}
    if spec.sparse_field:
        fields["_sparse_values"] = {"type": "sparse_vector", "metric": "dotproduct"}
    return fields


def _parse(model: type[Body], raw: bytes) -> Body:
    try:
        return model.model_validate(parse_object(raw))
    except ValidationError as error:
        raise RefusedError(422, f"Failed to deserialize the JSON body: {first_problem(error)}") from None
