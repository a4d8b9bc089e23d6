"""From rows of the asset list to listings, and whether the list was complete. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, Final

from connector._json import canonical_json
from connector._records import AssetState, Listing
from connector.http import segment
from connector.sources.mixpeek._pages import Page
from connector.sources.mixpeek._signed import without_signatures

__all__ = ["Tally", "fingerprint", "state_of"]

VOLATILE: Final = frozenset({"score", "url", "preview_url"})
"""`score` belongs to a search, and both addresses are signed anew for every answer."""

READY: Final = frozenset({"DONE", "COMPLETED", "SKIPPED"})
FAILED: Final = frozenset({"FAILED", "ERROR", "CANCELLED", "CANCELED"})


def state_of(status: Any) -> AssetState:
    """Whether Mixpeek has finished with an asset.

    SKIPPED is final as well (a duplicate is not processed again), so what the asset has is all it will have. An
    absent status is taken as ready: the schema allows it, and an asset that changes later is listed differently
    later and read again, whereas waiting for a status that never comes would leave it out for ever.
    """
    if status is None:
        return AssetState.READY
    word = status.upper() if isinstance(status, str) else ""
    if word in READY:
        return AssetState.READY
    return AssetState.FAILED if word in FAILED else AssetState.PENDING


def fingerprint(row: Mapping[str, Any]) -> str:
    """32 hexadecimal digits over everything in a row that stays the same from one listing to the next."""
    lasting = {key: without_signatures(value) for key, value in row.items() if key not in VOLATILE}
    return blake2b(canonical_json(lasting), digest_size=16).hexdigest()


class Tally:
    """Counts what one scan of a collection sees, so that it can tell whether it saw everything."""

    def __init__(self, collection: str) -> None:
        self._collection = collection
        self._seen: set[str] = set()
        self._totals: set[int] = set()
        self._pages = 0
        self._unusable = 0
        self._foreign = 0

    def listings(self, page: Page) -> Iterator[Listing]:
        """The listings of assets that were on no page before."""
        self._pages += 1
        if page.total is not None and (page.rows or self._pages == 1):
            self._totals.add(page.total)
        for row in page.rows:
            listing = self._listing(row)
            if listing is not None:
                yield listing

    def problem(self) -> str | None:
        """Why the listing may not have been complete; None when it was."""
        if self._unusable:
            return f"{self._unusable} rows without a usable asset_id"
        if len(self._totals) > 1:
            return f"the total went from {min(self._totals)} to {max(self._totals)} meanwhile"
        if self._totals and self._totals != {len(self._seen)}:
            return f"{len(self._seen)} assets listed, {max(self._totals)} announced"
        if self._seen and len(self._seen) == self._foreign:
            return f"all {self._foreign} rows belong to other collections"
        if not self._seen and not self._totals:
            return "an empty list without a total"
        return None

    def _listing(self, row: Any) -> Listing | None:
        try:
            asset_id = row["asset_id"]
            segment(asset_id)
            listing = Listing(asset_id, fingerprint(row), state_of(row.get("status")))
        except (TypeError, KeyError, ValueError):
            self._unusable += 1
            return None
        return listing if self._is_news(asset_id, row) else None

    def _is_news(self, asset_id: str, row: Mapping[str, Any]) -> bool:
        if asset_id in self._seen:
            return False
        self._seen.add(asset_id)
        foreign = row.get("collection_id") not in (None, self._collection)
        self._foreign += foreign
        return not foreign
