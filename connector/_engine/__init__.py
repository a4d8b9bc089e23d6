"""The run: from a source's listing to every destination, in bounded memory, exactly once in effect."""

from connector._engine._diff import ledger_fingerprint
from connector._engine._guard import check_deletes
from connector._engine._load import Loaded, Loader
from connector._engine._progress import Progress, ProgressCallback
from connector._engine._run import run_sync, sync

__all__ = [
    "Loaded",
    "Loader",
    "Progress",
    "ProgressCallback",
    "check_deletes",
    "ledger_fingerprint",
    "run_sync",
    "sync",
]
