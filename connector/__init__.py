"""The engine: records, sources, mapping, the run, the command line. It never imports `destinations`."""

from connector._config import load_settings, parse_settings, resolve, resolve_part
from connector._destination import (
    Applied,
    Batch,
    Counts,
    Destination,
    IndexBuild,
    Known,
    LoadedAsset,
    LoadedFeature,
    SearchAnswer,
    SearchQuery,
    Status,
    TableStatus,
)
from connector._engine import Progress, run_sync, sync
from connector._errors import (
    ConfigurationError,
    CredentialsError,
    DestinationError,
    GuardRefusedError,
    IncompleteScanError,
    QuarantineError,
    RetryableError,
    SourceError,
    StopError,
    VectorferryError,
)
from connector._json import canonical_json
from connector._listed import list_collections
from connector._mapping import ColumnMapping, ModalityMapping, SchemaMapping, Storage, VectorMapping
from connector._memory import MemoryDestination, MemorySource
from connector._records import (
    MODALITIES,
    Asset,
    AssetState,
    DenseVector,
    Feature,
    Listing,
    Modality,
    Reason,
    Rejected,
    SparseVector,
    Vector,
)
from connector._registry import destination_settings, source_settings
from connector._settings import BatchLimits, DeleteGuard, DestinationSettings, SourceSettings, SyncSettings
from connector._settings_base import Settings
from connector._source import Source, Usage
from connector._summary import CollectionSummary, DestinationSummary, Summary
from connector._vectors import vector_hash

__all__ = [
    "MODALITIES",
    "Applied",
    "Asset",
    "AssetState",
    "Batch",
    "BatchLimits",
    "CollectionSummary",
    "ColumnMapping",
    "ConfigurationError",
    "Counts",
    "CredentialsError",
    "DeleteGuard",
    "DenseVector",
    "Destination",
    "DestinationError",
    "DestinationSettings",
    "DestinationSummary",
    "Feature",
    "GuardRefusedError",
    "IncompleteScanError",
    "IndexBuild",
    "Known",
    "Listing",
    "LoadedAsset",
    "LoadedFeature",
    "MemoryDestination",
    "MemorySource",
    "Modality",
    "ModalityMapping",
    "Progress",
    "QuarantineError",
    "Reason",
    "Rejected",
    "RetryableError",
    "SchemaMapping",
    "SearchAnswer",
    "SearchQuery",
    "Settings",
    "Source",
    "SourceError",
    "SourceSettings",
    "SparseVector",
    "Status",
    "StopError",
    "Storage",
    "Summary",
    "SyncSettings",
    "TableStatus",
    "Usage",
    "Vector",
    "VectorMapping",
    "VectorferryError",
    "canonical_json",
    "destination_settings",
    "list_collections",
    "load_settings",
    "parse_settings",
    "resolve",
    "resolve_part",
    "run_sync",
    "source_settings",
    "sync",
    "vector_hash",
]
