"""Mixpeek's documents, as the tests of faults use them."""

from __future__ import annotations

from typing import Any, Final

from vectorferry.connector.sandbox import (
    DropField,
    DuplicateRows,
    GeneratedDocuments,
    OnePageLess,
    Sandbox,
    SandboxSettings,
    SetField,
    ShiftRows,
    Shorten,
    Vanish,
)

from .media import VERSIONS, Content, Part, Service, asset_name, words

__all__ = ["MIXPEEK_DOCUMENTS"]

COLLECTION: Final = "ad-documents"
LIST: Final = "documents.list"
READ: Final = "documents.[gv]*"
"""A list with vectors, or one document."""


class MixpeekDocuments(Service):
    """An asset is an object; its documents come with their vectors, some objects at a time."""

    name = "mixpeek_documents"
    collection = COLLECTION
    listing = LIST
    reading = (READ,)
    recovers = True
    wrong = (
        ("ids of the wrong type", SetField(field="document_id", value=[1]), (LIST, READ)),
        ("rows of the wrong type", SetField(field="results", value="none"), (LIST, READ)),
        ("vectors of the wrong type", SetField(field="multimodal-v1", value=7), (READ,)),
        ("numbers that are text", SetField(field="multimodal-v1", value=["one", "two"]), (READ,)),
        ("ids missing", DropField(field="document_id"), (LIST, READ)),
        ("rows missing", DropField(field="results"), (LIST, READ)),
        ("internals missing", DropField(field="_internal"), (LIST, READ)),
        ("another count", SetField(field="total", value=3), (LIST, READ)),
        ("an id twice", DuplicateRows(), (LIST, READ)),
        ("rows shifted back", ShiftRows(rows=1), (LIST,)),
        ("rows shifted forward", ShiftRows(rows=-1), (LIST,)),
        ("the list goes in circles", SetField(field="next_cursor", value="eyJhZnRlciI6ICIifQ=="), (LIST, READ)),
        ("a document vanishes", Vanish(), (READ,)),
    )
    plausible = (
        ("no document", SetField(field="results", value=[]), (READ, LIST)),
        ("fewer documents", Shorten(field="results"), (READ, LIST)),
        ("no vector", SetField(field="multimodal-v1", value=None), (READ,)),
        ("a named vector missing", DropField(field="words"), (READ,)),
        ("nothing is named", SetField(field="_vectors", value=[]), (READ,)),
        ("shorter vectors", Shorten(field="multimodal-v1"), (READ,)),
        ("other numbers", SetField(field="multimodal-v1", value=[9, 9, 9, 9]), (READ,)),
        ("other words", SetField(field="transcription", value="nonsense"), (READ,)),
        ("other metadata", SetField(field="metadata", value={}), (READ,)),
        ("the list ends early", SetField(field="next_cursor", value=None), (LIST,)),
        ("one page less", OnePageLess(), (LIST,)),
    )

    def serve(self, sandbox: Sandbox, content: Content) -> None:
        """Let the source hold this, and nothing else."""
        editor = sandbox.documents
        editor.add_collection("media", COLLECTION, {"multimodal-v1": "dense", "words": "sparse"})
        documents = {
            f"{asset_name(number)}-{part['part']}": (number, version, part)
            for number, version in content.items()
            for part in VERSIONS[version]
        }
        for asset_id in editor.asset_ids(COLLECTION):
            for document_id in editor.document_ids(asset_id):
                if document_id not in documents:
                    editor.remove_document(document_id, touch=False)
        for document_id, (number, version, part) in documents.items():
            _put(sandbox, document_id, number, version, part)
        editor.tell("media", "documents.updated.batch")

    def source(self, url: str, api_key: str) -> dict[str, Any]:
        """Settings of a source that reads one object at a time, and asks again for what is withheld at once."""
        url = f"{url}/mixpeek-documents"
        # Cursors are compared as well, and within the delay they stay where they are, however long the tests take.
        said = {"namespace": "media", "vectors_per_request": 1, "feed_delay_minutes": 1_440}
        return {"type": "mixpeek-documents", "base_url": url, "api_key": api_key, **said}

    def generated(self, assets: int, features: int) -> SandboxSettings:
        """Videos with one vector per document."""
        documents = GeneratedDocuments(
            documents=assets * features,
            documents_per_object=features,
            dimension=256,
            modality="video",
            collections=("ads", "films"),
            namespace="media",
        )
        return SandboxSettings(generate_documents=documents)


def _put(sandbox: Sandbox, document_id: str, number: int, version: int, part: Part) -> None:
    name, value = part["part"], part.get("value", 0.5)
    dense = [value, float(number), 1.0, 2.0]
    sparse = {"indices": [number, 100 + len(name)], "values": [value, 1.0]}
    sandbox.documents.put_document(
        COLLECTION,
        document_id,
        vectors={"multimodal-v1": dense, "words": sparse},
        object_id=asset_name(number),
        touch=False,
        transcription=f"{name} of {number}",
        metadata=words(part),
    )
    for field in ("created_at", "updated_at"):
        sandbox.documents.put_internal(document_id, field, f"2025-01-0{version + 1}T00:00:00Z")


MIXPEEK_DOCUMENTS: Final = MixpeekDocuments()
