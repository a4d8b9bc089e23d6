"""The calls of `vectorferry` that take long, to be awaited in an event loop that goes on meanwhile.

Each runs on a thread of its own. It takes what the call of the same name in `vectorferry` takes, returns what that
returns and raises what that raises. When whoever awaits it is cancelled, it is stopped like a command on Ctrl-C: what
was committed stays, and everything is closed before the cancel goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

import vectorferry
from vectorferry.connector._cancellation import call_in_thread

__all__ = ["compare", "embedding_maps", "plan", "refill", "run_sync", "search", "submit", "verify"]

P = ParamSpec("P")
T = TypeVar("T")


def _awaited(call: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    @wraps(call)
    async def in_thread(*args: P.args, **kwargs: P.kwargs) -> T:
        return await call_in_thread(partial(call, *args, **kwargs))

    return in_thread


compare = _awaited(vectorferry.compare)
embedding_maps = _awaited(vectorferry.embedding_maps)
plan = _awaited(vectorferry.plan)
refill = _awaited(vectorferry.refill)
run_sync = _awaited(vectorferry.run_sync)
search = _awaited(vectorferry.search)
submit = _awaited(vectorferry.submit)
verify = _awaited(vectorferry.verify)
