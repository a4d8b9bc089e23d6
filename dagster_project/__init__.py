"""Syncs as Dagster definitions: assets, partitions, resources, sensors, schedules and a YAML component.

There is no sync logic in here. `vectorferry.dagster.VectorferrySync` is the component, and
`vectorferry.dagster.definitions` the project that ``dg dev`` shows.
"""

from vectorferry.dagster._component import VectorferrySync
from vectorferry.dagster._partitions import CollectionPartitions, partition_key
from vectorferry.dagster._resources import DestinationResource, SourceResource
from vectorferry.dagster._targets import ModalityTable, Target, VectorIndex

__all__ = [
    "CollectionPartitions",
    "DestinationResource",
    "ModalityTable",
    "SourceResource",
    "Target",
    "VectorIndex",
    "VectorferrySync",
    "partition_key",
]
