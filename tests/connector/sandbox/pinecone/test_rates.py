"""More than Pinecone's limits allow in a second is refused, per namespace."""

from __future__ import annotations

from itertools import count
from typing import Any

import httpx
import pytest

from tests.connector.sandbox.pinecone.serving import record, world
from vectorferry.connector.sandbox import PineconeRates
from vectorferry.connector.sandbox._http import RefusedError
from vectorferry.connector.sandbox._pinecone._requests import Rates

HOUR = 3_600


def ask(plain: httpx.Client, path: str, body: Any, namespace: str = "t") -> httpx.Response:
    return plain.post(path, json={**body, "namespace": namespace})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/vectors/upsert", {"vectors": [record("a")]}),
        ("/query", {"topK": 1, "vector": [1, 2, 3, 4]}),
        ("/vectors/update", {"id": "a", "setMetadata": {"n": 1}}),
        ("/vectors/update", {"filter": {"n": 1}, "setMetadata": {"n": 1}}),
        ("/vectors/delete", {"ids": ["a"]}),
        ("/vectors/delete", {"filter": {"n": 1}}),
    ],
)
def test_what_is_over_the_limit_of_a_namespace(path: str, body: Any) -> None:
    with world(rates=PineconeRates(requests=3, seconds=HOUR)) as here:
        plain = here.plain()
        for namespace in ("t", "other"):
            assert ask(plain, "/vectors/upsert", {"vectors": [record("a")]}, namespace).status_code == 200
        allowed = 2 if path == "/vectors/upsert" else 3
        statuses = [ask(plain, path, body).status_code for _ in range(allowed + 1)]
        assert statuses == [200] * allowed + [429]
        assert ask(plain, path, body, "other").status_code == 200


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


def test_a_refusal_may_keep_quiet_about_the_wait() -> None:
    with world(rates=PineconeRates(requests=1, seconds=HOUR, retry_after=False)) as here:
        plain = here.plain()
        ask(plain, "/vectors/upsert", {"vectors": [record("a")]})
        refused = ask(plain, "/vectors/upsert", {"vectors": [record("a")]})
        assert refused.status_code == 429
        assert "Retry-After" not in refused.headers


def test_by_default_a_refusal_ends_after_a_second() -> None:
    tenths = count()
    rates = Rates(PineconeRates(requests=1), clock=lambda: next(tenths) / 10)
    rates.admit("query", "t")
    for _ in range(9):
        with pytest.raises(RefusedError, match="the limit is 1 per second for namespace t") as refused:
            rates.admit("query", "t")
        assert refused.value.headers == {"Retry-After": "1"}
    rates.admit("query", "t")


def test_deleted_records_are_counted_for_the_index_and_bytes_of_upserts_for_a_namespace() -> None:
    with world(rates=PineconeRates(deleted_records=3, upserted_bytes=50, seconds=HOUR)) as here:
        plain = here.plain()
        for namespace in ("t", "other"):
            for name, status in (("a", 200), ("b", 200), ("c", 429)):
                assert ask(plain, "/vectors/upsert", {"vectors": [record(name)]}, namespace).status_code == status
        assert ask(plain, "/vectors/delete", {"ids": ["a", "b"]}).status_code == 200
        assert ask(plain, "/vectors/delete", {"ids": ["a", "b"]}, "other").status_code == 429
