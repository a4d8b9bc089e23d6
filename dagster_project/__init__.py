"""Syncs as Dagster definitions: assets, partitions, resources, sensors, schedules and a YAML component.

There is no sync logic in here. `vectorferry.dagster.VectorferrySync` is the component, and
`vectorferry.dagster.definitions` the project that ``dg dev`` shows.
"""

from vectorferry.dagster._assets import VectorferryTranslator, build_vectorferry_specs, vectorferry_assets
from vectorferry.dagster._checks import Checks, CheckSettings, build_vectorferry_checks
from vectorferry.dagster._component import VectorferrySync
from vectorferry.dagster._partitions import CollectionPartitions, partition_key
from vectorferry.dagster._resources import VectorferryResource
from vectorferry.dagster._submit import build_submit_asset
from vectorferry.dagster._targets import ModalityTable, Target, VectorIndex

__all__ = [
    "CheckSettings",
    "Checks",
    "CollectionPartitions",
    "ModalityTable",
    "Target",
    "VectorIndex",
    "VectorferryResource",
    "VectorferrySync",
    "VectorferryTranslator",
    "build_submit_asset",
    "build_vectorferry_checks",
    "build_vectorferry_specs",
    "partition_key",
    "vectorferry_assets",
]
