"""Who a source reads a collection as, and what a destination also provides to remember it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias, runtime_checkable

__all__ = ["Identified", "Origin", "Origins"]

Origin: TypeAlias = Mapping[str, str]
"""By part (``source``, ``base_url``, ``namespace``, ``organization``, ``key``), who a collection is read as. Of a key
it holds a hash, never the key."""


@runtime_checkable
class Identified(Protocol):
    """What a source also provides when it can say who it reads a collection as."""

    async def identity(self, collection: str) -> Origin:
        """Whatever decides which assets this source sees of a collection: the service, the account, the key.

        A few short texts by part; one that the service does not tell is left out. The same as long as nothing has
        changed, also in another process. The empty collection stands for the tables of metadata.
        """


@runtime_checkable
class Origins(Protocol):
    """What a destination also provides so that another account's listing is not taken for deletes. `prepare` comes
    first."""

    def origin(self, collection: str) -> Origin | None:
        """What was recorded last for a collection."""

    def record_origin(self, collection: str, origin: Origin | None) -> None:
        """Keep this one; None: forget what is kept. Writes nothing when that changes nothing."""
