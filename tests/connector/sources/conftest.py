from __future__ import annotations

from tests.event_loop import LoopFactories, WaitingLoop


def pytest_asyncio_loop_factories() -> LoopFactories:
    """Services and sources of these tests share one loop, and its clock."""
    return {"waiting": WaitingLoop}
