"""The command line: `vectorferry`."""

from connector.cli._app import main

__all__ = ["main"]
