"""Namespaces, collections and documents as a sandbox holds them, and how somebody changes them meanwhile."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import Any, Final, Literal, TypeAlias
from uuid import uuid4

from vectorferry.connector.sandbox._shots import FilledLate
from vectorferry.connector.sandbox._vectors import (
    NoiseVector,
    RawVector,
    TextVector,
    VectorSource,
    made_again,
    raw_json,
)

DIRECT: Final = "_direct_upsert"
"""The system collection of documents that were upserted without one; lists of collections hide it."""

VectorShape: TypeAlias = Literal["dense", "sparse", "multi_dense"]


@dataclass(frozen=True, slots=True)
class StoredIndex:
    """One vector index: the name that documents show it under, its own name, and what is in it."""

    storage_name: str
    shape: VectorShape = "dense"
    dimensions: int | None = None
    distance: str = "cosine"
    name: str = ""
    extractor: str = ""

    @property
    def short_name(self) -> str:
        """The name that users know it by."""
        return self.name or self.storage_name

    @property
    def feature_uri(self) -> str:
        """An address; the bare name where somebody brought the vectors."""
        return f"mixpeek://{self.extractor}@v1/{self.short_name}" if self.extractor else self.short_name


@dataclass(slots=True)
class StoredDocument:
    """`fields` is what stands at the root, `internal` what stands under ``_internal``, vectors apart.

    Of the vectors named in `withheld`, no answer holds a number, so many more times; None: for ever.
    """

    document_id: str
    collection_id: str
    fields: dict[str, Any]
    internal: dict[str, Any]
    vectors: dict[str, VectorSource] = field(default_factory=dict)
    withheld: dict[str, int | None] = field(default_factory=dict)

    @property
    def object_id(self) -> str | None:
        """The object that it was made of, None where somebody brought it."""
        root: str | None = self.internal.get("lineage", {}).get("root_object_id")
        return root

    @property
    def asset_id(self) -> str:
        """What it is a piece of: its object, or itself."""
        return self.object_id or self.document_id


@dataclass(slots=True)
class StoredCollection:
    """Documents in the order in which they came. `extractor` is empty where vectors are brought."""

    collection_id: str
    name: str
    extractor: str = ""
    indexes: dict[str, StoredIndex] = field(default_factory=dict)
    documents: dict[str, StoredDocument] = field(default_factory=dict)
    version: int = 0
    _orders: dict[tuple[Any, ...], list[str]] = field(default_factory=dict)

    @property
    def is_system(self) -> bool:
        """Whether lists leave it out unless they are asked not to."""
        return self.collection_id.startswith("_")

    def changed(self) -> None:
        """Forget every order: documents have come or gone."""
        self.version += 1
        self._orders.clear()

    def visible(self, share: float) -> Mapping[str, StoredDocument]:
        """What somebody sees who sees only this share of its assets, the last ones."""
        if share == 1:
            return self.documents
        assets = list(dict.fromkeys(document.asset_id for document in self.documents.values()))
        seen = set(assets[len(assets) - round(share * len(assets)) :])
        return {name: document for name, document in self.documents.items() if document.asset_id in seen}

    def order(self, share: float, index: int, count: int) -> list[str]:
        """The ids of one partition, sorted."""
        key = (share, index, count)
        if key not in self._orders:
            self._orders[key] = sorted(
                name for name in self.visible(share) if count == 1 or zlib.crc32(name.encode()) % count == index
            )
        return self._orders[key]


def page_after(order: Sequence[str], after: str, size: int, skip: int = 0) -> Sequence[str]:
    """So many ids behind this one, from `skip` behind it on; a negative one begins before it."""
    start = max((bisect_right(order, after) if after else 0) + skip, 0)
    return order[start : start + size]


@dataclass(slots=True)
class Namespace:
    """One namespace. `vector_configs` are None where names of vectors are taken as they come."""

    namespace_id: str
    name: str
    mode: Literal["managed", "standalone"]
    vector_configs: list[dict[str, Any]] | None = None
    inference: dict[str, str] = field(default_factory=dict)
    collections: dict[str, StoredCollection] = field(default_factory=dict)
    retrievers: dict[str, dict[str, Any]] = field(default_factory=dict)
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)

    def collection(self, identifier: str) -> StoredCollection | None:
        """The collection of this id or name."""
        named = (each for each in self.collections.values() if each.name == identifier)
        return self.collections.get(identifier) or next(named, None)

    def add_collection(self, collection: StoredCollection) -> StoredCollection:
        """The collection of this id, put in if it is new."""
        return self.collections.setdefault(collection.collection_id, collection)

    def document(self, document_id: str) -> StoredDocument | None:
        """The document of this id, whichever collection it is in."""
        return next(
            (each.documents[document_id] for each in self.collections.values() if document_id in each.documents), None
        )


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the change feed."""

    seq: int
    namespace_id: str
    event_type: str
    payload: Mapping[str, Any]
    created_at: str


class DocumentStore(FilledLate):
    """All of Mixpeek's documents in a sandbox. Hold `lock` while reading or changing more than one thing."""

    namespaces: dict[str, Namespace]
    events: list[Event]
    write_tokens: set[str]

    def __init__(self, lock: RLock, fill: Callable[[DocumentStore], None] | None = None) -> None:
        super().__init__(lock, fill)

    def begin(self) -> None:
        """Nothing is in yet."""
        self.namespaces, self.events, self.write_tokens = {}, [], set()

    def add_namespace(self, namespace: Namespace) -> Namespace:
        """Put a namespace in."""
        self.namespaces[namespace.namespace_id] = namespace
        return namespace

    def namespace(self, identifier: str) -> Namespace | None:
        """The namespace of this id or name."""
        named = (each for each in self.namespaces.values() if each.name == identifier)
        return self.namespaces.get(identifier) or next(named, None)

    def put(self, namespace: Namespace, document: StoredDocument) -> bool:
        """Put a document into its collection; whether it is in the place of another."""
        collection = namespace.collections[document.collection_id]
        former = document.document_id in collection.documents
        collection.documents[document.document_id] = document
        if not former:
            collection.changed()
        return former

    def remove(self, namespace: Namespace, document: StoredDocument) -> None:
        """Take a document out."""
        collection = namespace.collections[document.collection_id]
        del collection.documents[document.document_id]
        collection.changed()

    def forget(self, names: Iterable[str]) -> None:
        """Take out the documents of these ids; ids of anything else are passed over."""
        for namespace in self.namespaces.values():
            for document in [found for name in names if (found := namespace.document(name))]:
                self.remove(namespace, document)

    def tell(self, namespace: Namespace, event_type: str, payload: Mapping[str, Any], at: str | None = None) -> None:
        """Add to the change feed."""
        seq = self.events[-1].seq + 1 if self.events else 1
        self.events.append(Event(seq, namespace.namespace_id, event_type, payload, at or time_text(now())))


def now() -> datetime:
    """The present."""
    return datetime.now(UTC)


def time_text(moment: datetime) -> str:
    """A moment as the API shows it."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def vector_shape(value: Any) -> tuple[VectorShape, int | None]:
    """What an upserted vector is, and its dimension if it has one."""
    if isinstance(value, dict):
        return "sparse", None
    if value and isinstance(value[0], list):
        return "multi_dense", len(value[0])
    return "dense", len(value)


class DocumentsEditor:
    """Reads and changes documents. Safe from any thread; a change is visible from the next request on.

    Every change moves the document's ``_internal.updated_at`` and is told in the change feed, unless `touch=False`. A
    method that names what does not exist raises `KeyError`. `bytes` are served as they are, valid JSON or not. Whatever
    takes an `asset_id` concerns all documents of that object, or the one document of that id.
    """

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    def namespace_ids(self) -> list[str]:
        """The ids of all namespaces."""
        with self._store.lock:
            return list(self._store.namespaces)

    def add_namespace(self, name: str) -> None:
        """Make a namespace with nothing in it."""
        with self._store.lock:
            self._store.add_namespace(Namespace(f"ns_{name}", name, "managed"))

    def add_collection(self, namespace: str, collection_id: str, indexes: Mapping[str, VectorShape]) -> None:
        """Make a collection, named like its id, whose documents have vectors of these kinds; nothing where it is."""
        with self._store.lock:
            place = self._store.namespace(namespace)
            if place is None:
                raise KeyError(namespace)
            shapes = {name: StoredIndex(name, shape) for name, shape in indexes.items()}
            place.add_collection(StoredCollection(collection_id, collection_id, "extractor", shapes))

    def collection_ids(self) -> list[str]:
        """The ids of all collections of all namespaces."""
        with self._store.lock:
            return [name for each in self._store.namespaces.values() for name in each.collections]

    def collection_id(self, name: str) -> str:
        """The id of the first collection of this name."""
        with self._store.lock:
            found = (each.collection(name) for each in self._store.namespaces.values())
            return next(collection.collection_id for collection in found if collection)

    def asset_ids(self, collection: str) -> list[str]:
        """The ids of the objects that a collection's documents were made of, or of documents that were brought."""
        with self._store.lock:
            return list(dict.fromkeys(one.asset_id for one in self._collection(collection)[1].documents.values()))

    def document_ids(self, asset_id: str | None = None) -> list[str]:
        """The ids of all documents, or of one asset's."""
        with self._store.lock:
            if asset_id is not None:
                return [document.document_id for _, document in self._documents(asset_id)]
            return [
                name
                for namespace in self._store.namespaces.values()
                for collection in namespace.collections.values()
                for name in collection.documents
            ]

    def document(self, document_id: str) -> dict[str, Any]:
        """A copy of what the API shows of a document, vectors apart."""
        with self._store.lock:
            _, document = self._document(document_id)
            return {**document.fields, "_internal": dict(document.internal)}

    def edit_metadata(self, asset_id: str, metadata: Mapping[str, Any], *, touch: bool = True) -> None:
        """Set some metadata of an asset's documents; what is not named stays."""
        with self._store.lock:
            for namespace, document in self._documents(asset_id):
                document.fields["metadata"] = {**(document.fields.get("metadata") or {}), **metadata}
                self._changed(namespace, document, touch)

    def put_field(self, document_id: str, name: str, value: Any, *, touch: bool = True) -> None:
        """Serve a value as this field of a document."""
        with self._store.lock:
            namespace, document = self._document(document_id)
            document.fields[name] = raw_json(value) if isinstance(value, bytes) else value
            self._changed(namespace, document, touch)

    def put_internal(self, document_id: str, name: str, value: Any) -> None:
        """Serve a value as this field of ``_internal``, and nothing says that it changed."""
        with self._store.lock:
            self._document(document_id)[1].internal[name] = value

    def put_vector(self, document_id: str, name: str, value: Any, *, touch: bool = True) -> None:
        """Serve a value as this vector of a document."""
        with self._store.lock:
            namespace, document = self._document(document_id)
            document.vectors[name] = RawVector(raw_json(value))
            self._changed(namespace, document, touch)

    def reembed(self, asset_id: str, *, touch: bool = True) -> None:
        """Make every vector of an asset anew."""
        with self._store.lock:
            for namespace, document in self._documents(asset_id):
                document.vectors = {name: _made_again(vector) for name, vector in document.vectors.items()}
                self._changed(namespace, document, touch)

    def withhold(self, document_id: str, *names: str, times: int | None = None) -> None:
        """Leave these vectors out of the next so many answers that should hold them, or of all, and say so there."""
        with self._store.lock:
            self._document(document_id)[1].withheld = dict.fromkeys(names, times)

    def put_document(
        self,
        collection: str,
        document_id: str,
        *,
        vectors: Mapping[str, Any] | None = None,
        object_id: str | None = None,
        touch: bool = True,
        **fields: Any,
    ) -> None:
        """Add a document, or put it in the place of the one with its id."""
        with self._store.lock:
            namespace, stored = self._collection(collection)
            given: dict[str, VectorSource] = {
                name: RawVector(raw_json(value)) for name, value in (vectors or {}).items()
            }
            lineage = {"root_object_id": object_id, "source_type": "bucket"} if object_id else {}
            internal = new_internal(namespace, stored.collection_id, document_id, lineage=lineage)
            document = StoredDocument(document_id, stored.collection_id, dict(fields), internal, given)
            self._store.put(namespace, document)
            self._changed(namespace, document, touch)

    def remove_document(self, document_id: str, *, touch: bool = True) -> None:
        """Delete a document."""
        with self._store.lock:
            namespace, document = self._document(document_id)
            self._store.remove(namespace, document)
            if touch:
                self._store.tell(namespace, "document.deleted", {"document_id": document_id})

    def remove_asset(self, asset_id: str, *, touch: bool = True) -> None:
        """Delete all documents of an asset."""
        with self._store.lock:
            for _, document in self._documents(asset_id):
                self.remove_document(document.document_id, touch=touch)

    def reprocess(self, asset_id: str) -> None:
        """Process an object again: the same documents, under new ids."""
        with self._store.lock:
            for namespace, document in self._documents(asset_id):
                self._store.remove(namespace, document)
                name = f"doc_{uuid4().hex[:12]}"
                internal = {**document.internal, "document_id": name, "updated_at": time_text(now())}
                self._store.put(
                    namespace,
                    StoredDocument(name, document.collection_id, document.fields, internal, document.vectors),
                )
                self._store.tell(namespace, "document.created", {"document_id": name})

    def tell(self, namespace: str, event_type: str, *, at: datetime | None = None) -> None:
        """Add an event of this kind to the change feed, though nothing changes."""
        with self._store.lock:
            told = self._store.namespace(namespace)
            if told is None:
                raise KeyError(namespace)
            self._store.tell(told, event_type, {}, None if at is None else time_text(at))

    def _collection(self, identifier: str) -> tuple[Namespace, StoredCollection]:
        for namespace in self._store.namespaces.values():
            if collection := namespace.collection(identifier):
                return namespace, collection
        raise KeyError(identifier)

    def _document(self, document_id: str) -> tuple[Namespace, StoredDocument]:
        for namespace in self._store.namespaces.values():
            if document := namespace.document(document_id):
                return namespace, document
        raise KeyError(document_id)

    def _documents(self, asset_id: str) -> list[tuple[Namespace, StoredDocument]]:
        found = [
            (namespace, document)
            for namespace in self._store.namespaces.values()
            for collection in namespace.collections.values()
            for document in collection.documents.values()
            if document.asset_id == asset_id
        ]
        if not found:
            raise KeyError(asset_id)
        return found

    def _changed(self, namespace: Namespace, document: StoredDocument, touch: bool) -> None:
        if not touch:
            return
        # At least a microsecond later than it was.
        last = datetime.fromisoformat(document.internal["updated_at"])
        document.internal["updated_at"] = time_text(max(now(), last + timedelta(microseconds=1)))
        self._store.tell(namespace, "document.updated", {"document_id": document.document_id})


def new_internal(
    namespace: Namespace,
    collection_id: str,
    document_id: str,
    *,
    at: str | None = None,
    lineage: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """What stands under ``_internal`` of a document that is new."""
    moment = at or time_text(now())
    return {
        "internal_id": "org_sandbox",
        "namespace_id": namespace.namespace_id,
        "document_id": document_id,
        "collection_id": collection_id,
        "created_at": moment,
        "updated_at": moment,
        "lineage": dict(lineage or {"source_type": "direct_upsert"}),
        "metadata": {"ingestion_status": "COMPLETED"},
        **more,
    }


def _made_again(vector: VectorSource) -> VectorSource:
    match vector:
        case NoiseVector(dimension=dimension):
            return made_again(vector, dimension)
        case TextVector() if (dense := vector.dense()) is not None:
            return made_again(vector, len(dense))
        case _:
            return vector


def storage_names(collections: Iterable[StoredCollection]) -> list[str]:
    """Every vector's name in these collections."""
    return list(dict.fromkeys(name for collection in collections for name in collection.indexes))
