"""The peers: what is installed, which script drives it, where its rows lie afterwards, and what is not its job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["OURS", "PEERS", "Peer"]


@dataclass(frozen=True)
class Peer:
    """One of them.

    Attributes:
        title: as the tables call it.
        packages: what pip installs, pinned, beside numpy; nothing for ourselves.
        runner: the script in `runners`.
        rows: a query for id, text, author, start and vector of all that is stored; empty where it is Pinecone.
        store: which server it writes into.
        again: what it does with rows that have not changed.
        gone: how it comes to know what is gone.
        refused: why it cannot run here, in the words seen; nothing is measured then.
    """

    title: str
    packages: tuple[str, ...]
    runner: str
    rows: str = ""
    store: Literal["Postgres", "Pinecone"] = "Postgres"
    again: str = "rewrites all"
    gone: str = "is told"
    refused: str = ""

    @property
    def index_is_given(self) -> bool:
        """Whether it writes into an index of Pinecone that is there already; ours makes its own."""
        return self.store == "Pinecone" and bool(self.packages)


OURS: Final = "vectorferry"

PEERS: Final[Mapping[str, Peer]] = {
    OURS: Peer(
        "Vectorferry",
        (),
        "run_vectorferry.py",
        rows="""SELECT feature_id, transcription, metadata->>'author', start_time, embedding::real[]
                FROM peers.video_model_v1""",
        again="skips",
        gone="finds out",
    ),
    "vecs": Peer(
        "vecs",
        ("vecs==0.4.5",),
        "run_vecs.py",
        rows="""SELECT id, metadata->>'text', metadata->>'author', (metadata->>'start')::float8, vec::real[]
                FROM vecs.peers""",
    ),
    "langchain": Peer(
        "langchain-postgres",
        ("langchain-postgres==0.0.19",),
        "run_langchain.py",
        rows="SELECT langchain_id::text, content, author, start, embedding::real[] FROM peers",
    ),
    "llamaindex": Peer(
        "LlamaIndex",
        ("llama-index-vector-stores-postgres==0.9.0",),
        "run_llamaindex.py",
        rows="""SELECT metadata_->>'ref_doc_id', text, metadata_->>'author', (metadata_->>'start')::float8,
                       embedding::real[]
                FROM data_peers""",
        again="skips",
        gone="finds out",
    ),
    "dlt": Peer(
        "dlt",
        ("dlt[postgres]==1.31.0",),
        "run_dlt.py",
        rows="""SELECT id, text, author, start, ARRAY(SELECT jsonb_array_elements_text(embedding))::real[]
                FROM peers.vectors""",
    ),
    "cocoindex": Peer(
        "CocoIndex",
        ("cocoindex[postgres]==1.0.26",),
        "run_cocoindex.py",
        rows="SELECT id, text, author, start, embedding::real[] FROM peers",
        again="skips",
        gone="finds out",
    ),
    "pgai": Peer(
        "pgai",
        (
            "pgai==0.12.1",
            "pgvector==0.5.1",
            "ollama==0.6.3",
            "langchain-text-splitters==1.1.3",
            "tiktoken==0.14.0",
            "openai==3.57.0",
            "voyageai==0.3.1",
            "ijson==3.6.0",
            "filetype==1.2.0",
            "smart-open==7.1.0",
            "exceptiongroup==1.3.2",
        ),  # what its worker imports; the whole extra is 6.8 GB
        "run_pgai.py",
        rows="""SELECT id, p.text, p.author, p.start, e.embedding::real[]
                FROM peers p JOIN peers_embeddings e USING (id)""",
        again="skips",
    ),
    "airbyte": Peer(
        "Airbyte's pgvector destination",
        ("airbyte-destination-pgvector==0.1.13",),
        "",
        refused="0.1.13 cannot be installed from the package index: it asks for airbyte-cdk 0.1.13, which has no part "
        "for vectors, and for a PyYAML that no longer builds. The CDK alone writes into no store.",
    ),
    "pinecone-vectorferry": Peer(
        "Vectorferry",
        (),
        "run_vectorferry.py",
        store="Pinecone",
        again="skips",
        gone="finds out",
    ),
    "pinecone": Peer("Pinecone SDK", ("pinecone==10.2.0",), "run_pinecone.py", store="Pinecone"),
    "vdf-io": Peer(
        "vdf-io",
        ("vdf-io==0.1.248",),
        "",
        store="Pinecone",
        refused="0.1.248 writes into Pinecone over gRPC only (`pinecone_import.py`), and the local one speaks HTTP.",
    ),
}
