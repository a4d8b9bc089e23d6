"""The run: from a source's listing to every destination, in bounded memory, exactly once in effect."""

from connector._engine._progress import Progress, ProgressCallback
from connector._engine._run import run_sync, sync

__all__ = ["Progress", "ProgressCallback", "run_sync", "sync"]
