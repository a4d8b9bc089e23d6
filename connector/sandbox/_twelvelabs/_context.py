"""What every TwelveLabs handler needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import TypeVar

from vectorferry.connector.sandbox._settings import TwelveLabsDialect
from vectorferry.connector.sandbox._twelvelabs._account import Account
from vectorferry.connector.sandbox._twelvelabs._errors import missing
from vectorferry.connector.sandbox._twelvelabs._printed import PrintedEmbeddings
from vectorferry.connector.sandbox._twelvelabs._things import Index, IndexedAsset, Upload
from vectorferry.connector.sandbox._twelvelabs._times import printed

__all__ = ["Context"]

Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class Context:
    """The account, and the dialect to show it in."""

    account: Account
    dialect: TwelveLabsDialect
    embeddings: PrintedEmbeddings = field(default_factory=PrintedEmbeddings)
    _signatures: count[int] = field(default_factory=count)

    def index(self, index_id: str) -> Index:
        """The index of this id; only a 400 is declared for one that is not there."""
        return self.found(self.account.indexes.get(index_id), "indexes", index_id, declared=400)

    def indexed_asset(self, index_id: str, indexed_asset_id: str) -> IndexedAsset:
        """The indexed asset of this id in this index, or a 404."""
        asset = self.index(index_id).assets.get(indexed_asset_id)
        return self.found(asset, "indexed-assets", indexed_asset_id)

    def upload(self, asset_id: str) -> Upload:
        """The upload of this id, or a 404."""
        return self.found(self.account.uploads.get(asset_id), "assets", asset_id)

    def found(self, thing: Thing | None, what: str, name: str, *, declared: int = 404) -> Thing:
        """`thing`, unless it is None: then a `RefusedError` as the dialect has it."""
        if thing is None:
            raise missing(what, name, self.dialect.missing, declared)
        return thing

    def time(self, when: datetime) -> str:
        """A moment in the dialect's precision."""
        return printed(when, self.dialect.date_digits)

    def signed(self, url: str) -> str:
        """An address that is new in every answer, which is what a reader must not store."""
        return f"{url}?X-Amz-Expires=3600&X-Amz-Signature={next(self._signatures):016x}"
