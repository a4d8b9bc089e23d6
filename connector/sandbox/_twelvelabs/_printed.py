"""Vectors that were printed once and are kept as long as there is room: printing them is most of an answer's work."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

import orjson

__all__ = ["PrintedEmbeddings"]

_ROOM = 256 * 1024 * 1024


class PrintedEmbeddings:
    """JSON by key, the longest unused of which goes first."""

    def __init__(self, room: int = _ROOM) -> None:
        self._left = room
        self._held: OrderedDict[Hashable, bytes] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], object]) -> orjson.Fragment:
        """The JSON that is held under `key`, or that of what `make` gives."""
        held = self._held.get(key)
        if held is None:
            held = orjson.dumps(make(), option=orjson.OPT_SERIALIZE_NUMPY)
            self._hold(key, held)
        self._held.move_to_end(key)
        return orjson.Fragment(held)

    def _hold(self, key: Hashable, printed: bytes) -> None:
        self._held[key] = printed
        self._left -= len(printed)
        while self._left < 0 and len(self._held) > 1:
            self._left += len(self._held.popitem(last=False)[1])
