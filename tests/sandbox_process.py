"""A sandbox in a process of its own, so that it takes no time from what is being watched."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from vectorferry.connector.sandbox import SandboxSettings

from .forking import Forked

__all__ = ["sandbox_process"]

_SERVE = """
import sys
from vectorferry.connector.sandbox import SandboxSettings, serve
settings = SandboxSettings.model_validate_json(sys.argv[1])
serve(settings, on_ready=lambda sandbox: print(sandbox.url, flush=True))
"""


@contextmanager
def sandbox_process(settings: SandboxSettings) -> Iterator[str]:
    """Serve until the block ends; yields the address."""
    arguments = [sys.executable, "-c", _SERVE, settings.model_dump_json()]
    with Forked(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
