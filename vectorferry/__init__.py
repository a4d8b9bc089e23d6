"""Media assets and their named vectors, synced from Mixpeek and TwelveLabs into Postgres pgvector and Pinecone.

This is what a person uses from Python; `vectorferry.aio` has the calls that take long to be awaited, and
`vectorferry.connector.plugin` what an author of a source or destination needs. A name is imported when it is first
used: the command sees to signals before anything else, and answers ``--help`` at once.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers read it; importing typing takes long enough for somebody to press Ctrl-C
if TYPE_CHECKING:
    from vectorferry.connector._config import load_settings, parse_settings
    from vectorferry.connector._config._settings import SyncSettings
    from vectorferry.connector._engine import (
        Progress,
        Reread,
        SyncOptions,
        embedding_maps,
        run_sync,
    )
    from vectorferry.connector._engine import run_compare as compare
    from vectorferry.connector._engine import run_plan as plan
    from vectorferry.connector._engine import run_refill as refill
    from vectorferry.connector._engine import run_search as search
    from vectorferry.connector._engine import run_security_check as check_security
    from vectorferry.connector._engine import run_submit as submit
    from vectorferry.connector._engine import run_verify as verify
    from vectorferry.connector._engine._opening import list_collections
    from vectorferry.connector._model._errors import (
        CollectionError,
        ConfigurationError,
        CredentialsError,
        DestinationError,
        GuardRefusedError,
        IncompleteScanError,
        LimitReachedError,
        LockedError,
        LockLostError,
        NoSuchCollectionError,
        NotSupportedError,
        RetryableError,
        SourceError,
        StopError,
        TakenOverError,
        VectorferryError,
    )
    from vectorferry.connector._model._records import DenseVector, Modality, SparseVector
    from vectorferry.connector._protocols._destination import SearchAnswer, SearchQuery
    from vectorferry.connector._reports._plan import Plan
    from vectorferry.connector._reports._summary import Summary
    from vectorferry.connector._reports._verification import Verification

    __version__: str

__all__ = [
    "CollectionError",
    "ConfigurationError",
    "CredentialsError",
    "DenseVector",
    "DestinationError",
    "GuardRefusedError",
    "IncompleteScanError",
    "LimitReachedError",
    "LockLostError",
    "LockedError",
    "Modality",
    "NoSuchCollectionError",
    "NotSupportedError",
    "Plan",
    "Progress",
    "Reread",
    "RetryableError",
    "SearchAnswer",
    "SearchQuery",
    "SourceError",
    "SparseVector",
    "StopError",
    "Summary",
    "SyncOptions",
    "SyncSettings",
    "TakenOverError",
    "VectorferryError",
    "Verification",
    "__version__",
    "check_security",
    "compare",
    "embedding_maps",
    "list_collections",
    "load_settings",
    "parse_settings",
    "plan",
    "refill",
    "run_sync",
    "search",
    "submit",
    "verify",
]

_CALLS = {
    "check_security": "run_security_check",
    "compare": "run_compare",
    "plan": "run_plan",
    "refill": "run_refill",
    "search": "run_search",
    "submit": "run_submit",
    "verify": "run_verify",
}
_MODULES = {
    "_config": ("load_settings", "parse_settings"),
    "_config._settings": ("SyncSettings",),
    "_engine": (
        "Comparison",
        "Progress",
        "Reread",
        "Submissions",
        "SyncOptions",
        "embedding_maps",
        "run_sync",
        *_CALLS,
    ),
    "_engine._opening": ("list_collections",),
    "_model._records": ("DenseVector", "Modality", "SparseVector"),
    "_protocols._destination": ("SearchAnswer", "SearchQuery"),
    "_reports._plan": ("Plan",),
    "_reports._summary": ("Summary",),
    "_reports._verification": ("Verification",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if name == "__version__":
        value: object = import_module("importlib.metadata").version("vectorferry")
    else:
        home = import_module(f"vectorferry.connector.{_HOMES.get(name, '_model._errors')}")
        value = getattr(home, _CALLS.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
