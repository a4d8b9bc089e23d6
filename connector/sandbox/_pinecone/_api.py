"""Pinecone's two APIs: one makes, lists, describes, configures and deletes indexes; the other is each index's own."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vectorferry.connector.sandbox._http import Api, RefusedError, Reply, Request, Route, json_object, json_reply
from vectorferry.connector.sandbox._pinecone._reads import reads
from vectorferry.connector.sandbox._pinecone._requests import Context, Rates, first_problem
from vectorferry.connector.sandbox._pinecone._store import Index, IndexSpec, Metric, Project
from vectorferry.connector.sandbox._pinecone._writes import writes
from vectorferry.connector.sandbox._settings import PineconeDialect

Handle: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
_VERSION = re.compile(r"\d{4}-\d{2}(\.\w+)?")
_OLDEST = "2025-04"
_RPC_CODES = {400: 3, 403: 7, 404: 5, 405: 12, 408: 4, 409: 6, 412: 9, 429: 8, 501: 12, 503: 14, 504: 4}
_INTERNAL = 13
_KINDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    422: "UNPROCESSABLE_ENTITY",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}


def _check_access(request: Request, api_key: str) -> None:
    """Raises a `RefusedError` without the right key, or with a version that is none."""
    if request.headers.get("Api-Key") != api_key:
        raise RefusedError(401, "Invalid API key.")
    if not _VERSION.fullmatch(_api_version(request)):
        raise RefusedError(400, f"Unknown X-Pinecone-Api-Version {_api_version(request)[:20]!r}")


def _api_version(request: Request) -> str:
    """Such as ``2026-07``; the oldest one that is served when the request names none."""
    return request.headers.get("X-Pinecone-Api-Version", _OLDEST)


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
        _check_access(request, self._api_key)

    def refuse(self, refusal: RefusedError) -> Reply:
        """``{"status": 404, "error": {"code": "NOT_FOUND", "message": "…"}}``."""
        code = refusal.kind or _KINDS.get(refusal.status, "UNKNOWN")
        return json_reply(
            {"status": refusal.status, "error": {"code": code, "message": refusal.message}}, refusal.status
        )

    def _list(self, request: Request) -> Reply:
        return json_reply({"indexes": [_shown(index, request) for index in self._project.indexes.values()]})

    def _create(self, request: Request) -> Reply:
        index = self._project.add(_parse_spec(request.body, _api_version(request)))
        index.port = self._open_port(DataPlane(index, self._project.dialect, self._api_key))
        return json_reply(_shown(index, request), 201)

    def _get(self, request: Request) -> Reply:
        return json_reply(_shown(self._project.index(request.params[0]), request))

    def _configure(self, request: Request) -> Reply:
        index = self._project.index(request.params[0])
        configured = _parse(_Configure, request.body)
        tags = {key: value for key, value in {**index.spec.tags, **(configured.tags or {})}.items() if value}
        _check_tags(tags)
        index.spec.tags = tags
        if configured.deletion_protection is not None:
            index.spec.protected = configured.deletion_protection == "enabled"
        return json_reply(_shown(index, request))

    def _delete(self, request: Request) -> Reply:
        index = self._project.remove(request.params[0])
        self._close_port(index.port)
        return Reply(b"", 202)


def _shown(index: Index, request: Request) -> dict[str, object]:
    name = urlsplit(request.origin).hostname or "localhost"
    host = f"[{name}]" if ":" in name else name
    return _index_model(index, f"http://{host}:{index.port}", _api_version(request))


class DataPlane:
    """Vectors of one index, as every API version from 2025-04 to 2026-07 serves them."""

    def __init__(self, index: Index, dialect: PineconeDialect, api_key: str) -> None:
        self._context = Context(index, dialect, Rates(dialect.rates))
        self._api_key = api_key

    @property
    def routes(self) -> Sequence[Route]:
        """Every endpoint of the index."""
        return [route for handlers in (writes, reads) for route in handlers.routes(lambda _request: self._context)]

    def authorize(self, request: Request) -> None:
        """The key, and the version."""
        _check_access(request, self._api_key)

    def refuse(self, refusal: RefusedError) -> Reply:
        """gRPC's status as JSON; a 401 is plain text, a 413 has no body at all."""
        if refusal.status == 413:
            return Reply(b"", 413)
        if refusal.status == 401:
            return Reply(b"Unauthorized", 401, content_type="text/plain")
        code = int(refusal.kind) if refusal.kind else _RPC_CODES.get(refusal.status, _INTERNAL)
        reply = json_reply({"code": code, "message": refusal.message, "details": []}, refusal.status)
        reply.headers = refusal.headers
        return reply


_LONGEST_URL = 1_048_576  # a fetch names up to 1,000 ids of 512 characters in its query string


class IndexPorts:
    """Serves each API that it is given on a port of its own. To be used in one running event loop."""

    def __init__(self, host: str, answering: Callable[[Api], Handle]) -> None:
        self._host = host
        self._answering = answering
        self._serving: dict[int, asyncio.Task[web.ServerRunner]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def open(self, api: Api) -> int:
        """Serve `api`; who connects before the server runs waits in the socket's queue."""
        family, _, _, _, address = socket.getaddrinfo(self._host, 0, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=family, backlog=128)
        port: int = listening.getsockname()[1]
        self._serving[port] = asyncio.create_task(_serve(self._answering(api), listening))
        return port

    def close(self, port: int) -> None:
        """Stop serving on this port and drop its connections, soon."""
        task = asyncio.create_task(_stop(self._serving.pop(port)))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Stop serving on every port."""
        for port in list(self._serving):
            self.close(port)
        await asyncio.gather(*self._closing)


async def _serve(answer: Handle, listening: socket.socket) -> web.ServerRunner:
    server = web.Server(answer, access_log=None, max_line_size=_LONGEST_URL)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    return runner


async def _stop(serving: asyncio.Task[web.ServerRunner]) -> None:
    runner = await serving
    await runner.cleanup()


# Bodies of the control plane, by schema from version 2026-07 on.

_SCHEMA_SINCE = "2026-07"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,43}[a-z0-9])?")
_ON_DEMAND = {"mode": "OnDemand", "status": {"state": "Ready"}}
_Protection: TypeAlias = Literal["enabled", "disabled"]


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


class _Configure(_Body):
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


def _parse_spec(raw: bytes, version: str) -> IndexSpec:
    """What ``POST /indexes`` asks for; raises a `RefusedError` for what cannot be made."""
    by_schema = version >= _SCHEMA_SINCE
    body = _parse(_CreateBySchema, raw) if by_schema else _parse(_CreateBySpec, raw)
    if not _NAME.fullmatch(body.name):
        message = "Name must be 1 to 45 lower case letters, digits and '-', and start and end with a letter or digit."
        raise RefusedError(400, message)
    spec = body.spec()
    spec.protected = body.deletion_protection == "enabled"
    spec.tags = dict(body.tags or {})
    _check_tags(spec.tags)
    return spec


def _check_tags(tags: dict[str, str]) -> None:
    """At most 20 tags, keys of up to 80 and values of up to 120 characters."""
    if len(tags) > 20 or any(not 1 <= len(key) <= 80 or len(value) > 120 for key, value in tags.items()):
        raise RefusedError(400, "At most 20 tags, with keys of 1 to 80 and values of up to 120 characters")


def _index_model(index: Index, host: str, version: str) -> dict[str, Any]:
    """The index as this API version describes it."""
    spec = index.spec
    common = {
        "name": spec.name,
        "host": host,
        "status": {"ready": True, "state": "Ready"},
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
        return model.model_validate(json_object(raw or b"{}"))
    except ValidationError as error:
        raise RefusedError(422, f"Failed to deserialize the JSON body: {first_problem(error)}") from None
