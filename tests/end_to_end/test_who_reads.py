"""A key that sees less, another namespace, account or address: over HTTP, for both sources, nothing is deleted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import psycopg
import pytest

from vectorferry import SyncSettings, parse_settings, run_sync
from vectorferry.connector._engine import run_plan
from vectorferry.connector.plugin import DeleteGuard
from vectorferry.connector.sandbox import (
    GeneratedCatalogue,
    GeneratedDocuments,
    GeneratedIndexes,
    MixpeekDialect,
    MixpeekDocumentsDialect,
    Sandbox,
    SandboxKey,
    SandboxSettings,
    running_sandbox,
)
from vectorferry.connector.testing import MemoryDestination
from vectorferry.destinations import PgvectorDestination

from ..examples import family
from .command import KEY, Command

ASSETS = 100
SHARES = (0.99, 0.95, 0.81)
"""What is left of them: the last one is just within what the guard lets go."""

OTHER_KEY = "another-canary-4712"


def served(assets: int = ASSETS, **more: Any) -> SandboxSettings:
    """So many assets, and keys of another account and namespaces that show each share of them."""
    keys = tuple(SandboxKey(api_key=f"{OTHER_KEY}-{share}", organization="org_other", share=share) for share in SHARES)
    return SandboxSettings(
        **{
            "api_key": KEY,
            "keys": keys,
            "mixpeek": MixpeekDialect(
                namespaces=("default", *map(str, SHARES)), namespace_shares={str(share): share for share in SHARES}
            ),
            "generate": GeneratedCatalogue(assets=assets, features_per_asset=1, dimension=4, collections=("ads",)),
            "documents": MixpeekDocumentsDialect(
                document_counts=False, namespace_shares={str(share): share for share in SHARES}
            ),
            "generate_documents": GeneratedDocuments(
                documents=2 * assets, documents_per_object=2, dimension=4, collections=("ads",), namespace="default"
            ),
            "generate_twelvelabs": GeneratedIndexes(
                assets=assets, segments_per_asset=1, dimension=4, indexes=("ads",), options=("visual",)
            ),
            **more,
        }
    )


class Syncs:
    """Syncs of one service into one destination in memory, each with other settings of the source."""

    def __init__(self, service: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        self.service, self.sandbox = service, sandbox
        self.store = MemoryDestination("pgvector")
        monkeypatch.setattr("vectorferry.destinations.pgvector._settings.PgvectorSettings.open", lambda *_: self.store)

    def settings(self, sandbox: Sandbox | None = None, **source: Any) -> SyncSettings:
        reached = sandbox or self.sandbox
        urls = {"twelvelabs": reached.twelvelabs_url, "mixpeek-documents": reached.documents_url}
        url = urls.get(self.service, reached.url)
        if self.service == "mixpeek-documents":
            source = {"namespace": "default", **source}
        read = {"type": self.service, "base_url": url, "api_key": KEY, **source}
        return parse_settings({"name": "media", "source": read, "destinations": [{"type": "pgvector"}]}, "test")

    @property
    def held(self) -> int:
        return sum(map(len, self.store.assets.values()))


@pytest.fixture(params=family(["mixpeek", "mixpeek-documents", "twelvelabs"]))
def syncs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Syncs]:
    """A service that has been synced whole."""
    with running_sandbox(served()) as sandbox:
        syncs = Syncs(request.param, sandbox, monkeypatch)
        assert run_sync(syncs.settings()).exit_code == 0
        assert syncs.held == ASSETS
        yield syncs


def refused(syncs: Syncs, settings: SyncSettings, share: float, *changes: str) -> None:
    """A plan and a sync say that nothing goes, and it does not."""
    gone = ASSETS - round(share * ASSETS)
    generous = settings.model_copy(update={"deletes": DeleteGuard(max_share=1)})
    announced, summary = run_plan(generous), run_sync(generous)
    assert (announced.exit_code, summary.exit_code, syncs.held) == (4, 4, ASSETS)
    (collection,) = summary.collections.values()
    (planned,) = announced.collections.values()
    assert collection.note is not None
    assert f"{gone} of {ASSETS} assets would go" in collection.note
    assert list(collection.origin_changes["pgvector"]) == list(changes)
    told = planned.deletes["pgvector"].refusal
    assert told is not None
    assert collection.note.endswith(told)
    for text in (repr(summary.to_dict()), repr(announced.to_dict()), repr(syncs.store.origins)):
        assert KEY not in text
        assert OTHER_KEY not in text


def test_another_key(syncs: Syncs) -> None:
    changes = ["another key"]
    if syncs.service == "mixpeek":
        changes.append("organization: org_sandbox -> org_other")
    for share in SHARES:
        other = syncs.settings(api_key=f"{OTHER_KEY}-{share}")
        refused(syncs, other, share, *changes)
    allowed = other.model_copy(update={"deletes": other.deletes.allowing(0.2)})
    assert run_sync(allowed).exit_code == 0
    assert syncs.held == 81
    assert run_sync(other).exit_code == 0


@pytest.mark.long
def test_another_address(syncs: Syncs) -> None:
    here = syncs.settings().source.model_dump()["base_url"]
    for share in SHARES:
        with running_sandbox(served(round(share * ASSETS))) as sandbox:
            other = syncs.settings(sandbox)
            refused(syncs, other, share, f"base_url: {here} -> {other.source.model_dump()['base_url']}")


@pytest.mark.parametrize("syncs", family(["mixpeek", "mixpeek-documents"]), indirect=True)
@pytest.mark.long
def test_another_namespace(syncs: Syncs) -> None:
    before = "the key's own" if syncs.service == "mixpeek" else "default"
    for share in SHARES:
        refused(syncs, syncs.settings(namespace=str(share)), share, f"namespace: {before} -> {share}")


def test_nothing_changed(syncs: Syncs) -> None:
    """Deletes below the guard's share go on as ever."""
    if syncs.service == "mixpeek":
        editor: Any = syncs.sandbox.mixpeek
        ids, remove = editor.asset_ids("ads"), editor.remove_asset
    elif syncs.service == "mixpeek-documents":
        editor = syncs.sandbox.documents
        ids, remove = editor.asset_ids("ads"), editor.remove_asset
    else:
        editor = syncs.sandbox.twelvelabs
        ids, remove = editor.asset_ids(editor.index_id("ads")), editor.remove_asset
    for share in SHARES:
        while len(ids) > round(share * ASSETS):
            remove(ids.pop())
        summary = run_sync(syncs.settings())
        (collection,) = summary.collections.values()
        assert (summary.exit_code, collection.note, syncs.held) == (0, None, len(ids))


def test_the_same_key_in_another_organization(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key may change its account; no other part of what is known changes then."""
    with running_sandbox(served()) as sandbox:
        syncs = Syncs("mixpeek", sandbox, monkeypatch)
        run_sync(syncs.settings())
        (collection,) = syncs.store.origins
        syncs.store.record_origin(collection, {**syncs.store.origins[collection], "organization": "org_before"})
        sandbox.mixpeek.remove_asset(sandbox.mixpeek.asset_ids("ads")[0])
        refused(syncs, syncs.settings(), 0.99, "organization: org_before -> org_sandbox")


@pytest.mark.parametrize("how", family(["not there", "not allowed"]))
def test_an_organization_that_is_not_told_is_in_nobodys_way(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    secretive = SandboxKey(api_key=OTHER_KEY, reads_organization=False)
    dialect = MixpeekDialect(organizations=how != "not there")
    with running_sandbox(served(keys=(secretive,), mixpeek=dialect)) as sandbox:
        syncs = Syncs("mixpeek", sandbox, monkeypatch)
        told = syncs.settings(api_key=OTHER_KEY)
        assert run_sync(told).exit_code == 0
        assert "organization" not in syncs.store.origins["ads"]
        sandbox.mixpeek.remove_asset(sandbox.mixpeek.asset_ids("ads")[0])
        assert run_sync(told).exit_code == 0
        assert syncs.held == ASSETS - 1


@pytest.mark.long
def test_another_source_in_the_same_schema(postgres_url: str, schema: str) -> None:
    """Whoever changes `type` in the file has other collections, and the old ones look gone."""
    with running_sandbox(served()) as sandbox, ExitStack() as stack:
        connection = stack.enter_context(psycopg.connect(postgres_url, autocommit=True))

        def settings(kind: str, url: str) -> SyncSettings:
            return parse_settings(
                {
                    "name": "media",
                    "source": {"type": kind, "base_url": url, "api_key": KEY},
                    "destinations": [{"type": "pgvector", "url": postgres_url, "schema": schema}],
                    "deletes": {"max_share": 1},
                },
                "test",
            )

        assert run_sync(settings("mixpeek", sandbox.url)).exit_code == 0
        summary = run_sync(settings("twelvelabs", sandbox.twelvelabs_url))
        assert summary.exit_code == 4
        note = summary.collections["ads"].note
        assert note is not None
        assert "source: mixpeek -> twelvelabs" in note
        rows = connection.execute(f"SELECT count(*) FROM {schema}.assets WHERE collection = 'ads'").fetchone()
        assert rows == (ASSETS,)


@pytest.mark.long
def test_the_command_line(
    vectorferry: Command, settings: dict[str, Any], sandbox: Sandbox, postgres_url: str, schema: str
) -> None:
    """From the first sync to the delete that is allowed once."""
    into = [{"type": "pgvector", "url": postgres_url, "schema": schema}]
    whole = {**settings, "destinations": into, "deletes": {"max_share": 1}}
    vectorferry.configure(whole)
    before = vectorferry.told("sync")["destinations"]["pgvector"]["assets"]["inserted"]
    small = GeneratedCatalogue(assets=3, features_per_asset=1, dimension=4, collections=("other",))
    with (
        running_sandbox(served(generate=small)) as elsewhere,
        closing(PgvectorDestination(schema, postgres_url)) as destination,
    ):
        vectorferry.configure({**whole, "source": {**settings["source"], "base_url": elsewhere.url}})
        told = vectorferry.run("sync", "--collection", "other")
        assert told.exit_code == 0, told.output
        refusal = vectorferry.run("sync")
        assert refusal.exit_code == 4
        assert f"base_url: {sandbox.url} -> {elsewhere.url}" in refusal.output.replace("\n", " ")
        assert vectorferry.run("plan").exit_code == 4
        checked = vectorferry.run("verify")
        assert "may only not be seen" in checked.output
        assert vectorferry.run("sync", "--allow-deletes", "1").exit_code == 0
        assert destination.status().assets == {"other": 3}
    assert before > 0
