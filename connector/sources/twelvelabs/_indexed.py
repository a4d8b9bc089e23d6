"""The collection of an index: its assets listed, and read one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from vectorferry.connector._model._errors import QuarantineError
from vectorferry.connector._model._json import parse_json
from vectorferry.connector._model._records import Asset, Listing, Rejected
from vectorferry.connector.http import NotFoundError, RefusedError
from vectorferry.connector.sources._pages import Tally, check_complete
from vectorferry.connector.sources._reading import NotThere, check_id, outcome
from vectorferry.connector.sources.twelvelabs._api import TwelveLabsApi
from vectorferry.connector.sources.twelvelabs._asked import Asked
from vectorferry.connector.sources.twelvelabs._detail import Detail, DetailReader
from vectorferry.connector.sources.twelvelabs._features import Speech, read_speech
from vectorferry.connector.sources.twelvelabs._listing import Index, digest, moment, state_of, system_metadata

__all__ = ["IndexedAssets"]

LONG: Final = 3_600.0
"""From this many seconds on, an asset's answer has tens of megabytes."""

LONG_AT_ONCE: Final = 2
"""So many of these answers are in memory together; one arrives while the other is read."""

UNSETTLED: Final = "unsettled"
"""Part of the turn of an asset that the next run is to read again, since there was more to come."""

PARAMETERS: Final = frozenset({"parameter_invalid", "parameter_unknown"})


class IndexedAssets:
    """Lists and reads the assets of one index."""

    def __init__(self, api: TwelveLabsApi, index: Index, asked: Asked) -> None:
        self._api = api
        self._index = index
        self._asked = asked
        self._details = DetailReader(api.host, index, asked)
        self._long: set[str] = set()
        self._room_for_long = asyncio.Semaphore(LONG_AT_ONCE)

    async def scan(self) -> AsyncGenerator[Listing, None]:
        """Every asset once; raises `IncompleteScanError` at its end unless the rows agree with a total that never fell
        from the first page to the last."""
        tally, options = Tally("assets", "_id", grows=True), self._asked.options_of(self._index)
        async for page in self._api.assets(self._index.index_id):
            for row in tally.fresh(page):
                self._note_length(row)
                yield Listing(row["_id"], self._fingerprint(row, options), state_of(row))
        check_complete(tally.problem(), knows_total=tally.knows_total)

    async def read(self, listing: Listing) -> Asset | Rejected | NotThere | None:
        """An asset, or what became of it (see `outcome`)."""
        return await outcome(listing, self._asset)

    def _fingerprint(self, row: Mapping[str, Any], options: Sequence[str]) -> str:
        """Of what changes with the asset, and of what is asked for: other settings need another answer. The older list
        gives no status."""
        return digest(
            row.get("status") or "ready",
            moment(row.get("updated_at")),
            moment(row.get("indexed_at")),
            system_metadata(row),
            list(options),
            self._asked.transcriptions,
        )

    def _note_length(self, row: Mapping[str, Any]) -> None:
        system = system_metadata(row)
        duration = system.get("duration") if isinstance(system, dict) else None
        if isinstance(duration, int | float) and duration >= LONG:
            self._long.add(row["_id"])

    async def _asset(self, listing: Listing) -> Asset:
        check_id(listing.asset_id)
        if listing.asset_id in self._long:
            async with self._room_for_long:
                detail = await self._detail(listing.asset_id)
        else:
            detail = await self._detail(listing.asset_id)
        settled = await self._add_speech(detail) and detail.settled
        if not settled and self._asked.is_recent(detail.indexed_at):
            listing = replace(listing, turn=UNSETTLED)
        return detail.asset(listing)

    async def _detail(self, asset_id: str) -> Detail:
        try:
            return await self._api.asset(
                self._index.index_id,
                asset_id,
                self._asked.options_of(self._index),
                transcription=self._asked.transcription,
                decode=partial(self._details.read, asset_id),
            )
        except RefusedError as error:
            refused = error
        raise self._explained(refused)

    def _explained(self, refused: RefusedError) -> RefusedError:
        if refused.code not in PARAMETERS:
            return refused
        has = ", ".join(self._index.options or ()) or "none that is known"
        return RefusedError(
            f"{refused} The index says that it was made with {has}; leave what it refuses out of source.options: each "
            "index is asked for those of them that it has.",
            status=refused.status,
            code=refused.code,
        )

    async def _add_speech(self, detail: Detail) -> bool:
        """Whether that is all there will be: the asset's own transcription may not be ready yet."""
        finer, settled = await self._finer_speech(detail.upload_id)
        if finer is not None and self._asked.finer:
            detail.features.add_speech(finer, self._asked.finer)
        elif self._asked.entries:
            detail.features.add_speech(detail.speech, "transcription")
        return settled

    async def _finer_speech(self, upload_id: str | None) -> tuple[Speech | None, bool]:
        """None where the service has no such transcription, or not yet; many assets have none."""
        parts = self._asked.finer
        if not parts or not upload_id:
            return None, True
        try:
            return await self._api.transcription(upload_id, parts, partial(_own_speech, parts))
        except (NotFoundError, QuarantineError):
            return None, True


def _own_speech(parts: str, body: bytes) -> tuple[Speech | None, bool]:
    answer = parse_json(body)
    if not isinstance(answer, dict):
        raise ValueError("not a JSON object")
    status = answer.get("status")
    if status in (None, "ready") and parts in answer:
        return read_speech(answer[parts]), True
    return None, status not in ("pending", "processing")
