"""The sync that the demo runs: sample media into an embedded Postgres, a local Pinecone, or both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from vectorferry.connector._config import load_settings, parse_settings
from vectorferry.connector._settings import SyncSettings
from vectorferry.connector.sandbox import Sandbox, running_sandbox

__all__ = ["SAMPLES", "Sample", "demo_sync"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One service's sample media: the sync that brings them, its file, and the vectors that are asked.

    `model` is what the sandbox embeds a text with so that it can be compared with the vectors of `vector_name`.
    """

    service: str
    sync_name: str
    config: Path
    title: str
    vector_name: str
    model: str


SAMPLES: Final = {
    "mixpeek": Sample("mixpeek", "demo", Path(".vectorferry/demo.yaml"), "Mixpeek", "multimodal-v1", "multimodal-v1"),
    "twelvelabs": Sample(
        "twelvelabs",
        "demo_twelvelabs",
        Path(".vectorferry/demo-twelvelabs.yaml"),
        "TwelveLabs",
        "marengo3.0-visual",
        "marengo3.0",
    ),
}

HEADER: Final = "# Written by `vectorferry demo`: sample media from a sandbox that runs as long as a sync does.\n"
PGVECTOR: Final = {"type": "pgvector"}


@contextmanager
def demo_sync(sample: Sample, destination: str) -> Iterator[SyncSettings]:
    """Settings for ``pgvector``, ``pinecone`` or ``both``; a local Pinecone answers until the block ends.

    Those of pgvector are in a file that stays, so that every other command goes on from the demo. The local Pinecone
    is gone afterwards, and so no file speaks of it.
    """
    if destination != "pinecone":
        sample.config.parent.mkdir(exist_ok=True)
        described = yaml.safe_dump(_described(sample, [PGVECTOR]), sort_keys=False)
        sample.config.write_text(HEADER + described, encoding="utf-8")
    if destination == "pgvector":
        yield load_settings(sample.config)
        return
    with running_sandbox() as sandbox:
        pinecone = _pinecone(sandbox)
        stores = [PGVECTOR, pinecone] if destination == "both" else [pinecone]
        yield parse_settings(_described(sample, stores), "the demo")


def _described(sample: Sample, destinations: list[dict[str, Any]]) -> dict[str, Any]:
    source = {"type": "sandbox", "service": sample.service}
    return {"name": sample.sync_name, "source": source, "destinations": destinations}


def _pinecone(sandbox: Sandbox) -> dict[str, Any]:
    return {"type": "pinecone", "api_key": sandbox.api_key, "host": sandbox.url}
