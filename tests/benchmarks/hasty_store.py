"""A sandbox whose Pinecone answers an upsert as soon as it has read it, and parses it when somebody looks.

One process has to play what many machines of Pinecone's do. Where it parses every record before it answers, its CPU is
what a client waits for, and quick clients cannot be told apart.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final

from vectorferry.connector.sandbox import PineconeInspector, SandboxSettings, _sandbox, serve
from vectorferry.connector.sandbox._http import Answer, Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._pinecone import _api

from ..forking import Forked

__all__ = ["hasty_store"]

_UPSERT: Final = "pinecone.upsert"
_RECORD: Final = b'"id":'
"""Once in each record: `"asset_id":` does not hold it."""

_SERVE = "import sys; from tests.benchmarks.hasty_store import serve_hastily; serve_hastily(sys.argv[1])"


@contextmanager
def hasty_store(settings: SandboxSettings) -> Iterator[str]:
    """Serve in a process of its own until the block ends; yields the address."""
    with Forked([sys.executable, "-c", _SERVE, settings.model_dump_json()], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


class _HastyPlane(_api.DataPlane):
    """An index that writes nothing before it has to."""

    unwritten: Final[list[Callable[[], Reply]]] = []

    @property
    def routes(self) -> Sequence[Route]:
        routes = super().routes
        return [replace(each, answer=self._hasty(each.answer)) if each.name == _UPSERT else each for each in routes]

    def _hasty(self, write: Answer) -> Answer:
        def answer(request: Request) -> Reply:
            self.unwritten.append(partial(write, request))
            reply = json_reply({"upsertedCount": request.body.count(_RECORD)})
            reply.headers = {"x-pinecone-request-lsn": str(len(self.unwritten))}
            return reply

        return answer


class _LateInspector(PineconeInspector):
    """Looks when everything has been written."""

    def digests(self, index: str) -> dict[str, dict[str, Any]]:
        for write in _HastyPlane.unwritten:
            assert write().status == 200
        _HastyPlane.unwritten.clear()
        return super().digests(index)


def serve_hastily(settings: str) -> None:
    """Serve until SIGTERM; prints the address."""
    vars(_api)["DataPlane"], vars(_sandbox)["PineconeInspector"] = _HastyPlane, _LateInspector
    serve(SandboxSettings.model_validate_json(settings), on_ready=lambda sandbox: print(sandbox.url, flush=True))
