"""The API that makes, lists, describes, configures and deletes indexes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from vectorferry.connector.sandbox._http import Api, RefusedError, Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._pinecone._access import api_version, check_access
from vectorferry.connector.sandbox._pinecone._data_plane import DataPlane
from vectorferry.connector.sandbox._pinecone._errors import control_refusal
from vectorferry.connector.sandbox._pinecone._index import Index
from vectorferry.connector.sandbox._pinecone._index_bodies import check_tags, index_model, parse_configure, parse_spec
from vectorferry.connector.sandbox._pinecone._project import Project

__all__ = ["ControlPlane"]


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
