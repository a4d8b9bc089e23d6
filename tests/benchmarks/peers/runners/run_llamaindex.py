"""LlamaIndex: an `IngestionPipeline` with a document store and `PGVectorStore`, as its documents on ingestion show.

Its document store says what has changed and what is gone; it is a file, written when the pipeline has ended.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from given import Row, measure  # type: ignore[import-not-found]
from llama_index.core import Document  # type: ignore[import-not-found]
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline  # type: ignore[import-not-found]
from llama_index.core.schema import (  # type: ignore[import-not-found]
    NodeRelationship,
    TextNode,
    TransformComponent,
)
from llama_index.core.storage.docstore import SimpleDocumentStore  # type: ignore[import-not-found]
from llama_index.vector_stores.postgres import PGVectorStore  # type: ignore[import-not-found]


class Embedder(TransformComponent):  # type: ignore[misc]
    """Makes each document one node with the vector that is there already."""

    vectors: dict[str, list[float]]

    def __call__(self, nodes: Any, **_how: Any) -> Any:
        """In place of a splitter and a model."""
        return [
            TextNode(
                text=node.text,
                metadata=node.metadata,
                embedding=self.vectors[node.id_],
                relationships={NodeRelationship.SOURCE: node.as_related_node_info()},
            )
            for node in nodes
        ]


def prepare(_task: dict[str, Any], rows: list[Row]) -> tuple[list[Any], Embedder]:
    """A document each, and the model in the form of what it would say."""
    documents = [
        Document(id_=row.id, text=row.text, metadata={"author": row.author, "start": row.start}) for row in rows
    ]
    return documents, Embedder(vectors={row.id: row.vector.tolist() for row in rows})


def load(task: dict[str, Any], things: tuple[list[Any], Embedder]) -> None:
    """One run of the pipeline."""
    documents, embedder = things
    memory = Path(task["local"]) / "docstore.json"
    pipeline = IngestionPipeline(
        transformations=[embedder],
        docstore=SimpleDocumentStore.from_persist_path(str(memory)) if memory.exists() else SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
        vector_store=PGVectorStore.from_params(
            connection_string=task["url"].replace("postgresql:", "postgresql+psycopg2:"),
            async_connection_string=task["url"].replace("postgresql:", "postgresql+asyncpg:"),
            table_name="peers",
            embed_dim=task["dimension"],
            use_jsonb=True,
        ),
        disable_cache=True,
    )
    pipeline.run(documents=documents)
    pipeline.docstore.persist(str(memory))


measure(prepare, load)
