"""What writing so much takes in Pinecone, by its documented rates. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Final

from vectorferry.connector.plugin import Leg, Load
from vectorferry.destinations.pinecone._metadata import LARGEST_METADATA
from vectorferry.destinations.pinecone._requests import WriterLimits
from vectorferry.destinations.pinecone._writer import write_units

_REQUESTS: Final = 100
_BYTES: Final = 50_000_000
"""A second, of upserts into one namespace (https://docs.pinecone.io/reference/api/database-limits); whether numbers
count there as four bytes or as text it does not say: four is taken here."""

_BYTES_PER_NUMBER: Final = 10.0
"""Of the text that is sent for a float32."""

_DOLLARS_PER_MILLION_UNITS: Final = 4.0
"""From this on, on the Standard plan (https://www.pinecone.io/pricing, as of June 2026)."""

_STARTER_UNITS: Final = 2_000_000
"""A month (the same page)."""


def scale_legs(load: Load, name: str, request_bytes: int, only: Collection[str]) -> Sequence[Leg]:
    """Writing everything into the destination of this name, of the named vectors that it takes."""
    vectors = [each for each in load.vectors if not only or each.name in only]
    load = replace(load, vectors=vectors)
    records = sum(each.rows for each in vectors)
    if not records:
        return ()
    metadata = min(load.feature_bytes, LARGEST_METADATA)
    stored = 4 * load.values + records * metadata
    text = round(load.values * _BYTES_PER_NUMBER + records * metadata)
    requests = max(-(-records // WriterLimits().records), -(-text // request_bytes))
    units = requests * write_units(stored // requests)
    seconds, bound = max((stored / _BYTES, "50 MB a second"), (requests / _REQUESTS, "100 requests a second"))
    return [
        Leg(
            f"write {name}",
            "write",
            seconds,
            f"{bound}, into one namespace",
            requests,
            text,
            stored,
            dollars=units / 1e6 * _DOLLARS_PER_MILLION_UNITS,
            misfits=[*_misfits(units)],
        )
    ]


def _misfits(units: int) -> Iterator[str]:
    if units > _STARTER_UNITS:
        yield f"{units / 1e6:,.1f} million write units are more than the 2 million a month of the Starter plan"
