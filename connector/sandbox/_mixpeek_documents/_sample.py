"""What the sandbox starts with: the described media as documents, brought vectors, or noise of any size."""

from __future__ import annotations

from threading import RLock
from typing import Any, Final
from uuid import UUID, uuid5

import numpy as np

from vectorferry.connector.sandbox._mixpeek._catalogue import described_library
from vectorferry.connector.sandbox._mixpeek._library import StoredAsset, StoredFeature
from vectorferry.connector.sandbox._mixpeek_documents._store import (
    DIRECT,
    DocumentStore,
    Namespace,
    StoredCollection,
    StoredDocument,
    StoredIndex,
    VectorShape,
    new_internal,
)
from vectorferry.connector.sandbox._settings import GeneratedDocuments
from vectorferry.connector.sandbox._shots import note_shots
from vectorferry.connector.sandbox._vectors import MODELS, NoiseVector, RawVector, TextVector, VectorSource, raw_json

_IDS: Final = UUID("3d0c7a52-7d8e-4b7f-9a34-5a0f4e1c6b10")
_AT: Final = "2025-10-31T10:05:00.000000Z"
_MEDIA: Final = "media"
_BROUGHT: Final = "my-vectors"
_EXTRACTORS: Final = {
    "quickstart": "multimodal_extractor",
    "product-shots": "multimodal_extractor",
    "lectures": "multimodal_extractor",
    "example": "text_extractor",
}
_NAMES: Final = {
    "multimodal-v1": ("multimodal_embedding", "vertex_multimodal_embedding"),
    "baai-bge-m3": ("transcription_embedding", "multilingual_e5_large_instruct_v1"),
    "splade-v3": ("splade", "splade_v3"),
}
"""What the described media call a vector: the end of its storage name, and its short name."""

_NOT_FIELDS: Final = frozenset({"feature_id", "asset_id", "collection_id", "modality", "created_at", "interval_sec"})


def described_documents(lock: RLock) -> DocumentStore:
    """A managed namespace with the described media, and a standalone one with a few texts and brought vectors."""
    return DocumentStore(lock, _describe)


def _describe(store: DocumentStore) -> None:
    media = store.add_namespace(Namespace(f"ns_{_MEDIA}", _MEDIA, "managed"))
    library = described_library()
    for collection in library.collections.values():
        stored = media.add_collection(
            StoredCollection(f"col_{collection.collection_id}", collection.name, _EXTRACTORS[collection.collection_id])
        )
        for asset in collection.assets.values():
            for feature in asset.features.values():
                document = _described(media, stored, asset, feature)
                stored.documents[document.document_id] = document
        store.tell(media, "collection.documents.batch_completed", {"collection_id": stored.collection_id}, _AT)
    _bring_texts(store)


def _described(
    namespace: Namespace, collection: StoredCollection, asset: StoredAsset, feature: StoredFeature
) -> StoredDocument:
    document_id = f"doc_{uuid5(_IDS, feature.feature_id).hex[:16]}"
    modality = str(feature.fields.get("modality") or asset.fields["modality"])
    fields = {name: value for name, value in feature.fields.items() if name not in _NOT_FIELDS}
    url = asset.fields.get("url")
    if isinstance(url, str):
        source = url.replace("https://media.example.com/", "s3://media-example/")
        fields["document_blobs"] = [{"field": modality, "role": "source", "type": modality, "url": source}]
    fields["metadata"] = {**(asset.fields.get("metadata") or {}), **(feature.fields.get("metadata") or {})}
    vectors = {_index(collection, name): vector for name, vector in feature.vectors.items()}
    internal = new_internal(
        namespace,
        collection.collection_id,
        document_id,
        at=_AT,
        lineage={
            "root_object_id": f"obj_{uuid5(_IDS, asset.asset_id).hex[:16]}",
            "root_bucket_id": "bkt_sandbox",
            "source_type": "bucket",
            "path": f"bkt_sandbox/{collection.collection_id}",
        },
        modality=modality,
        content_hash=asset.fields.get("file_hash"),
    )
    return StoredDocument(document_id, collection.collection_id, fields, internal, vectors)


def _index(collection: StoredCollection, model: str) -> str:
    ending, short = _NAMES[model]
    name = f"{collection.extractor}_v1_{ending}"
    dimensions = MODELS[model]
    shape: VectorShape = "sparse" if dimensions is None else "dense"
    collection.indexes.setdefault(
        name, StoredIndex(name, shape, dimensions, name=short, extractor=collection.extractor)
    )
    return name


def _bring_texts(store: DocumentStore) -> None:
    """The described notes, each a document with a dense, a sparse and a late-interaction vector."""
    namespace = store.add_namespace(Namespace(_BROUGHT, _BROUGHT, "standalone"))
    collection = namespace.add_collection(
        StoredCollection(
            DIRECT,
            DIRECT,
            indexes={
                "text-embedding": StoredIndex("text-embedding", "dense", 1024),
                "splade": StoredIndex("splade", "sparse"),
                "colbert": StoredIndex("colbert", "multi_dense", 8),
            },
        )
    )
    for shot in note_shots():
        words = " ".join(moment.caption for moment in shot.moments)
        document_id = f"note-{shot.slug}"
        fields: dict[str, Any] = {"body": words, "author": shot.author, "tags": list(shot.tags)}
        internal = new_internal(namespace, DIRECT, document_id, at=_AT)
        vectors: dict[str, VectorSource] = {
            "text-embedding": TextVector(words, "baai-bge-m3"),
            "splade": TextVector(words, "splade-v3"),
            "colbert": RawVector(raw_json(np.eye(3, 8).tolist())),
        }
        collection.documents[document_id] = StoredDocument(document_id, DIRECT, fields, internal, vectors)
    store.tell(namespace, "collection.documents.written", {"collection_id": DIRECT}, _AT)


def generated_documents(settings: GeneratedDocuments, lock: RLock) -> DocumentStore:
    """Documents ``0, 1, …``, dealt out to the collections by object; only their fields are kept, no vector is."""
    store, per_object = DocumentStore(lock), settings.documents_per_object
    namespace = store.add_namespace(
        Namespace(f"ns_{settings.namespace}", settings.namespace, "managed" if per_object else "standalone")
    )
    extractor = "text_extractor" if per_object else ""
    index = StoredIndex(settings.vector_name, "dense", settings.dimension, extractor=extractor)
    collections = [
        namespace.add_collection(StoredCollection(f"col_{name}", name, extractor, {settings.vector_name: index}))
        for name in settings.collections
    ]
    for number in range(settings.documents):
        group, part = divmod(number, per_object or 1)
        collection = collections[group % len(collections)]
        document_id = f"doc_{uuid5(_IDS, f'{settings.seed}/{number}').hex[:16]}"
        lineage = {"root_object_id": f"obj_{settings.seed}_{group:08}", "source_type": "bucket"} if per_object else None
        fields: dict[str, Any] = {
            "text": f"part {part} of generated document {group}",
            "metadata": {"number": number, "author": f"author {number % 17}"},
        }
        internal = new_internal(
            namespace, collection.collection_id, document_id, at=_AT, lineage=lineage, modality=settings.modality
        )
        vectors = {settings.vector_name: NoiseVector(settings.seed * settings.documents + number, settings.dimension)}
        collection.documents[document_id] = StoredDocument(
            document_id, collection.collection_id, fields, internal, {**vectors}
        )
    for collection in collections:
        store.tell(namespace, "collection.documents.written", {"collection_id": collection.collection_id}, _AT)
    return store
