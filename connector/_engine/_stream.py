"""Pages of an asynchronous iterator that may fail, or be left, half way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar

from vectorferry.connector._closing import closing

__all__ = ["pages"]

T = TypeVar("T")


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
