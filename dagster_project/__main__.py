"""``python -m vectorferry.dagster discover``: add the partitions of a project's syncs from the command line."""

from vectorferry.dagster._command import app

app(prog_name="python -m vectorferry.dagster")
