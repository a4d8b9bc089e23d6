"""The run: from a source's listing, or from another destination, into every destination, in bounded memory."""

from vectorferry.connector._engine._diff import Reread
from vectorferry.connector._engine._found import Found, FoundHit, run_source_search
from vectorferry.connector._engine._plan import plan, run_plan
from vectorferry.connector._engine._progress import Progress, ProgressCallback
from vectorferry.connector._engine._refill import refill
from vectorferry.connector._engine._replay import (
    Holder,
    RejectedAt,
    Selection,
    drop_selected,
    holders,
    run_replay,
    selected,
)
from vectorferry.connector._engine._run import run_sync, sync
from vectorferry.connector._engine._run_refill import run_refill
from vectorferry.connector._engine._store import Store
from vectorferry.connector._engine._submit import (
    SubmissionCallback,
    Submissions,
    Submitted,
    run_submit,
    submit,
    without_query,
)
from vectorferry.connector._engine._verify import verify
from vectorferry.connector._engine._verify_run import run_verify

__all__ = [
    "Found",
    "FoundHit",
    "Holder",
    "Progress",
    "ProgressCallback",
    "RejectedAt",
    "Reread",
    "Selection",
    "Store",
    "SubmissionCallback",
    "Submissions",
    "Submitted",
    "drop_selected",
    "holders",
    "plan",
    "refill",
    "run_plan",
    "run_refill",
    "run_replay",
    "run_source_search",
    "run_submit",
    "run_sync",
    "run_verify",
    "selected",
    "submit",
    "sync",
    "verify",
    "without_query",
]
