"""The table of docs/scale.md: what first syncs of a million to a billion features take, as `plan --at` works it out.

python -m tests.documents.scale        writes the table anew
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.documents.reading import ROOT, read
from vectorferry import parse_settings
from vectorferry.connector._engine.plan._scale import scale
from vectorferry.connector._protocols._scale import Leg
from vectorferry.connector._reports._scale import bytes_in_words, long_time

__all__ = ["PAGE", "with_table"]

PAGE: Final = "docs/scale.md"
_BEGIN: Final = "<!-- python -m tests.documents.scale writes this table -->\n"
_END: Final = "<!-- to here -->\n"
_SIZES: Final = (10**6, 10**8, 10**9)

_PGVECTOR: Final = {"type": "pgvector", "url": "postgresql://here/media", "index_memory_mb": 65_536}
_HALF: Final = {"vectors": {"multimodal_extractor_v1_multimodal_embedding": {"storage": "halfvec"}}}
_DOCUMENTS: Final = {"type": "mixpeek-documents", "namespace": "media", "api_key": "key"}

_LEGS: Final[Mapping[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]]] = {
    "Mixpeek's documents, 600 requests a minute": ("read", {**_DOCUMENTS, "requests_per_minute": 600}, _PGVECTOR, {}),
    "the same, 60 a minute": ("read", {**_DOCUMENTS, "requests_per_minute": 60}, _PGVECTOR, {}),
    "TwelveLabs, 600 a minute": (
        "read",
        {"type": "twelvelabs", "api_key": "key", "requests_per_minute": 600},
        _PGVECTOR,
        {},
    ),
    "into Postgres, `vector(1408)`": ("write", _DOCUMENTS, _PGVECTOR, {}),
    "into Postgres, `halfvec(1408)`": ("write", _DOCUMENTS, _PGVECTOR, {"video": _HALF}),
    "HNSW over `vector(1408)`, 64 GB": ("index", _DOCUMENTS, _PGVECTOR, {}),
    "HNSW over `halfvec(1408)`, 64 GB": ("index", _DOCUMENTS, _PGVECTOR, {"video": _HALF}),
    "into Pinecone, 1,408 dimensions": ("write", _DOCUMENTS, {"type": "pinecone", "api_key": "key"}, {}),
}
"""By what a row says: which leg of which sync it is."""


def with_table() -> str:
    """The page, with the table as it is now."""
    page = read(PAGE)
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{_table()}\n{_END}{after}"


def _table() -> str:
    heads = ["leg", *(f"{size:,} features" for size in _SIZES)]
    rows = [heads, ["---"] * len(heads), *([label, *map(_cell, _legs(label))] for label in _LEGS)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _legs(label: str) -> Iterator[Leg]:
    kind, source, destination, modalities = _LEGS[label]
    described = {"name": "media", "source": source, "destinations": [destination], "modalities": modalities}
    settings = parse_settings(described, "docs")
    for size in _SIZES:
        legs = scale(settings, settings.source.load(size)).legs
        yield next(leg for leg in legs if leg.kind == kind)


def _cell(leg: Leg) -> str:
    sizes = {"sent": leg.bytes if leg.kind == "read" else None, "stored": leg.stored_bytes, "memory": leg.memory_bytes}
    said = [bytes_in_words(size) for size in sizes.values() if size is not None]
    dollars = [] if leg.dollars is None else [f"${leg.dollars:,.0f}"]
    return ", ".join([long_time(leg.seconds), *said, *dollars])


if __name__ == "__main__":
    (ROOT / PAGE).write_text(with_table())
