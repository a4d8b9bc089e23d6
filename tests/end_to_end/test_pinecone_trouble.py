"""What somebody reads at three in the morning when Pinecone cannot be synced: what is wrong, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from vectorferry.connector.sandbox import Fault, PineconeDialect, Sandbox, Status

from .command import KEY, Command
from .pinecone_store import INDEX, writes


def with_pinecone(settings: Mapping[str, Any], **changes: Any) -> Mapping[str, Any]:
    """The settings with another Pinecone."""
    (pinecone,) = settings["destinations"]
    return {**settings, "destinations": [{**pinecone, **changes}]}


def test_a_wrong_key(sandbox: Sandbox, vectorferry: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINECONE_API_KEY", "pc-wrong-0815")
    said = vectorferry.complaint("sync")
    assert "Pinecone refused the key" in said
    assert "destinations[].api_key" in said
    assert "pc-wrong-0815" not in said
    assert writes(sandbox) == {}


@pytest.mark.parametrize("command", ["sync", "status"])
def test_no_key(sandbox: Sandbox, vectorferry: Command, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.delenv("PINECONE_API_KEY")
    said = vectorferry.complaint(command, exit_code=2)
    assert "environment variable PINECONE_API_KEY is not set" in said
    assert sandbox.requests.total == 0


def test_a_host_that_does_not_answer(
    vectorferry: Command, settings: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pinecone._internal.http_client._retry_sleep", lambda _seconds: None)
    vectorferry.configure(with_pinecone(settings, host="http://127.0.0.1:9"))
    said = vectorferry.complaint("sync")
    assert "Connection refused" in said
    assert "check the network and destinations[].host" in said


def test_a_host_that_the_key_would_travel_to_unencrypted(vectorferry: Command, settings: Mapping[str, Any]) -> None:
    vectorferry.configure(with_pinecone(settings, host="http://pinecone.example.com"))
    said = vectorferry.complaint("sync", exit_code=2)
    assert "destinations[0].host: would send the key unencrypted over http; use https" in said
    assert "allow_http" not in said, "there is no such setting here"


def test_a_manifest_that_cannot_be_reached(vectorferry: Command, settings: Mapping[str, Any]) -> None:
    vectorferry.configure(with_pinecone(settings, manifest={"url": f"postgresql://user:{KEY}@127.0.0.1:9/db"}))
    assert "cannot connect to Postgres at 127.0.0.1:9/db" in vectorferry.complaint("sync")


def test_settings_that_must_not_change_any_more(
    sandbox: Sandbox, vectorferry: Command, settings: Mapping[str, Any]
) -> None:
    vectorferry.told("sync")
    sandbox.requests.reset()
    for change in ({"index_prefix": "other"}, {"namespace": "all-{collection}"}):
        vectorferry.configure(with_pinecone(settings, **change))
        assert "Set it back to" in vectorferry.complaint("sync", exit_code=2)
    assert writes(sandbox) == {}


def test_an_index_of_another_dimension_in_the_way(sandbox: Sandbox, vectorferry: Command) -> None:
    taken = {"name": INDEX, "dimension": 3, "spec": {"serverless": {"cloud": "aws", "region": "us-east-1"}}}
    httpx.post(
        f"{sandbox.url}/indexes", headers={"Api-Key": KEY}, json={**taken, "metric": "cosine"}
    ).raise_for_status()
    said = vectorferry.complaint("sync", exit_code=2)
    assert INDEX in said
    assert "is for 3 dimensions" in said
    assert "index_prefix" in said


class TestProjectThatIsFull:
    """With a plan that allows one index."""

    @pytest.fixture
    def dialect(self) -> PineconeDialect:
        return PineconeDialect(max_indexes=1)

    def test_the_limit_is_told(self, sandbox: Sandbox, vectorferry: Command) -> None:
        other = {"name": "other", "dimension": 3, "spec": {"serverless": {"cloud": "aws", "region": "us-east-1"}}}
        httpx.post(f"{sandbox.url}/indexes", headers={"Api-Key": KEY}, json={**other, "metric": "cosine"})
        assert "Raise the project's limits" in vectorferry.complaint("sync")


def test_a_monthly_limit_is_not_tried_for_ever(sandbox: Sandbox, vectorferry: Command) -> None:
    sandbox.faults.add(Fault(route="pinecone.upsert", do=Status(status=403)))
    said = vectorferry.complaint("sync")
    assert "403 Forbidden" in said
    assert sandbox.requests.counts()["pinecone.upsert"] <= 2
