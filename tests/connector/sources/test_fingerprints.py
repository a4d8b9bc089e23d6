"""What ledgers keep of a listing: the same from one release to the next, or everything would be read again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorferry.connector._model._json import canonical_json, is_too_deep, shallow_json
from vectorferry.connector.plugin import Listing
from vectorferry.connector.sources._pages import Page
from vectorferry.connector.sources._values import fingerprint_unsigned
from vectorferry.connector.sources.mixpeek._api import fingerprint
from vectorferry.connector.sources.mixpeek_documents._documents import ListedDocument
from vectorferry.connector.sources.twelvelabs._indexed_assets import IndexedAssets
from vectorferry.connector.sources.twelvelabs._indexes import Index, ReadOptions

SIGNED = "https://s3.example.com/a.mp4?X-Amz-Expires=60&X-Amz-Signature=%s"


@pytest.mark.parametrize(
    ("row", "recorded"),
    [
        (
            {"asset_id": "a1", "status": "DONE", "score": 0.5, "metadata": {"title": "what is this?", "n": 1.5}},
            "488d9b88973fc1ba7a26addc67894944",
        ),
        (
            {
                "asset_id": "a2",
                "status": None,
                "metadata": {"thumbs": [SIGNED % "2", "https://example.com/?q=1"], "big": 2**70},
            },
            "cff90a7ee7495ee9ae83c4b997db4d39",
        ),
        (
            {"asset_id": "a3", "metadata": {"open": "https://example.com/[[[[", "list": [[]] * 120}},
            "f2fe3dee99c4ce55b927ed62350be196",
        ),
    ],
)
def test_an_asset_of_mixpeek_is_known_again(row: dict[str, Any], recorded: str) -> None:
    assert fingerprint(row) == recorded
    assert fingerprint({**row, "url": SIGNED % "1", "score": 1}) == recorded


@pytest.mark.parametrize(
    ("row", "recorded"),
    [
        (
            {
                "document_id": "d1",
                "_internal": {
                    "updated_at": "2026-01-02T03:04:05.120Z",
                    "content_hash": "ab",
                    "metadata": {"ingestion_status": "COMPLETED"},
                },
            },
            "e72143486d761470211f5805d70fc10c",
        ),
        ({"document_id": "d2", "title": "no time", "picture": SIGNED % "3"}, "2fcc1924b9268dc30b1e95bb88e9b091"),
        (
            {
                "document_id": "d3",
                "_internal": {"updated_at": "2026-01-02T03:04:05+02:00", "lineage": {"root_object_id": "o"}},
            },
            "1c7890ed5bf1798d33ac21e5b94c0550",
        ),
    ],
)
def test_a_document_is_known_again(row: dict[str, Any], recorded: str) -> None:
    assert ListedDocument.of(row).mark == recorded


class OnePage:
    """A list of two assets."""

    host = "twelvelabs"

    async def assets(self, index_id: str) -> AsyncIterator[Page]:
        """They have no status where the list is the older one."""
        assert index_id == "i"
        times = {"updated_at": "2026-01-02T03:04:05.1234567Z", "indexed_at": "2026-01-02T03:04:05Z"}
        system = {"duration": 6.5, "filename": "a.mp4"}
        newer = {"_id": "t1", **times, "status": "ready", "system_metadata": system}
        older = {"_id": "t2", "updated_at": "2026-01-02T03:04:05.000Z", "metadata": {"duration": 1}}
        yield Page([newer, older], 2, 1)

    def is_listed_as_videos(self, _: str) -> bool:
        """A list of both is none that is known; it is the fingerprints that are looked at."""
        return False


async def test_an_asset_of_twelvelabs_is_known_again() -> None:
    index = Index("i", "name", "marengo3.0", ("visual", "audio"))
    assets = IndexedAssets(OnePage(), index, ReadOptions(None, "segments"))  # type: ignore[arg-type]
    assert [listing async for listing in assets.scan()] == [
        Listing("t1", "dc32743753ea4e337cdff174c41c0da1"),
        Listing("t2", "f28e8f77ba29d657d861e75e1585f53d"),
    ]


@pytest.mark.parametrize("signature", [SIGNED, SIGNED.upper().replace("%S", "%s")])
def test_a_signature_is_found_wherever_it_is(signature: str) -> None:
    one, other = ({"a": [{"b": signature % name}]} for name in ("1", "2"))
    assert fingerprint_unsigned(one) == fingerprint_unsigned(other)
    assert fingerprint_unsigned({"a": "?" + signature % "1"}) != fingerprint_unsigned({"a": "?" + signature % "2"})


@given(value=st.recursive(st.text("[{x", max_size=3), lambda inner: st.lists(inner, max_size=3), max_leaves=200))
def test_what_seems_shallow_is_not_too_deep(value: Any) -> None:
    text = shallow_json(value)
    assert text is None or (text == canonical_json(value) and not is_too_deep(value))


@pytest.mark.parametrize(("levels", "same"), [(99, True), (100, True), (101, True), (102, False)])
def test_what_is_too_deep_is_new_each_time(levels: int, same: bool) -> None:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    assert (fingerprint_unsigned(value) == fingerprint_unsigned(value)) is same
