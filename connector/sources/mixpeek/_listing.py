"""From rows of the asset list to listings, and whether the list was complete. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, Final

from vectorferry.connector._model._json import canonical_json, is_too_deep
from vectorferry.connector._model._records import AssetState, Listing
from vectorferry.connector.sources._pages import Page, Tally, without_signatures

__all__ = ["AssetTally", "fingerprint", "state_of"]

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
    """32 hexadecimal digits over everything in a row that stays the same from one listing to the next.

    A row that is nested too deeply to compare gets other digits each time, so that its asset always counts as changed.
    """
    if is_too_deep(row):
        return secrets.token_hex(16)
    lasting = {key: without_signatures(value) for key, value in row.items() if key not in VOLATILE}
    return blake2b(canonical_json(lasting), digest_size=16).hexdigest()


class AssetTally:
    """One scan of a collection: its listings, and whether they are all."""

    def __init__(self, collection: str) -> None:
        self._collection = collection
        self._tally = Tally("assets", "asset_id")
        self._own = 0
        self._foreign = 0

    def listings(self, page: Page) -> Iterator[Listing]:
        """The listings of assets that were on no page before, also of those whose id no store can take."""
        for row in self._tally.fresh(page):
            if row.get("collection_id") in (None, self._collection):
                self._own += 1
                yield Listing(row["asset_id"], fingerprint(row), state_of(row.get("status")))
            else:
                self._foreign += 1

    def problem(self) -> str | None:
        """Why the listing may not have been complete; None when it was."""
        if problem := self._tally.problem():
            return problem
        if self._foreign and not self._own:
            return f"all {self._foreign} rows belong to other collections"
        return None

    @property
    def knows_total(self) -> bool:
        """Whether the service announced how many assets there are; without that, no listing is known to be whole."""
        return self._tally.knows_total
