"""The sync that the demo runs: sample media into an embedded Postgres, a local Pinecone, or both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from connector._config import load_settings, parse_settings
from connector._settings import SyncSettings
from connector.sandbox import Sandbox, running_sandbox

__all__ = ["CONFIG", "demo_sync"]

CONFIG: Final = Path(".vectorferry/demo.yaml")

HEADER: Final = "# Written by `vectorferry demo`: sample media from a sandbox that runs as long as a sync does.\n"
PGVECTOR: Final = {"type": "pgvector"}


@contextmanager
def demo_sync(destination: str) -> Iterator[SyncSettings]:
    """Settings for ``pgvector``, ``pinecone`` or ``both``; a local Pinecone answers until the block ends.

    Those of pgvector are in a file that stays, so that every other command goes on from the demo. The local Pinecone
    is gone afterwards, and so no file speaks of it.
    """
    if destination != "pinecone":
        CONFIG.parent.mkdir(exist_ok=True)
        CONFIG.write_text(HEADER + yaml.safe_dump(_described([PGVECTOR]), sort_keys=False), encoding="utf-8")
    if destination == "pgvector":
        yield load_settings(CONFIG)
        return
    with running_sandbox() as sandbox:
        pinecone = _pinecone(sandbox)
        yield parse_settings(_described([PGVECTOR, pinecone] if destination == "both" else [pinecone]), "the demo")


def _described(destinations: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": "demo", "source": {"type": "sandbox"}, "destinations": destinations}


def _pinecone(sandbox: Sandbox) -> dict[str, Any]:
    return {"type": "pinecone", "api_key": sandbox.api_key, "host": sandbox.url}
