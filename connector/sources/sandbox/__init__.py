"""Sample media without a key: a local stand-in for a service's API that lives as long as the run that reads it."""

from vectorferry.connector.sources.sandbox._source import SandboxSettings, SandboxSource

__all__ = ["SandboxSettings", "SandboxSource"]
