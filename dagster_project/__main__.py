"""``python -m dagster_project discover``: add the partitions of a project's syncs from the command line."""

from dagster_project._command import app

app(prog_name="python -m dagster_project")
