"""The run: from a source's listing, or from another destination, into every destination, in bounded memory."""

from vectorferry.connector._engine._compare import Comparison, VectorComparison, run_compare
from vectorferry.connector._engine._doctor import run_doctor
from vectorferry.connector._engine._marks import run_marks
from vectorferry.connector._engine._opening import prepare_untouched
from vectorferry.connector._engine._points import embedding_maps
from vectorferry.connector._engine._quarantine import (
    RejectedAt,
    Selection,
    drop_selected,
    run_replay,
    selected,
)
from vectorferry.connector._engine._refill import refill, run_refill
from vectorferry.connector._engine._search import run_search
from vectorferry.connector._engine._source_search import SourceHits, StoredHit, run_embed, run_source_search
from vectorferry.connector._engine._submit import (
    SubmissionCallback,
    Submissions,
    Submitted,
    run_submit,
    submit,
    without_query,
)
from vectorferry.connector._engine.plan._plan import run_plan
from vectorferry.connector._engine.plan._scale import run_scale
from vectorferry.connector._engine.sync._diff import Reread
from vectorferry.connector._engine.sync._fleet import Fleet, WorkerStatus, fleets_of
from vectorferry.connector._engine.sync._join import JoinOptions, JoinSummary, list_shards, run_join
from vectorferry.connector._engine.sync._options import SyncOptions
from vectorferry.connector._engine.sync._processes import WorkerProcesses
from vectorferry.connector._engine.sync._run import run_sync
from vectorferry.connector._engine.sync._sharing import SharedCollection
from vectorferry.connector._engine.verify._security import run_security_check
from vectorferry.connector._engine.verify._verify import run_verify
from vectorferry.connector._reports._map import EmbeddingMap
from vectorferry.connector._reports._progress import Progress, ProgressCallback

__all__ = [
    "Comparison",
    "EmbeddingMap",
    "Fleet",
    "JoinOptions",
    "JoinSummary",
    "Progress",
    "ProgressCallback",
    "RejectedAt",
    "Reread",
    "Selection",
    "SharedCollection",
    "SourceHits",
    "StoredHit",
    "SubmissionCallback",
    "Submissions",
    "Submitted",
    "SyncOptions",
    "VectorComparison",
    "WorkerProcesses",
    "WorkerStatus",
    "drop_selected",
    "embedding_maps",
    "fleets_of",
    "list_shards",
    "prepare_untouched",
    "refill",
    "run_compare",
    "run_doctor",
    "run_embed",
    "run_join",
    "run_marks",
    "run_plan",
    "run_refill",
    "run_replay",
    "run_scale",
    "run_search",
    "run_security_check",
    "run_source_search",
    "run_submit",
    "run_sync",
    "run_verify",
    "selected",
    "submit",
    "without_query",
]
