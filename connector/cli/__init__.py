"""The command line: `vectorferry`."""

from vectorferry.connector.cli._app import main

__all__ = ["main"]
