"""A sandbox with Pinecone, and the two ways to talk to it: the official SDK, and plain HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import httpx
from pinecone import Pinecone, ServerlessSpec

from tests.pinecone import pinecone_alone
from tests.waiting import PATIENCE
from vectorferry.connector.sandbox import Fault, PineconeDialect, Sandbox, running_sandbox

__all__ = ["PLACE", "SdkIndex", "World", "record", "world"]

PLACE = ServerlessSpec(cloud="aws", region="us-east-1")

# The SDK's types are unions of every kind of index there is, which would have to be narrowed in every line.
SdkIndex: TypeAlias = Any


class _Closing(Protocol):
    def close(self) -> None: ...


@dataclass
class World:
    """One running sandbox. Indexes and clients that are asked for here are closed with it."""

    sandbox: Sandbox
    pinecone: Any
    _clients: list[_Closing] = field(default_factory=list)

    def index(self, name: str = "clips", **settings: Any) -> SdkIndex:
        """A new dense index of dimension 4, or what the settings say, through the SDK."""
        if settings.get("vector_type") != "sparse":
            settings = {"dimension": 4, "metric": "cosine", **settings}
        self.pinecone.create_index(name=name, spec=PLACE, **settings)
        return self.open(name)

    def open(self, name: str, pinecone: Any = None) -> SdkIndex:
        """A client of an index that is there."""
        host = self.pinecone.describe_index(name).host
        index = (pinecone or self.pinecone).Index(host=host)
        self._clients.append(index)
        return index

    def http(self, index: str | None = None, *, key: str | None = None, version: str = "2026-07") -> httpx.Client:
        """A plain client of an index, or of the control plane."""
        url = self.sandbox.url if index is None else str(self.pinecone.describe_index(index).host)
        headers = {"Api-Key": key or self.sandbox.api_key, "X-Pinecone-Api-Version": version}
        headers["X-Sandbox-Key"] = self.sandbox.control_key
        client = httpx.Client(base_url=url, headers=headers, timeout=PATIENCE)
        self._clients.append(client)
        return client

    def plain(self, name: str = "clips", **settings: Any) -> httpx.Client:
        """A new index, and a plain client of it."""
        self.index(name, **settings)
        return self.http(name)

    def close(self) -> None:
        """Close every client."""
        for client in self._clients:
            client.close()


@contextmanager
def world(*faults: Fault, **dialect: Any) -> Iterator[World]:
    """A sandbox of this dialect with these fault rules, until the block ends."""
    settings = pinecone_alone(pinecone=PineconeDialect(**dialect), faults=faults)
    with running_sandbox(settings) as sandbox, Pinecone(api_key=sandbox.api_key, host=sandbox.url) as pinecone:
        opened = World(sandbox, pinecone)
        try:
            yield opened
        finally:
            opened.close()


def record(record_id: str, values: Sequence[float] = (1, 2, 3, 4), **metadata: Any) -> dict[str, Any]:
    """One record as the SDK and the wire take it."""
    return {"id": record_id, "values": list(values), "metadata": metadata}
