"""Asynchronous iterators that may fail, or be left, half way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def closing(items: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Close `items` at the end, if it is a generator: the protocols ask for iterators only."""
    try:
        yield items
    finally:
        if aclose := getattr(items, "aclose", None):
            await aclose()


async def pages(items: AsyncIterator[T], size: int) -> AsyncIterator[list[T]]:
    """The items in lists of at most `size`. Those before an error come out before the error does."""
    page: list[T] = []
    failure: Exception | None = None
    async with closing(items):
        try:
            async for item in items:
                page.append(item)
                if len(page) == size:
                    yield page
                    page = []
        except Exception as error:
            failure = error
    if page:
        yield page
    if failure:
        raise failure
