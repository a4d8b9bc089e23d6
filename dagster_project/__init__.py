"""Syncs as Dagster definitions: assets, partitions, resources, sensors, schedules and a YAML component.

There is no sync logic in here. `dagster_project.components.VectorferrySync` is the component, and
`dagster_project.definitions` the project that ``dg dev`` shows.
"""
