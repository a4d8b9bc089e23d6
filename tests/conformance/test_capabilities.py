"""What a source or destination declares it can do is what it does, and one that declares nothing still works."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.connector.worlds import Scripted, assets
from vectorferry import ConfigurationError
from vectorferry.connector.plugin import (
    Applied,
    Batch,
    Capability,
    Destination,
    Known,
    NotSupportedError,
    SchemaMapping,
    SearchAnswer,
    SearchQuery,
    Source,
    Status,
)
from vectorferry.connector.sources.mixpeek._source import MixpeekSource
from vectorferry.connector.sources.mixpeek_documents import MixpeekDocumentsSource
from vectorferry.connector.sources.sandbox._source import SandboxSource
from vectorferry.connector.sources.twelvelabs._source import TwelveLabsSource
from vectorferry.connector.testing import MemoryDestination, MemorySource, plan, sync, verify
from vectorferry.destinations.pgvector import PgvectorDestination
from vectorferry.destinations.pinecone import PineconeDestination

DESTINATIONS: Final[Mapping[str, type[Destination]]] = {
    "memory": MemoryDestination,
    "pgvector": PgvectorDestination,
    "pinecone": PineconeDestination,
}
SOURCES: Final[Sequence[type[Source]]] = (
    MemorySource,
    SandboxSource,
    MixpeekSource,
    MixpeekDocumentsSource,
    TwelveLabsSource,
)

SUITES: Final = {
    Capability.CONTENTS: "test_verifiable",
    Capability.CURSORS: "test_cursors",
    Capability.LOCK: "test_lockable",
    Capability.ORIGINS: "test_origins",
    Capability.PLAN: "test_plannable",
    Capability.QUARANTINE: "test_quarantined",
    Capability.RELATED_TABLES: "test_related",
    Capability.RUNS: "test_runs",
    Capability.SHARDS: "test_shards",
    Capability.STORED_ASSETS: "test_stored_assets",
    Capability.STORED_COLLECTIONS: "test_destinations",
    Capability.TOMBSTONES: "test_tombstones",
    Capability.VERIFY: "test_verifiable",
}
"""The conformance suite of each; the tables of vectors are pgvector's alone, and the tests of these are its own."""


def methods(base: type) -> dict[Capability, list[str]]:
    """The optional methods, by the capability that begins their docstring."""
    by_capability: dict[Capability, list[str]] = {}
    for name, method in vars(base).items():
        if found := re.match(r"`([A-Z_]+)`: ", inspect.getdoc(method) or ""):
            by_capability.setdefault(Capability[found[1]], []).append(name)
    return by_capability


def test_every_capability_has_methods() -> None:
    assert methods(Destination).keys() | methods(Source).keys() == set(Capability)
    assert not methods(Destination).keys() & methods(Source).keys()


@pytest.mark.parametrize("kind", [*DESTINATIONS.values(), *SOURCES])
def test_what_is_declared_is_what_is_overridden(kind: type[Destination] | type[Source]) -> None:
    declared, base = kind.capabilities, Destination if issubclass(kind, Destination) else Source
    for capability, names in methods(base).items():
        for name in names:
            overridden = getattr(kind, name) is not getattr(base, name)
            assert overridden == (capability in declared), f"{kind.__name__}.{name}"


@pytest.mark.parametrize("capability", SUITES)
def test_whoever_declares_one_is_in_its_suite(capability: Capability) -> None:
    suite = (Path(__file__).parent / f"{SUITES[capability]}.py").read_text()
    # What a suite opens by the common fixture is made in conftest.py.
    uses_common = re.search(r"\b(opened|prepared): Open\b", suite)
    common = (Path(__file__).parent / "conftest.py").read_text() if uses_common else ""
    nodes = [*ast.walk(ast.parse(suite)), *ast.walk(ast.parse(common))]
    params = [each.value for each in nodes if isinstance(each, ast.keyword) and each.arg == "params"]
    tested = {each.value for param in params for each in ast.walk(param) if isinstance(each, ast.Constant)}
    assert tested >= {name for name, kind in DESTINATIONS.items() if capability in kind.capabilities}


class Least(Destination):
    """A third party's, with what every destination must have and nothing else; `inner` does the work."""

    def __init__(self) -> None:
        self.inner = MemoryDestination()

    @property
    def name(self) -> str:
        return "least"

    def prepare(self, mapping: SchemaMapping) -> None:
        self.inner.prepare(mapping)

    def known(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Known]:
        return self.inner.known(collection, asset_ids)

    def apply(self, batch: Batch) -> Applied:
        return self.inner.apply(batch)

    def asset_ids(self, collection: str) -> Iterable[str]:
        return self.inner.asset_ids(collection)

    def remove(self, collection: str, asset_ids: Sequence[str]) -> Applied:
        return self.inner.remove(collection, asset_ids)

    def quarantined(self, collection: str) -> int:
        return self.inner.quarantined(collection)

    def status(self) -> Status:
        return self.inner.status()

    def search(self, query: SearchQuery) -> SearchAnswer:
        return self.inner.search(query)

    def close(self) -> None:
        self.inner.close()


async def test_a_destination_with_the_required_methods_alone_is_synced() -> None:
    source, least = Scripted({"c": assets(9)}), Least()
    assert (await sync(source, [least], name="m")).exit_code == 0
    assert len(list(least.asset_ids("c"))) == 9
    again = (await sync(source, [least], name="m")).destinations["least"].applied
    assert (again.assets.unchanged, again.assets.updated) == (9, 0)
    source.assets["c"].pop("a0003")
    assert (await sync(source, [least], name="m")).destinations["least"].applied.assets.deleted == 1


@pytest.mark.parametrize(("check", "capability"), [(plan, Capability.PLAN), (verify, Capability.VERIFY)])
async def test_what_it_does_not_declare_is_refused_by_name(check: Callable[..., Any], capability: Capability) -> None:
    with pytest.raises(NotSupportedError, match=f"^least: {capability.value}$") as refused:
        await check(Scripted({"c": []}), [Least()], name="m")
    assert isinstance(refused.value, ConfigurationError)


def test_every_optional_method_of_it_says_so() -> None:
    least = Least()
    for capability, names in methods(Destination).items():
        for name in names:
            parameters = inspect.signature(getattr(least, name)).parameters.values()
            given = {each.name: None for each in parameters if each.default is each.empty}
            with pytest.raises(NotSupportedError, match=re.escape(capability.value)):
                getattr(least, name)(**given)
