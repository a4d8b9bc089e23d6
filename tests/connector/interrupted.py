"""A sync whose first write waits for a line on stdin; `test_run_sync` interrupts it from outside."""

from __future__ import annotations

import threading

from tests.connector.worlds import assets, settings_for
from vectorferry import run_sync
from vectorferry.connector.plugin import Applied, Batch, BatchLimits
from vectorferry.connector.testing import MemoryDestination, MemorySource


def say(text: str) -> None:
    """One line, at once."""
    print(text, flush=True)


class Waiting(MemoryDestination):
    """Tells what happens to it."""

    begun = False

    def apply(self, batch: Batch) -> Applied:
        if not self.begun:
            self.begun = True
            say("begun")
            input()
        applied = super().apply(batch)
        say(f"written {len(batch.assets)}")
        return applied

    def close(self) -> None:
        others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
        say(f"destination closed, other threads: {others}")


class Closing(MemorySource):
    """Tells when it is closed."""

    async def aclose(self) -> None:
        say("source closed")


def main() -> None:
    """Run until interrupted."""
    settings = settings_for(Closing({"c": assets(5_000)}), Waiting(), batch=BatchLimits(rows=9))
    try:
        run_sync(settings)
    except KeyboardInterrupt:
        say("interrupted")


if __name__ == "__main__":
    main()
