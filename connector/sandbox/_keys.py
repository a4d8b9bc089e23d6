"""The keys that a sandbox takes, and the part of what there is that each of them sees."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TypeVar

from vectorferry.connector.sandbox._http import RefusedError
from vectorferry.connector.sandbox._settings import SandboxKey, SandboxSettings

__all__ = ["Keys", "seen"]

Thing = TypeVar("Thing")


class Keys:
    """The sandbox's own key, which sees everything, and those that the settings add."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._by_text = {key.api_key: key for key in (*settings.keys, SandboxKey(api_key=settings.api_key))}

    def get(self, text: str | None) -> SandboxKey | None:
        """The key of this text, if there is one."""
        return self._by_text.get(text or "")

    def bearer(self, header: str | None) -> SandboxKey:
        """The key in an ``Authorization`` header. Raises a 401."""
        scheme, _, text = (header or "").partition(" ")
        if scheme == "Bearer" and (key := self.get(text)):
            return key
        raise RefusedError(401, "Invalid API key")


def seen(things: Mapping[str, Thing], share: float) -> dict[str, Thing]:
    """The last things, as many as are this share of all: a list of the others is no shorter at its end."""
    return dict(islice(things.items(), len(things) - round(share * len(things)), None))
