"""`vectorferry verify` with Pinecone: against its manifest, and against a pgvector that was given the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from pinecone import Pinecone

from vectorferry.connector.sandbox import GeneratedCatalogue, Sandbox, SandboxSettings, running_sandbox

from ..waiting import wait_until
from .command import KEY, Command
from .pinecone_store import INDEX, digests, writes

CONNECTED = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'vectorferry'"
CATALOGUE = GeneratedCatalogue(assets=8, features_per_asset=5, dimension=8, collections=("ads",))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Forty features in one collection."""
    with running_sandbox(SandboxSettings(api_key=KEY, generate=CATALOGUE)) as sandbox:
        yield sandbox


@pytest.fixture
def settings(settings: dict[str, Any], postgres_url: str, schema: str) -> dict[str, Any]:
    """Into pgvector and Pinecone; the manifest is in pgvector's schema."""
    (pinecone,) = settings["destinations"]
    beside = {key: value for key, value in pinecone.items() if key != "manifest"}
    return {**settings, "destinations": [{"type": "pgvector", "url": postgres_url, "schema": schema}, beside]}


@pytest.fixture
def synced(vectorferry: Command) -> Command:
    """The command, after a sync."""
    vectorferry.told("sync")
    return vectorferry


@contextmanager
def opened(sandbox: Sandbox) -> Iterator[Any]:
    with Pinecone(api_key=KEY, host=sandbox.url) as pinecone, pinecone.Index(INDEX) as index:
        yield index


def tampered(sandbox: Sandbox) -> tuple[set[str], set[str]]:
    """Delete ten records and change ten, half of them in their vector and half in their metadata."""
    ids = sorted(sandbox.pinecone.records(INDEX, "ads"))[:40]
    deleted, changed = ids[::4], ids[1::4]
    with opened(sandbox) as index:
        index.delete(ids=deleted, namespace="ads")
        for number, record_id in enumerate(changed):
            what = {"values": [9.0] * 8} if number % 2 else {"set_metadata": {"modality": "audio"}}
            index.update(id=record_id, namespace="ads", **what)
    return set(deleted), set(changed)


def findings(told: Mapping[str, Any], kind: str) -> set[str]:
    """The records of one kind, by their ids in Pinecone."""
    (report,) = told["collections"].values()
    return {f"{one['asset_id']}#{one['feature_id']}" for one in report["findings"] if one["kind"] == kind}


def counts(told: Mapping[str, Any]) -> dict[tuple[str, str, str], int]:
    (report,) = told["collections"].values()
    return {(one["where"], one["against"], one["kind"]): one["records"] for one in report["counts"]}


@pytest.mark.long
def test_two_stores_of_one_source_are_in_step(synced: Command, sandbox: Sandbox) -> None:
    sandbox.requests.reset()
    told = synced.told("verify", "--everything")
    assert counts(told) == {}
    assert told["collections"]["ads"]["notes"] == []
    assert writes(sandbox) == {}
    assert "features.get" not in sandbox.requests.counts()


def journalled(manifest: psycopg.Connection[Any], schema: str) -> int:
    """Records that were ever entered into the journal: every one that was written is."""
    # Postgres' statistics are complete once the connections that wrote have ended.
    wait_until(lambda: not manifest.execute(CONNECTED).fetchall())
    journal = "_sync_pinecone_unconfirmed"
    counted = "SELECT n_tup_ins FROM pg_stat_user_tables WHERE schemaname = %s AND relname = %s"
    (found,) = manifest.execute(counted, [schema, journal]).fetchall()
    return int(found["n_tup_ins"])


@pytest.mark.long
def test_twenty_records_are_named_and_mended_with_twenty(
    synced: Command, sandbox: Sandbox, manifest: psycopg.Connection[Any], schema: str
) -> None:
    before, written = digests(sandbox), journalled(manifest, schema)
    deleted, changed = tampered(sandbox)
    told = synced.told("verify", "--everything", exit_code=1)
    assert (findings(told, "missing"), findings(told, "different")) == (deleted, changed)
    assert counts(told) == {("pinecone", "ledger", "missing"): 10, ("pinecone", "ledger", "different"): 10}
    mended = synced.told("verify", "--everything", "--repair")
    assert digests(sandbox) == before
    assert mended["repair"]["destinations"]["pgvector"]["assets"]["unchanged"] == CATALOGUE.assets
    assert mended["repair"]["collections"]["ads"]["pulled"] == len({one.partition("#")[0] for one in deleted | changed})
    assert journalled(manifest, schema) - written == 20
    assert counts(synced.told("verify", "--everything")) == {}


@pytest.mark.long
def test_a_namespace_that_somebody_has_deleted_is_filled_again(synced: Command, sandbox: Sandbox) -> None:
    before = digests(sandbox)
    with opened(sandbox) as index:
        index.delete(delete_all=True, namespace="ads")
    told = synced.told("verify", "--sample", "0", exit_code=1)
    assert counts(told) == {("pinecone", "ledger", "missing"): 40}
    assert synced.run("verify", "--repair").exit_code == 0
    assert digests(sandbox) == before


@pytest.mark.long
def test_what_the_books_of_two_stores_do_not_have_in_common_is_named(
    synced: Command, sandbox: Sandbox, manifest: psycopg.Connection[Any], schema: str
) -> None:
    manifest.execute(f"UPDATE {schema}.video__multimodal_v1 SET vector_hash = 'x' WHERE feature_id LIKE '%1'")
    told = synced.told("verify", "--sample", "0", exit_code=1)
    (number,) = counts(told).values()
    assert counts(told) == {("pinecone", "pgvector", "different"): number}
    before = digests(sandbox)
    assert synced.run("verify", "--everything", "--repair").exit_code == 0
    assert digests(sandbox) == before
    assert counts(synced.told("verify", "--everything")) == {}


@pytest.mark.long
def test_vectors_that_one_store_does_not_keep_are_noted(vectorferry: Command, settings: dict[str, Any]) -> None:
    pgvector, pinecone = settings["destinations"]
    vectorferry.configure({**settings, "destinations": [pgvector, {**pinecone, "vectors": ["none-of-these"]}]})
    vectorferry.told("sync")
    told = vectorferry.told("verify", "--everything")
    assert told["collections"]["ads"]["notes"] == [
        "multimodal-v1: in pgvector only, so it was not compared with pinecone"
    ]
