"""Asks a sandbox with Mixpeek's SDK 1.3.783, low level and high level, and prints the answers as one JSON object.

The low level checks every answer against the API's declared models; the high level is what the guides show.
"""

from __future__ import annotations

import sys
from typing import Any

import mixpeek  # type: ignore[import-not-found]
from asking import print_answers, refused  # type: ignore[import-not-found]

DOCUMENTS = 1_000
VECTOR = [0.11, 0.32, -0.38, -0.41, 0.006, 0.34, -0.40, -0.52]
NAMESPACE = "guide-vectors"
NAMED = "multimodal_extractor_v1_transcription_embedding"


def main(url: str, api_key: str) -> None:
    """Print what every call comes to."""
    host = f"{url}/mixpeek-documents"

    def api(namespace: str, key: str = api_key) -> Any:
        configuration = mixpeek.Configuration(host=host, access_token=key, api_key={"NamespaceHeader": namespace})
        return mixpeek.ApiClient(configuration)

    media, brought = api("media"), api("my-vectors")
    collections, documents = mixpeek.CollectionsApi(media), mixpeek.CollectionDocumentsApi(media)

    def listed(**body: Any) -> Any:
        request = mixpeek.ListDocumentsRequest.from_dict(body)
        return documents.list_documents("quickstart", list_documents_request=request)

    def walked(count: int) -> list[str]:
        ids: list[str] = []
        for index in range(count):
            cursor = None
            while True:
                place = {"cursor": cursor} if cursor else {"partition": {"index": index, "count": count}}
                page = listed(limit=50, **place)
                ids += [each.document_id for each in page.results]
                cursor = page.pagination.next_cursor
                if cursor is None:
                    break
        return sorted(ids)

    some = listed(limit=3, return_vectors=True, include_total=True)
    document_id = some.results[0].document_id
    print_answers(
        {
            "namespaces": lambda: [
                [each.namespace_id, each.namespace_name, each.mode]
                for each in mixpeek.NamespacesApi(media)
                .list_namespaces(list_namespaces_request=mixpeek.ListNamespacesRequest())
                .results
            ],
            "collections": lambda: [
                [each.collection_id, each.collection_name, each.document_count, len(each.vector_indexes)]
                for each in collections.list_collections().results
            ],
            "indexes": lambda: [
                [each.name, each.type, each.index["name"], each.index["dimensions"]]
                for each in collections.list_collections().results[0].vector_indexes
            ],
            "features": lambda: [
                each.vector_index.name for each in collections.describe_collection_features("quickstart").features
            ],
            "page": lambda: {
                "totals": [some.pagination.total, some.total_documents],
                "rows": [sorted(each.additional_properties) for each in some.results],
                "updated": [str(each.internal.updated_at) for each in some.results],
                "objects": [each.internal.lineage.root_object_id for each in some.results],
                "complete": [each.vector_hydration_incomplete for each in some.results],
            },
            "whole": lambda: walked(1),
            "parts": lambda: walked(4),
            "document": lambda: _vectors(documents.get_document("quickstart", document_id, return_vectors=True)),
            "named": lambda: _vectors(listed(limit=1, return_vector_names=[NAMED]).results[0]),
            "count": lambda: documents.count_documents("quickstart").count,
            "batch": lambda: _batch(media, [document_id, "nope"]),
            "multi": lambda: _vectors(
                mixpeek.DocumentsApi(brought)
                .list_documents_ns(
                    namespace_list_documents_request=mixpeek.NamespaceListDocumentsRequest.from_dict(
                        {"return_vectors": True, "limit": 1}
                    )
                )
                .results[0]
            ),
            "events": lambda: _events(media),
            "wrong_namespace": lambda: [
                each.to_dict() for each in mixpeek.CollectionsApi(api("nope")).list_collections().warnings
            ],
            "wrong_key": lambda: refused(lambda: mixpeek.CollectionsApi(api("media", "sk_no")).list_collections()),
            "unknown": lambda: refused(lambda: documents.get_document("quickstart", "nope")),
            "guide": lambda: guide(f"{host}/v1", api_key),
        }
    )


def _vectors(document: Any) -> dict[str, Any]:
    rest = document.additional_properties
    return {name: _shape(rest[name]) for name in rest["_vectors"] if name in rest}


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted(value)
    return [len(value), len(value[0])] if isinstance(value[0], list) else len(value)


def _batch(api: Any, ids: list[str]) -> Any:
    answer = mixpeek.DocumentsApi(api).batch_get(mixpeek.BatchGetDocumentsRequest(document_ids=ids))
    return [[each.document_id for each in answer.documents], answer.not_found]


def _events(api: Any) -> Any:
    first = mixpeek.EventsApi(api).list_events(limit=2)
    rest = mixpeek.EventsApi(api).list_events(cursor=first.next_cursor, limit=1_000)
    end = mixpeek.EventsApi(api).list_events(cursor=rest.next_cursor)
    kinds = [each.event_type for each in (*first.results, *rest.results)]
    return {"more": first.has_more, "kinds": kinds, "end": [end.results, end.next_cursor == rest.next_cursor]}


def guide(base_url: str, api_key: str) -> dict[str, Any]:
    """The guide's standalone flow, with as many documents as one call takes."""
    client = mixpeek.Mixpeek(api_key=api_key, namespace=NAMESPACE, base_url=base_url)
    created = client.namespaces.create(
        namespace_id=NAMESPACE,
        mode="standalone",
        vector_configs=[{"name": "text_8", "dimension": 8, "metric": "cosine"}],
    )
    documents: list[dict[str, Any]] = [
        {
            "document_id": f"doc-{number}",
            "vectors": {"text_8": [value + number / 1_000 for value in VECTOR]},
            "payload": {"body": f"text {number}", "category": "docs"},
        }
        for number in range(DOCUMENTS)
    ]
    written = client.namespaces.documents.upsert(
        namespace_id=NAMESPACE, documents=documents, options={"write_token": True}
    )
    retriever = client.retrievers.create(
        retriever_name="byov-search",
        stages=[
            {
                "stage_name": "feature_search",
                "stage_type": "filter",
                "config": {
                    "stage_id": "feature_search",
                    "parameters": {
                        "final_top_k": 5,
                        "searches": [
                            {
                                "feature_uri": "text_8",
                                "query": {"input_mode": "vector", "value": "{{INPUT.qv}}"},
                                "top_k": 5,
                            }
                        ],
                    },
                },
            }
        ],
        input_schema={"qv": {"type": "array", "required": True}},
    )
    client._http.headers["X-Write-Token"] = written["write_token"]
    found = client.retrievers.execute(retriever["retriever_id"], inputs={"qv": VECTOR})
    short = client.search(
        namespace_id=NAMESPACE, queries=[{"vector_name": "text_8", "vector": documents[7]["vectors"]["text_8"]}]
    )
    promoted = client.namespaces.promote(
        NAMESPACE,
        vector_mappings=[{"existing_index": "text_8", "inference_service": "intfloat/multilingual-e5-large-instruct"}],
    )
    return {
        "created": [created["mode"], created["vector_configs"]],
        "inserted": written["inserted"],
        "token": bool(written["write_token"]),
        "found": [each["document_id"] for each in found.documents],
        "short": short["documents"][0]["document_id"],
        "promoted": [promoted["previous_mode"], promoted["mode"]],
        "listed": len(client.collections.list()["results"]),
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
