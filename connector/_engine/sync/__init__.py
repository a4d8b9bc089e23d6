"""The run of a sync."""
