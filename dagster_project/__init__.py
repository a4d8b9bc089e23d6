"""Syncs as Dagster definitions: assets, partitions, resources, sensors, schedules and a YAML component.

There is no sync logic in here. `dagster_project.components.VectorferrySync` is the component, and
`dagster_project.definitions` the project that ``dg dev`` shows.
"""

from dagster_project._partitions import CollectionPartitions, partition_key
from dagster_project._resources import DestinationResource, SourceResource
from dagster_project._targets import ModalityTable, Target, VectorIndex

__all__ = [
    "CollectionPartitions",
    "DestinationResource",
    "ModalityTable",
    "SourceResource",
    "Target",
    "VectorIndex",
    "partition_key",
]
