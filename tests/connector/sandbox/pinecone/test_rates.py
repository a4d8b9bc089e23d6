"""More than Pinecone's limits allow in a second is refused, per namespace or per index."""

from __future__ import annotations

from itertools import count
from typing import Any

import httpx
import pytest

from tests.connector.sandbox.pinecone.serving import record, world
from vectorferry.connector.sandbox import PineconeRates
from vectorferry.connector.sandbox._pinecone._requests import Rates, ThrottledError

FILTER = {"filter": {"n": 1}, "setMetadata": {"n": 1}}
HOUR = 3_600


def ask(plain: httpx.Client, path: str, body: Any, namespace: str = "t") -> httpx.Response:
    return plain.post(path, json={**body, "namespace": namespace})


@pytest.mark.parametrize(
    ("rates", "path", "body", "allowed"),
    [
        ({"requests": 3}, "/vectors/upsert", {"vectors": [record("a")]}, 3),
        ({"requests": 3}, "/query", {"topK": 1, "vector": [1, 2, 3, 4]}, 3),
        ({"requests": 3}, "/vectors/update", {"id": "a", "setMetadata": {"n": 1}}, 3),
        ({"requests": 3}, "/vectors/delete", {"ids": ["a"]}, 3),
        ({"upsert_bytes": 100}, "/vectors/upsert", {"vectors": [record("a", t="x" * 22)]}, 2),
        ({"deleted_records": 5}, "/vectors/delete", {"ids": ["a", "b"]}, 2),
        ({"updated_records": 2}, "/vectors/update", {"id": "a", "setMetadata": {"n": 1}}, 2),
        ({"changes_by_filter": 2}, "/vectors/update", FILTER, 2),
        ({"changes_by_filter": 2}, "/vectors/delete", {"filter": {"n": 1}}, 2),
    ],
)
def test_what_is_over_the_limit_of_a_namespace(rates: Any, path: str, body: Any, allowed: int) -> None:
    with world(rates=PineconeRates(**rates, seconds=HOUR)) as here:
        plain = here.plain()
        for namespace in ("t", "other"):
            plain.post("/namespaces", json={"name": namespace})
        statuses = [ask(plain, path, body).status_code for _ in range(allowed + 1)]
        assert statuses == [200] * allowed + [429]
        assert ask(plain, path, body, "other").status_code == 200


@pytest.mark.parametrize(
    ("rates", "path", "params"),
    [({"reads": 2}, "/vectors/fetch", {"ids": "a"}), ({"lists": 2}, "/vectors/list", {})],
)
def test_what_is_over_the_limit_of_an_index(rates: Any, path: str, params: dict[str, str]) -> None:
    with world(rates=PineconeRates(**rates, seconds=HOUR)) as here:
        plain, other = here.plain("one"), here.plain("two")
        statuses = [plain.get(path, params={**params, "namespace": f"n{n}"}).status_code for n in range(3)]
        assert statuses == [200, 200, 429]
        assert other.get(path, params=params).status_code == 200


def test_a_refusal_names_operation_namespace_and_limit_and_says_how_long_to_wait() -> None:
    with world(rates=PineconeRates(requests=1, seconds=HOUR)) as here:
        plain = here.plain()
        ask(plain, "/vectors/upsert", {"vectors": [record("a")]})
        refused = ask(plain, "/vectors/upsert", {"vectors": [record("b")]})
        assert refused.status_code == 429
        assert HOUR / 2 < int(refused.headers["Retry-After"]) <= HOUR
        assert refused.json()["code"] == 8
        assert refused.json()["message"] == "Too many upsert requests: the limit is 1 per 3600 seconds for namespace t"
        assert list(here.sandbox.pinecone.records("clips", "t")) == ["a"]


def test_a_refusal_may_be_plain_text_and_keep_quiet_about_the_wait() -> None:
    with world(rates=PineconeRates(requests=1, seconds=HOUR, retry_after=False, body="text")) as here:
        plain = here.plain()
        ask(plain, "/vectors/upsert", {"vectors": [record("a")]})
        refused = ask(plain, "/vectors/upsert", {"vectors": [record("a")]})
        assert (refused.status_code, refused.headers["Content-Type"]) == (429, "text/plain")
        assert "Retry-After" not in refused.headers


def test_by_default_a_refusal_ends_after_a_second() -> None:
    tenths = count()
    rates = Rates(PineconeRates(requests=1), clock=lambda: next(tenths) / 10)
    rates.query("t")
    for _ in range(9):
        with pytest.raises(ThrottledError, match="the limit is 1 per second for namespace t") as refused:
            rates.query("t")
        assert refused.value.retry_after == 1
    rates.query("t")


def test_the_documented_limits() -> None:
    documented = {"requests": 100, "upsert_bytes": 50_000_000, "updated_records": 100, "deleted_records": 5_000}
    documented |= {"changes_by_filter": 5, "reads": 100, "lists": 200}
    rates = PineconeRates().model_dump()
    assert {name: rates[name] for name in documented} == documented
