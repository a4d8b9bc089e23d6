"""The API that makes, lists, describes, configures and deletes indexes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vectorferry.connector.sandbox._http import Api, RefusedError, Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._pinecone._data_plane import DataPlane
from vectorferry.connector.sandbox._pinecone._requests import (
    api_version,
    check_access,
    control_refusal,
    first_problem,
    parse_object,
)
from vectorferry.connector.sandbox._pinecone._store import Index, IndexSpec, Metric, Project

__all__ = ["ControlPlane"]


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


# The API that makes, lists, describes, configures and deletes indexes.


class ControlPlane:
    """Every index gets a port when it is made, and loses it when it is deleted.

    `open_port` serves an API and tells the port, before it is asked for anything; `close_port` ends that.
    """

    def __init__(
        self, project: Project, api_key: str, open_port: Callable[[Api], int], close_port: Callable[[int], None]
    ) -> None:
        self._project = project
        self._api_key = api_key
        self._open_port = open_port
        self._close_port = close_port

    @property
    def routes(self) -> Sequence[Route]:
        """Every endpoint about indexes."""
        return [
            Route("pinecone.indexes.list", "GET", "/indexes", self._list),
            Route("pinecone.indexes.create", "POST", "/indexes", self._create),
            Route("pinecone.indexes.get", "GET", "/indexes/{name}", self._get),
            Route("pinecone.indexes.configure", "PATCH", "/indexes/{name}", self._configure),
            Route("pinecone.indexes.delete", "DELETE", "/indexes/{name}", self._delete),
        ]

    def authorize(self, request: Request) -> None:
        """The key, and the version."""
        check_access(request, self._api_key)

    def refuse(self, refusal: RefusedError, _style: str | None = None) -> Reply:
        """The refusal with its status in the body."""
        return control_refusal(refusal)

    def _list(self, request: Request) -> Reply:
        return json_reply({"indexes": [_shown(index, request) for index in self._project.indexes.values()]})

    def _create(self, request: Request) -> Reply:
        index = self._project.add(parse_spec(request.body, api_version(request)))
        index.port = self._open_port(DataPlane(index, self._project.dialect, self._api_key))
        return json_reply(_shown(index, request), 201)

    def _get(self, request: Request) -> Reply:
        return json_reply(_shown(self._project.index(request.params[0]), request))

    def _configure(self, request: Request) -> Reply:
        index = self._project.index(request.params[0])
        wanted = parse_configure(request.body)
        tags = {key: value for key, value in {**index.spec.tags, **(wanted.tags or {})}.items() if value}
        check_tags(tags)
        index.spec.tags = tags
        if wanted.deletion_protection is not None:
            index.spec.protected = wanted.deletion_protection == "enabled"
        return json_reply(_shown(index, request))

    def _delete(self, request: Request) -> Reply:
        index = self._project.remove(request.params[0])
        self._close_port(index.port)
        return Reply(b"", 202)


def _shown(index: Index, request: Request) -> dict[str, object]:
    name = urlsplit(request.origin).hostname or "localhost"
    host = f"[{name}]" if ":" in name else name
    return index_model(index, f"http://{host}:{index.port}", api_version(request))
