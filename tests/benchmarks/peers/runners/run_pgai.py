"""pgai: rows in a table, and its worker that has vectors made of what was queued, once, as its docs show.

It takes no vectors, so a model in a process beside it, spoken to as Ollama is, knows those that there are. What that
model takes is not counted.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pgai  # type: ignore[import-not-found]
import psycopg
from given import Row, measure  # type: ignore[import-not-found]
from pgai.vectorizer import Worker  # type: ignore[import-not-found]

TABLE = "CREATE TABLE IF NOT EXISTS peers (id text PRIMARY KEY, text text, author text, start float8)"
VECTORIZER = """
SELECT ai.create_vectorizer(
    'peers'::regclass, name => 'peers', if_not_exists => true,
    loading => ai.loading_column('text'),
    chunking => ai.chunking_none(),
    embedding => ai.embedding_ollama('given', %s, base_url => %s),
    destination => ai.destination_table('peers_embeddings'))
"""
UPSERT = """
INSERT INTO peers (id, text, author, start) VALUES (%s, %s, %s, %s)
ON CONFLICT (id) DO UPDATE SET text = EXCLUDED.text, author = EXCLUDED.author, start = EXCLUDED.start
"""


class Model(ThreadingHTTPServer):
    """Answers with the vector of each text."""

    daemon_threads = True

    def __init__(self, port: int, vectors: dict[str, list[float]]) -> None:
        super().__init__(("127.0.0.1", port), Answer)
        self.vectors = vectors


class Answer(BaseHTTPRequestHandler):
    """What Ollama says to `show` and `embed`."""

    server: Model
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Either of the two."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said: dict[str, Any] = {"model_info": {"general.architecture": "given", "given.context_length": 8192}}
        if self.path == "/api/embed":
            texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
            vectors = [self.server.vectors[text] for text in texts]
            said = {"model": "given", "embeddings": vectors, "prompt_eval_count": len(vectors)}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_said: Any) -> None:
        """Nothing."""


def prepare(task: dict[str, Any], rows: list[Row]) -> tuple[list[tuple[Any, ...]], str]:
    """The rows of the table, and where the model is: at the same port as the last time, since its address is kept."""
    path = Path(task["local"]) / "port"
    model = Model(int(path.read_text()) if path.exists() else 0, {row.text: row.vector.tolist() for row in rows})
    path.write_text(str(model.server_port))
    multiprocessing.get_context("fork").Process(target=model.serve_forever, daemon=True).start()
    return [(row.id, row.text, row.author, row.start) for row in rows], f"http://127.0.0.1:{model.server_port}"


def load(task: dict[str, Any], things: tuple[list[tuple[Any, ...]], str]) -> None:
    """Write the table, then have the worker do what was queued."""
    rows, model = things
    pgai.install(task["url"])
    with psycopg.connect(task["url"]) as connection:
        connection.execute(TABLE)
        connection.execute(VECTORIZER, [task["dimension"], model])
        with connection.cursor() as cursor:
            cursor.executemany(UPSERT, rows)
        if task["gone"]:
            connection.execute("DELETE FROM peers WHERE id = ANY(%s)", [task["gone"]])
    asyncio.run(Worker(task["url"], once=True).run())


measure(prepare, load)
