"""Spans and metrics of a run, as OpenTelemetry's SDK gets them; and that nothing is done without OpenTelemetry."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry import metrics, trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.connector.cli.executable import EXECUTABLE
from tests.waiting import PATIENCE
from vectorferry import CredentialsError, parse_settings, run_sync
from vectorferry.connector import _telemetry
from vectorferry.connector._model._batch import Applied
from vectorferry.connector.sandbox import Sandbox, running_sandbox

CANARY = "mxp_canary_4711"


class Recorded:
    """What was sent to OpenTelemetry since a test began."""

    def __init__(self) -> None:
        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers, self.meters = TracerProvider(), MeterProvider([self._reader])
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    @property
    def text(self) -> str:
        """Everything, as it would leave the machine."""
        return "".join(span.to_json() for span in self._exporter.get_finished_spans())

    def metric(self, name: str, **attributes: str) -> float:
        """The sum of the points of a metric that have these attributes."""
        data = self._reader.get_metrics_data()
        assert data is not None
        every = (
            each for resource in data.resource_metrics for scope in resource.scope_metrics for each in scope.metrics
        )
        points = (point for each in every if each.name == name for point in each.data.data_points)
        return sum(
            getattr(point, "value", 0) for point in points if attributes.items() <= dict(point.attributes or {}).items()
        )


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    """In place of the process's own providers, which can be set only once."""
    recorded = Recorded()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: recorded.tracers)
    monkeypatch.setattr(metrics, "get_meter", recorded.meters.get_meter)
    _telemetry._metrics.cache_clear()
    yield recorded
    _telemetry._metrics.cache_clear()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox() as sandbox:
        yield sandbox


def tree(sandbox: Sandbox, url: str, schema: str, key: str | None = None) -> dict[str, Any]:
    """A sync of one collection, as a file says it."""
    source = {
        "type": "mixpeek",
        "base_url": sandbox.url,
        "api_key": key or sandbox.api_key,
        "collections": ["quickstart"],
    }
    return {"name": "media", "source": source, "destinations": [{"type": "pgvector", "url": url, "schema": schema}]}


def test_a_run_its_collections_and_its_requests_are_spans(
    recorded: Recorded, sandbox: Sandbox, postgres_url: str, schema: str
) -> None:
    summary = run_sync(parse_settings(tree(sandbox, postgres_url, schema), "test"))
    (run,), (collection,) = recorded.spans("vectorferry.sync"), recorded.spans("vectorferry.collection")
    assert run.parent is None
    assert dict(run.attributes or {}) == {
        "vectorferry.sync": "media",
        "vectorferry.run_id": summary.run_id,
        "vectorferry.exit_code": summary.exit_code,
        "vectorferry.requests": summary.usage.requests,
    }
    assert collection.parent == run.context
    assert (collection.attributes or {})["vectorferry.collection"] == "quickstart"
    assert (collection.attributes or {})["vectorferry.listed"] == summary.collections["quickstart"].listed
    requests = [*recorded.spans("GET"), *recorded.spans("POST")]
    assert len(requests) == summary.usage.requests
    assert {span.context.trace_id for span in requests} == {run.context.trace_id}
    assert (
        sum(span.parent == collection.context for span in requests) == summary.collections["quickstart"].usage.requests
    )
    assert all((span.attributes or {})["http.request.resend_count"] == 0 for span in requests)
    assert sandbox.api_key not in recorded.text


@pytest.mark.long
def test_what_is_written_is_counted_once(recorded: Recorded, sandbox: Sandbox, postgres_url: str, schema: str) -> None:
    first = run_sync(parse_settings(tree(sandbox, postgres_url, schema), "test"))
    applied = first.destinations["pgvector"].applied
    rows = sum(counts.inserted for counts in applied.features.values())
    assert recorded.metric("vectorferry.features", change="inserted", collection="quickstart") == rows > 0
    vectors = sum(counts.inserted for counts in applied.vectors.values())
    assert recorded.metric("vectorferry.vectors", change="inserted", destination="pgvector") == vectors > 0
    assert recorded.metric("vectorferry.requests") == first.usage.requests
    assert recorded.metric("vectorferry.quarantined") == first.destinations["pgvector"].quarantined
    second = run_sync(parse_settings(tree(sandbox, postgres_url, schema), "test"))
    assert recorded.metric("vectorferry.features", change="inserted") == rows
    assert recorded.metric("vectorferry.requests") == first.usage.requests + second.usage.requests


def test_a_run_that_fails_says_how_and_not_with_which_key(
    recorded: Recorded, sandbox: Sandbox, postgres_url: str, schema: str
) -> None:
    with pytest.raises(CredentialsError):
        run_sync(parse_settings(tree(sandbox, postgres_url, schema, CANARY), "test"))
    (run,) = recorded.spans("vectorferry.sync")
    assert not run.status.is_ok
    assert (run.attributes or {})["error.type"] == "CredentialsError"
    assert run.events == ()
    assert CANARY not in recorded.text


def test_attempts_of_a_request_are_one_span(
    recorded: Recorded, sandbox: Sandbox, postgres_url: str, schema: str
) -> None:
    described = tree(sandbox, postgres_url, schema)
    described["source"] |= {"base_url": "http://127.0.0.1:9", "retry": {"attempts": 2, "first_wait": 0.01}}
    with pytest.raises(Exception, match="no usable answer"):
        run_sync(parse_settings(described, "test"))
    (request, *_) = recorded.spans("GET")
    assert (request.attributes or {})["http.request.resend_count"] == 1
    assert (request.attributes or {})["error.type"] == "UnreadableError"


def test_without_opentelemetry_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_telemetry, "INSTALLED", False)
    monkeypatch.setattr(_telemetry, "trace", None)
    monkeypatch.setattr(_telemetry, "metrics", None)
    with _telemetry.span("a", {}) as attributes:
        attributes["b"] = 1
    _telemetry.count_request("host")
    _telemetry.record_applied("films", "box", Applied())
    _telemetry.record_quarantine("box", 1)


class Collector(BaseHTTPRequestHandler):
    """Takes what an OTLP exporter sends."""

    spans: list[str] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/traces":
            plain = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            sent = ExportTraceServiceRequest.FromString(plain)
            self.spans += [
                span.name for each in sent.resource_spans for scope in each.scope_spans for span in scope.spans
            ]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.long
def test_the_command_sends_them_where_the_environment_says(
    sandbox: Sandbox, postgres_url: str, schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vectorferry.yaml").write_text(yaml.safe_dump(tree(sandbox, postgres_url, schema)))
    monkeypatch.setattr(Collector, "spans", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environ = os.environ | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_SERVICE_NAME": "media",
        }
        done = subprocess.run(
            [Path(sys.executable).with_name("opentelemetry-instrument"), EXECUTABLE, "sync"],
            env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        server.shutdown()
    assert done.returncode in (0, 3), done.stderr
    assert {"vectorferry.sync", "vectorferry.collection", "GET"} <= set(Collector.spans)
