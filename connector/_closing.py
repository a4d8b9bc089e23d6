"""Closing asynchronous iterators that may be left half way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

__all__ = ["closing"]

T = TypeVar("T")


@asynccontextmanager
async def closing(items: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Close `items` at the end, if it is a generator: the protocols ask for iterators only."""
    try:
        yield items
    finally:
        if aclose := getattr(items, "aclose", None):
            await aclose()
