"""Dagster components: `type: dagster_project.components.VectorferrySync` in a ``defs.yaml``."""

from dagster_project.components._sync import VectorferrySync

__all__ = ["VectorferrySync"]
