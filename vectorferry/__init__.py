"""Media assets and their named vectors, synced from Mixpeek and TwelveLabs into Postgres pgvector and Pinecone.

This is what a person uses from Python; `vectorferry.connector.plugin` is for authors of sources and destinations. A
name is imported when it is first used: the command sees to signals before anything else, and answers ``--help`` at
once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vectorferry.connector._config import load_settings, parse_settings, resolve, resolve_part
    from vectorferry.connector._config._registry import destination_settings, source_settings
    from vectorferry.connector._config._settings import (
        BatchLimits,
        DeleteGuard,
        IncrementalScans,
        RunGuard,
        SyncSettings,
    )
    from vectorferry.connector._engine import (
        Progress,
        Reread,
        refill,
        run_plan,
        run_refill,
        run_sync,
        run_verify,
    )
    from vectorferry.connector._engine._opening import list_collections
    from vectorferry.connector._engine.plan._plan import plan
    from vectorferry.connector._engine.sync._options import SyncOptions
    from vectorferry.connector._engine.sync._run import sync
    from vectorferry.connector._engine.verify._verify import verify
    from vectorferry.connector._model._errors import (
        CollectionError,
        ConfigurationError,
        CredentialsError,
        DestinationError,
        GuardRefusedError,
        IncompleteScanError,
        LimitReachedError,
        LockedError,
        NotSupportedError,
        QuarantineError,
        RetryableError,
        SourceError,
        StopError,
        VectorferryError,
    )
    from vectorferry.connector._reports._plan import (
        CollectionPlan,
        DeletePlan,
        DestinationPlan,
        Plan,
        ReadEstimate,
        WriteEstimate,
    )
    from vectorferry.connector._reports._summary import CollectionSummary, DestinationSummary, RelatedSummary, Summary
    from vectorferry.connector._reports._verification import CollectionReport, Finding, Verification

__all__ = [
    "BatchLimits",
    "CollectionError",
    "CollectionPlan",
    "CollectionReport",
    "CollectionSummary",
    "ConfigurationError",
    "CredentialsError",
    "DeleteGuard",
    "DeletePlan",
    "DestinationError",
    "DestinationPlan",
    "DestinationSummary",
    "Finding",
    "GuardRefusedError",
    "IncompleteScanError",
    "IncrementalScans",
    "LimitReachedError",
    "LockedError",
    "NotSupportedError",
    "Plan",
    "Progress",
    "QuarantineError",
    "ReadEstimate",
    "RelatedSummary",
    "Reread",
    "RetryableError",
    "RunGuard",
    "SourceError",
    "StopError",
    "Summary",
    "SyncOptions",
    "SyncSettings",
    "VectorferryError",
    "Verification",
    "WriteEstimate",
    "destination_settings",
    "list_collections",
    "load_settings",
    "parse_settings",
    "plan",
    "refill",
    "resolve",
    "resolve_part",
    "run_plan",
    "run_refill",
    "run_sync",
    "run_verify",
    "source_settings",
    "sync",
    "verify",
]

_MODULES = {
    "vectorferry.connector._config": (
        "load_settings",
        "parse_settings",
        "resolve",
        "resolve_part",
    ),
    "vectorferry.connector._engine": (
        "Progress",
        "Reread",
        "refill",
        "run_plan",
        "run_refill",
        "run_sync",
        "run_verify",
    ),
    "vectorferry.connector._engine.plan._plan": ("plan",),
    "vectorferry.connector._engine.sync._options": ("SyncOptions",),
    "vectorferry.connector._engine.sync._run": ("sync",),
    "vectorferry.connector._engine.verify._verify": ("verify",),
    "vectorferry.connector._model._errors": (
        "CollectionError",
        "ConfigurationError",
        "CredentialsError",
        "DestinationError",
        "GuardRefusedError",
        "IncompleteScanError",
        "LimitReachedError",
        "LockedError",
        "NotSupportedError",
        "QuarantineError",
        "RetryableError",
        "SourceError",
        "StopError",
        "VectorferryError",
    ),
    "vectorferry.connector._engine._opening": ("list_collections",),
    "vectorferry.connector._reports._plan": (
        "CollectionPlan",
        "DeletePlan",
        "DestinationPlan",
        "Plan",
        "ReadEstimate",
        "WriteEstimate",
    ),
    "vectorferry.connector._config._registry": (
        "destination_settings",
        "source_settings",
    ),
    "vectorferry.connector._config._settings": (
        "BatchLimits",
        "DeleteGuard",
        "IncrementalScans",
        "RunGuard",
        "SyncSettings",
    ),
    "vectorferry.connector._reports._summary": (
        "CollectionSummary",
        "DestinationSummary",
        "RelatedSummary",
        "Summary",
    ),
    "vectorferry.connector._reports._verification": (
        "CollectionReport",
        "Finding",
        "Verification",
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
